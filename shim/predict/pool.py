"""A bounded pool of threads for pages: fair between requests, and the same page is never done twice at a time."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from layoutloop.errors import LayoutLoopError, Overloaded
from layoutloop.plural import counted

logger = logging.getLogger(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

BACKGROUND = 10**9
"""Turns from here on are of pages that no person waits for: they come behind all others."""
_WAKE_S = 0.1


def bare(error: E) -> E:
    """Return an error without its tracebacks and causes: these hold images and requests for as long as it is kept."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Again(Exception):
    """Raised by a job that cannot be done yet: it is put back, and its thread does others meanwhile."""

    def __init__(self, after_s: float) -> None:
        """Keep when it may be tried again, in seconds from now."""
        super().__init__(after_s)
        self.after_s = after_s


class PagePool(Generic[T]):
    """Runs page jobs; lower `turn` first.

    With a page's position in its request as its turn, a person who opens one task waits for one page of a
    request for 300, not for all of them.

    Args:
        threads: jobs that run at a time.
        max_waiting: jobs that may wait or run; more are refused. Those of the background find half of it.
        times: how many times as many run at a time, called with each job; threads once started stay.
    """

    def __init__(self, threads: int, max_waiting: int, times: Callable[[], int] = lambda: 1) -> None:
        """Start no thread yet: each comes with the first job that needs it, and ends with the process."""
        self._threads, self._started = threads, 0
        self._times = times
        self._max_waiting = max_waiting
        self._turns: queue.PriorityQueue[tuple[int, int, Hashable]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._futures: dict[Hashable, Future[T]] = {}
        self._waiting: dict[Hashable, tuple[int, Callable[[], T]]] = {}
        self._running: dict[Hashable, int] = {}
        self._later: dict[Hashable, float] = {}

    @property
    def waiting(self) -> int:
        """How many jobs wait or run."""
        return len(self._futures)

    def submit(self, key: Hashable, turn: int, job: Callable[[], T]) -> Future[T]:
        """Return the future of `job`, or of the job under way that has the same key (at the better turn of both).

        Raises:
            Overloaded: too many wait already, or no thread can be started.
        """
        threads = self._threads * self._times()
        most = self._max_waiting if turn < BACKGROUND else max(1, self._max_waiting // 2)
        with self._lock:
            future = self._futures.get(key)
            if future is None:
                if len(self._futures) >= most:
                    raise Overloaded(f"no more than {counted(most, 'page')} may wait; try again in a minute")
                self._start(min(threads, len(self._futures) + 1))
                future = self._futures[key] = Future()
                self._waiting[key] = (turn, job)
            elif not self._has_better_turn(key, turn):
                return future
            # A job that got a better turn is in the queue twice; the second time it is waiting no more.
            self._turns.put((turn, next(self._order), key))
        return future

    def _has_better_turn(self, key: Hashable, turn: int) -> bool:
        """Give a job under way the better turn of both; return whether it must be put into the queue for that."""
        if key not in self._waiting:  # it runs, and may have to run again
            self._running[key] = min(turn, self._running[key])
            return False
        before, job = self._waiting[key]
        self._waiting[key] = (min(turn, before), job)
        return turn < before and key not in self._later

    def _start(self, threads: int) -> None:
        """Have so many threads; fewer do where the machine has no more.

        Raises:
            Overloaded: it has not one.
        """
        try:
            if not self._started:
                threading.Thread(target=self._wake, name="page-wake", daemon=True).start()
            while self._started < threads:
                threading.Thread(target=self._work, name=f"page-{self._started}", daemon=True).start()
                self._started += 1
        except RuntimeError as error:
            if not self._started:
                raise Overloaded(f"this machine has no thread for a page ({error}); try again in a minute") from error

    def _work(self) -> None:
        while True:
            _, _, key = self._turns.get()
            with self._lock:
                if key in self._later or key not in self._waiting:
                    continue
                self._running[key], job = self._waiting.pop(key)
            try:
                result = job()
            except Again as again:
                with self._lock:
                    self._waiting[key] = (self._running.pop(key), job)
                    self._later[key] = time.monotonic() + again.after_s
            except BaseException as error:
                if not isinstance(error, LayoutLoopError):
                    logger.exception("a page failed in a way that was not foreseen")
                self._done(key).set_exception(bare(error))
            else:
                self._done(key).set_result(result)

    def _done(self, key: Hashable) -> Future[T]:
        with self._lock:
            del self._running[key]
            return self._futures.pop(key)

    def _wake(self) -> None:
        """Put the jobs back into the queue whose time has come."""
        while True:
            time.sleep(_WAKE_S)
            with self._lock:
                for key in [key for key, moment in self._later.items() if moment <= time.monotonic()]:
                    del self._later[key]
                    self._turns.put((self._waiting[key][0], next(self._order), key))
