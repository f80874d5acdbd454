"""What a soak does to a LayoutLoop while it serves: kills, processes that stand still, a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.soak_load import Load
from node.processes import GONE, instance_processes

_FULL_S = 10.0
ROLES = {
    "model_service_worker": "TorchServe worker",
    "scripts.retrain": "training",
    "training.fit": "training",
    "scripts.worker": "trainer",
    "scripts.rollout": "watcher",
    "rollout": "watcher",
    "shim": "shim",
    "supervis": "supervisor",
}


def role_of(process: psutil.Process) -> str:
    """Return what a process of LayoutLoop does."""
    if process.name() == "java":
        return "TorchServe's Java"
    arguments = process.cmdline()
    return next((role for part, role in ROLES.items() if any(part in one for one in arguments)), "others")


def processes_of(home: Path, role: str) -> list[psutil.Process]:
    """Return the processes of a LayoutLoop that do something, those that were started first before the others."""
    found = []
    for process in instance_processes(home):
        with suppress(*GONE):
            if role_of(process) == role:
                found.append((process.create_time(), process.pid, process))
    return [process for *_, process in sorted(found, key=lambda one: one[:2])]


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mount a disk at a folder, and say whether that is allowed here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Faults:
    """Does one fault after the other to a LayoutLoop.

    Args:
        home: its LAYOUTLOOP_HOME.
        load: whose shim it is.
        may_fill: whether the home has a disk of its own.
        pause_s: between two faults.
        done: how often each was done.
    """

    home: Path
    load: Load
    may_fill: bool
    pause_s: float
    done: dict[str, int] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Go on until `end`."""
        while True:
            for name, fault in self._all().items():
                if self._ended.wait(self.pause_s):
                    return
                print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
                with suppress(*GONE, IndexError):  # none of its kind runs at this moment
                    fault()
                    self.done[name] = self.done.get(name, 0) + 1

    def end(self) -> None:
        """Do no more."""
        self._ended.set()

    def _all(self) -> dict[str, Callable[[], None]]:
        faults: dict[str, Callable[[], None]] = {
            "kill -9: a TorchServe worker": lambda: self._one("TorchServe worker").kill(),
            "kill -9: the shim's worker": self._kill_shim,
            "SIGSTOP: a TorchServe worker": lambda: self._one("TorchServe worker").send_signal(signal.SIGSTOP),
            "a full disk": self._fill,
            "kill -9: the trainer": lambda: self._one("trainer").kill(),
            "kill -9: the watcher": lambda: self._one("watcher").kill(),
            "kill -9: TorchServe's Java": lambda: self._one("TorchServe's Java").kill(),
        }
        return {name: fault for name, fault in faults.items() if self.may_fill or name != "a full disk"}

    def _one(self, role: str) -> psutil.Process:
        return processes_of(self.home, role)[-1]

    def _kill_shim(self) -> None:
        self.load.killed_at = time.monotonic()
        self._one("shim").kill()  # gunicorn's worker was started by its other process

    def _fill(self) -> None:
        path = self.home / "all.fill"
        with open(path, "wb", buffering=0) as file, suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(2**20))
        self._ended.wait(_FULL_S)
        path.unlink()
