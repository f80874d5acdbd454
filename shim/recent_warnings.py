"""The newest warnings of this process, for the dashboard: the log itself is a file that few people open."""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace

from layoutloop.errors import LayoutLoopError

KEPT = 50
LOGGED = ("shim", "layoutloop")
"""The packages whose warnings a person may have to act on."""
_LONGEST = 500
_PROJECT = re.compile(r"\bproject[ -](\d{1,18})\b")
_TASK = re.compile(r"\btask (\d{1,18})\b")


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning, however often it came.

    Args:
        time: of the newest, Unix seconds.
        sentence: what was wrong, at most 500 characters.
        code: of the error; empty where the log line has none.
        project: Label Studio's id; empty where the line names none.
        task: likewise.
        count: how often it came.
    """

    time: float
    sentence: str
    code: str = ""
    project: str = ""
    task: str = ""
    count: int = 1


class RecentWarnings(logging.Handler):
    """Keeps the newest `KEPT` different warnings and errors; an equal one is counted and not kept twice.

    So a thousand requests without a password take one line, and not all of them. A line is about an error where one
    is among its arguments, or where it has `code` and `sentence` as extras.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__(logging.WARNING)
        self._kept: OrderedDict[Warned, Warned] = OrderedDict()
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one log line."""
        try:
            warned = _read(record)
        except (TypeError, ValueError):  # the line's arguments do not fit its text
            self.handleError(record)
            return
        key = replace(warned, time=0.0)
        with self._guard:
            before = self._kept.pop(key, None)
            self._kept[key] = replace(warned, count=before.count + 1) if before else warned
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def newest(self) -> tuple[Warned, ...]:
        """Return what is kept, newest first."""
        with self._guard:
            return tuple(reversed(self._kept.values()))


def keep_warnings(owner: object) -> RecentWarnings:
    """Return the warnings of our own loggers from now on, until `owner` is deleted."""
    kept = RecentWarnings()
    for package in LOGGED:
        logger = logging.getLogger(package)
        logger.addHandler(kept)
        weakref.finalize(owner, logger.removeHandler, kept)
    return kept


def _read(record: logging.LogRecord) -> Warned:
    text = record.getMessage()
    arguments = record.args if isinstance(record.args, tuple) else ()
    error = next((one for one in arguments if isinstance(one, LayoutLoopError)), None)
    code, sentence = (error.code, str(error)) if error else ("", text)
    project, task = _PROJECT.search(text), _TASK.search(text)
    return Warned(
        time=record.created,
        sentence=getattr(record, "sentence", sentence)[:_LONGEST],
        code=getattr(record, "code", code),
        project=project[1] if project else "",
        task=task[1] if task else "",
    )
