"""Whether the disk below a folder can still be written: a full one is no error until something is lost by it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from layoutloop.store.path import StorePath

LEAST_FREE_BYTES = 32 * 2**20
"""More than the page cache gives back where its disk is full: that it had to is told until there is room again."""


def disk_problem(folder: StorePath, name: str) -> str:
    """Return a sentence about a disk that is full, or cannot be written; "" where it is well, not there, or at a URL.

    Args:
        folder: on that disk.
        name: what a person calls the folder.
    """
    if not isinstance(folder, Path):
        return ""
    try:
        free, is_writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"The disk of {name} ({folder}) fails: {error.strerror}; nothing can be kept on it."
    if not is_writable:
        return f"{name} ({folder}) cannot be written; nothing can be kept there."
    if free < LEAST_FREE_BYTES:
        return (
            f"The disk of {name} ({folder}) is full (less than {LEAST_FREE_BYTES // 2**20} MiB left); free some space. "
            "Pages are read, but job records, logs and trainings may not be written."
        )
    return ""
