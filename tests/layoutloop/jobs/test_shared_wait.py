"""Records that are locked or silent: all that want them give up together, and those that come later at once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from layoutloop.errors import JobsUnavailable
from layoutloop.jobs.queue import JobStore, open_jobs
from tests.redis_server import redis_server

WAIT_S = 0.5
THREADS = 60

Held = Callable[[], AbstractContextManager[None]]


@pytest.fixture(params=["sqlite", "redis"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Held]]:
    """Records' address, and how to keep them from answering."""
    if request.param == "redis":
        with redis_server(tmp_path) as server:
            yield server.new_url(), server.stopped
        return

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    yield f"sqlite://{tmp_path}/jobs.db", locked


def refused_after(jobs: JobStore, project: int) -> float:
    began = time.monotonic()
    with pytest.raises(JobsUnavailable):
        jobs.submit(project, "retrain", "annotations")
    return time.monotonic() - began


def test_sixty_that_wait_give_up_together(records: tuple[str, Held]) -> None:
    url, held = records
    with closing(open_jobs(url, wait_s=WAIT_S)) as jobs:
        first = jobs.submit(7, "retrain", "api")
        with held():
            with ThreadPoolExecutor(THREADS) as threads:
                waited = list(threads.map(lambda project: refused_after(jobs, project), range(100, 100 + THREADS)))
            assert max(waited) < 4 * WAIT_S, "two tries of a Redis, on a busy machine"
            later = [refused_after(jobs, 99) for _ in range(10)]
            assert sorted(later)[5] < 0.1, "what comes later is refused at once"
        time.sleep(WAIT_S)
        assert jobs.submit(8, "retrain", "api").project == 8
        assert {job.project for job in jobs.newest()} == {7, 8}
        assert jobs.get(first.id) == first


def test_what_lasts_a_moment_is_waited_for(records: tuple[str, Held]) -> None:
    url, held = records
    with closing(open_jobs(url, wait_s=5.0)) as jobs, ThreadPoolExecutor(8) as threads:
        jobs.submit(7, "retrain", "api")
        with held():
            waiting = [threads.submit(jobs.submit, project, "retrain", "api") for project in range(20, 28)]
            time.sleep(0.3)
        assert {one.result(10).project for one in waiting} == set(range(20, 28))
