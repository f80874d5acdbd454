"""The shim as a person starts it: a real gunicorn process, and the importable app."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
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
