"""A bound on how many are at something at a time, in the order they came."""

from __future__ import annotations

import threading
from collections import deque


class FifoSemaphore:
    """A semaphore that lets threads through in the order they came, and whose places may become more or fewer.

    threading's own lets a thread that comes back at once past those that wait, until these run out of time.
    """

    def __init__(self, places: int) -> None:
        """Begin with nobody inside."""
        self._places = places
        self._inside = 0
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def resize(self, places: int) -> None:
        """Let so many in at a time from now on; nobody who is inside has to leave."""
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
        """Hand the place to whoever waits longest."""
        with self._lock:
            self._inside -= 1
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._places:
            self._inside += 1
            self._waiting.popleft().set()
