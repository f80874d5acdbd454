"""One running LayoutLoop for all end-to-end tests: the real scripts.serve, TorchServe, watcher and shim."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.node import REPOSITORY, ServeSettings
from scripts.processes import instance_processes, stop_processes
from scripts.serve import port_problem
from tests.checkpoints import byte_level_bpe, make_checkpoint, word_piece

VISUAL, PLAIN = 7, 8
"""Project with a byte-level BPE model that looks at the image, and one with a WordPiece model that does not."""


@dataclass(frozen=True)
class Stack:
    """A LayoutLoop that runs."""

    settings: ServeSettings
    environ: dict[str, str]

    @property
    def url(self) -> str:
        return self.settings.address

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with the instance's settings."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/predict", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        parsed: dict[str, Any] = answer.json()
        return parsed

    def log(self, name: str) -> str:
        return (self.settings.logs / f"{name}.log").read_text()

    def token(self, kind: str = "inference") -> dict[str, str]:
        keys = json.loads((self.settings.torchserve / "key_file.json").read_text())
        return {"Authorization": f"Bearer {keys[kind]['key']}"}

    def torchserve(self, path: str, *, offset: int = 0) -> str:
        return f"http://127.0.0.1:{self.settings.torchserve_port + offset}{path}"


def free_settings(home: Path) -> ServeSettings:
    """Return settings whose six ports are free at this moment."""
    for first in range(41000 + os.getpid() % 500 * 10, 48000, 10):
        settings = ServeSettings(home, home / "store", port=first + 5, torchserve_port=first)
        if port_problem(settings) is None:
            return settings
    pytest.fail("no free ports")


def wait_for(found: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def is_ready(settings: ServeSettings, projects: tuple[int, ...]) -> bool:
    """Whether the shim is up and some node holds `ocr` and the projects."""
    try:
        body = requests.get(f"{settings.address}/health", timeout=5).json()
        reports = [json.loads(path.read_text()) for path in (settings.model_dir / ".nodes").glob("*.json")]
    except (requests.RequestException, OSError, ValueError):
        return False
    held = {name for report in reports for name, versions in report["holds"].items() if versions}
    return bool(body["ready"]) and held >= {f"project-{project}" for project in projects}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    settings = free_settings(folder / "home")
    secrets = {"LABEL_STUDIO_API_KEY": "0123456789abcdef0123456789abcdef01234567"}
    environ = os.environ | settings.environment() | secrets | {"LAYOUTLOOP_OCR_WORKERS": "2"}
    running = Stack(settings, environ)
    checkpoints = {
        VISUAL: make_checkpoint(folder / "bpe", tokenizer=byte_level_bpe(), visual_embed=True, outside_bias=-9),
        PLAIN: make_checkpoint(
            folder / "wordpiece", tokenizer=word_piece(), labels=("Header", "Total"), outside_bias=-9
        ),
    }
    for project, checkpoint in checkpoints.items():
        built = running.command(
            "scripts.archive", "--project", str(project), "--checkpoint", str(checkpoint), "--serve", "--untested"
        )
        assert built.returncode == 0, built.stderr
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve"], cwd=REPOSITORY, env=environ, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: process.poll() is not None or is_ready(settings, (VISUAL, PLAIN)))
        assert process.poll() is None, (folder / "out").read_text()
        yield running
    finally:
        process.terminate()
        process.wait(60)
        left = instance_processes(settings.home)
        stop_processes(left)
        assert not left, f"left behind: {left}"
