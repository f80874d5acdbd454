"""Files that are replaced as a whole: a reader finds the old one or the new one, in a folder and at a URL."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from layoutloop.store.path import StorePath


def write_json(path: StorePath, body: Any) -> None:
    """Replace a JSON file atomically, on disk before it has its name."""
    write_bytes(path, (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode())


def file_mode(folder: Path) -> int:
    """Return who may read a file in a folder: its owner; and its group where the folder hands that on (set-group-ID).

    So it is with a volume of Kubernetes, which containers of several users share by their group.
    """
    shared = folder.stat().st_mode & stat.S_ISGID
    return 0o660 if shared else 0o600


def private(path: str, flags: int) -> int:
    """Open a file for `open(..., opener=private)`, which then is as `file_mode` says, whatever the umask."""
    mode = file_mode(Path(path).parent)
    descriptor = os.open(path, flags, mode)
    with suppress(PermissionError):  # another user of the group has made it
        os.fchmod(descriptor, mode)
    return descriptor


def write_bytes(path: StorePath, content: bytes, mode: int | None = None) -> None:
    """Replace a file atomically; at a URL it is one request, which an object store carries out whole or not at all.

    Args:
        path: of the file.
        content: of the file.
        mode: who may read it; `file_mode` by default, and at a URL the store's own rules say so.
    """
    if not isinstance(path, Path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, file_mode(path.parent) if mode is None else mode)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def sha256_of(path: StorePath) -> str:
    """Return the hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
