"""A content-addressed store of small files, bounded in bytes, shared by the workers of one machine."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

logger = logging.getLogger(__name__)

_STALE_S = 3600
_DIGEST_BYTES = 32
_RESERVE_BYTES = 16 * 2**20
_RESERVE = "reserve"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FileCache:
    """Files at `<folder>/<aa>/<sha256>`, written atomically; the least recently used go first.

    A cache that cannot be written (full disk, read-only) is a warning, never an error of the page. A file begins
    with the sha256 of what follows; one that was damaged (a crash, a bad disk) counts as not there.

    Of all that stands on a disk pages can be made anew: where it is full, the cache gives back its reserve and half of
    what it keeps, so that job records and logs can be written, and takes nothing until there is room again.

    Args:
        folder: made when it is missing.
        max_bytes: what all files together may take; a sweep brings them to 90 % of it. A cache of 256 MiB and more
            has a reserve in it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open the cache and sweep it once."""
        self._folder = folder
        self._reserve_bytes = _RESERVE_BYTES if max_bytes >= 16 * _RESERVE_BYTES else 0
        self._max_bytes = max_bytes - self._reserve_bytes
        self._unswept = 0
        self._is_closed = self._saw_reserve = False
        self._sweep()
        self._has_room()

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
        """Keep `data` under `key`, where there is room."""
        path = self._path(key)
        try:
            if not self._has_room():
                return
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
            if error.errno in _FULL:
                self._give_back()
            return
        self._unswept += _DIGEST_BYTES + len(data)
        if self._unswept > self._max_bytes // 20:
            self._sweep()

    def _has_room(self) -> bool:
        """Whether a page may be kept: there is room besides the reserve, which is made where it is not there."""
        if not self._reserve_bytes:
            return True
        reserve = self._folder / _RESERVE
        try:
            free = shutil.disk_usage(self._folder).free
            if free < self._reserve_bytes // 4:
                self._give_back()
                return False
            if not reserve.exists():
                if free < 2 * self._reserve_bytes:
                    return False
                _take_up(reserve, self._reserve_bytes)
            self._saw_reserve = True
        except FileNotFoundError:
            return True  # before the first page there is no folder
        except OSError as error:
            logger.warning("the page cache has no reserve: %s", error)
            return error.errno not in _FULL
        if self._is_closed:
            logger.warning("there is room again: the page cache keeps pages")
        self._is_closed = False
        return True

    def _give_back(self) -> None:
        """Delete the reserve, and half of the pages: whichever worker of the machine is the first.

        A worker that has seen no reserve cannot tell: there may never have been room for one. It deletes pages once.
        """
        is_once = not self._is_closed and not self._saw_reserve
        if not self._is_closed:
            logger.warning("the disk of %s is full: the page cache gives back what it can", self._folder)
        self._is_closed = True
        with contextlib.suppress(OSError):
            (self._folder / _RESERVE).unlink(missing_ok=is_once)
            self._sweep(sum(size for _, size, _ in self._entries()) // 2)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _sweep(self, most_bytes: int | None = None) -> None:
        """Delete the least recently used until the rest takes `most_bytes`; 90 % of all it may, where it has more."""
        self._unswept = 0
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        if most_bytes is None:
            most_bytes = self._max_bytes - self._max_bytes // 10 if total > self._max_bytes else total
        for _, size, path in sorted(entries):
            if total <= most_bytes:
                return
            _remove(path)
            total -= size

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return when each file was last used, its size and path; what a crash left half written is deleted."""
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
        return entries


def _take_up(path: Path, size: int) -> None:
    """Make a file that takes up room; several workers may do so at once."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the page cache cannot be swept: %s", error)
