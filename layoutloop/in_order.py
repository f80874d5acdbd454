"""Answers jobs in threads, in order, with a bounded number of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def in_order(answer: Callable[[T], U], jobs: Iterable[T], window: int) -> Generator[tuple[T, U], None, None]:
    """Yield each job with its answer, in order; at most `window` jobs are taken that were not yielded yet."""
    waiting: deque[tuple[T, Future[U]]] = deque()
    pool = ThreadPoolExecutor(window)
    try:
        for job in jobs:
            waiting.append((job, pool.submit(answer, job)))
            del job  # the window alone keeps pages in memory
            while waiting and (len(waiting) >= window or waiting[0][1].done()):
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(waiting: deque[tuple[T, Future[U]]]) -> tuple[T, U]:
    job, future = waiting.popleft()
    return job, future.result()
