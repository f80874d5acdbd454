"""Trainings that go wrong in every way: the job says why, and what is in service stays and answers."""

from __future__ import annotations

import json
import resource
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from layoutloop.jobs.job import Job
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from tests.end_to_end.conftest import Stack, kill_at_once, make_stack, running, wait_for
from tests.end_to_end.label_studio import Studio, StudioProject
from tests.end_to_end.training_stack import (
    JOB_S,
    PROJECT,
    Promotions,
    current,
    files_in,
    in_service_unchanged,
    job_folder,
    job_log,
    model_folder,
    newest_state,
    predicted,
    slow,
    start_training,
    studio_project,
    training_processes,
    wait_for_job,
    wait_for_step,
    watched_job,
)
from training.fit.progress import Progress

pytestmark = pytest.mark.end_to_end

MODEL = project_model(PROJECT)
NO_CONTROL = '<View><Image name="image" value="$image"/></View>'


@pytest.fixture(autouse=True)
def intact(trained: dict[str, Any], stack: Stack) -> None:
    stack.studio.projects[PROJECT] = studio_project()


@contextmanager
def nothing_changes(stack: Stack) -> Iterator[None]:
    """See to it that the same version is in service afterwards, with the same files, and answers."""
    files = files_in(model_folder(stack))
    with in_service_unchanged(stack):
        yield
    assert files_in(model_folder(stack)) == files
    assert predicted(stack)[0] == current(stack)


def empty(project: StudioProject) -> None:
    project.tasks.clear()


def unknown_labels(project: StudioProject) -> None:
    project.tasks[:] = studio_project(renamed=lambda _, label: f"old {label}").tasks


def absurd_coordinates(project: StudioProject) -> None:
    absurd = ({"x": "left"}, {"y": None}, {"width": float("nan")}, {"height": float("inf")}, {"x": 1e300})
    for number, task in enumerate(project.tasks):
        for result in task["annotations"][0]["result"]:
            result["value"].update(absurd[number % len(absurd)])


def far_outside(project: StudioProject) -> None:
    for task in project.tasks:
        for result in task["annotations"][0]["result"]:
            result["value"].update({"x": 5000.0, "y": -5000.0})


def no_image_named(project: StudioProject) -> None:
    for task in project.tasks:
        task["data"] = {"text": "nothing to look at"}


def no_control(project: StudioProject) -> None:
    project.label_config = NO_CONTROL


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(empty, "no task of the project is annotated yet", id="empty project"),
        pytest.param(unknown_labels, "24 boxes have labels that the label config does not have", id="unknown labels"),
        pytest.param(absurd_coordinates, "not one box on them can be learned from", id="no coordinates"),
        pytest.param(far_outside, "not one box on them can be learned from", id="far outside the page"),
        pytest.param(no_image_named, "none of these has an image", id="no image in the tasks"),
        pytest.param(no_control, "RectangleLabels", id="label config that cannot be served"),
    ],
)
def test_what_cannot_be_learned_from(stack: Stack, change: Callable[[StudioProject], None], sentence: str) -> None:
    change(stack.studio.projects[PROJECT])
    with nothing_changes(stack):
        job = wait_for_job(stack, start_training(stack))
        assert (job["state"], job["verdict"], job["version"]) == ("failed", "", "")
        assert sentence in job["error"]
        assert job["attempt"] == 1, "it was tried again, which is of no use"


def test_a_project_that_does_not_exist(stack: Stack) -> None:
    del stack.studio.projects[PROJECT]
    with nothing_changes(stack):
        job = wait_for_job(stack, start_training(stack))
        assert (job["state"], job["attempt"]) == ("failed", 1)
        assert f"/api/projects/{PROJECT}/ answered 404: the project does not exist" in job["error"]


def test_uploads_that_are_gone(stack: Stack) -> None:
    stack.studio.projects[PROJECT].uploads.clear()
    with nothing_changes(stack):
        ran = stack.command("scripts.retrain", "--project", str(PROJECT), "--here")
        assert ran.returncode == 1
        assert "none of 12 annotated pages could be read; the first: task 1, page 0: Label Studio answered 404" in (
            ran.stderr
        )


@pytest.mark.parametrize(
    "offline",
    [
        pytest.param({"HF_HUB_OFFLINE": "1"}, id="offline"),
        pytest.param({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}, id="a hub that is not there"),
    ],
)
def test_a_base_that_cannot_be_loaded(stack: Stack, tmp_path: Path, offline: dict[str, str]) -> None:
    variables = {"LAYOUTLOOP_TRAIN_BASE": "someone/nowhere", "HF_HOME": str(tmp_path), **offline}
    read = stack.studio.pages_read()
    with nothing_changes(stack):
        ran = stack.command("scripts.retrain", "--project", str(PROJECT), "--here", **variables)
        assert ran.returncode == 1
        assert "error: the base 'someone/nowhere' cannot be used" in ran.stderr
        assert "Set LAYOUTLOOP_TRAIN_BASE to graft:minilm" in ran.stderr
    assert stack.studio.pages_read() == read, "pages were read before the base was looked at"


def test_a_full_disk_while_archiving(stack: Stack) -> None:
    with nothing_changes(stack):
        job = start_training(stack)
        folder = job_folder(stack, job)
        with watched_job(stack, job) as read:
            (process,) = wait_for(lambda: training_processes(stack, job))
            wait_for_step(read, "evaluate", lambda: True)
            # The checkpoint can be copied, and the archive, which has the handler beside it, cannot be written.
            most = (folder / "checkpoint" / "model.safetensors").stat().st_size + 1000
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        record = wait_for_job(stack, job)
        assert (record["state"], record["step"], record["attempt"]) == ("failed", "archive", 1)
        assert "File too large" in record["error"]
        assert not folder.exists(), "a failed job keeps its checkpoints on a full disk"


def altered_archive(stack: Stack, member: str, content: Callable[[bytes], bytes]) -> str:
    """Archive the version in service anew with one file changed, as nobody should; return the new version."""
    model_dir, now = stack.settings.model_dir, current(stack)
    assert now is not None
    version = ModelStore(model_dir).new_stamp(MODEL)
    changes = {member: content, "MAR-INF/MANIFEST.json": lambda data: data.replace(now.encode(), version.encode())}
    with (
        zipfile.ZipFile(ModelStore(model_dir).archive_path(MODEL, now)) as source,
        zipfile.ZipFile(ModelStore(model_dir).archive_path(MODEL, version), "w") as target,
    ):
        assert content(source.read(member)) != source.read(member)
        for name in source.namelist():
            target.writestr(name, changes.get(name, bytes)(source.read(name)))
    card = ModelStore(model_dir).card(MODEL, now).to_json() | {"version": version}
    write_json(ModelStore(model_dir).card_path(MODEL, version), card)
    return version


@pytest.mark.parametrize(
    ("member", "content", "sentence"),
    [
        pytest.param("checkpoint/config.json", lambda _: b"{}", "cannot serve", id="does not load"),
        pytest.param(
            "handler/wire.py",
            lambda code: code.replace(b"\nFORMAT = 1\n", b"\nFORMAT = 2\n"),
            "reads Page format 2, got 1",
            id="fails its smoke test",
        ),
    ],
)
def test_a_candidate_that_torchserve_cannot_serve(
    stack: Stack, member: str, content: Callable[[bytes], bytes], sentence: str
) -> None:
    with nothing_changes(stack):
        version = altered_archive(stack, member, content)
        ran = stack.command("scripts.rollout", "--project", str(PROJECT), "--to", version)
        assert ran.returncode == 1, ran.stdout
        assert sentence in ran.stderr
        store = ModelStore(stack.settings.model_dir)
        for path in (store.archive_path, store.card_path):
            path(MODEL, version).unlink()


@dataclass(frozen=True)
class Killing:
    """A job that was killed, and what came of it.

    Args:
        record: its record at the end.
        promoted: versions that were in service, from before the job to its end.
        before: what was in service when it began.
    """

    record: dict[str, Any]
    promoted: list[str | None]
    before: str | None


def kill_at(stack: Stack, steps: Sequence[str], kill: Callable[[psutil.Process, Callable[[], Job]], None]) -> Killing:
    """Start a job, kill it at one step in each attempt, and wait for its end.

    Args:
        stack: on which.
        steps: as its record names them, in the order in which they come; a training is killed when it has a state to
            go on from.
        kill: gets the job's process and what reads its record.
    """
    before = current(stack)
    with Promotions(stack) as promotions:
        job = start_training(stack)
        with watched_job(stack, job) as read:
            for attempt, step in enumerate(steps, start=1):
                has_state = (lambda: newest_state(stack, job)) if step == "train" else (lambda: True)
                with slow(stack.studio, 0.4 if step in ("export", "read pages") else 0.0):
                    wait_for(lambda: read().attempt == attempt)  # noqa: B023 - called at once
                    (process,) = wait_for(lambda: training_processes(stack, job))  # takes longer than some steps
                    wait_for_step(read, step, has_state)
                    kill(process, read)
        assert predicted(stack)[0] in (before, current(stack))
        record = wait_for_job(stack, job)
    return Killing(record, promotions.seen, before)


def assert_promoted_once(killing: Killing, attempts: int = 2) -> None:
    record = killing.record
    assert (record["state"], record["verdict"]) == ("done", "promoted"), record
    assert record["attempt"] == attempts
    assert killing.promoted == [killing.before, record["version"]]


@pytest.mark.parametrize("steps", [("export", "evaluate"), ("read pages", "archive"), ("rollout",)], ids=" ".join)
def test_a_job_that_is_killed_is_done_by_the_next_try(stack: Stack, steps: tuple[str, ...]) -> None:
    assert_promoted_once(kill_at(stack, steps, lambda process, _: process.kill()), len(steps) + 1)


def test_a_killed_training_goes_on_from_its_checkpoint(stack: Stack) -> None:
    reached, seen = 0, []

    def kill(process: psutil.Process, read: Callable[[], Job]) -> None:
        nonlocal reached
        process.kill()
        job = read().id
        reached = newest_state(stack, job)
        wait_for(lambda: read().attempt == 2, JOB_S)
        while read().step in ("", "export", "read pages", "train"):
            progress = Progress.read(job_folder(stack, job))
            if progress is not None:
                seen.append(progress.step)
            time.sleep(0.01)

    killing = kill_at(stack, ["train"], kill)
    assert_promoted_once(killing)
    assert reached > 0
    assert min(seen) >= reached, "the second try began at the beginning"
    assert "--- attempt 2" in job_log(stack, killing.record["id"])


def test_a_killed_worker_takes_its_training_along_and_the_next_one_finishes_it(stack: Stack) -> None:
    def kill(process: psutil.Process, _: object) -> None:
        (worker,) = training_processes(stack, "scripts.worker")
        orphans = [process, *process.children()]
        assert len(orphans) == 2
        worker.kill()
        _, alive = psutil.wait_procs(orphans, timeout=60)
        assert not alive, "a training outlived its worker"

    assert_promoted_once(kill_at(stack, ["train"], kill))


def test_a_job_survives_the_end_of_everything(tmp_path: Path, studio: Studio) -> None:
    project = PROJECT + 1
    stack = make_stack(tmp_path / "home", studio)
    studio.projects[project] = studio_project(project)
    with running(stack, tmp_path / "first") as serve:
        job = start_training(stack, project)
        with watched_job(stack, job) as read:
            wait_for_step(read, "train", lambda: newest_state(stack, job, project))
        kill_at_once(lambda: [psutil.Process(serve.pid), *stack.processes()])
    with running(stack, tmp_path / "second"):
        record = wait_for_job(stack, job)
        assert (record["state"], record["verdict"], record["attempt"]) == ("done", "promoted", 2)
        assert current(stack, project) == record["version"]
        assert len(list(model_folder(stack, project).glob("*.mar"))) == 1
        assert json.loads((model_folder(stack, project) / "serving.json").read_text())["left"] == {}
        assert predicted(stack, project)[0] == record["version"]
