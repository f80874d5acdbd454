"""A bound on what threads do at a time, in the order they came."""

from __future__ import annotations

import threading
from collections import deque


class FifoSemaphore:
    """A semaphore that lets threads through in the order they came, and that can be resized.

    threading's own lets a thread that returns at once overtake those that wait, until these run out of time.
    """

    def __init__(self, places: int) -> None:
        """Begin with all places free."""
        self._places = places
        self._inside = 0
        self._waiting: deque[tuple[threading.Event, int]] = deque()
        self._lock = threading.Lock()

    def resize(self, places: int) -> None:
        """Allow so many at a time from now on; none that holds a place loses it."""
        with self._lock:
            self._places = places
            self._let_in()

    def acquire(self, timeout: float, places: int = 1) -> bool:
        """Take places; False where they did not come free in time. More than there are come free when all are."""
        turn = threading.Event()
        with self._lock:
            self._waiting.append((turn, places))
            self._let_in()
        if turn.wait(timeout):
            return True
        with self._lock:
            if turn.is_set():
                return True
            self._waiting.remove((turn, places))
            self._let_in()  # one that wants less may have stood behind it
        return False

    def release(self, places: int = 1) -> None:
        """Give places to the thread that waits longest."""
        with self._lock:
            self._inside -= places
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._places > 0:
            turn, places = self._waiting[0]
            if self._inside and self._inside + places > self._places:
                return
            self._inside += places
            self._waiting.popleft()
            turn.set()
