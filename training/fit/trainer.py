"""The Hugging Face Trainer, with two rates of learning and with entity F1 as serving would have it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from handler.errors import HandlerError
from handler.page import TaggedPage
from handler.tagging.box_prior import BoxPrior
from handler.tagging.layoutlm import LayoutLM, labels_of
from handler.tagging.tagger import Tagger, TaggerSettings
from training.data.examples import Example, pages_of
from training.fit.bases import Base
from training.fit.machine import trains_in_bfloat16
from training.measure.scoring import score

MOMENTS = 10
"""How often a training is evaluated and kept."""


class EntityTrainer(Trainer):
    """Trains a base; `validation` are the pages that `evaluate` measures."""

    def __init__(
        self,
        base: Base,
        new_factor: float,
        tagger: TaggerSettings,
        validation: Sequence[Example],
        prior: BoxPrior | None = None,
        **arguments: Any,
    ) -> None:
        """Take the base, how many times the rate new weights get, how pages are tagged, and Trainer's own arguments.

        `prior` is what was learned about the project's boxes: pages are evaluated as they will be served.
        """
        super().__init__(model=base.model, eval_dataset=list(validation), **arguments)
        self._base = base
        self._new_factor = new_factor
        self._tagger = tagger
        self._prior = prior
        self._validation = validation

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make AdamW in which weights that start at random learn faster than those that were pre-trained."""
        if self.optimizer is None:
            chosen: Any = self.model if model is None else model
            groups = parameter_groups(chosen, self._base.fresh, self.args.learning_rate, self._new_factor)
            # Fused also on a CPU, where it takes half the time.
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate, weight_decay=0.0, fused=True)
        return self.optimizer

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return entity F1 on the validation pages as `eval_f1`."""
        model: Any = self.accelerator.unwrap_model(self.model)
        labels = labels_of(model.config)
        metrics = {"eval_f1": score(self._validation, self._tag(model), labels.names).overall.f1}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _tag(self, model: Any) -> list[TaggedPage | HandlerError]:
        was_training = model.training
        model.eval()
        loaded = LayoutLM.of(model, self._base.tokenizer.backend_tokenizer, self.args.device, torch.float32)
        tagged = Tagger(loaded.accelerated(), self._tagger, self._prior).tag(list(pages_of(self._validation)))
        model.train(was_training)
        return tagged


def parameter_groups(
    model: nn.Module, fresh: tuple[str, ...], learning_rate: float, new_factor: float
) -> list[dict[str, Any]]:
    """Split the weights: those whose names begin with one of `fresh` learn at `new_factor` times the rate."""
    named = [(name.removeprefix("module."), weight) for name, weight in model.named_parameters()]
    known = [weight for name, weight in named if not name.startswith(fresh)]
    new = [weight for name, weight in named if name.startswith(fresh)]
    groups = [{"params": known, "lr": learning_rate}, {"params": new, "lr": learning_rate * new_factor}]
    return [group for group in groups if group["params"]]


def processes() -> int:
    """Return how many processes share this training; torchrun says so."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def whole_batch(wanted: int) -> int:
    """Return the windows per optimizer step that come nearest to `wanted`: each process has as many, at least one."""
    return processes() * max(1, wanted // processes())


def trainer_arguments(
    folder: Path, *, learning_rate: float, epochs: int, batch: int, steps: int, seed: int, keep_best: bool
) -> TrainingArguments:
    """Return the Trainer's own settings.

    Args:
        folder: where it keeps its checkpoints.
        learning_rate: the peak, after a tenth of the steps; then a half cosine down to zero.
        epochs: passes over the pages.
        batch: windows per optimizer step, over all processes (`whole_batch`).
        steps: how many optimizer steps that makes.
        seed: of everything random.
        keep_best: evaluate along the way, and end with the weights that had the best F1.
    """
    moment = max(1, -(-steps // MOMENTS))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch // processes(),
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 10),
        weight_decay=0.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=trains_in_bfloat16(),
        logging_steps=max(1, min(10, moment)),
        eval_strategy="steps" if keep_best else "no",
        eval_steps=moment,
        save_strategy="steps",
        save_steps=moment,
        save_total_limit=2,
        load_best_model_at_end=keep_best,
        metric_for_best_model="eval_f1" if keep_best else None,
        greater_is_better=True if keep_best else None,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        seed=seed,
        ddp_find_unused_parameters=True,  # the relative-position biases get no gradient
    )


def last_whole(steps: Path) -> str | None:
    """Return the newest checkpoint; those that were cut off while they were written are deleted.

    The Trainer writes trainer_state.json last (`Trainer._save_checkpoint`, transformers 5.23).
    """
    found = sorted(steps.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        if (path / "trainer_state.json").is_file():
            return str(path)
        shutil.rmtree(path, ignore_errors=True)  # of several processes each does it
    return None
