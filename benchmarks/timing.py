"""What measurements share: time on the clock and of the CPU, how it spreads, and on which machine it was taken."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

TAIL = 0.99
_FAST_PRODUCTS = ("amx_bf16", "amx_int8", "avx512_bf16")


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the clock, and of all cores together."""

    wall_s: float
    cpu_s: float


class Clock:
    """Measures from its making on."""

    def __init__(self) -> None:
        """Start."""
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def spent(self) -> Spent:
        """Return what passed since the start."""
        return Spent(time.perf_counter() - self._wall, cpu_seconds() - self._cpu)


def timed(run: Callable[[], object]) -> Spent:
    """Return what a call takes."""
    clock = Clock()
    run()
    return clock.spent()


def cpu_seconds() -> float:
    """Return the CPU time so far of this process and of the ended ones that it started."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cpu_seconds_of(process_id: int) -> float:
    """Return the CPU time of another process, of all it started and of what these started."""
    total = 0.0
    for one in (psutil.Process(process_id), *psutil.Process(process_id).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a program that has just ended
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def held_by(process_id: int) -> dict[int, tuple[str, float]]:
    """Return name and resident memory (MiB) of a process and all it started, by process id."""
    held = {}
    for one in (psutil.Process(process_id), *psutil.Process(process_id).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            held[one.pid] = (" ".join(one.cmdline())[-60:], one.memory_info().rss / 2**20)
    return held


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of the values that so many of them (a share of 1) do not exceed: one that was measured."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def tail(values: Sequence[float]) -> tuple[str, float]:
    """Return `p99` and the 99th percentile; below 100 values that would be the highest, which then is its name."""
    return ("p99" if len(values) >= round(1 / (1 - TAIL)) else "highest", percentile(values, TAIL))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median with the lowest and the highest; a single value as it is."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def machine() -> str:
    """Return on what a measurement runs: CPU, cores, its fast products, torch and its threads, GPU, load average."""
    known: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        known[name.strip()] = value.strip()
    flags = [flag for flag in _FAST_PRODUCTS if flag in known.get("flags", "").split()]
    parts = [known.get("model name", "unknown CPU"), f"{len(os.sched_getaffinity(0))} cores"]
    parts += [" ".join(flags) or "neither amx nor avx512_bf16", f"torch {version('torch')}"]
    if "torch" in sys.modules:
        import torch

        parts.append(f"{torch.get_num_threads()} threads")
        parts += [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return f"Machine: {', '.join(parts)}; load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}"
