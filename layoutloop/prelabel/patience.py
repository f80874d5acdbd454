"""Calls again what is down for a while, such as a Label Studio that is restarted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from layoutloop.errors import LayoutLoopError, ShimUnavailable, StudioUnavailable

T = TypeVar("T")

_PAUSES_S = (1, 2, 4, 8, *([15] * 20))
"""Five minutes in all; Label Studio's first start after an update takes half a minute on a quiet machine."""
_DOWN = (0, 429, 500, 502, 503, 504)
"""Also 500: what Label Studio 1.23.2 answers where SQLite is locked for long."""


class Patience:
    """Repeats calls.

    Args:
        say: takes a sentence at the begin of each interruption.
        stopped: ends the waiting.
    """

    def __init__(self, say: Callable[[str], None], stopped: threading.Event | None = None) -> None:
        self._say = say
        self._stopped = stopped or threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._stopped.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, at most until it is over."""
        self._stopped.wait(seconds)

    def call(self, what: Callable[[], T]) -> T:
        """Return what a call returns; it may be called again from its beginning.

        Raises:
            LayoutLoopError: another error than one of what is down, or that for five minutes.
        """
        for number, pause_s in enumerate(_PAUSES_S):
            try:
                return what()
            except (StudioUnavailable, ShimUnavailable) as error:
                if not _is_down(error) or self._stopped.is_set():
                    raise
                if not number:
                    self._say(f"{error}. It is tried again for five minutes")
            self._stopped.wait(pause_s)
        return what()


def _is_down(error: LayoutLoopError) -> bool:
    return not isinstance(error, StudioUnavailable) or error.studio_status in _DOWN
