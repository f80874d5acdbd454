"""Start TorchServe, the rollout watcher, the shim and the trainer under one supervisor: `python -m scripts.serve`.

`scripts/serve.sh` prepares the machine and then runs this; `--parts torchserve,rollout` starts some of them, where the
others run elsewhere. It stays in the foreground, says in one line on stdout when everything is ready, and stops every
process that it started when it ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TextIO

import requests

from layoutloop.errors import FileUnusable
from layoutloop.processes.command import as_command
from layoutloop.processes.parts import PARTS, parse_parts, part_locks
from layoutloop.processes.signals import StopSignals
from layoutloop.settings.node import REPOSITORY, NodeSettings, note_path, shim_settings
from layoutloop.settings.serving import Settings
from node.processes import instance_processes, stop_child, stop_processes
from node.startup import Startup
from node.stopped import StoppedProcesses
from node.supervision import Commands, Instance, programs, supervision_file, supervisor_config, torchserve_config
from node.supervisor_news import SupervisorNews

LONGEST_TMP = 60  # bytes; a unix socket's path has room for 107, and TorchServe adds its own name
SUPERVISOR_STOPS_S = 90.0  # the programs stop one after the other; this is more than all of them may take
ARCHIVE_STOPS_S = 10.0
POLL_S = 0.25
LAUNCHER = (sys.executable, "-m", "layoutloop.processes.launch", "--")
PART_NAMES = {
    "torchserve": "TorchServe",
    "rollout": "the rollout watcher",
    "shim": "the shim",
    "trainer": "the trainer",
}


def say(text: str) -> None:
    """Print a progress line; stdout is kept for the one line that matters."""
    print(f"serve: {text}", file=sys.stderr, flush=True)


def port_problem(settings: NodeSettings, parts: Sequence[str] = PARTS) -> str | None:
    """Try every port of these parts; return a sentence about the first that cannot be opened, or None."""
    for host, port, use, variable in settings.listening(parts):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            free = "the first of five free ports" if variable == "LAYOUTLOOP_TORCHSERVE_PORT" else "a free port"
            problem = f"port {port} on {host} ({use}) cannot be opened: {error.strerror}"
            return f"{problem}. Stop what uses it, or set {variable} to {free}."
    return None


@contextmanager
def private_tmp(settings: NodeSettings) -> Iterator[Path]:
    """Make TorchServe's temporary folder, removed afterwards: below home, or below /tmp where that path is too long.

    A folder below /tmp is noted in the home, so that the next start removes it if this one is killed.
    """
    note = settings.torchserve / "tmpdir.txt"
    tmp = settings.torchserve / "tmp"
    if note.exists():
        left = Path(note.read_text().strip())
        if left.name.startswith("layoutloop-") and left.parent == Path("/tmp"):  # noqa: S108
            shutil.rmtree(left, ignore_errors=True)
        note.unlink()
    if len(os.fsencode(tmp)) > LONGEST_TMP:
        tmp = Path(tempfile.mkdtemp(prefix="layoutloop-", dir="/tmp"))
        note.write_text(f"{tmp}\n")
    tmp.mkdir(mode=0o700, exist_ok=True)
    try:
        yield tmp
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        note.unlink(missing_ok=True)


def write_configuration(instance: Instance, tmp: Path) -> None:
    """Render supervisord.conf into the home, and config.properties where TorchServe runs."""
    settings = instance.settings
    if "torchserve" in instance.parts:
        template = (REPOSITORY / "config.properties").read_text(encoding="utf-8")
        config = torchserve_config(settings, template, shim_settings(instance.environ).ocr_workers)
        settings.torchserve_config.write_text(config, encoding="ascii")
    conf = supervision_file(settings, instance.parts, "conf")
    conf.write_text(supervisor_config(settings, programs(instance, tmp)), encoding="utf-8")


def make_folders(settings: NodeSettings, parts: Sequence[str]) -> None:
    """Make the folders that these parts work in."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.logs.mkdir(parents=True, exist_ok=True)
    if "torchserve" in parts or "rollout" in parts:
        settings.archives.mkdir(parents=True, exist_ok=True)
    if "torchserve" in parts:
        settings.page_cache.mkdir(parents=True, exist_ok=True)
    if parts != ("torchserve",) and isinstance(settings.model_dir, Path):  # a URL has no folders
        settings.model_dir.mkdir(parents=True, exist_ok=True)


def serve(instance: Instance) -> int:
    """Run its parts until a signal comes.

    Returns:
        0 after SIGINT or SIGTERM, 1 if it could not start or the supervisor ended.
    """
    stop = StopSignals()
    settings, parts = instance.settings, instance.parts
    make_folders(settings, parts)
    with part_locks(settings.home, parts) as busy:
        if not busy:
            stop_processes(instance_processes(settings.home, parts))  # of a start before, which was killed
            problem = port_problem(settings, parts)
        else:
            problem = (  # its ports are taken too, which would say less
                f"another LayoutLoop runs in {settings.home} ({PART_NAMES[busy]}). Stop it, or set LAYOUTLOOP_HOME to "
                "another folder."
            )
        if problem:
            say(problem)
            return 1
        with private_tmp(settings) if "torchserve" in parts else nullcontext(settings.torchserve / "tmp") as tmp:
            write_configuration(instance, tmp)
            if "rollout" in parts and not prepare_models(instance, stop):
                return 0 if stop.received else 1
            return 0 if stop.received else supervise(instance, stop)


def prepare_models(instance: Instance, stop: StopSignals) -> bool:
    """Delete what a killed watcher reported, and build the archive of `ocr` where it is not current.

    That waits for a model store, or a Redis, that is down; a signal ends the wait.
    """
    instance.settings.withdraw_report()  # it would hold up the archive
    note_path(instance.settings.home).unlink(missing_ok=True)
    say("building the archive of the ocr model, if its code changed")
    building = _start(instance, instance.commands.archive, stdout=sys.stderr)
    while building.poll() is None and not stop.received:
        time.sleep(POLL_S)
    if building.poll() is None:
        say("stopping before the models were prepared")
        stop_child(building, ARCHIVE_STOPS_S)
    elif building.returncode:
        say("the archive of the ocr model could not be built")
    return building.returncode == 0


def supervise(instance: Instance, stop: StopSignals) -> int:
    """Run supervisord until a signal comes or it ends; then stop all that is left."""
    settings, parts = instance.settings, instance.parts
    news = SupervisorNews(supervision_file(settings, parts, "log"))
    conf = str(supervision_file(settings, parts, "conf"))
    supervisor = _start(instance, [sys.executable, "-m", "supervisor.supervisord", "-c", conf])
    names = [PART_NAMES[part] for part in parts]
    together = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    say(f"starting {together}; logs are in {settings.logs}")
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy between this machine and itself
            shim = Settings.from_env(instance.inherited)
            startup = Startup(settings, shim, parts, session, instance.commands.node_problem)
            stopped = StoppedProcesses(partial(instance_processes, settings.home, parts))
            watch(supervisor, news, stop, startup, stopped)
    finally:
        stop_child(supervisor, SUPERVISOR_STOPS_S)
        stop_processes(instance_processes(settings.home, parts))
    say("everything is stopped")
    return 0 if stop.received else 1


def _start(instance: Instance, command: Sequence[str], stdout: TextIO | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own: Ctrl-C reaches this process alone, which stops the rest in order."""
    return subprocess.Popen(
        [*LAUNCHER, *command], cwd=REPOSITORY, env=instance.inherited, stdout=stdout, start_new_session=True
    )


def watch(
    supervisor: subprocess.Popen[bytes],
    news: SupervisorNews,
    stop: StopSignals,
    startup: Startup,
    stopped: StoppedProcesses,
) -> None:
    """Report progress, readiness (once, on stdout) and restarts, until a signal comes or supervisord ends."""
    ready, state = False, ""
    while not stop.received:
        if supervisor.poll() is not None:
            say(f"the supervisor ended with status {supervisor.returncode}; stopping the rest")
            return
        for sentence in (*stopped.kill(), *news.ended()):
            say(sentence)
        if not ready:
            before, (ready, state) = state, startup.look()
            if ready:
                print(state, flush=True)
                if problem := startup.studio_problem():
                    say(f"warning: {problem}")
            elif state != before:
                say(state)
        time.sleep(POLL_S)
    say("stopping; this takes a few seconds")


@as_command
def main(arguments: Sequence[str], commands: Commands) -> int:
    """Read the command line and the environment, then serve."""
    parser = argparse.ArgumentParser(prog="scripts/serve.sh", description=__doc__)
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="which to start, with commas between (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        parts = parse_parts(options.parts)
    except ValueError as error:
        parser.error(str(error))
    settings = NodeSettings.from_env(os.environ)
    try:
        return serve(Instance(settings, commands, os.environ, parts))
    except OSError as error:
        raise FileUnusable(f"{error}; LAYOUTLOOP_HOME and MODEL_DIR must be folders that can be written") from error
