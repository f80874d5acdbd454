"""A small disk of its own that can be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk at a folder.

    Where that is not allowed (an ordinary user, a container without CAP_SYS_ADMIN) the test is skipped: nothing else
    makes the kernel refuse a write for want of room, and the tests are run by ordinary users too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk of its own takes the right to mount one: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill a folder's disk to its last byte; return the file that does."""
    path = folder / "all.fill"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        with suppress(OSError):
            while os.write(descriptor, bytes(2**20)):
                pass
        with suppress(OSError):
            while os.write(descriptor, bytes(512)):
                pass
    finally:
        os.close(descriptor)
    return path


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Have no room on a folder's disk for a while."""
    filler = fill(folder)
    try:
        yield
    finally:
        filler.unlink()
