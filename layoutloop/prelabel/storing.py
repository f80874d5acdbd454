"""Imports predictions into Label Studio while others are made, at a pace; each task only once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from layoutloop.errors import StudioUnavailable
from layoutloop.prelabel.patience import Patience
from layoutloop.prelabel.shim import ShimPredictions
from layoutloop.studio.predictions import ProjectPredictions

_MAX_BYTES = 16 * 2**20
"""Of one import, as JSON; while it runs, the next grows to as much."""
_TRIES = 3

Prediction = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much Label Studio is given to do.

    Args:
        least: predictions in one import, if there are so many, and for each second that the import before took: where
            Label Studio counts many tasks, it takes seconds for a few predictions too.
        most: predictions in one import.
        pause_s: after an import, at least.
        pause_times: likewise, in times of what the import took: Label Studio counts all tasks anew, and people wait.
    """

    least: int
    most: int
    pause_s: float
    pause_times: float


LARGE = Pace(100_000, 100_000, 20.0, 9.0)
"""Few large imports: for who waits for the command, in a project of any size."""
GENTLE = Pace(25, 300, 2.0, 3.0)
"""What nobody waits for: a quarter of Label Studio's time, in imports of about a second (`benchmarks/README.md`)."""


class PredictionStore:
    """Collects predictions and imports them in a thread of its own. For use from one thread.

    Args:
        studio: the project in Label Studio.
        shim: where tasks are taken before they are stored.
        patience: for calls.
        refused: called with a task's id and a sentence where Label Studio does not take its prediction.
        pace: of the imports.
    """

    def __init__(
        self,
        studio: ProjectPredictions,
        shim: ShimPredictions,
        patience: Patience,
        refused: Callable[[int, str], None],
        pace: Pace = LARGE,
    ) -> None:
        self._studio = studio
        self._shim = shim
        self._patience = patience
        self._refused = refused
        self._pace = pace
        self._most = pace.least
        self._thread = ThreadPoolExecutor(1, "store")
        self._under_way: Future[None] | None = None
        self._waiting: dict[str, dict[int, Prediction]] = {}
        self._size = 0
        self._next = time.monotonic() + pace.pause_s
        self.stored: dict[int, str] = {}

    def add(self, predictions: Mapping[int, Prediction], size: int) -> None:
        """Take predictions by task; imports what was collected where it is time.

        Raises:
            LayoutLoopError: of an import before.
        """
        for task, prediction in predictions.items():
            self._waiting.setdefault(str(prediction["model_version"]), {})[task] = prediction
        self._size += size
        if self._under_way is not None and self._under_way.done():
            self._finish()
        if self._size >= _MAX_BYTES or (self._under_way is None and time.monotonic() >= self._next):
            self._begin()

    def flush(self) -> None:
        """Import the rest, and wait until all is stored; raises as `add`."""
        self._begin()
        self._finish()

    def close(self) -> None:
        """Wait for the import under way; what was only collected is left."""
        self._thread.shutdown()

    def _begin(self) -> None:
        self._finish()
        collected, self._waiting, self._size = self._waiting, {}, 0
        if collected:
            self._under_way = self._thread.submit(self._store_all, collected)

    def _finish(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def _store_all(self, collected: Mapping[str, Mapping[int, Prediction]]) -> None:
        pause_s = 0.0
        for version, predictions in collected.items():
            remaining = iter(sorted(predictions.items()))
            while (some := dict(islice(remaining, self._most))) and not self._patience.is_over:
                self._patience.pause(pause_s)
                took_s = self._patience.call(partial(self._store_timed, version, some, set[int]()))
                self._most = round(min(max(1.0, took_s) * self._pace.least, self._pace.most))
                pause_s = max(self._pace.pause_s, self._pace.pause_times * took_s)
                self._next = time.monotonic() + pause_s

    def _store_timed(self, version: str, predictions: Mapping[int, Prediction], sent: set[int]) -> float:
        """Store, and return the seconds that it took: not those in which Label Studio was down before."""
        began = time.monotonic()
        self._store(version, predictions, sent)
        return time.monotonic() - began

    def _store(self, version: str, predictions: Mapping[int, Prediction], sent: set[int]) -> None:
        """Store what Label Studio lacks. Called again where the connection broke, it stores only what was not stored.

        First the tasks are taken, then looked for: a press that got one before has stored it by then, and one that
        comes after gets none.
        """
        ours = self._shim.take(version, predictions)
        problem: StudioUnavailable | None = None
        for _ in range(_TRIES):
            left = self._studio.still_lacking(version, ours)
            self.stored |= dict.fromkeys(sent - left, version)  # although the answer to that never came
            if not left:
                return
            try:
                sent |= left
                created = self._studio.store([{"task": task, **predictions[task]} for task in sorted(left)])
            except StudioUnavailable as error:
                if error.studio_status != 400:
                    raise
                sent.clear()
                problem = error  # a task is gone since it was looked for, or this Label Studio refuses them all
                continue
            dropped = self._studio.still_lacking(version, left) if created != len(left) else set()
            self.stored |= dict.fromkeys(left - dropped, version)
            for task in dropped:
                self._refused(task, "Label Studio left its prediction out, and says why in its log")
            return
        for task in left:
            self._refused(task, f"Label Studio does not take its prediction: {problem}")
