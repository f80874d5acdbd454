"""A job's own process, `scripts.retrain --job`: its record when it cannot do its work; what Label Studio is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

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
from tests.far_servers import LEGACY_KEY, serve
from training.worker.first_look import first_look
from training.worker.job import _is_unreachable


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


@pytest.mark.parametrize(
    ("trigger", "annotated", "train_every", "is_skipped"),
    [
        pytest.param("annotations", 9, 10, True, id="too few in all"),
        pytest.param("annotations", 10, 10, False, id="perhaps enough"),
        pytest.param("start_training", 0, 10, False, id="a person wants it"),
        pytest.param("annotations", 0, 0, False, id="never by themselves, queued before that was set"),
    ],
)
def test_too_few_annotations_in_all_are_found_without_an_export(
    trigger: Trigger, annotated: int, train_every: int, is_skipped: bool
) -> None:
    body = {"id": 7, "title": "Seven", "label_config": "<View/>", "num_tasks_with_annotations": annotated}
    with serve("127.0.0.1", lambda request: request.reply(200, json.dumps(body).encode())) as server:
        url = f"http://127.0.0.1:{server.port}"
        settings = Settings(label_studio_url=url, label_studio_api_key=LEGACY_KEY, train_every=train_every)
        ending = first_look(settings, Job("0123456789ab", 7, "retrain", trigger, 0.0))
    assert [seen.target for seen in server.seen] == ["/api/projects/7/"]
    assert (ending is not None) == is_skipped
    if ending is not None:
        assert not ending.is_failure
        assert "at most 9 annotations are new since the last training; 10 start one" in ending.sentence


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
