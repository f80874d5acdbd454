"""A bound on how many threads do something at a time, in the order they came."""

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
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def resize(self, places: int) -> None:
        """Allow so many at a time from now on; none that holds a place loses it."""
        with self._lock:
            self._places = places
            self._let_in()

    def acquire(self, timeout: float) -> bool:
        """Take a place; False where none came free in time."""
        turn = threading.Event()
        with self._lock:
            self._waiting.append(turn)
            self._let_in()
        if turn.wait(timeout):
            return True
        with self._lock:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
        return False

    def release(self) -> None:
        """Give the place to the thread that waits longest."""
        with self._lock:
            self._inside -= 1
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._places:
            self._inside += 1
            self._waiting.popleft().set()
