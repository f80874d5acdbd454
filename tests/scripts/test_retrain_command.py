"""What is said at once about flags, and the job that is queued. Trainings are in tests/end_to_end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from layoutloop.jobs.queue import open_jobs
from layoutloop.settings.node import REPOSITORY
from scripts.retrain import main
from tests.far_servers import LEGACY_KEY


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param("", "--project is Label Studio's project id", id="no project"),
        pytest.param("--project 7 --annotations a.json --here", "needs --label-config FILE and --here", id="no labels"),
        pytest.param(
            "--project 7 --annotations a --label-config b", "needs --label-config FILE and --here", id="queue"
        ),
        pytest.param("--project 7 --here --label-config b.xml", "--label-config goes with --annotations", id="labels"),
        pytest.param("--project 7 --label-config b.xml", "--label-config goes with --annotations", id="labels, queued"),
        pytest.param("--project 7 --images .", "--images is read by this process, so it needs --here", id="images"),
        pytest.param("--project 7 --here --images gone", "--images gone is no folder", id="no such folder"),
        pytest.param("--project 7 --untested", "--untested needs --here", id="untested"),
        pytest.param("--project 7 --here --wait", "--wait follows a worker's job", id="wait"),
    ],
)
def test_no_flag_is_passed_over_in_silence(
    arguments: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_a_job_is_queued_with_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "store"))
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    assert main(["--project", "7"]) == 2
    assert "LABEL_STUDIO_API_KEY is not set" in capsys.readouterr().err
    assert not (tmp_path / "jobs.db").exists(), "a job that nothing could come of"
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_KEY)
    assert main(["--project", "7", "--force", "--from", "current"]) == 0
    with closing(open_jobs(f"sqlite://{tmp_path}/jobs.db")) as jobs:
        (job,) = jobs.newest()
    assert (job.project, job.trigger, job.options) == (7, "command", {"force": True, "from_current": True})
    assert f"job {job.id} is queued" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a service that stops"])
def test_who_stops_the_command_is_told_how_it_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    places = {"LAYOUTLOOP_HOME": str(tmp_path), "MODEL_DIR": str(tmp_path / "store"), "REDIS_URL": ""}
    places |= {"LABEL_STUDIO_API_KEY": LEGACY_KEY}
    command = [sys.executable, "-u", "-m", "scripts.retrain", "--project", "7", "--wait"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | places, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout
        assert "is queued" in waiting.stdout.readline()
        waiting.send_signal(number)
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 75
    assert "interrupted: the job goes on without you" in said
