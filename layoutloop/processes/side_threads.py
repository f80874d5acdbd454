"""Threads beside a program's work: they go on whatever they meet, and a file shows to others that they do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from layoutloop.moments import age_s

logger = logging.getLogger(__name__)

T = TypeVar("T")

BEAT_S = 10.0
SILENT_S = 120.0
"""A thread whose file is older hangs, or has ended; no round takes longer where what it waits for has time limits."""
THREADS = "store"
"""The folder in LAYOUTLOOP_HOME that has these files, beside the copies of the model store that threads keep."""
TITLES = "titles"
"""The thread of `layoutloop.connect.version_titles`; each other one is called as the part whose copy it keeps."""
_BEATS = ".alive"


class Rounds:
    """Runs the rounds of one thread.

    Args:
        what: the thread does, for the log.
        beat: a file that is touched with each round; None for none.
    """

    def __init__(self, what: str, beat: Path | None = None) -> None:
        """Run nothing yet."""
        self._what = what
        self._beat = beat
        self._beat_at = 0.0
        self._failure = ""

    def run(self, one_round: Callable[[], T], otherwise: T) -> T:
        """Run a round and return its result; what it raises is logged, with a traceback the first time.

        Args:
            one_round: the round.
            otherwise: is returned where it raised something.
        """
        self.beat()
        try:
            result = one_round()
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            if failure != self._failure:
                logger.exception("%s failed, and is tried again: %s", self._what, failure)
            self._failure = failure
            return otherwise
        if self._failure:
            logger.info("%s goes well again", self._what)
        self._failure = ""
        return result

    def beat(self) -> None:
        """Touch the file now and then."""
        if self._beat is None or time.monotonic() < self._beat_at:
            return
        self._beat_at = time.monotonic() + BEAT_S
        with suppress(OSError):  # `layoutloop.store.disk` reports a disk that cannot be written
            self._beat.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._beat.touch()

    def end(self) -> None:
        """Delete the file: the thread ends in order."""
        if self._beat is not None:
            with suppress(OSError):
                self._beat.unlink()


def beat_path(folder: Path) -> Path:
    """Return the file by which a thread that keeps a folder shows that it goes on."""
    return folder.with_name(folder.name + _BEATS)


def stopped_threads(folder: Path, now: float) -> dict[str, float]:
    """Return the threads with a file in a folder that do not go on, and since when, Unix seconds."""
    found = {}
    for path in folder.glob(f"*{_BEATS}"):
        with suppress(OSError):
            if age_s(since := path.stat().st_mtime, now) > SILENT_S:
                found[path.name.removesuffix(_BEATS)] = since
    return found
