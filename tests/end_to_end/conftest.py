"""One running LayoutLoop for all end-to-end tests: the real scripts.serve, TorchServe, watcher and shim."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest
import requests

from layoutloop.settings.node import REPOSITORY, NodeSettings
from node.processes import instance_processes, stop_processes
from node.serve import port_problem
from tests.checkpoints import byte_level_bpe, make_checkpoint, word_piece
from tests.end_to_end.label_studio import KEY, Studio, running_studio
from tests.end_to_end.training_stack import PROJECT, TRAIN, start_training, studio_project, wait_for_job

if TYPE_CHECKING:
    from tests.end_to_end.world import World

T = TypeVar("T")
VISUAL, PLAIN = 7, 8
"""Project with a byte-level BPE model that looks at the image, and one with a WordPiece model that does not."""


@dataclass(frozen=True)
class LayoutLoop:
    """A LayoutLoop that runs."""

    settings: NodeSettings
    environ: dict[str, str]

    @property
    def url(self) -> str:
        """The shim's address, with user and password where it asks for them."""
        user, password = self.environ.get("BASIC_AUTH_USER"), self.environ.get("BASIC_AUTH_PASS")
        return self.settings.address.replace("://", f"://{user}:{password}@") if user else self.settings.address

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with the instance's settings, and with more variables."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env=self.environ | variables,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/predict", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        parsed: dict[str, Any] = answer.json()
        return parsed

    def processes(self) -> list[psutil.Process]:
        """Every process of the instance, but for `scripts.serve` itself."""
        return instance_processes(self.settings.home)

    def log(self, name: str) -> str:
        return (self.settings.logs / f"{name}.log").read_text()

    def token(self, kind: str = "inference") -> dict[str, str]:
        keys = json.loads((self.settings.torchserve / "key_file.json").read_text())
        return {"Authorization": f"Bearer {keys[kind]['key']}"}

    def torchserve(self, path: str, *, offset: int = 0) -> str:
        return f"http://127.0.0.1:{self.settings.torchserve_port + offset}{path}"


@dataclass(frozen=True)
class Stack(LayoutLoop):
    """One that asks a Label Studio of the tests' own, at a socket."""

    studio: Studio


def free_settings(home: Path) -> NodeSettings:
    """Return settings whose six ports are free at this moment.

    They are below those that the kernel gives to outgoing connections (32768 and up): one of these would keep
    TorchServe from starting for as long as it is open.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])  # each has a range to itself
    for first in range(20000 + 2000 * worker + os.getpid() % 100 * 10, 29000, 10):
        settings = NodeSettings(home, home / "store", port=first + 5, torchserve_port=first)
        if port_problem(settings) is None:
            return settings
    pytest.fail("no free ports")


def free_port() -> int:
    """Return a free port, below those of outgoing connections."""
    for port in range(29000 + os.getpid() % 3000, 32768):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no free port")


def wait_for(found: Callable[[], T], timeout_s: float = 120.0) -> T:
    """Wait until something is so, and return it."""
    end = time.monotonic() + timeout_s
    while not (what := found()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return what


def kill_at_once(find: Callable[[], list[psutil.Process]]) -> None:
    """Kill all that `find` lists as a machine that loses power does: none of them reacts to the end of another."""
    stopped: dict[psutil.Process, float] = {}
    for _ in range(10):  # one that is just being started shows no environment for a moment, and is not found
        while new := [process for process in find() if process not in stopped]:  # they start others until all stand
            for process in new:
                stopped[process] = 0.0
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
                    stopped[process] = process.create_time()
        time.sleep(0.1)
    # The youngest first: a group whose last parent outside it ends is sent SIGCONT, and would start others again.
    for process in sorted(stopped, key=lambda process: (stopped[process], process.pid), reverse=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(stopped, timeout=30)
    assert not alive


def is_ready(settings: NodeSettings, projects: tuple[int, ...]) -> bool:
    """Whether the shim is up and some node holds `ocr` and the projects."""
    try:
        body = requests.get(f"{settings.address}/health", timeout=5).json()
        reports = [json.loads(path.read_text()) for path in (settings.model_dir / ".nodes").glob("*.json")]
    except (requests.RequestException, OSError, ValueError):
        return False
    held = {name for report in reports for name, versions in report["holds"].items() if versions}
    return bool(body["ready"]) and held >= {f"project-{project}" for project in projects}


@pytest.fixture(scope="session")
def studio() -> Iterator[Studio]:
    with running_studio() as studio:
        yield studio


def make_stack(home: Path, studio: Studio) -> Stack:
    """Return a LayoutLoop that does not run yet."""
    settings = free_settings(home)
    more = {
        "LABEL_STUDIO_API_KEY": KEY,
        "LABEL_STUDIO_URL": studio.url,
        "LAYOUTLOOP_OCR_WORKERS": "2",
        "LAYOUTLOOP_PROJECT_WORKERS": "1",
    }
    return Stack(settings, os.environ | settings.environment() | more | TRAIN, studio)


@contextmanager
def running(stack: LayoutLoop, out: Path, projects: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run `scripts.serve`, and see to it that nothing of it is left."""
    with out.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve"],
            cwd=REPOSITORY,
            env=stack.environ,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: process.poll() is not None or is_ready(stack.settings, projects))
        assert process.poll() is None, out.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(100)
        left = instance_processes(stack.settings.home)
        stop_processes(left)
        assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, studio: Studio) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    made = make_stack(folder / "home", studio)
    checkpoints = {
        VISUAL: make_checkpoint(folder / "bpe", tokenizer=byte_level_bpe(), visual_embed=True, outside_bias=-9),
        PLAIN: make_checkpoint(
            folder / "wordpiece", tokenizer=word_piece(), labels=("Header", "Total"), outside_bias=-9
        ),
    }
    for project, checkpoint in checkpoints.items():
        built = made.command(
            "scripts.archive", "--project", str(project), "--checkpoint", str(checkpoint), "--serve", "--untested"
        )
        assert built.returncode == 0, built.stderr
    with running(made, folder / "out", (VISUAL, PLAIN)):
        yield made


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The real Label Studio with a LayoutLoop, with a module's own SETTINGS where it has some."""
    from tests.end_to_end.world import open_world  # which needs what stands here

    settings = getattr(request.module, "SETTINGS", {})
    with open_world(tmp_path_factory.mktemp("world"), settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def trained(stack: Stack) -> dict[str, Any]:
    """The record of a project's first training, by Start Training; its model finds what the pages have."""
    stack.studio.projects[PROJECT] = studio_project()
    job = wait_for_job(stack, start_training(stack))
    assert (job["state"], job["verdict"]) == ("done", "promoted"), job
    return job
