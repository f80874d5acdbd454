"""A job's own process, `scripts.retrain --job`: its record when it cannot do its work; what Label Studio is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import open_jobs
from layoutloop.settings.node import REPOSITORY
from tests.far_servers import LEGACY_KEY, serve


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
