"""One run of a pre-labelling: looks for tasks that lack the version in service until none is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

from layoutloop.errors import ImageSourceUnreachable, ModelNotReady, TaskInvalid
from layoutloop.in_order import in_order
from layoutloop.prelabel.patience import Patience
from layoutloop.prelabel.shim import PredictAnswer, ShimPredictions, TaskAnswer
from layoutloop.prelabel.storing import LARGE, Pace, PredictionStore
from layoutloop.settings.serving import Settings
from layoutloop.studio.label_config import LabelConfig, image_references, parse_label_config
from layoutloop.studio.predictions import ProjectPredictions, TaskList, chunks

REQUESTS = 6
"""Predict requests at a time. The shim answers 32, people's among them; its pool holds four times its workers."""
LEAST_PORTION, LARGEST_PORTION = 4, 100
"""Tasks in one of them."""
_PAUSE_S = 5.0
STANDSTILL_S = 300.0

Task = Mapping[str, Any]


class Listener(Protocol):
    """Shows a person how it goes on."""

    def found(self, tasks: int) -> None:
        """So many more tasks are to be looked at."""

    def answered(self, tasks: int, pages: int, /) -> None:
        """So many tasks were answered."""

    def say(self, sentence: str) -> None:
        """Something happened."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Args:
        version: in service at the end.
        stored: tasks that got a prediction from this run.
        elsewhere: tasks that lacked one and need none any more: predicted by a person's press, annotated, or deleted.
        failed: sentences by task, or by image file.
        doubles: predictions that were removed again.
    """

    version: str
    stored: int
    elsewhere: int
    failed: Mapping[int, str] | Mapping[str, str]
    doubles: int


class Prelabelling:
    """Looks for tasks, has them answered and stored; again, until there is none or nothing moves any more.

    Args:
        studio: the project in Label Studio.
        shim: for this project.
        listener: of the person who started it.
        portion: tasks in a request.
        tasks: ids of the only tasks that count; None for all of the project.
        pace: of the imports.
        requests: at a time.
        standstill_s: without a task done, after which it gives up.
    """

    def __init__(
        self,
        studio: ProjectPredictions,
        shim: ShimPredictions,
        listener: Listener,
        portion: int,
        tasks: Sequence[int] | None = None,
        pace: Pace = LARGE,
        requests: int = REQUESTS,
        standstill_s: float = STANDSTILL_S,
    ) -> None:
        self._studio = studio
        self._shim = shim
        self._listener = listener
        self._portion = portion
        self._pace = pace
        self._requests = requests
        self._only = None if tasks is None else sorted(set(tasks))
        self._stopped = threading.Event()
        self._patience = Patience(listener.say, self._stopped)
        self._failed: dict[int, str] = {}
        self._seen: set[int] = set()
        self._answered: set[int] = set()
        self._put_off: dict[int, TaskAnswer] = {}
        self._standstill_s = standstill_s
        self._settled, self._moved = 0, time.monotonic()

    def run(self) -> Outcome:
        """Pre-label.

        Raises:
            LayoutLoopError: it cannot go on; what was stored stays, and the next run goes on.
        """
        store = PredictionStore(self._studio, self._shim, self._patience, self._failed.__setitem__, self._pace)
        try:
            while (version := self._pass(store)) is None:
                if not self._moves(store):
                    time.sleep(_PAUSE_S)
            doubles = self._patience.call(lambda: self._studio.remove_doubles(version, store.stored))
        finally:
            self._stopped.set()
            store.close()
        elsewhere = len(self._seen) - len(store.stored.keys() | self._failed.keys())
        return Outcome(version, len(store.stored), elsewhere, self._failed, doubles)

    def _pass(self, store: PredictionStore) -> str | None:
        """Go once through what lacks the version in service; return that version where nothing did."""
        xml = self._patience.call(self._studio.label_config)
        config = parse_label_config(xml)
        version = self._patience.call(lambda: self._shim.version(xml))
        found = False
        answers = in_order(lambda portion: self._predict(xml, portion), self._portions(version), self._requests)
        try:
            for portion, answer in answers:
                found = True
                store.add(self._sorted_out(portion, answer), answer.size)
                self._moves(store)
                self._listener.answered(len(portion), sum(count_pages(task, config) for task in portion))
                if answer.version != version:
                    break  # what was found so far may need the new version too
        except BaseException:
            self._stopped.set()  # else a request that waits for what is down holds up the end
            raise
        finally:
            answers.close()
        store.flush()
        return None if found else version

    def _portions(self, version: str) -> Iterator[list[Task]]:
        def missing() -> Iterator[Task]:
            known = len(self._failed)  # they are listed again, and were counted
            for listed in listed_tasks(self._studio, self._patience, version, self._only):
                self._listener.found(max(0, listed.new - known))
                known = max(0, known - listed.new)
                for task in listed.tasks:
                    if task["id"] not in self._failed:
                        self._seen.add(task["id"])
                        yield task

        return portions(missing(), self._portion)

    def _predict(self, xml: str, portion: Sequence[Task]) -> PredictAnswer:
        answer = self._patience.call(lambda: self._shim.predict(xml, portion))
        if all(task.is_temporary for task in answer.tasks):
            self._stopped.wait(_PAUSE_S)  # something is down, and refuses the next ones as fast
        return answer

    def _sorted_out(self, portion: Sequence[Task], answer: PredictAnswer) -> dict[int, Mapping[str, Any]]:
        """Return the predictions by task; note which tasks failed, or need another try."""
        predictions: dict[int, Mapping[str, Any]] = {}
        for task, answered in zip(portion, answer.tasks, strict=True):
            if answered.prediction:
                predictions[task["id"]] = answered.prediction
                self._answered.add(task["id"])
                self._put_off.pop(task["id"], None)
            elif answered.is_temporary:
                self._put_off[task["id"]] = answered
            else:
                self._failed[task["id"]] = f"{answered.code}: {answered.message}"
        return predictions

    def _moves(self, store: PredictionStore) -> bool:
        """Return whether tasks were answered, stored or given up since the last call.

        Where none was for minutes, those are given up whose images cannot be had: nothing else waits for these.

        Raises:
            ModelNotReady: and others are left, or none was answered.
        """
        settled = len(store.stored) + len(self._failed) + len(self._answered)
        if settled != self._settled:
            self._settled, self._moved = settled, time.monotonic()
            return True
        if time.monotonic() - self._moved <= self._standstill_s:
            return False
        put_off, self._put_off = self._put_off, {}
        if put_off and all(answer.code == ImageSourceUnreachable.code for answer in put_off.values()):
            self._failed |= {task: f"{answer.code}: {answer.message}" for task, answer in put_off.items()}
            return True
        why = f"; the last reason: {list(put_off.values())[-1].message}" if put_off else ""
        raise ModelNotReady(f"tasks are left, and none was done for {self._standstill_s / 60:.0f} minutes{why}")


def listed_tasks(
    studio: ProjectPredictions, patience: Patience, version: str | None, only: Sequence[int] | None
) -> Iterator[TaskList]:
    """Yield the tasks without a version (None: all) as they are listed; those that are added meanwhile too."""
    if only is not None:
        for some in chunks(only):
            yield patience.call(partial(studio.lacking, version, among=some))
        return
    after = expected = 0
    while (listed := patience.call(partial(studio.lacking, version, after))).tasks:
        yield replace(listed, new=max(0, listed.total - expected))
        after, expected = listed.tasks[-1]["id"], listed.total - len(listed.tasks)


def portions(tasks: Iterable[Task], size: int) -> Iterator[list[Task]]:
    """Yield the tasks in requests of a size."""
    remaining = iter(tasks)
    while portion := list(islice(remaining, size)):
        yield portion


def portion_size(settings: Settings, nodes: int) -> int:
    """Return how many tasks are a request: as many as are read at a time, within what the shim takes."""
    return min(max(settings.ocr_workers * nodes, LEAST_PORTION), LARGEST_PORTION, settings.max_tasks)


def count_pages(task: Task, config: LabelConfig) -> int:
    """Return how many pages a task has, 0 where it has none."""
    try:
        return len(image_references(task, config))
    except TaskInvalid:
        return 0
