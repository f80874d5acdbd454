"""What a folder says of itself that is a copy of a model store: of which one, and whether it ever was whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from layoutloop.store.path import StorePath

_FILLING = ".filling"
"""Lies in a copy that never was whole. Of any other, what it says holds until the store answers again."""
_ORIGIN = ".origin"
"""Names the store."""

_LOST_AND_FOUND = "lost+found"

FIRST_COPY = (
    "the model store is being read for the first time; that takes some seconds, "
    "and where it lasts, the shim's log says why"
)


def begin_copy(folder: Path, store: StorePath) -> None:
    """Make a folder a copy of a store; what it holds stays if it was copied from there, else it goes.

    Another MODEL_DIR than before would be answered from the old one's models until the new one was read.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _origin_of(folder) == str(store):
        return
    (folder / _FILLING).touch()  # first: what is left of a run that is killed here never was whole
    for left in folder.iterdir():
        if left.is_dir():  # of a disk of its own `lost+found` cannot be deleted
            shutil.rmtree(left, ignore_errors=left.name == _LOST_AND_FOUND)
        elif left.name != _FILLING:
            left.unlink()
    (folder / _ORIGIN).write_text(str(store), encoding="utf-8")


def end_filling(folder: Path) -> None:
    """Note that a copy is whole."""
    (folder / _FILLING).unlink(missing_ok=True)


def is_filling(folder: StorePath) -> bool:
    """Return whether a folder is a copy that never was whole: what is missing in it may be in the store."""
    return isinstance(folder, Path) and (folder / _FILLING).exists()


def store_of(folder: StorePath) -> str:
    """Return what a person calls the model store that is read in a folder: itself, or what it is a copy of."""
    return (_origin_of(folder) if isinstance(folder, Path) else "") or str(folder)


def _origin_of(folder: Path) -> str:
    try:
        return (folder / _ORIGIN).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
