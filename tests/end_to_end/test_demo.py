"""`scripts/demo.sh`, but for what it installs: the whole loop on one machine, and nothing left of it after Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from demo.studio import Account
from scripts.node import REPOSITORY
from scripts.processes import instance_processes
from tests.end_to_end.conftest import free_port, free_settings, wait_for
from tests.end_to_end.training_stack import TRAIN

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("label studio")]


def test_the_demo_trains_draws_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    home, port = tmp_path / "demo", free_port()
    ports = free_settings(home / "layoutloop")
    environ = os.environ | TRAIN | {"LAYOUTLOOP_TRAIN_EPOCHS": "1", "LAYOUTLOOP_PORT": str(ports.port)}
    environ["LAYOUTLOOP_TORCHSERVE_PORT"] = str(ports.torchserve_port)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "demo.run", "--count", "3", "--home", str(home), "--studio-port", str(port)]
    with out.open("w") as stream:
        demo = subprocess.Popen(
            command, cwd=REPOSITORY, env=environ, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(lambda: "Ctrl-C stops everything" in out.read_text() or demo.poll() is not None, 400)
        said = out.read_text()
        assert demo.poll() is None, said
        account = Account.in_folder(home / "label-studio")
        assert f"sign in as {account.email} with {account.password}" in said
        header = {"Authorization": f"Token {account.token}"}
        studio = f"http://127.0.0.1:{port}"
        projects = requests.get(f"{studio}/api/projects", headers=header, timeout=60).json()["results"]
        assert len(projects) == 2
        for project in projects:
            assert f"{studio}/projects/{project['id']}/data" in said
            query: dict[str, str | int] = {"project": project["id"], "fields": "all", "page_size": 100}
            tasks = requests.get(f"{studio}/api/tasks", params=query, headers=header, timeout=60).json()["tasks"]
            assert sorted(task["total_annotations"] for task in tasks) == [0, 0, 1]
            drawn = requests.get(
                f"{studio}/api/predictions", params={"project": project["id"]}, headers=header, timeout=60
            )
            assert sorted(one["task"] for one in drawn.json()) == sorted(task["id"] for task in tasks)
            assert len(list((home / "model_store" / f"project-{project['id']}").glob("*.mar"))) == 1
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) > 5
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        assert demo.wait(150) == 0
        assert [process for process in started if process.is_running()] == []
    finally:
        if demo.poll() is None:
            demo.kill()
        assert instance_processes(home / "layoutloop") == []
