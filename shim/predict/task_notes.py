"""What went wrong with the tasks of one request: a line in the log for each reason, not for each task."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from layoutloop.errors import LayoutLoopError
from layoutloop.plural import counted
from shim.predict.metrics import Metrics

logger = logging.getLogger(__name__)

_SHOWN = 5
"""Reasons of one kind that have a line of their own; of the others it is said how many there are."""

_Reason = tuple[int, str, str]


@dataclass(slots=True)
class TaskNotes:
    """Collects errors and writes them to the log.

    Args:
        metrics: where each one is counted.
        project: Label Studio's id, for the lines.
    """

    metrics: Metrics
    project: int | None
    _places: dict[_Reason, tuple[str, str, int]] = field(default_factory=dict)
    _kinds: Counter[tuple[int, str]] = field(default_factory=Counter)
    _others: Counter[tuple[int, str]] = field(default_factory=Counter)

    def add(self, task: object, error: LayoutLoopError, level: int, page: str = "") -> None:
        """Count an error of a task, or of one of its pages: `page` then says which of several."""
        self.metrics.errors.labels(error.code).inc()
        kind, reason = (level, error.code), (level, error.code, str(error))
        if reason in self._places:
            place, page, count = self._places[reason]
            self._places[reason] = (place, page, count + 1)
        elif self._kinds[kind] < _SHOWN:
            self._kinds[kind] += 1
            self._places[reason] = (f"project {self.project} task {task!r:.40} {page}".rstrip(), page, 1)
        else:
            self._others[kind] += 1

    def log(self) -> None:
        """Write the lines."""
        for (level, code, sentence), (place, page, count) in self._places.items():
            more = f" and {count - 1} more" if count > 1 else ""
            shown = f"{page}: {sentence}" if page else sentence  # for the dashboard, which shows the place beside it
            extra = {"code": code, "sentence": shown}
            logger.log(level, "%s%s: %s: %s", place, more, code, sentence, extra=extra)
        for (level, code), count in self._others.items():
            tasks = counted(count, "more task")
            logger.log(level, "project %s: %s: %s, each for a reason of its own", self.project, tasks, code)
