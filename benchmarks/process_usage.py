"""What a process and all that it started use: CPU seconds, memory."""

from __future__ import annotations

import contextlib
import time

import psutil


def cpu_seconds(process_id: int) -> float:
    """Return the CPU time of a process, of all it started and of what these started."""
    total = 0.0
    for one in (psutil.Process(process_id), *psutil.Process(process_id).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a program that has just ended
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def held_by(process_id: int) -> dict[int, tuple[str, float]]:
    """Return name and resident memory (MiB) of a process and all it started, by process id."""
    time.sleep(3)  # what has just ended is gone then
    family = [psutil.Process(process_id), *psutil.Process(process_id).children(recursive=True)]
    return {one.pid: (" ".join(one.cmdline())[-60:], one.memory_info().rss / 2**20) for one in family}
