"""What the tests of training ask a running LayoutLoop: a small project that is learned in seconds, jobs, promotions."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests
from PIL import Image, ImageDraw

from demo.sheet import GoldRegion
from demo.tasks import annotation_result, exported_task, label_config
from handler.page import Box
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import open_jobs
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from node.processes import GONE, instance_processes
from tests.end_to_end.label_studio import Studio, StudioProject
from training.data.split import VALIDATION_SHARE, position

if TYPE_CHECKING:
    from tests.end_to_end.conftest import LayoutLoop

PROJECT = 11
LABELS = ("vendor", "total")
WIDTH, HEIGHT = 520, 330
TASKS = tuple(islice((task for task in count(1) if position(task) >= VALIDATION_SHARE), 6))
VALIDATION = tuple(islice((task for task in count(1) if position(task) < VALIDATION_SHARE), 6))
"""As many as the gate needs to reject anything, and one more."""
TRAIN = {"LAYOUTLOOP_TRAIN_BASE": "scratch", "LAYOUTLOOP_TRAIN_EPOCHS": "15", "LAYOUTLOOP_TRAIN_BATCH": "1"} | {
    "LAYOUTLOOP_TRAIN_EVERY": "3",
    "LAYOUTLOOP_TRAIN_KEEP": "50",
    "LAYOUTLOOP_PRELABEL": "0",  # test_prelabel_by_itself.py has its own
    "OMP_NUM_THREADS": "1",  # pages this small gain nothing by more threads, which wait for each other
}
"""A tiny model, and enough steps to find what always stands at the same place; every version is kept as a rival."""
JOB_S = 240.0
"""More than any job takes here, also where the machine has other work."""
CAPTURES = Path(__file__).parent.parent / "data" / "captures"
_VENDORS = ("Acme", "Globex", "Initech", "Umbrella", "Hooli")
_numbers = count(1000)


@dataclass(frozen=True, slots=True)
class DrawnPage:
    """A PNG and what an annotator would mark on it."""

    png: bytes
    regions: tuple[GoldRegion, ...]


def draw_page(number: int) -> DrawnPage:
    """Draw four lines; what is marked is one of a few words, all of them on the training pages, at its own place."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    lines = (
        ("", _VENDORS[number % len(_VENDORS)], "vendor"),
        ("Invoice", str(1000 + number), ""),
        ("Date", f"2026-11-0{1 + number % 2}", "date"),
        ("Total", f"{12 + number % 3}.50", "total"),
    )
    regions = []
    for row, (word, value, label) in enumerate(lines):
        left, top = (150 if word else 30), 30 + 75 * row
        draw.text((30, top), word, fill="black", font_size=28)
        draw.text((left, top), value, fill="black", font_size=28)
        if label:
            edges = draw.textbbox((left, top), value, font_size=28)
            regions.append(GoldRegion(label, Box(edges[0] - 4, edges[1] - 4, edges[2] + 4, edges[3] + 4), value))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return DrawnPage(stream.getvalue(), tuple(regions))


def studio_project(
    project: int = PROJECT,
    *,
    labels: Sequence[str] = LABELS,
    tasks: Sequence[int] = TASKS + VALIDATION,
    renamed: Callable[[int, str], str] = lambda _, label: label,
) -> StudioProject:
    """Return a project with one annotated upload for each task.

    Args:
        project: its id.
        labels: of the label config; what the pages have besides is not drawn.
        tasks: ids.
        renamed: the label that an annotator gives to what is `label` in truth.
    """
    made = StudioProject(label_config(labels))
    for task in tasks:
        page = draw_page(task)
        drawn = [
            GoldRegion(renamed(task, region.label), region.box, region.text)
            for region in page.regions
            if region.label in labels
        ]
        made.uploads[f"page-{task}.png"] = page.png
        result = annotation_result(drawn, WIDTH, HEIGHT)
        made.tasks.append(exported_task(task, f"/data/upload/{project}/page-{task}.png", result))
    return made


def capture(name: str, project: int = PROJECT) -> dict[str, Any]:
    """Return the body of a webhook as Label Studio sent it, for a project of ours."""
    body: dict[str, Any] = json.loads((CAPTURES / f"webhook_{name}.json").read_text())["body"]
    body["project"]["id"] = project
    return body


def start_training(stack: LayoutLoop, project: int = PROJECT) -> str:
    """Press Start Training; return the job's id."""
    answer = requests.post(f"{stack.url}/webhook", json=capture("START_TRAINING", project), timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job"])


def job_of(stack: LayoutLoop, job: str) -> dict[str, Any]:
    """Ask for a job's record."""
    answer = requests.get(f"{stack.url}/jobs/{job}", timeout=30)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def wait_for_job(stack: LayoutLoop, job: str, timeout_s: float = JOB_S) -> dict[str, Any]:
    """Wait until a job has ended; return its record."""
    end = time.monotonic() + timeout_s
    while (record := job_of(stack, job))["state"] not in ("done", "failed"):
        assert time.monotonic() < end, f"job {job} did not end in time: {record}"
        time.sleep(0.3)
    return record


def job_log(stack: LayoutLoop, job: str) -> str:
    """Return what the training process printed."""
    return (stack.settings.logs / "jobs" / f"{job}.log").read_text(errors="replace")


def current(stack: LayoutLoop, project: int = PROJECT) -> str | None:
    """Return the version in service."""
    serving = ModelStore(stack.settings.model_dir).manifest(project_model(project))
    return serving.current if serving else None


@contextmanager
def in_service_unchanged(stack: LayoutLoop, project: int = PROJECT) -> Iterator[None]:
    """Assert that meanwhile nothing came into `load` and another version did not become current.

    The watcher takes out of `load`, at its own time, what left service more than two minutes ago.
    """
    before = ModelStore(stack.settings.model_dir).manifest(project_model(project))
    yield
    after = ModelStore(stack.settings.model_dir).manifest(project_model(project))
    assert before is not None
    assert after is not None
    assert after.current == before.current
    assert set(after.load) <= set(before.load)
    assert after.sha256.items() <= before.sha256.items()  # type: ignore[operator]


def model_folder(stack: LayoutLoop, project: int = PROJECT) -> Path:
    """Return a project's folder in the model store."""
    return stack.settings.model_dir / project_model(project)


def job_folder(stack: LayoutLoop, job: str, project: int = PROJECT) -> Path:
    """Return where a running job keeps what it did so far."""
    return stack.settings.home / "training" / project_model(project) / job


def newest_state(stack: LayoutLoop, job: str, project: int = PROJECT) -> int:
    """Return the step of the newest whole checkpoint of a training, 0 where there is none."""
    states = (job_folder(stack, job, project) / "steps").glob("checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.rpartition("-")[2]) for path in states), default=0)


def files_in(folder: Path) -> set[str]:
    """Return all files below a folder, but for those whose presence says nothing."""
    ignored = {".lock", ".last-stamp", "split.json", "learned.json"}
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {str(path) for path in found if path.name not in ignored}


def predicted(
    stack: LayoutLoop, project: int = PROJECT, labels: Sequence[str] = LABELS, number: int | None = None
) -> tuple[str, list[tuple[str, str]]]:
    """Ask about a page, one that nobody saw before by default: the version's stamp, and (label, text) of its finds."""
    page = draw_page(next(_numbers) if number is None else number)
    image = "data:image/png;base64," + base64.b64encode(page.png).decode()
    config = label_config(labels, "ocr")
    body = {"tasks": [{"id": 1, "data": {"image": image}}], "project": f"{project}.1", "label_config": config}
    (entry,) = stack.predict(body)["results"]
    assert entry, "a task without an answer"
    assert entry["result"], "an answer without regions"
    texts = {one["id"]: one["value"]["text"][0] for one in entry["result"] if one["type"] == "textarea"}
    found = [(one["value"]["labels"][0], texts[one["id"]]) for one in entry["result"] if one["type"] == "labels"]
    return str(entry["model_version"]).partition("-")[0], found


@contextmanager
def slow(studio: Studio, seconds: float) -> Iterator[None]:
    """Let Label Studio take its time for each answer."""
    studio.delay_s = seconds
    try:
        yield
    finally:
        studio.delay_s = 0.0


class Promotions(threading.Thread):
    """Looks at a project's serving.json all the time: `seen` are the versions that were current, in order."""

    def __init__(self, stack: LayoutLoop, project: int = PROJECT) -> None:
        super().__init__(daemon=True)
        self._stack, self._project = stack, project
        self._ended = threading.Event()
        self.seen: list[str | None] = []

    def run(self) -> None:
        while not self._ended.wait(0.02):
            version = current(self._stack, self._project)
            if not self.seen or self.seen[-1] != version:
                self.seen.append(version)

    def __enter__(self) -> Promotions:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def training_processes(stack: LayoutLoop, part: str) -> list[psutil.Process]:
    """Return the instance's processes with an argument `part`, such as a job's id or `scripts.worker`."""
    found = []
    for process in instance_processes(stack.settings.home):
        try:
            if part in process.cmdline():
                found.append(process)
        except GONE:
            continue
    return found


@contextmanager
def watched_job(stack: LayoutLoop, job: str) -> Iterator[Callable[[], Job]]:
    """Give a function that reads a job's record, directly and fast."""
    environ = stack.environ | stack.settings.environment()
    jobs = open_jobs(Settings.from_env(environ).jobs_url)
    try:
        yield lambda: jobs.get(job)
    finally:
        jobs.close()


def wait_for_step(read: Callable[[], Job], step: str, also: Callable[[], object], timeout_s: float = JOB_S) -> None:
    """Wait until a running job is at a step and `also` is so."""
    end = time.monotonic() + timeout_s
    while True:
        job = read()
        if job.state == "running" and job.step == step and also():
            return
        assert job.state not in ("done", "failed"), f"it ended before it was seen at {step}: {job}"
        assert time.monotonic() < end, f"it never came to {step}: {job}"
        time.sleep(0.01)
