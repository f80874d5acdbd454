"""Who is told how far a training is: the job's record, or a person at a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tqdm import tqdm

from layoutloop.errors import JobsUnavailable
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore
from training.fit.progress import Progress

logger = logging.getLogger(__name__)

_TELL_EVERY_S = 1.0
_INSIST_S = 600.0
_PAUSE_S = 1.0

T = TypeVar("T")


class JobListener:
    """Tells a job's record how far it is, not too often, and learns from it whether the job is still this process's."""

    def __init__(self, jobs: JobStore, job: Job) -> None:
        """Tell nothing yet."""
        self._jobs = jobs
        self._job = job
        self._told: tuple[str, float] = ("", float("-inf"))
        self._failing = False

    def step(self, name: str, done: int = 0, total: int = 0) -> None:
        """Note a step; how far it is at most once a second."""
        self._tell(name, done=done, total=total, epoch=0.0, epochs=0.0, eta_s=None)

    def progress(self, progress: Progress) -> None:
        """Note the training process."""
        self._tell(
            "train",
            done=progress.step,
            total=progress.steps,
            epoch=progress.epoch,
            epochs=float(progress.epochs),
            loss=progress.loss,
            eta_s=progress.eta_s,
            f1=progress.f1,
        )

    def still_mine(self) -> None:
        """Ask, and wait for an answer: without one nothing is put into service."""
        insist(lambda: self._jobs.check(self._job.id, self._job.attempt))

    def _tell(self, step: str, **figures: float | None) -> None:
        before, moment = self._told
        if step == before and time.monotonic() - moment < _TELL_EVERY_S:
            return
        self._told = (step, time.monotonic())
        try:
            self._jobs.update(self._job.id, self._job.attempt, step=step, **figures)
            self._failing = False
        except JobsUnavailable as error:
            if not self._failing:
                logger.warning("progress cannot be told: %s", error)
            self._failing = True


class TerminalListener:
    """Shows a person how far it is."""

    def __init__(self) -> None:
        """Begin with an empty bar."""
        self._bar = tqdm(desc="start", unit="", disable=None)

    def step(self, name: str, done: int = 0, total: int = 0) -> None:
        """Show a step."""
        self._bar.set_description(name)
        self._bar.total, self._bar.n = total or None, done
        self._bar.refresh()

    def progress(self, progress: Progress) -> None:
        """Show nothing: the Trainer has a bar of its own."""

    def still_mine(self) -> None:
        """Do nothing: no other process has this training."""

    def close(self) -> None:
        """End the bar's line."""
        self._bar.close()


def insist(ask: Callable[[], T]) -> T:
    """Call `ask` again until the job records can be reached, for ten minutes at most.

    Raises:
        JobsUnavailable: they were unreachable for longer.
    """
    until = time.monotonic() + _INSIST_S
    while True:
        try:
            return ask()
        except JobsUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
