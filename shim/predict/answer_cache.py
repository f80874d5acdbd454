"""What TorchServe answered, kept for as long as the shim runs: JSON by what it was made of.

It lies in an SQLite file, not in this process, so that the shim stays as small after ten thousand tasks as it was after
ten. The file has no name once it is open, and ends with the process: it holds the words of documents, and after a start
a node may have another Tesseract, which the versions do not tell.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

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
    """JSON bodies by their keys; what was not asked for longest goes first. For use from many threads.

    A disk that is full, or fails, costs the memory and nothing else: it begins anew after a pause.

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
        self._connection: sqlite3.Connection | None = None
        self._bytes = self._uses = 0
        self._rests_until = 0.0

    def get(self, key: tuple[object, ...]) -> dict[str, Any] | None:
        """Return what was put under a key, None where it is not known (any more)."""
        name, row = _digest(key), None
        with self._database() as database:
            if database:
                row = database.execute("SELECT body FROM answers WHERE key = ?", [name]).fetchone()
                database.execute("UPDATE answers SET used = ? WHERE key = ?", [self._next_use(), name])
        if row is None:
            return None
        try:
            body: dict[str, Any] = json.loads(zlib.decompress(row[0]))
        except (zlib.error, ValueError) as error:
            with self._lock:
                self._rest(error)
            return None
        return body

    def put(self, key: tuple[object, ...], body: dict[str, Any]) -> None:
        """Keep a body; one larger than the limit is not kept."""
        name, packed = _digest(key), zlib.compress(json.dumps(body).encode(), _FAST)
        if len(packed) > self._limit_bytes:
            return
        with self._database() as database:
            if database:
                self._drop(database, name)
                database.execute("INSERT INTO answers VALUES (?, ?, ?)", [name, self._next_use(), packed])
                self._bytes += len(packed)
                while self._bytes > self._limit_bytes:
                    (oldest,) = database.execute("SELECT key FROM answers ORDER BY used LIMIT 1").fetchone()
                    self._drop(database, oldest)

    def _next_use(self) -> int:
        self._uses += 1
        return self._uses

    def _drop(self, database: sqlite3.Connection, name: bytes) -> None:
        """Delete a row, if it is there."""
        dropped = database.execute("DELETE FROM answers WHERE key = ? RETURNING length(body)", [name]).fetchone()
        self._bytes -= dropped[0] if dropped else 0

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection | None]:
        """Give the open file to one thread at a time; None for a while after a failure."""
        with self._lock:
            database = self._connection or self._begin()
            try:
                yield database
            except sqlite3.Error as error:
                self._rest(error)

    def _begin(self) -> sqlite3.Connection | None:
        if time.monotonic() < self._rests_until:
            return None
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self._rest(error)
            return None

    def _rest(self, error: Exception) -> None:
        logger.warning("answers cannot be remembered in %s, pages are asked for again: %s", self._path, error)
        self._rests_until = time.monotonic() + self._pause_s
        if self._connection is not None:
            self._close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection, self._bytes = connection, 0
        self._close = weakref.finalize(self, connection.close)
        connection.executescript(_TABLE)
        self._path.unlink()
        return connection


def _digest(key: tuple[object, ...]) -> bytes:
    """Return a short name for a key; its parts may be anything whose `repr` tells it from others."""
    return hashlib.sha256(repr(key).encode()).digest()
