"""The process that does a job: started nice and bound to its worker, stopped with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from layoutloop.jobs.job import Job
from layoutloop.settings.node import REPOSITORY

KEPT_LOGS = 50
NICENESS = 10
"""Serving comes first where both want the processor."""
_LAUNCH = (sys.executable, "-m", "layoutloop.processes.launch")
_TICK_S = 0.05
_TAIL_LINES = 8
_TAIL_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs its processes.

    Args:
        command: becomes a job's process, with `--job ID --attempt N` added.
        logs: folder of the jobs' logs.
        environ: of the process.
    """

    command: Sequence[str]
    logs: Path
    environ: Mapping[str, str]


def start_process(place: Place, job: Job, log: Path) -> subprocess.Popen[bytes]:
    """Start a job's process: nice, in a session of its own, told to end (SIGTERM) by the kernel where the worker dies.

    The calling thread lasts as long as the worker: the kernel means the thread that starts it. The launcher prepares
    the process: other threads run here, and what one of them held at the fork would stay locked in code that runs
    before the program does.

    Raises:
        OSError: it cannot be started, or its log cannot be written.
        SubprocessError: the same.
    """
    place.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = (path for path in place.logs.glob("*.log") if path.is_file())
    newest_first = sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True)
    for old in newest_first[KEPT_LOGS - 1 :]:
        if old != log:
            old.unlink(missing_ok=True)
    launch = [*_LAUNCH, "--nice", str(NICENESS), "--parent", str(os.getpid()), "--"]
    command = [*launch, *place.command, "--job", job.id, "--attempt", str(job.attempt)]
    with log.open("ab") as output:
        output.write(f"--- attempt {job.attempt}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        output.flush()
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=place.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether the process ended; it stays a zombie until `stop_group`, so that its group's number stays taken."""
    if child.returncode is not None:
        return True
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stop_group(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a process and everything in its group: SIGTERM if it still runs, and after `grace_s` SIGKILL for the rest."""
    end = time.monotonic() + grace_s
    if not has_ended(child):
        os.killpg(child.pid, signal.SIGTERM)
    while not has_ended(child) and time.monotonic() < end:
        time.sleep(_TICK_S)
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # also what a training process left behind
        child.wait()


def tail(log: Path) -> str:
    """The last lines of a log, as one; progress bars count as lines."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 16 * _TAIL_CHARACTERS))
            text = stream.read().decode(errors="replace").replace("\r", "\n")
    except OSError:
        return ""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]
