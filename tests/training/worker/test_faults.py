"""A table of what can be wrong with the trainer's machine and files: what is said, and that it goes well again.

Each fault is real, as in `tests/shim/test_faults.py`; the worker is a process, and the job's own process is `do_job`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from layoutloop.errors import JobsUnavailable
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore, open_jobs
from layoutloop.settings.serving import Settings
from layoutloop.settings.training import TrainSettings
from tests.end_to_end.label_studio import KEY, running_studio
from tests.end_to_end.training_stack import studio_project
from tests.full_disk import filled, small_disk
from tests.training.worker.test_loop import FINISHES, Home, wait_for
from training.data.collect import Collected
from training.worker.job import Trainer, do_job
from training.worker.listeners import JobListener

STAMP = "20261122T080000Z"


@contextmanager
def locked_jobs(folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / "jobs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def a_folder_for_jobs(folder: Path) -> Iterator[None]:
    """The records are away, and a folder is in their place; a worker that runs has them open."""
    kept = {path: path.read_bytes() for path in folder.glob("jobs.db*")}
    for path in kept:
        path.unlink()
    (folder / "jobs.db").mkdir()
    try:
        yield
    finally:
        (folder / "jobs.db").rmdir()
        for path, content in kept.items():
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(filled, "disk", id="a full disk"),
        pytest.param(locked_jobs, "database is locked; LAYOUTLOOP_HOME", id="jobs: locked"),
        pytest.param(a_folder_for_jobs, "unable to open database file", id="jobs: a folder"),
    ],
)
def test_a_worker_waits_for_its_machine(
    tmp_path: Path, fault: Callable[[Path], AbstractContextManager[None]], says: str
) -> None:
    """However long it lasts: no try is lost, and the job is done when it is over, by the worker that was there."""
    with small_disk(tmp_path / "home", 8) as folder:
        url = f"sqlite://{folder}/jobs.db"
        with closing(open_jobs(url)) as jobs:
            job = jobs.submit(7, "retrain", "api")
        with ExitStack() as lasting, closing(open_jobs(url)) as jobs:
            lasting.enter_context(fault(folder))
            home = Home(folder, url, jobs, tmp_path)
            with home.worker(FINISHES) as worker:
                wait_for(lambda: says in home.log, f"{says}: {home.log}")
                time.sleep(2)
                assert worker.poll() is None
                lasting.close()
                wait_for(lambda: jobs.get(job.id).state == "done", home.log)
                assert jobs.get(job.id).tries == 1
                assert home.log.count("cannot be used") <= 1, "once, not with every look"


WRONG: list[object] = [b"", b"{", b"[]", b"7", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"version": Infinity}']


@pytest.mark.parametrize("content", [*WRONG, None], ids=lambda one: "a folder" if one is None else repr(one)[:20])
@pytest.mark.parametrize("name", ["archived.json", "dataset.json", "plan.json"])
def test_a_damaged_file_of_a_job_ends_it_with_a_sentence_and_the_next_one_begins_anew(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    with trainer_of(tmp_path) as (jobs, trainer):
        job = claimed(jobs)
        folder = trainer.folder(7, job.id)
        folder.mkdir(parents=True)
        nothing = Collected(("total",), {}, 1, {}, (), {}, "test-1.0-eng-psm3", {})
        nothing.write(folder)
        if content is None:
            (folder / name).unlink(missing_ok=True)
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
        assert do_job(jobs, job.id, 1, trainer) == 0
        after = jobs.get(job.id)
        assert after.state == "failed"
        assert str(folder / name) in after.error
        assert "\n" not in after.error
        assert not folder.exists()
        again = claimed(jobs)
        assert do_job(jobs, again.id, 1, trainer) == 0
        assert (jobs.get(again.id).state, jobs.get(again.id).step) == ("queued", "read pages"), "it waits for an ocr"


@pytest.mark.parametrize("content", [*WRONG, None], ids=lambda one: "a folder" if one is None else repr(one)[:20])
@pytest.mark.parametrize(
    "name", ["serving.json", "learned.json", f"project-7-{STAMP}.json", f"project-7-{STAMP}.report.json"]
)
def test_a_damaged_file_of_the_store_is_named_or_passed_over(tmp_path: Path, name: str, content: bytes | None) -> None:
    with trainer_of(tmp_path) as (jobs, trainer):
        path = trainer.store.folder("project-7") / name
        path.parent.mkdir(parents=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        job = claimed(jobs)
        assert do_job(jobs, job.id, 1, trainer) == 0
        after = jobs.get(job.id)
        assert after.state in ("queued", "failed")
        assert str(path) in after.error or after.step == "read pages", after
        assert "\n" not in after.error


@contextmanager
def trainer_of(folder: Path) -> Iterator[tuple[JobStore, Trainer]]:
    """A trainer whose Label Studio answers and that has no `ocr` yet."""
    with running_studio() as studio:
        studio.projects[7] = studio_project(tasks=range(3), project=7)
        settings = Settings(
            label_studio_url=studio.url,
            label_studio_api_key=KEY,
            home=folder / "home",
            model_dir=folder / "store",
        )
        (folder / "store").mkdir()
        with closing(open_jobs(f"sqlite://{folder}/home/jobs.db")) as jobs:
            yield jobs, Trainer(settings, TrainSettings(base="scratch"), settings.open_store())


def claimed(jobs: JobStore) -> Job:
    jobs.submit(7, "retrain", "api")
    job = jobs.claim("box")
    assert job is not None
    return job


def test_progress_that_cannot_be_told_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(open_jobs(f"sqlite://{tmp_path}/jobs.db", wait_s=0.1)) as jobs:
        job = claimed(jobs)
        listener = JobListener(jobs, job)
        with locked_jobs(tmp_path):
            for step in ("export", "read pages", "train", "evaluate"):
                listener.step(step)
        assert sum("progress cannot be told" in one for one in caplog.messages) == 1
        listener.step("archive")
        assert jobs.get(job.id).step == "archive"
        with locked_jobs(tmp_path), pytest.raises(JobsUnavailable, match="locked"):
            jobs.update(job.id, 1)
