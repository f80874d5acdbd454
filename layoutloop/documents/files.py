"""The files that a person names, one by one or by the folder that they are in."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

DOCUMENTS = frozenset(
    {".pdf", ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".pbm"}
)
"""How files are called that have pages; a folder holds others beside them, such as an export."""


def files_of(paths: Sequence[Path], suffixes: Collection[str] | None = None) -> Iterator[Path]:
    """Yield the files that are named, and those below the folders that are: sorted, without hidden ones.

    A folder that has none of the wanted suffixes is yielded itself: whoever reads it says that it is no page.

    Args:
        paths: files, which are taken whatever they are called, and folders.
        suffixes: of the files that are taken from folders, in lower case; None for all.
    """
    for path in paths:
        if os.path.isdir(path):  # Path.is_dir raises where a folder above may not be searched
            found = (one for one in _walk(path) if suffixes is None or one == path or one.suffix.lower() in suffixes)
            yield from found if suffixes is None else (list(found) or [path])
        else:
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder  # reading it says what is the matter
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry) and not os.path.islink(entry):  # a link may lead back up
            yield from _walk(entry)
        else:
            yield entry
