"""A job's own process, `scripts.retrain --job`: its record when it cannot do its work; what Label Studio is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from handler.errors import MachineFailed
from layoutloop.errors import TrainingRefused
from layoutloop.jobs.job import Job, Trigger
from layoutloop.jobs.queue import open_jobs
from layoutloop.settings.node import REPOSITORY
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from tests.far_servers import LEGACY_KEY, _Handler, serve
from training.data.learned import remember
from training.worker.first_look import Ending, first_look
from training.worker.job import _is_unreachable


def _soon() -> str:
    """A moment that is not over at the end of these tests."""
    return (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("variables", "state", "says"),
    [
        pytest.param({}, "queued", "does not take connections", id="Label Studio is away: it waits"),
        pytest.param({"LABEL_STUDIO_URL": "401"}, "queued", "answered 401: set", id="a refused key: it waits"),
        pytest.param({"LABEL_STUDIO_URL": "404"}, "failed", "the project does not exist", id="no such project"),
        pytest.param(
            {"LAYOUTLOOP_TRAIN_BASE": "graft:/nowhere"}, "failed", "LAYOUTLOOP_TRAIN_BASE", id="no such base: given up"
        ),
    ],
)
def test_an_error_is_one_sentence_in_the_record(
    tmp_path: Path, variables: dict[str, str], state: str, says: str
) -> None:
    studio = variables.get("LABEL_STUDIO_URL", "")
    with serve("127.0.0.1", lambda request: request.reply(int(studio))) as server:
        if studio:
            variables = variables | {"LABEL_STUDIO_URL": f"http://127.0.0.1:{server.port}"}
        done, after = run_job(tmp_path, variables)
    assert done.returncode == 0, done.stderr
    assert after.state == state
    assert (after.away, after.tries) == ((1, 0) if state == "queued" else (0, 1))
    assert says in after.error
    assert "\n" not in after.error
    assert not list((tmp_path / "home" / "training").glob("*/*")) or state == "queued"
    if "exist" in says:
        left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
        assert [path for path in left if not path.startswith("home/jobs.db")] == ["home"]


@pytest.mark.parametrize(("status", "fails"), [(404, True), (401, False), (403, False), (500, False), (503, False)])
def test_a_project_that_label_studio_does_not_know_is_found_without_a_process(status: int, fails: bool) -> None:
    job = Job("0123456789ab", 999, "retrain", "api", 0.0)
    with serve("127.0.0.1", lambda request: request.reply(status)) as server:
        settings = Settings(label_studio_url=f"http://127.0.0.1:{server.port}", label_studio_api_key=LEGACY_KEY)
        ending = first_look(settings, job)
    assert (ending is not None and ending.is_failure and "the project does not exist" in ending.sentence) == fails
    assert first_look(Settings(label_studio_url="http://127.0.0.1:9", label_studio_api_key=LEGACY_KEY), job) is None
    assert first_look(Settings(), job) is None


@dataclass
class Counting:
    """A Label Studio that answers how many tasks have annotations, and how many of them changed since a moment.

    Args:
        moments: when the annotated tasks changed.
        starred: so many of them have an annotation that is ground truth, which a project's own count leaves out.
    """

    moments: tuple[str, ...]
    starred: int = 0

    def __call__(self, request: _Handler) -> None:
        address = urlsplit(request.path)
        if address.path != "/api/tasks":
            count = len(self.moments) - self.starred
            body = {"id": 7, "title": "Seven", "label_config": "<View/>", "num_tasks_with_annotations": count}
            return request.reply(200, json.dumps(body).encode())
        conditions = json.loads(parse_qs(address.query)["query"][0])["filters"]["items"]
        since = [one["value"] for one in conditions if one["filter"] == "filter:tasks:updated_at"]
        total = sum(all(moment >= one for one in since) for moment in self.moments)
        return request.reply(200, json.dumps({"total": total, "tasks": []}).encode())


LEARNED, MINUTES_LATER, LATER = "2026-11-22T08:30:00.100000Z", "2026-11-22T08:35:00Z", "2026-11-23T09:00:00.000000Z"
LEARNED_FROM_30 = {str(number): LEARNED for number in range(30)}


@pytest.mark.parametrize(
    ("known", "studio", "most"),
    [
        pytest.param({}, Counting((LEARNED,) * 9), 9, id="too few in all"),
        pytest.param({}, Counting((LEARNED,) * 10), None, id="enough in all"),
        pytest.param({}, Counting((LEARNED,) * 10, starred=10), None, id="enough in all, all ground truth"),
        pytest.param({}, Counting(()), 0, id="none"),
        pytest.param(LEARNED_FROM_30, Counting(("2026-11-22T08:00:00Z",) * 30), 0, id="none since the last training"),
        pytest.param(LEARNED_FROM_30, Counting((LEARNED,) * 3 + (MINUTES_LATER,) * 4), 7, id="some at its moment"),
        pytest.param(LEARNED_FROM_30, Counting((LATER,) * 9), 9, id="too few changed"),
        pytest.param(LEARNED_FROM_30, Counting((LATER,) * 10), None, id="enough changed"),
        pytest.param(LEARNED_FROM_30 | {"90": "unread", "91": "unread", "91/1": "unread"}, Counting((LATER,) * 7), 9,
                     id="pages that could not be read, too few"),
        pytest.param(LEARNED_FROM_30 | {"90": "unread", "91": "unread", "91/1": "unread"}, Counting((LATER,) * 8), None,
                     id="pages that could not be read, enough"),
        pytest.param(LEARNED_FROM_30, Counting(("2020-01-01T00:00:00Z",) * 40), None, id="a clock was moved back"),
        pytest.param(LEARNED_FROM_30, Counting(("2020-01-01T00:00:00Z",) * 39), 9, id="moved back, too few"),
        pytest.param({"1": "2126-01-01T00:00:00Z"}, Counting((_soon(),) * 10), None, id="learned in the future"),
        pytest.param({"1": "2126-01-01T00:00:00Z"}, Counting((LATER,) * 9), 9, id="in the future, too few"),
        pytest.param({"1": "yesterday"}, Counting((LEARNED,) * 10), None, id="a moment that is none"),
    ],
)  # fmt: skip
def test_too_few_new_annotations_are_found_without_a_process(
    tmp_path: Path, known: dict[str, str], studio: Counting, most: int | None
) -> None:
    remember(tmp_path / "project-7", known)
    ending = looked(tmp_path, studio)
    assert (ending is None) == (most is None)
    if ending is not None:
        some = "" if most == 0 else "at most "
        new = f"{some}{most} annotations are new since the last training; 10 start one (LAYOUTLOOP_TRAIN_EVERY)"
        assert ending == Ending(False, new)


def test_a_person_is_not_counted_against(tmp_path: Path) -> None:
    assert looked(tmp_path, Counting(()), trigger="start_training") is None
    assert looked(tmp_path, Counting(()), train_every=0) is None, "never by themselves: queued before that was set"


def test_what_cannot_be_counted_gets_its_process(tmp_path: Path) -> None:
    assert looked(tmp_path, lambda request: request.reply(200, b'{"id": 7, "title": "", "label_config": ""}')) is None
    (tmp_path / "project-7" / "learned.json").mkdir(parents=True)
    assert looked(tmp_path, Counting(())) is None


def looked(
    folder: Path, studio: Callable[[_Handler], None], *, trigger: Trigger = "annotations", train_every: int = 10
) -> Ending | None:
    with serve("127.0.0.1", studio) as server:
        settings = Settings(
            label_studio_url=f"http://127.0.0.1:{server.port}",
            label_studio_api_key=LEGACY_KEY,
            train_every=train_every,
            model_dir=folder,
        )
        ending = first_look(settings, Job("0123456789ab", 7, "retrain", trigger, 0.0))
    assert not any("/export" in seen.target for seen in server.seen)
    return ending


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device", "/t"), True, id="a full disk"),
        pytest.param(OSError(errno.EMFILE, "Too many open files"), True, id="open files"),
        pytest.param(MachineFailed("a node's disk is full"), True, id="a node's"),
        pytest.param(FileNotFoundError(errno.ENOENT, "No such file or directory", "/t"), False, id="a missing file"),
        pytest.param(TrainingRefused("one label alone"), False, id="another try would say the same"),
    ],
)
def test_a_training_waits_for_what_the_machine_lacks(error: Exception, waits: bool) -> None:
    assert _is_unreachable(error) == waits


def in_service(tmp_path: Path, card: VersionCard) -> None:
    """Have a model store say that a version of `ocr` is in service; its archive is never opened here."""
    store = ModelStore(tmp_path / "store")
    (tmp_path / "store" / "ocr").mkdir(parents=True)
    write_json(store.card_path("ocr", card.version), card.to_json())
    write_json(tmp_path / "store" / "ocr" / "serving.json", Manifest(current=card.version).to_json())


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param({"LAYOUTLOOP_TRAIN_PSM": "6"}, "psm 6 is a mode of Tesseract", id="a mode"),
        pytest.param({"LAYOUTLOOP_TRAIN_LANGUAGE": "rus"}, "does not read rus; set engine", id="a language"),
        pytest.param({"LAYOUTLOOP_OCR_LANGUAGE": "rus"}, "does not read rus; set engine", id="of `ocr`"),
    ],
)
def test_what_the_engine_reads_on_no_page_ends_the_job_at_once(
    tmp_path: Path, variables: dict[str, str], says: str
) -> None:
    in_service(tmp_path, VersionCard("ocr", "20260101T000000Z", engine="rapidocr-3.10.0-eng-psm3"))
    done, after = run_job(tmp_path, variables)
    assert done.returncode == 0, done.stderr
    assert (after.state, after.tries) == ("failed", 1)
    assert after.error.startswith("LAYOUTLOOP_TRAIN_LANGUAGE and LAYOUTLOOP_TRAIN_PSM: ")
    assert says in after.error


def test_what_another_engine_reads_is_left_to_it(tmp_path: Path) -> None:
    in_service(tmp_path, VersionCard("ocr", "20260101T000000Z", engine="pytesseract-5.3.0-eng-psm3"))
    done, after = run_job(tmp_path, {"LAYOUTLOOP_TRAIN_PSM": "6"})
    assert done.returncode == 0, done.stderr
    assert (after.state, after.away) == ("queued", 1), "it came as far as Label Studio, which is away"


def run_job(tmp_path: Path, variables: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], Job]:
    """Do a job's first attempt as a worker does; return how its process ended, and the job after it."""
    environ = os.environ | {
        "LAYOUTLOOP_HOME": str(tmp_path / "home"),
        "MODEL_DIR": str(tmp_path / "store"),
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": LEGACY_KEY,
        **variables,
    }
    (tmp_path / "home").mkdir()
    jobs = open_jobs(f"sqlite://{tmp_path}/home/jobs.db")
    try:
        job = jobs.submit(7, "retrain", "api")
        claimed = jobs.claim("worker")
        assert claimed is not None
        command = [sys.executable, "-m", "scripts.retrain", "--job", job.id, "--attempt", str(claimed.attempt)]
        done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=200)
        return done, jobs.get(job.id)
    finally:
        jobs.close()
