"""Find and stop the processes of one LayoutLoop instance, whatever their parent is by now."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from layoutloop.processes.parts import PARTS

INSTANCE = "_LAYOUTLOOP_INSTANCE"
"""The variable every process of an instance inherits; its value is LAYOUTLOOP_HOME."""

PART = "_LAYOUTLOOP_PART"
"""The variable that says which part of the instance a process belongs to; what holds several names them all."""

GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


def instance_processes(home: Path, parts: Sequence[str] = PARTS) -> list[psutil.Process]:
    """Return every process started for these parts of a home, except this one and its parents."""

    def belongs(process: psutil.Process) -> bool:
        environ = process.environ()
        if environ.get(INSTANCE) != str(home):
            return False
        return PART not in environ or not set(parts).isdisjoint(environ[PART].split(","))

    return _matching(belongs)


def torchserve_processes(tmp: Path) -> list[psutil.Process]:
    """Return the Java process and the workers of the TorchServe whose private temporary folder is `tmp`."""
    java_option = f"-Djava.io.tmpdir={tmp}"

    def belongs(process: psutil.Process) -> bool:
        arguments = process.cmdline()
        if java_option in arguments:
            return True
        is_worker = any(argument.endswith("model_service_worker.py") for argument in arguments)
        return is_worker and any(argument.startswith(f"{tmp}/") for argument in arguments)

    return _matching(belongs)


def stop_child(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Send a child SIGTERM, after `grace_s` seconds SIGKILL, and wait for its end."""
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def stop_processes(processes: Sequence[psutil.Process], grace_s: float = 10.0) -> None:
    """Send all SIGTERM, after `grace_s` seconds SIGKILL to those that still run, and wait for their end."""
    for action in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            try:
                action(process)
            except GONE:
                continue
        _, processes = psutil.wait_procs(processes, timeout=grace_s)


def _matching(belongs: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for pid in psutil.pids():  # not process_iter: it keeps the old process of a number that was reused
        try:
            process = psutil.Process(pid)
            if pid not in spared and process.status() != psutil.STATUS_ZOMBIE and belongs(process):
                found.append(process)
        except GONE:
            continue
    return found
