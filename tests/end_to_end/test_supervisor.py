"""TorchServe under the supervisor, killed in every way: with small programs in place of the shim and the watcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from layoutloop.settings.node import REPOSITORY, NodeSettings
from node.processes import instance_processes, stop_processes, torchserve_processes
from node.serve import port_problem
from tests.end_to_end.conftest import free_settings, kill_at_once

pytestmark = pytest.mark.end_to_end

SERVE = """
import os, sys
from layoutloop.settings.node import NodeSettings
from node.serve import serve
from node.supervision import Instance
from dataclasses import replace
from scripts.serve import COMMANDS
shim, rollout = sys.argv[1:]
nothing = [sys.executable, "-c", ""]
commands = replace(COMMANDS, archive=nothing, rollout=[sys.executable, rollout], shim=[sys.executable, shim])
sys.exit(serve(Instance(NodeSettings.from_env(os.environ), commands, os.environ)))
"""
SHIM = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "UP", "ready": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer((os.environ["LAYOUTLOOP_HOST"], int(os.environ["LAYOUTLOOP_PORT"])), Health).serve_forever()
"""
ROLLOUT = "import time\ntime.sleep(3600)\n"


def wait_for(found: Callable[[], object], timeout_s: float = 180.0) -> None:
    end = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def answers(settings: NodeSettings) -> bool:
    """Whether TorchServe answers /ping to the token that lies in its folder now."""
    try:
        keys = json.loads((settings.torchserve / "key_file.json").read_text())
        token = {"Authorization": f"Bearer {keys['inference']['key']}"}
        with requests.Session() as session:
            session.trust_env = False
            url = f"http://127.0.0.1:{settings.torchserve_port}/ping"
            return session.get(url, headers=token, timeout=2).status_code == 200
    except (OSError, ValueError, KeyError):
        return False


def temporary_folder(settings: NodeSettings) -> Path:
    note = settings.torchserve / "tmpdir.txt"
    return Path(note.read_text().strip()) if note.exists() else settings.torchserve / "tmp"


def java(settings: NodeSettings) -> psutil.Process:
    (found,) = [one for one in torchserve_processes(temporary_folder(settings)) if "java" in one.name()]
    return found


def named(settings: NodeSettings, part: str) -> psutil.Process:
    """The process of this instance with an argument that ends with `part`."""
    everything = instance_processes(settings.home)
    (found,) = [one for one in everything if any(argument.endswith(part) for argument in one.cmdline())]
    return found


class Served:
    """A running `serve`, its settings and everything it printed on stdout so far."""

    def __init__(self, folder: Path, settings: NodeSettings) -> None:
        self.settings = settings
        self.out, self.err = folder / "out", folder / "err"
        (folder / "shim.py").write_text(SHIM)
        (folder / "rollout.py").write_text(ROLLOUT)
        command = [sys.executable, "-c", SERVE, str(folder / "shim.py"), str(folder / "rollout.py")]
        with self.out.open("w") as out, self.err.open("w") as err:
            environ = os.environ | settings.environment()
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=out, stderr=err)

    def wait_until_ready(self) -> None:
        wait_for(lambda: "\n" in self.out.read_text() and answers(self.settings))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    home = tmp_path / "home"
    running = Served(tmp_path, free_settings(home))
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.process.terminate()
        running.process.wait(120)
        stop_processes(instance_processes(home))


def test_what_dies_comes_back_and_sigterm_stops_everything(served: Served) -> None:
    settings = served.settings
    assert served.out.read_text() == (
        f"LayoutLoop is ready. Paste this address into Label Studio (Settings > Model): {settings.address}\n"
    )

    first = java(settings)
    first.kill()
    wait_for(lambda: not first.is_running() and answers(settings))
    second = java(settings)
    assert second != first

    named(settings, "bin/torchserve").kill()  # TorchServe's Python command line: its Java process must go too
    wait_for(lambda: not second.is_running() and answers(settings))
    third = java(settings)

    named(settings, "node.run_torchserve").kill()
    wait_for(lambda: not third.is_running() and answers(settings))

    named(settings, "shim.py").kill()
    wait_for(lambda: "shim ended (terminated by SIGKILL" in served.err.read_text())

    wait_for(lambda: len(psutil.Process(served.process.pid).children(recursive=True)) >= 6)

    everything = psutil.Process(served.process.pid).children(recursive=True)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(120) == 0
    assert [process for process in everything if process.is_running()] == []
    assert port_problem(settings) is None
    assert not temporary_folder(settings).exists()


def test_a_killed_supervisor_leaves_nothing(served: Served) -> None:
    everything = psutil.Process(served.process.pid).children(recursive=True)
    named(served.settings, "supervisor.supervisord").kill()
    assert served.process.wait(120) == 1
    assert [process for process in everything if process.is_running()] == []
    assert "the supervisor ended" in served.err.read_text()


def test_after_everything_was_killed_the_next_start_works(served: Served, tmp_path: Path) -> None:
    left = java(served.settings)
    serve = psutil.Process(served.process.pid)
    kill_at_once(lambda: [serve, *(one for one in instance_processes(served.settings.home) if one != left)])
    assert left.is_running()
    again = Served(tmp_path, served.settings)
    try:
        again.wait_until_ready()
        assert not left.is_running()
    finally:
        again.process.terminate()
        again.process.wait(120)


def test_ctrl_c_stops_everything(served: Served) -> None:
    everything = psutil.Process(served.process.pid).children(recursive=True)
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(120) == 0
    assert [process for process in everything if process.is_running()] == []
