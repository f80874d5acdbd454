"""Processes that are stopped and not dead (SIGSTOP, a debugger that was left): no signal but SIGKILL ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil

from node.processes import GONE

STOPPED_S = 30.0
"""For so long a process may stand still: who stops one to look at it has that long."""
LOOK_S = 5.0


class StoppedProcesses:
    """Kills those that stand still, so that whoever started them starts them again.

    Args:
        find: the processes that may be killed.
        stopped_s: for so long each may stand still.
    """

    def __init__(self, find: Callable[[], Sequence[psutil.Process]], stopped_s: float = STOPPED_S) -> None:
        """Look at none yet."""
        self._find = find
        self._stopped_s = stopped_s
        self._since: dict[psutil.Process, float] = {}
        self._look_at = 0.0

    def kill(self) -> list[str]:
        """Look, at most every few seconds; return a sentence for each process that was killed."""
        now = time.monotonic()
        if now < self._look_at:
            return []
        self._look_at = now + min(LOOK_S, self._stopped_s / 4)
        self._since = {process: self._since.get(process, now) for process in self._find() if _is_stopped(process)}
        due = [process for process, since in self._since.items() if now - since > self._stopped_s]
        return [sentence for process in due if (sentence := _killed(process, self._stopped_s))]


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except GONE:
        return False


def _killed(process: psutil.Process, stopped_s: float) -> str:
    try:
        name = " ".join(process.cmdline()[:4])[:120]
        process.kill()
    except GONE:
        return ""
    return f"process {process.pid} ({name}) stood still for {stopped_s:.0f} s and was killed; it is started again"
