"""One wait for all: threads that want what is blocked give up together, and those that come later at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PROBE_S = 0.05


class SharedWait:
    """Gives something to one thread at a time; for use from many threads.

    With a wait of its own for each, the last of sixty would wait sixty times as long, and so would all that need a
    thread meanwhile.

    Args:
        seconds: from when the first one begins to wait until all give up.
    """

    def __init__(self, seconds: float) -> None:
        """Nobody waits."""
        self.seconds = seconds
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._until: float | None = None

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Hold the turn; yield the seconds that may be waited for the rest, a moment where the wait is over.

        After a TimeoutError in the block the wait goes on; after everything else there is none.

        Raises:
            TimeoutError: the turn did not come in time.
        """
        until = self._end()
        if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
            raise TimeoutError("another request waits for them already")
        try:
            yield max(_PROBE_S, until - time.monotonic())
        except TimeoutError:
            raise
        except BaseException:
            self._end(over=True)
            raise
        else:
            self._end(over=True)
        finally:
            self._turn.release()

    def _end(self, *, over: bool = False) -> float:
        """Return when all that wait give up (monotonic seconds)."""
        with self._guard:
            until = self._until or time.monotonic() + self.seconds
            self._until = None if over else until
            return until
