"""`scripts/demo.sh`, but for what it installs: the whole loop on one machine, and nothing left of it after Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

from demo.studio import Account
from layoutloop.settings.node import REPOSITORY
from node.processes import instance_processes
from tests.end_to_end.conftest import free_port, free_settings, wait_for
from tests.end_to_end.training_stack import TRAIN, draw_page

pytestmark = pytest.mark.end_to_end


@dataclass(frozen=True)
class RunningDemo:
    """A demo that has come to its end and waits for Ctrl-C.

    Args:
        process: of the command.
        home: its folder.
        studio: Label Studio's address.
        said: all that it printed.
    """

    process: subprocess.Popen[bytes]
    home: Path
    studio: str
    said: str

    @property
    def account(self) -> Account:
        return Account.in_folder(self.home / "label-studio")

    def ask(self, path: str, **query: str | int) -> Any:
        """Ask Label Studio's API."""
        header = {"Authorization": f"Token {self.account.token}"}
        return requests.get(self.studio + path, params=query, headers=header, timeout=60).json()


@contextmanager
def running_demo(folder: Path, *arguments: str, **variables: str) -> Iterator[RunningDemo]:
    """Run the demo until it waits for Ctrl-C, and see to it that nothing of it is left."""
    home, port, out = folder / "demo", free_port(), folder / "out"
    ports = free_settings(home / "layoutloop")
    environ = os.environ | TRAIN | {"LAYOUTLOOP_TRAIN_EPOCHS": "1", "LAYOUTLOOP_PORT": str(ports.port)} | variables
    environ["LAYOUTLOOP_TORCHSERVE_PORT"] = str(ports.torchserve_port)
    command = [sys.executable, "-m", "demo.run", *arguments, "--home", str(home), "--studio-port", str(port)]
    with out.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environ, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(lambda: "Ctrl-C stops everything" in out.read_text() or process.poll() is not None, 400)
        assert process.poll() is None, out.read_text()
        yield RunningDemo(process, home, f"http://127.0.0.1:{port}", out.read_text())
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(200)
        assert instance_processes(home / "layoutloop") == []


def test_the_demo_trains_draws_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--count", "3") as demo:
        assert f"sign in as {demo.account.email} with {demo.account.password}" in demo.said
        settings = subprocess.run(
            ["bash", "-c", '. "$0"; echo "$LABEL_STUDIO_URL"', str(demo.home / "env.sh")],
            capture_output=True,
            text=True,
        )
        assert settings.stdout == f"{demo.studio}\n"
        assert (demo.home / "env.sh").stat().st_mode & 0o777 == 0o600
        projects = demo.ask("/api/projects")["results"]
        assert len(projects) == 2
        for project in [one["id"] for one in projects]:
            assert f"{demo.studio}/projects/{project}/data" in demo.said
            tasks = demo.ask("/api/tasks", project=project, fields="all", page_size=100)["tasks"]
            assert sorted(task["total_annotations"] for task in tasks) == [0, 0, 1]
            drawn = demo.ask("/api/predictions", project=project)
            assert sorted(one["task"] for one in drawn) == sorted(task["id"] for task in tasks)
            assert len(list((demo.home / "model_store" / f"project-{project}").glob("*.mar"))) == 1
        started = psutil.Process(demo.process.pid).children(recursive=True)
        assert len(started) > 5
        os.killpg(demo.process.pid, signal.SIGINT)  # as a terminal does
        assert demo.process.wait(150) == 0
        assert [process for process in started if process.is_running()] == []


def test_own_pages_go_on_without_the_files_that_are_none(tmp_path: Path) -> None:
    pages = tmp_path / f"scans of {'a' * 60}"
    pages.mkdir()
    first, second = [Image.open(io.BytesIO(draw_page(number).png)) for number in (1, 2)]
    first.save(pages / "one.png")
    first.save(pages / "two.pdf", save_all=True, append_images=[second])
    (pages / "notes.txt").write_text("hello")
    nowhere = {"REDIS_URL": "redis://127.0.0.1:1/0"}  # somebody's queue, which is not the demo's
    with running_demo(tmp_path, "--pages", str(pages), "--labels", "vendor, Q&A", **nowhere) as demo:
        assert "notes.txt cannot be read" in demo.said
        assert "some files were left out" in demo.said
        (project,) = demo.ask("/api/projects")["results"]
        assert project["title"] == f"My pages: scans of {'a' * 31}"
        assert 'value="Q&amp;A"' in project["label_config"]
        assert project["task_number"] == 3
        assert len(demo.ask("/api/predictions", project=project["id"])) == 3
        loop = next(
            one for one in psutil.Process(demo.process.pid).children() if "scripts.serve" in " ".join(one.cmdline())
        )
        loop.terminate()
        assert demo.process.wait(150) == 1
        assert "error: LayoutLoop ended with status 0; its log is in" in (tmp_path / "out").read_text()
