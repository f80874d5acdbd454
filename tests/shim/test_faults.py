"""A table of what can be wrong with the shim's machine: what is answered, what is said, and that it goes well again.

Each fault is real: a folder in a file's place, a file that another program locks, a disk that is full, a TorchServe
that lacks something. Nothing is started anew when it is over.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from tests import wrong_files
from tests.full_disk import filled, small_disk
from tests.layoutloop.torchserve.test_inference import DISK_FULL, OUT_OF_MEMORY
from tests.shim.predict.test_predictor import OCR_CARD, Bench, image, labels, ocr, open_bench

HOME = "var"


def folder_in_place_of(name: str) -> Callable[[Bench, Path], AbstractContextManager[None]]:
    return lambda _, folder: wrong_files.folder_in_place_of(folder / HOME / name)


@contextmanager
def locked_jobs(_: Bench, folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / HOME / "jobs.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, record TEXT NOT NULL)")
        other.execute("BEGIN IMMEDIATE")
        yield


def full_disk(_: Bench, folder: Path) -> AbstractContextManager[None]:
    return filled(folder / HOME)


def torchserve_answers(status: int, body: object) -> Callable[[Bench, Path], AbstractContextManager[None]]:
    @contextmanager
    def fault(bench: Bench, _: Path) -> Iterator[None]:
        bench.fake.models["ocr", OCR_CARD.version] = lambda _: (status, body)
        try:
            yield
        finally:
            bench.fake.models["ocr", OCR_CARD.version] = ocr

    return fault


OK, REFUSED = 200, 503
"""What a webhook that starts a training gets: its record cannot be written, and Label Studio is told so."""


@pytest.mark.parametrize(
    ("fault", "webhook", "reads", "said"),
    [
        pytest.param(folder_in_place_of("jobs.db"), REFUSED, True, "unable to open database file", id="jobs: a folder"),
        pytest.param(locked_jobs, REFUSED, True, "", id="jobs: locked"),
        pytest.param(folder_in_place_of("answers.db"), OK, True, "answers cannot be cached", id="answers: a folder"),
        pytest.param(folder_in_place_of("project-titles.json"), OK, True, "project titles", id="titles: a folder"),
        pytest.param(folder_in_place_of("label-studio.json"), OK, True, "Is a directory", id="Label Studio: a folder"),
        pytest.param(full_disk, REFUSED, True, "The disk of LAYOUTLOOP_HOME", id="a full disk"),
        pytest.param(torchserve_answers(507, DISK_FULL), OK, False, "No space left on device", id="the node's disk"),
        pytest.param(torchserve_answers(507, OUT_OF_MEMORY), OK, False, "lacks memory", id="the node's memory"),
    ],
)
def test_a_fault_of_the_machine(
    tmp_path: Path,
    fault: Callable[[Bench, Path], AbstractContextManager[None]],
    webhook: int,
    reads: bool,
    said: str,
) -> None:
    with ExitStack() as kept:
        kept.enter_context(small_disk(tmp_path / HOME, 48) if fault is full_disk else nullcontext())
        bench = kept.enter_context(open_bench(tmp_path))
        bench.make_app(deadline_s=1.5)
        bench.serve_project()
        began = time.monotonic()
        with fault(bench, tmp_path):
            answered = bench.predict(image("Total 1"))["results"]
            assert [bool(entry) for entry in answered] == [reads]
            assert bench.metric("tasks_total", outcome="failed") == 0, "it is no fault of a page"
            assert start_training(bench, 7) == webhook
            assert is_up(bench)
            assert said in told(bench)
        assert time.monotonic() - began < 10
        bench.wait_until_idle()
        assert labels(bench.predict(image("Total 2"))["results"][0]) == ["Total"]
        assert start_training(bench, 8) == OK
        assert is_up(bench)


def start_training(bench: Bench, project: int) -> int:
    event = {"action": "START_TRAINING", "project": {"id": project, "title": f"title of {project}"}}
    return bench.app.test_client().post("/webhook", json=event).status_code


def is_up(bench: Bench) -> bool:
    answer = bench.app.test_client().get("/health")
    return answer.status_code == 200 and answer.get_json()["status"] == "UP"


def told(bench: Bench) -> str:
    """What the dashboard and /health say."""
    page = bench.app.test_client().get("/dashboard")
    assert page.status_code == 200
    return page.get_data(as_text=True) + str(bench.app.test_client().get("/health").get_json()["notes"])
