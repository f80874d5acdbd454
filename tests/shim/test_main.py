"""The shim as a person starts it: a real gunicorn process, and the importable app."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import requests

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("LAYOUTLOOP_", "BASIC_AUTH"))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_flags_win_over_the_environment_and_sigterm_ends_it(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "shim", "--port", str(port), "--host", "127.0.0.1", "--log-level", "ERROR"]
    environ = CLEAN | {"LAYOUTLOOP_PORT": "1", "MODEL_DIR": "/nowhere", "LAYOUTLOOP_HOME": str(tmp_path)}
    with subprocess.Popen([*command, "--model-dir", str(tmp_path)], env=environ) as shim:
        try:
            body = None
            end = time.monotonic() + 30
            while body is None and time.monotonic() < end:
                try:
                    body = requests.get(f"http://127.0.0.1:{port}/", timeout=5).json()
                except requests.ConnectionError:
                    assert shim.poll() is None
                    time.sleep(0.1)
            assert body is not None
            assert (body["status"], body["model_dir"]) == ("UP", str(tmp_path))
        finally:
            shim.terminate()
        assert shim.wait(20) == 0


def test_locked_job_records_take_no_thread_from_health(tmp_path: Path) -> None:
    """60 events at once for 48 threads: each is refused within a second or so, and /health waits for none of them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    event = {"action": "START_TRAINING"}

    def post(project: int) -> tuple[int, float]:
        began = time.monotonic()
        answer = requests.post(f"{url}/webhook", json=event | {"project": {"id": project}}, timeout=60)
        return answer.status_code, time.monotonic() - began

    environ = CLEAN | {"MODEL_DIR": str(tmp_path), "LAYOUTLOOP_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "shim", "--port", str(port), "--log-level", "ERROR"]
    with (
        subprocess.Popen(command, env=environ) as shim,
        ThreadPoolExecutor(60) as threads,
    ):
        try:
            wait_until_up(url, shim)
            assert post(7)[0] == 200
            with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                answers = [threads.submit(post, project) for project in range(100, 160)]
                time.sleep(0.8)
                for _ in range(5):
                    began = time.monotonic()
                    assert requests.get(f"{url}/health", timeout=60).json()["status"] == "UP"
                    assert time.monotonic() - began < 1
                assert {one.result()[0] for one in answers} == {503}
                assert max(one.result()[1] for one in answers) < 4
                other.execute("ROLLBACK")
            assert post(8)[0] == 200
        finally:
            shim.terminate()


def wait_until_up(url: str, shim: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            requests.get(url, timeout=5)
            return
        except requests.ConnectionError:
            assert shim.poll() is None
            time.sleep(0.1)
    pytest.fail("the shim did not come up")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        pytest.param({"LAYOUTLOOP_PROT": "1"}, "LAYOUTLOOP_PROT is no setting", id="mistyped"),
        pytest.param({"LAYOUTLOOP_HOST": "0.0.0.0"}, "is reachable from other machines", id="open bind"),  # noqa: S104
    ],
)
def test_settings_that_cannot_be_used_are_a_sentence_and_no_traceback(setting: dict[str, str], sentence: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "shim"], env=CLEAN | setting, capture_output=True, text=True)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_importable_app(tmp_path: Path) -> None:
    program = "from shim.wsgi import app; print(app.test_client().get('/health').get_json()['model_dir'])"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=CLEAN | {"MODEL_DIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert ended.stdout.strip() == str(tmp_path)
    assert "LABEL_STUDIO_API_KEY is not set" in ended.stderr
