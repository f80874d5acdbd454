"""A pre-labelling as the trainer runs it: the command with a job, the shim's real app, a small Label Studio."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore, open_jobs
from layoutloop.prelabel.storing import GENTLE
from layoutloop.settings.serving import Settings
from scripts.prelabel import main
from tests.scripts.test_prelabel import COUNT, Scene
from tests.scripts.test_prelabel import scene as scene  # a fixture


@dataclass
class Lane:
    """What a worker would do.

    Args:
        jobs: the records.
    """

    jobs: JobStore

    def run(self) -> tuple[int, Job]:
        """Run the next job in this process."""
        job = self.jobs.claim("here", lane="prelabelling")
        assert job is not None
        before = signal.getsignal(signal.SIGTERM)
        try:
            status = main(["--job", job.id, "--attempt", str(job.attempt)])
        finally:
            signal.signal(signal.SIGTERM, before)
        return status, self.jobs.get(job.id)


@pytest.fixture
def lane(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    monkeypatch.setenv("LAYOUTLOOP_PRELABEL", "all")
    with closing(open_jobs(Settings.from_env(os.environ).jobs_url)) as jobs:
        jobs.submit(7, "prelabel", "promotion")
        yield Lane(jobs)


def test_waiting_tasks_are_drawn_and_those_in_hand_left_alone(scene: Scene, lane: Lane) -> None:
    scene.studio.add_tasks(COUNT)
    scene.studio.annotated, scene.studio.drafts = {1, 2}, {3}
    scene.studio.store(4, "20250101T000000Z-00000000")
    scene.studio.store(4, "a colleague's")
    version = scene.bench.setup()
    status, job = lane.run()
    assert (status, job.state, job.verdict, job.version) == (0, "done", "done", version.partition("-")[0])
    assert job.message == f"{COUNT - 3} waiting tasks got the boxes of version {version}"
    assert scene.studio.versions(4) == ["20250101T000000Z-00000000", "a colleague's", version]
    scene.studio.predictions = {number: one for number, one in scene.studio.predictions.items() if number > 2}
    scene.assert_one_each(but={1, 2, 3})
    assert max(scene.studio.imports) <= GENTLE.least


def test_the_tasks_that_people_meet_next_come_first(scene: Scene, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYOUTLOOP_PRELABEL", "3")
    scene.studio.add_tasks(9)
    scene.studio.annotated, scene.studio.drafts = {1}, {3}
    _, job = lane.run()
    assert "3 waiting tasks got the boxes" in job.message
    assert "LAYOUTLOOP_PRELABEL" in job.message
    assert [task for task in scene.studio.tasks if scene.studio.versions(task)] == [2, 4, 5]
    lane.jobs.submit(7, "prelabel", "promotion")
    assert "no waiting task lacked the boxes" in lane.run()[1].message
    assert [task for task in scene.studio.tasks if scene.studio.versions(task)] == [2, 4, 5], "these are the next"


def test_older_predictions_go_where_that_is_wanted(scene: Scene, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYOUTLOOP_PRELABEL_REMOVE_OLD", "1")
    scene.studio.add_tasks(5)
    scene.studio.annotated, scene.studio.drafts = {1}, {2}
    version = scene.bench.setup()
    for task in scene.studio.tasks:
        scene.studio.store(task, "20250101T000000Z-00000000")
        scene.studio.store(task, "ocr-0123abcd")
        scene.studio.store(task, "a colleague's")

    def meanwhile(method: str, path: str) -> int | None:
        if method == "DELETE":
            scene.studio.annotated.add(5)  # while older ones of others are being deleted
        return None

    scene.studio.before = meanwhile
    _, job = lane.run()
    assert "2 older predictions removed" in job.message
    olds = ["20250101T000000Z-00000000", "ocr-0123abcd", "a colleague's"]
    assert [scene.studio.versions(task) for task in (1, 2)] == [olds, olds]
    assert [scene.studio.versions(task) for task in (3, 4)] == [[*olds[1:], version]] * 2
    assert scene.studio.versions(5) == [*olds, version]


def test_stopped_it_ends(scene: Scene, lane: Lane) -> None:
    scene.studio.add_tasks(COUNT)

    def press_stop(_: str, path: str) -> int | None:
        if path.endswith("/import/predictions"):
            lane.jobs.stop(lane.jobs.newest()[0].id, "enough")
        return None

    scene.studio.before = press_stop
    began = time.monotonic()
    status, job = lane.run()
    assert (status, job.verdict, job.message) == (1, "stopped", "enough")
    assert len(scene.studio.imports) < COUNT // GENTLE.least
    assert time.monotonic() - began < 30


def test_what_holds_it_up_is_shown_and_gone_again(scene: Scene, lane: Lane) -> None:
    scene.studio.add_tasks(5)
    seen: list[str] = []

    def restarting(_: str, path: str) -> int | None:
        seen.append(lane.jobs.newest()[0].message)
        return 502 if path == "/api/tasks" and len(seen) in (3, 4) else None

    scene.studio.before = restarting
    status, job = lane.run()
    assert (status, job.state) == (0, "done")
    assert any("answered 502" in message and "tried again" in message for message in seen)
    assert job.message.startswith("5 waiting tasks got the boxes")


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        pytest.param("/api/projects/7/", 404, "the project does not exist, or LABEL_STUDIO_API_KEY may not", id="gone"),
        pytest.param("/api/tasks", 401, "LABEL_STUDIO_API_KEY", id="a revoked key"),
        pytest.param("/api/projects/7/import/predictions", 403, "of a person who may do this in the project", id="key"),
        pytest.param("/api/projects/7/import/predictions", 404, "cannot import predictions into a project", id="old"),
    ],
)
def test_what_cannot_go_on_is_a_sentence(scene: Scene, lane: Lane, path: str, status: int, sentence: str) -> None:
    scene.studio.add_tasks(3)
    scene.studio.before = lambda _, asked: status if asked == path else None
    ended, job = lane.run()
    assert (ended, job.state) == (0, "failed")
    assert sentence in job.error


def test_without_a_model_there_is_nothing_to_draw(scene: Scene, lane: Lane) -> None:
    scene.studio.add_tasks(3)
    for file in (scene.bench.model_dir / "project-7").iterdir():
        file.unlink()
    status, job = lane.run()
    assert (status, job.state, job.error) == (0, "done", "")
    assert "the project has no model" in job.message


def test_tasks_that_are_added_meanwhile_are_drawn_too(scene: Scene, lane: Lane) -> None:
    scene.studio.add_tasks(5)

    def import_more(_: str, path: str) -> int | None:
        if path.endswith("/import/predictions") and len(scene.studio.tasks) == 5:
            scene.studio.add_tasks(4)
        return None

    scene.studio.before = import_more
    _, job = lane.run()
    assert "9 waiting tasks got the boxes" in job.message
    assert (job.done, job.total) == (9, 9)
    scene.assert_one_each()
