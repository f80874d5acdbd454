"""A bounded pool of threads for pages: fair between requests, and the same page is never done twice at a time."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from shim.errors import Overloaded

T = TypeVar("T")


class PagePool(Generic[T]):
    """Runs page jobs; lower `turn` first.

    With a page's position in its request as its turn, a person who opens one task waits for one page of a
    request for 300, not for all of them.

    Args:
        threads: jobs that run at a time.
        max_waiting: jobs that may wait or run; more are refused.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        """Start the threads; they end with the process."""
        self._max_waiting = max_waiting
        self._jobs: queue.PriorityQueue[tuple[int, int, Hashable, Callable[[], T]]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._in_flight: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()
        for number in range(threads):
            threading.Thread(target=self._work, name=f"page-{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many jobs wait or run."""
        return len(self._in_flight)

    def submit(self, key: Hashable, turn: int, job: Callable[[], T]) -> Future[T]:
        """Return the future of `job`, or of the job under way that has the same key.

        Raises:
            Overloaded: too many wait already.
        """
        with self._lock:
            future = self._in_flight.get(key)
            if future is not None:
                return future
            if len(self._in_flight) >= self._max_waiting:
                raise Overloaded(f"{self._max_waiting} pages are waiting already; ask again in a minute")
            future = self._in_flight[key] = Future()
        self._jobs.put((turn, next(self._order), key, job))
        return future

    def _work(self) -> None:
        while True:
            _, _, key, job = self._jobs.get()
            with self._lock:
                future = self._in_flight[key]
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - a future carries whatever ended its job
                self._done(key)
                future.set_exception(error)
            else:
                self._done(key)
                future.set_result(result)

    def _done(self, key: Hashable) -> None:
        with self._lock:
            del self._in_flight[key]
