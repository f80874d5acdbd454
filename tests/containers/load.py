"""Tasks asked at the shim as Label Studio asks them: several in one request, from several clients, each asked once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.containers.stack import Stack

BATCH = 5
CLIENTS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What one task got.

    Args:
        task: its id.
        version: the stamp of the version that answered; "" for no answer.
        found: (label, text) of every labelled region.
        seconds: that its request took.
    """

    task: int
    version: str
    found: frozenset[tuple[str, str]]
    seconds: float


@dataclass
class Load:
    """Asks for tasks, and counts what is answered.

    Args:
        stack: whose shim is asked.
        project: Label Studio's id.
        config: its label config.
    """

    stack: Stack
    project: int
    config: str
    answered: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, tasks: Sequence[Mapping[str, Any]], after: Mapping[int, Callable[[], None]]) -> list[Answer]:
        """Ask for all tasks; return the answers in order.

        Args:
            tasks: as Label Studio's API gives them.
            after: what to do, once, when so many tasks are answered.

        Raises:
            AssertionError: a request failed, or there were fewer tasks than `after` waits for.
        """
        batches = [tasks[start : start + BATCH] for start in range(0, len(tasks), BATCH)]
        ended = threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool, ThreadPoolExecutor(1) as side:
            events = side.submit(self._follow, dict(after), ended)
            try:
                answers = [answer for batch in pool.map(self._ask_once, batches) for answer in batch]
            finally:
                ended.set()
            events.result()
        return answers

    def _follow(self, after: dict[int, Callable[[], None]], ended: threading.Event) -> None:
        for count in sorted(after):
            while self.answered < count and not ended.wait(0.1):
                pass
            assert self.answered >= count, f"it ended after {self.answered} answers, {count} were waited for"
            after[count]()

    def _ask_once(self, batch: Sequence[Mapping[str, Any]]) -> list[Answer]:
        body = {"tasks": list(batch), "project": f"{self.project}.1", "label_config": self.config, "params": {}}
        began = time.monotonic()
        results = self.stack.ask_shim("POST", "/predict", json=body)["results"]
        seconds = time.monotonic() - began
        assert len(results) == len(batch)
        with self._lock:
            self.answered += len(batch)
        return [_answer(int(task["id"]), entry, seconds) for task, entry in zip(batch, results, strict=True)]


def _answer(task: int, entry: Any, seconds: float) -> Answer:
    if not entry:
        return Answer(task, "", frozenset(), seconds)
    results = entry["result"]
    texts = {one["id"]: one["value"]["text"][0] for one in results if one["type"] == "textarea"}
    labelled = {one["id"]: one["value"]["labels"][0] for one in results if one["type"] == "labels"}
    found = frozenset((label, texts[region]) for region, label in labelled.items())
    return Answer(task, str(entry["model_version"]).partition("-")[0], found, seconds)
