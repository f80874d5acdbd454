"""Where job records are: an SQLite file on one machine, Redis for several. Both change them atomically."""

from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, TypeVar, cast
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from layoutloop.errors import JobsUnavailable, SettingsInvalid
from layoutloop.jobs.job import Job
from layoutloop.jobs.rules import Change, Jobs
from layoutloop.jobs.shared_wait import SharedWait

logger = logging.getLogger(__name__)

T = TypeVar("T")

REDIS_KEY = "layoutloop:jobs"
"""A hash: job id -> record as JSON."""
BUSY_S = 5.0
"""How long a change waits for others before it gives up; a server's requests have less (`open_records`)."""

Rule = Callable[[Mapping[str, str]], Change[T]]
"""Takes records as JSON by job id."""


class Records(ABC):
    """Job records that several processes change at once. One that cannot be read is skipped and stays.

    Args:
        place: where they are, for messages.
    """

    _advice: ClassVar[str]
    """The rest of a sentence on an error, with {error} in it."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._reported: set[str] = set()

    def read(self, only: str | None = None) -> dict[str, Job]:
        """Return the records, or the one with the id `only` (if it is there).

        Raises:
            JobsUnavailable: they cannot be read now.
        """
        with self._explained():
            return self._jobs(self._read(only))

    def change(self, rule: Callable[[Jobs], Change[T]], only: str | None = None) -> T:
        """Apply a rule as one atomic read and write, and return its result.

        Args:
            rule: pure, since it may run more than once. If it raises, the records stay as they were.
            only: the rule needs this record alone.

        Raises:
            JobsUnavailable: the records cannot be read or written now.
        """
        with self._explained():
            return self._change(lambda found: rule(self._jobs(found)), only)

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    @abstractmethod
    def _read(self, only: str | None) -> dict[str, str]: ...

    @abstractmethod
    def _change(self, rule: Rule[T], only: str | None) -> T: ...

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, redis.RedisError, OSError) as error:
            problem = self._advice.format(error=error)
            raise JobsUnavailable(f"the job records in {self._place} cannot be used{problem}") from error

    def _jobs(self, records: Mapping[str, str]) -> dict[str, Job]:
        """Return the valid records: a bad one is logged once, and does not stop the others."""
        found = {}
        for job_id, record in records.items():
            try:
                job = Job.from_json(json.loads(record))
                if job.id != job_id:
                    raise ValueError(f"the record says that it is job {job.id}")
                found[job_id] = job
            except (ValueError, TypeError, RecursionError) as error:  # TypeError: SQLite returns a BLOB as it was put
                if job_id not in self._reported:
                    self._reported.add(job_id)
                    logger.warning("job %.80r in %s is skipped: %s; delete its record", job_id, self._place, error)
        return found


def open_records(url: str, wait_s: float = BUSY_S) -> Records:
    """Return the records at `sqlite:///abs/path/jobs.db`, `redis://host:6379/0` or `rediss://...`, not opened yet.

    Args:
        url: their address.
        wait_s: so long all callers together wait for records that are locked or silent; then each fails at once.

    Raises:
        SettingsInvalid: another kind of address.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return SqliteRecords(Path(unquote(parts.path)), wait_s)
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return RedisRecords(url, wait_s)
    raise SettingsInvalid(f"job records are at sqlite:///path or redis://host:6379/0, got {parts.scheme!r}")


class SqliteRecords(Records):
    """One row per job in an SQLite file, opened at the first use.

    WAL lets the shim read while the trainer writes; `synchronous=NORMAL` then waits for the disk only at checkpoints,
    so that a webhook is answered fast while training keeps the machine busy. Records survive a killed process; a power
    cut may cost the last moments. WAL needs a local disk: several machines need Redis.
    """

    _advice = ": {error}; LAYOUTLOOP_HOME must be a folder on a local disk that can be written"

    def __init__(self, path: Path, wait_s: float = BUSY_S) -> None:
        """Keep the path."""
        super().__init__(str(path))
        self._path = path
        self._wait = SharedWait(wait_s)  # one connection, used by many threads in turn
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        with self._wait.turn():
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _read(self, only: str | None) -> dict[str, str]:
        with self._turn() as connection:
            return _rows(connection, only)

    def _change(self, rule: Rule[T], only: str | None) -> T:
        with self._turn() as connection, connection:  # commits, or rolls back what was begun
            change = rule(_rows(connection, only))
            if not (change.put or change.drop):
                return change.result  # the usual case: it waited for no writer
            connection.execute("BEGIN IMMEDIATE")
            change = rule(_rows(connection, only))
            connection.executemany(
                "INSERT OR REPLACE INTO jobs (id, record) VALUES (?, ?)", [(job.id, _text(job)) for job in change.put]
            )
            connection.executemany("DELETE FROM jobs WHERE id = ?", [(job_id,) for job_id in change.drop])
            return change.result

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """Give the file to one thread at a time, which waits for other processes as long as all may wait."""
        with self._wait.turn() as left_s:
            try:
                connection = self._opened(left_s)
                connection.execute(f"PRAGMA busy_timeout = {int(left_s * 1000)}")
                yield connection
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    raise TimeoutError(str(error)) from error
                raise

    def _opened(self, wait_s: float) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its other files the mode of this one. One that exists must not be opened and closed beside
            # SQLite: that would drop the locks of this process.
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._path, timeout=wait_s, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, wait_s)
            except sqlite3.Error:
                connection.close()
                raise
            weakref.finalize(self, connection.close)
            self._connection = connection
        return self._connection


class RedisRecords(Records):
    """A hash in Redis, changed under WATCH, and tried again where another process was faster."""

    # The client's own message is not shown: it may hold the password.
    _advice = " ({error.__class__.__name__}); see that it runs and that REDIS_URL has the right host, port and password"

    def __init__(self, url: str, wait_s: float = BUSY_S) -> None:
        """Make the client; it connects at the first use."""
        self._wait_s = wait_s
        self._silent_until = 0.0
        parts = urlsplit(url)
        super().__init__(f"Redis at {parts.hostname}:{parts.port or 6379}")
        # One more try at once, for a stale connection: callers have pauses of their own.
        self._client = redis.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # a record that is no text is skipped like any other bad one
            socket_timeout=wait_s,
            socket_connect_timeout=min(1.0, wait_s),
            retry=Retry(NoBackoff(), 1),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _read(self, only: str | None) -> dict[str, str]:
        with self._answering():
            return _from_hash(self._client, only)

    def _change(self, rule: Rule[T], only: str | None) -> T:
        with self._answering():
            return self._transaction(rule, only)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Fail at once for as long as the last one waited for a Redis that is silent."""
        if time.monotonic() < self._silent_until:
            raise redis.TimeoutError("it was silent a moment ago")
        try:
            yield
        except redis.TimeoutError:
            self._silent_until = time.monotonic() + self._wait_s
            raise

    def _transaction(self, rule: Rule[T], only: str | None) -> T:
        end = time.monotonic() + self._wait_s

        def attempt(pipeline: redis.client.Pipeline) -> T:
            if time.monotonic() > end:
                raise JobsUnavailable(f"the job records in {self._place} changed all the time")
            change = rule(_from_hash(pipeline, only))
            pipeline.multi()
            if change.put:
                pipeline.hset(REDIS_KEY, mapping={job.id: _text(job) for job in change.put})
            if change.drop:
                pipeline.hdel(REDIS_KEY, *change.drop)
            return change.result

        pause_s = random.uniform(0.001, 0.01)  # noqa: S311 - spreads those who met
        result = self._client.transaction(attempt, REDIS_KEY, value_from_callable=True, watch_delay=pause_s)  # type: ignore[arg-type]
        return cast("T", result)


def _from_hash(client: redis.Redis, only: str | None) -> dict[str, str]:
    if only is None:
        return cast("dict[str, str]", client.hgetall(REDIS_KEY))
    record = cast("str | None", client.hget(REDIS_KEY, only))
    return {} if record is None else {only: record}


def _prepare(connection: sqlite3.Connection, wait_s: float) -> None:
    end = time.monotonic() + wait_s
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
        return dict(connection.execute("SELECT id, record FROM jobs").fetchall())
    return dict(connection.execute("SELECT id, record FROM jobs WHERE id = ?", (only,)).fetchall())


def _text(job: Job) -> str:
    # A sentence may quote anything: half a character would fail where the record is written.
    return json.dumps(job.to_json(), ensure_ascii=False).encode("utf-8", "replace").decode()
