"""What TorchServe answered, kept for as long as the shim runs: JSON by what it was made of.

It is in an SQLite file, not in this process, so that the shim is as small after ten thousand tasks as after ten. The
file has no name once it is open, and ends with the process: it holds the words of documents, and after a start a node
may have another engine or version, which the versions do not show.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LIMIT_BYTES = 256 * 2**20
"""Compressed. A page of words has 4 to 12 kB (43 more with the thumbnail that some models need), its regions 1 to 4."""
_FAST = 1
_TABLE = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -500;
CREATE TABLE answers (key BLOB PRIMARY KEY, used INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX used ON answers (used);
"""


class AnswerCache:
    """JSON bodies by their keys; the least recently used go first. For use from many threads.

    A disk that is full, or fails, costs the cache and nothing else: it begins anew after a pause.

    Args:
        path: where the file is made, for a moment; one that is there is replaced.
        limit_bytes: of all bodies, compressed.
        pause_s: after a failure.
    """

    def __init__(self, path: Path, limit_bytes: int = _LIMIT_BYTES, pause_s: float = 60.0) -> None:
        """Keep the path; the file is made at the first use."""
        self._path = path
        self._limit_bytes = limit_bytes
        self._pause_s = pause_s
        self._lock = threading.Lock()  # one connection, used by many threads in turn
        self._database: sqlite3.Connection | None = None
        self._bytes = 0
        self._closed_until = 0.0

    def get(self, key: tuple[object, ...]) -> dict[str, Any] | None:
        """Return what was put under a key, None where it is not known (any more)."""

        def find(database: sqlite3.Connection) -> dict[str, Any] | None:
            query = "UPDATE answers SET used = ? WHERE key = ? RETURNING body"
            row = database.execute(query, [time.monotonic_ns(), _digest(key)]).fetchone()
            return json.loads(zlib.decompress(row[0])) if row else None

        return self._with_database(find)

    def put(self, key: tuple[object, ...], body: dict[str, Any]) -> None:
        """Keep a body; one larger than the limit is not kept."""
        name, packed = _digest(key), zlib.compress(json.dumps(body).encode(), _FAST)

        def keep(database: sqlite3.Connection) -> None:
            self._drop(database, "?", name)
            database.execute("INSERT INTO answers VALUES (?, ?, ?)", [name, time.monotonic_ns(), packed])
            self._bytes += len(packed)
            while self._bytes > self._limit_bytes:
                self._drop(database, "(SELECT key FROM answers ORDER BY used LIMIT 1)")

        if len(packed) <= self._limit_bytes:
            self._with_database(keep)

    def _drop(self, database: sqlite3.Connection, key: str, *values: bytes) -> None:
        """Delete a row, if it is there."""
        query = f"DELETE FROM answers WHERE key = {key} RETURNING length(body)"  # noqa: S608 - constants alone
        self._bytes -= sum(length for (length,) in database.execute(query, values).fetchall())

    def _with_database(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Give the open file to one thread at a time; None for a while after a failure."""
        with self._lock:
            if time.monotonic() < self._closed_until:
                return None
            try:
                return work(self._database or self._open())
            except (sqlite3.Error, OSError, zlib.error, ValueError) as error:
                logger.warning("answers cannot be cached in %s, pages are read again: %s", self._path, error)
                self._closed_until = time.monotonic() + self._pause_s
                if self._database:
                    self._close()
                    self._database = None
                return None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self._database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._bytes, self._close = 0, weakref.finalize(self, self._database.close)
        self._database.executescript(_TABLE)
        self._path.unlink()
        return self._database


def _digest(key: tuple[object, ...]) -> bytes:
    """Return a short name for a key; its parts may be anything whose `repr` tells it from others."""
    return hashlib.sha256(repr(key).encode()).digest()
