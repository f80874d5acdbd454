"""Files that are wrong for a while: something else is in their place, then they are as they were."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_in_place_of(path: Path) -> Iterator[None]:
    """Have a folder with something in it where a file belongs."""
    kept = path.read_bytes() if path.is_file() else None
    path.unlink(missing_ok=True)
    (path / "in it").mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(path)
        if kept is not None:
            path.write_bytes(kept)


@contextmanager
def content_of(path: Path, content: bytes) -> Iterator[None]:
    """Have other content in a file."""
    kept = path.read_bytes() if path.is_file() else None
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if kept is not None:
            path.write_bytes(kept)
