"""A content-addressed store of small files, bounded in bytes, shared by the workers of one machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path

logger = logging.getLogger(__name__)

_STALE_S = 3600
_DIGEST_BYTES = 32


class FileCache:
    """Files at `<folder>/<aa>/<sha256>`, written atomically; the least recently used go first.

    A cache that cannot be written (full disk, read-only) is a warning, never an error of the page. A file begins
    with the sha256 of what follows; one that was damaged (a crash, a bad disk) counts as not there.

    Args:
        folder: made when it is missing.
        max_bytes: what all files together may take; a sweep brings them to 90 % of it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open the cache and sweep it once."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._unswept = 0
        self._sweep()

    @staticmethod
    def key(*parts: bytes) -> str:
        """Return the sha256 of the parts, each preceded by its length so that no two lists are alike."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return what was put under `key`, or None."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # read-only, or another user's: it is a hit all the same
            os.utime(path)
        content = data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != data[:_DIGEST_BYTES]:
            logger.warning("a damaged entry of the page cache is left aside")
            return None
        return content

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(data).digest() + data)
                os.replace(name, path)
            except OSError:
                os.unlink(name)
                raise
        except OSError as error:
            logger.warning("the page cache cannot be written: %s", error)
            return
        self._unswept += _DIGEST_BYTES + len(data)
        if self._unswept > self._max_bytes // 20:
            self._sweep()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _sweep(self) -> None:
        self._unswept = 0
        entries: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            if path.name.startswith(".new-"):
                # Another worker is writing it, unless it is what a crash left behind.
                if time.time() - status.st_mtime > _STALE_S:
                    _remove(path)
                continue
            entries.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in entries) - self._max_bytes
        if excess <= 0:
            return
        excess += self._max_bytes // 10
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            _remove(path)
            excess -= size


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the page cache cannot be swept: %s", error)
