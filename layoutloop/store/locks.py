"""What whoever changes a store holds, and the locks of one machine: files (flock). Those of several: `redis_locks`."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from layoutloop.errors import StoreBusy
from layoutloop.store.writing import private


class Held(Protocol):
    """A lock that is held.

    Args:
        number: of the holder; 0 where the operating system ends the lock with its process, and no sooner.
    """

    @property
    def number(self) -> int:
        """Grows with every holder."""

    def check(self) -> None:
        """See that it is still held; raises LeaseLost."""


@dataclass(frozen=True, slots=True)
class _FileLock:
    number: int = 0

    def check(self) -> None:
        """It is held until this process ends."""


FILE_LOCK: Held = _FileLock()


@contextmanager
def file_lock(folder: Path, name: str, *, wait: bool = True) -> Iterator[Held]:
    """Hold the lock of a model's folder, which is made where it is missing.

    Raises:
        StoreBusy: another process holds it and `wait` is off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", opener=private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise StoreBusy(f"another process is changing {name}") from error
        yield FILE_LOCK
