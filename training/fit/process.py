"""The training process, as the job's process sees it: start it (one for each GPU), follow it, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from layoutloop.errors import TrainingFailed, TrainingRefused
from layoutloop.store.locks import file_lock
from training.fit.progress import Progress

REFUSED = 65
"""Exit status of a training that would be refused again (EX_DATAERR of sysexits.h); `refusal.txt` says why."""
_TICK_S = 0.2
_TELL_EVERY_S = 2.0
_GRACE_S = 15.0


def run_training(folder: Path, processes: int, told: Callable[[Progress], None]) -> Progress:
    """Train what lies in a job's folder, and return its last progress; at once where that was done before.

    Args:
        folder: see `training.fit.train`.
        processes: how many share the work, 0 for one for each GPU.
        told: called now and then; what it raises stops the training.

    Raises:
        TrainingRefused: it cannot be done with this base and these pages.
        TrainingFailed: it ended without a checkpoint.
    """
    with file_lock(folder / "steps", "steps"):
        pass  # a training whose job was killed may still be writing its last state
    if not (folder / "checkpoint").is_dir():
        # Threads that spin while they wait take the processor from the others: where both cores had other work,
        # 81 steps of a tiny model took 5 s instead of minutes.
        environ = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        child = subprocess.Popen(_command(folder, processes or _gpus()), env=environ)
        try:
            _follow(child, folder, told)
        finally:
            _stop(child)
        if child.returncode == REFUSED:
            raise TrainingRefused((folder / "refusal.txt").read_text())
        if child.returncode != 0 or not (folder / "checkpoint").is_dir():
            raise TrainingFailed(f"the training process ended {_how(child.returncode)}; its log says why")
    return Progress.read(folder) or Progress()


def _command(folder: Path, processes: int) -> list[str]:
    """Return the command; the launcher lets it end with this process, so that no two train in one folder."""
    module = ["-m", "training.fit.train", str(folder)]
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, "-m", "layoutloop.processes.launch", "--", sys.executable, *several, *module]


def _gpus() -> int:
    import torch  # takes seconds, and only this question needs it

    return max(1, torch.cuda.device_count())


def _follow(child: subprocess.Popen[bytes], folder: Path, told: Callable[[Progress], None]) -> None:
    last = float("-inf")
    while child.poll() is None:
        time.sleep(_TICK_S)
        if time.monotonic() - last > _TELL_EVERY_S and (progress := Progress.read(folder)) is not None:
            last = time.monotonic()
            told(progress)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask a process that still runs to keep its state and end; one that does not is killed."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
