"""The Trainer's events to `progress.json`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.fit.progress import Progress

_EVERY_S = 1.0


class ProgressFile(TrainerCallback):
    """Writes the file, and stops the training between two steps when told to."""

    def __init__(self, folder: Path, *, is_writer: bool) -> None:
        """Write to `folder`; of several processes only one is the writer."""
        self._folder = folder
        self._is_writer = is_writer
        self._progress = Progress()
        self._began: tuple[float, int] = (time.monotonic(), 0)
        self._written = float("-inf")
        self.stopped = False

    def stop(self, *_: Any) -> None:
        """Keep the state after the present step and end; also a signal's handler."""
        self.stopped = True

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take over what was logged before an interruption."""
        del args, control
        self._began = (time.monotonic(), state.global_step)
        self._progress = _from_state(state)
        self._write()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Note the step; on request keep the state and stop."""
        del args
        began, first = self._began
        pace = (time.monotonic() - began) / max(1, state.global_step - first)
        self._progress.step = state.global_step
        self._progress.epoch = round(state.epoch or 0.0, 2)
        self._progress.eta_s = round(pace * (state.max_steps - state.global_step), 1)
        if self.stopped:
            control.should_save = True
            control.should_training_stop = True
        if time.monotonic() - self._written > _EVERY_S:
            self._write()
        return control

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Note loss and F1."""
        del args, control
        eta_s = self._progress.eta_s
        self._progress = _from_state(state)
        self._progress.eta_s = eta_s
        self._write()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the last moment."""
        del args, state, control
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._is_writer:
            self._progress.write(self._folder)


def _from_state(state: TrainerState) -> Progress:
    history = state.log_history
    losses = [(int(entry["step"]), float(entry["loss"])) for entry in history if "loss" in entry]
    f1s = [(float(entry["epoch"]), float(entry["eval_f1"])) for entry in history if "eval_f1" in entry]
    return Progress(
        step=state.global_step,
        steps=state.max_steps,
        epoch=round(state.epoch or 0.0, 2),
        epochs=int(state.num_train_epochs or 0),
        loss=losses[-1][1] if losses else None,
        f1=max((f1 for _, f1 in f1s), default=None),
        losses=losses,
        f1s=f1s,
    )
