"""Where job records lie: an SQLite file on one machine, Redis for several. Both change them atomically."""

from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from layoutloop.errors import JobsUnavailable, SettingsInvalid
from layoutloop.jobs.job import Job
from layoutloop.jobs.rules import Change

logger = logging.getLogger(__name__)

T = TypeVar("T")

REDIS_KEY = "layoutloop:jobs"
"""A hash: job id -> record as JSON."""
_BUSY_S = 5.0
"""How long a change waits for others before it gives up."""


class Records(Protocol):
    """Job records that several processes change at once. One that cannot be read is passed over and stays."""

    def read(self, only: str | None = None) -> dict[str, Job]:
        """Return the records, or the one with the id `only` (if it is there)."""

    def change(self, rule: Callable[[Mapping[str, Job]], Change[T]], only: str | None = None) -> T:
        """Apply a rule as one atomic read and write, and return its result.

        Args:
            rule: pure, since it may run more than once. What it raises leaves the records as they were.
            only: the rule needs this record alone.

        Raises:
            JobsUnavailable: the records cannot be read or written now.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def open_records(url: str) -> Records:
    """Return the records at `sqlite:///abs/path/jobs.db`, `redis://host:6379/0` or `rediss://...`; asks nobody yet.

    Raises:
        SettingsInvalid: another kind of address.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return SqliteRecords(Path(unquote(parts.path)))
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return RedisRecords(url)
    raise SettingsInvalid(f"job records are at sqlite:///path or redis://host:6379/0, got {parts.scheme!r}")


class SqliteRecords:
    """One row per job in an SQLite file, opened at the first use.

    WAL lets the shim read while the trainer writes; `synchronous=NORMAL` then waits for the disk only at checkpoints,
    so that a webhook is answered fast while training keeps the machine busy. A killed process loses nothing by it; a
    machine that loses power may lose the last moments. WAL needs a local disk: several machines need Redis.
    """

    def __init__(self, path: Path) -> None:
        """Keep the path."""
        self._path = path
        self._lock = threading.Lock()  # one connection, used by many threads in turn
        self._connection: sqlite3.Connection | None = None
        self._decoder = _Decoder(str(path))

    def read(self, only: str | None = None) -> dict[str, Job]:
        """As `Records` says."""
        with self._lock, self._explained():
            return self._decoder.jobs(_rows(self._opened(), only))

    def change(self, rule: Callable[[Mapping[str, Job]], Change[T]], only: str | None = None) -> T:
        """As `Records` says."""
        with self._lock, self._explained(), self._opened() as connection:  # commits, or rolls back what was begun
            change = rule(self._decoder.jobs(_rows(connection, only)))
            if not (change.put or change.drop):
                return change.result  # the usual case: it waited for no writer
            connection.execute("BEGIN IMMEDIATE")
            change = rule(self._decoder.jobs(_rows(connection, only)))
            connection.executemany(
                "INSERT OR REPLACE INTO jobs (id, record) VALUES (?, ?)", [(job.id, _text(job)) for job in change.put]
            )
            connection.executemany("DELETE FROM jobs WHERE id = ?", [(job_id,) for job_id in change.drop])
            return change.result

    def close(self) -> None:
        """As `Records` says."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its other files the mode of this one. One that exists must not be opened and closed beside
            # SQLite: that would drop the locks of this process.
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection)
            except sqlite3.Error:
                connection.close()
                raise
            weakref.finalize(self, connection.close)
            self._connection = connection
        return self._connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JobsUnavailable(
                f"the job records in {self._path} cannot be used: {error}; LAYOUTLOOP_HOME must be a folder on a "
                "local disk that can be written"
            ) from error


class RedisRecords:
    """A hash in Redis, changed under WATCH and tried again where somebody else was faster."""

    def __init__(self, url: str) -> None:
        """Make the client; it connects at the first use."""
        parts = urlsplit(url)
        self._place = f"{parts.hostname}:{parts.port or 6379}"
        self._decoder = _Decoder(f"Redis at {self._place}")
        # One more try at once, for a connection that went stale: whoever asks has pauses of their own.
        self._client = redis.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # a record that is no text is passed over like any other that is none
            socket_timeout=_BUSY_S,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 1),
        )

    def read(self, only: str | None = None) -> dict[str, Job]:
        """As `Records` says."""
        with self._explained():
            return self._decoder.jobs(_from_hash(self._client, only))

    def change(self, rule: Callable[[Mapping[str, Job]], Change[T]], only: str | None = None) -> T:
        """As `Records` says."""
        end = time.monotonic() + _BUSY_S
        with self._explained(), self._client.pipeline() as pipeline:
            while True:
                try:
                    return _attempt(pipeline, lambda found: rule(self._decoder.jobs(found)), only)
                except redis.WatchError as error:
                    if time.monotonic() > end:
                        raise JobsUnavailable(
                            f"the job records in Redis at {self._place} changed all the time"
                        ) from error
                    time.sleep(random.uniform(0, 0.01))  # noqa: S311 - spreads those who met

    def close(self) -> None:
        """As `Records` says."""
        self._client.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            # The client's own message may not be shown: it is not ours to say that it holds no password.
            raise JobsUnavailable(
                f"the job records in Redis at {self._place} cannot be used ({type(error).__name__}); "
                "see that it runs and that REDIS_URL has the right host, port and password"
            ) from error


class _Decoder:
    """Reads records, and says once of each that is none.

    Args:
        place: where they lie, for the log.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._told: set[str] = set()

    def jobs(self, records: Mapping[str, str]) -> dict[str, Job]:
        """Return the jobs of records by id, without those that are none: one of them must not stop all the others."""
        found = {}
        for job_id, record in records.items():
            try:
                job = Job.from_json(json.loads(record))
                if job.id != job_id:
                    raise ValueError(f"the record says that it is job {job.id}")
                found[job_id] = job
            except (ValueError, TypeError, RecursionError) as error:  # TypeError: SQLite gives what was put in, a BLOB
                if job_id not in self._told:
                    self._told.add(job_id)
                    logger.warning("job %.80r in %s is passed over: %s; delete its record", job_id, self._place, error)
        return found


def _attempt(pipeline: redis.client.Pipeline, rule: Callable[[Mapping[str, str]], Change[T]], only: str | None) -> T:
    pipeline.watch(REDIS_KEY)  # type: ignore[no-untyped-call]
    change = rule(_from_hash(pipeline, only))  # raised here, the connection goes back without the watch
    if change.put or change.drop:
        pipeline.multi()
        if change.put:
            pipeline.hset(REDIS_KEY, mapping={job.id: _text(job) for job in change.put})
        if change.drop:
            pipeline.hdel(REDIS_KEY, *change.drop)
        pipeline.execute()
    else:
        pipeline.unwatch()
    return change.result


def _from_hash(client: redis.Redis, only: str | None) -> dict[str, str]:
    if only is None:
        return cast("dict[str, str]", client.hgetall(REDIS_KEY))
    record = cast("str | None", client.hget(REDIS_KEY, only))
    return {} if record is None else {only: record}


def _prepare(connection: sqlite3.Connection) -> None:
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            # SQLite does not wait by itself where two processes make the file's first WAL at once.
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, record TEXT NOT NULL)")


def _rows(connection: sqlite3.Connection, only: str | None) -> dict[str, str]:
    if only is None:
        rows: list[Any] = connection.execute("SELECT id, record FROM jobs").fetchall()
    else:
        rows = connection.execute("SELECT id, record FROM jobs WHERE id = ?", (only,)).fetchall()
    return dict(rows)


def _text(job: Job) -> str:
    return json.dumps(job.to_json(), ensure_ascii=False)
