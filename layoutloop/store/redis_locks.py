"""Locks that hold across machines: leases in Redis, with a number that grows with every holder.

A lease ends by itself when its holder is gone, so it may also end under a holder that was merely held up. Whoever
holds one checks it right before changing what is in service (`Lease.check`), and what is written carries the number of
its writer: a number that is lower than what lies there is refused (`layoutloop.store.changes.write_manifest`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.lock import Lock
from redis.retry import Retry

from layoutloop.errors import LeaseLost, StoreBusy, StoreUnavailable

logger = logging.getLogger(__name__)

LEASE_S = 30.0
"""So long a lease outlives its holder, and how long Redis may be down before holders lose theirs."""
_POLL_S = 0.25
_PREFIX = "layoutloop:store:"


class Lease:
    """A lock that is held, which tells its holder whether it still is.

    Args:
        lock: in Redis, held.
        number: greater than that of every holder before.
        seconds: how long Redis keeps the lock without a word from here.
    """

    def __init__(self, lock: Lock, number: int, seconds: float) -> None:
        """Count from now."""
        self.number = number
        self._lock = lock
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._lost = ""

    def check(self) -> None:
        """Ask Redis, and hold it from now on for its whole time once more.

        Raises:
            LeaseLost: another process may hold it by now.
        """
        began = time.monotonic()
        try:
            self._renew(began)
        except redis.RedisError as error:
            raise LeaseLost(
                f"Redis does not say that this process still holds {self._lock.name} ({type(error).__name__}); what is "
                "in service stays as it is"
            ) from error
        if self._lost:
            raise LeaseLost(self._lost)

    def keep(self, ended: threading.Event) -> None:
        """Renew it until the end, or until it is lost."""
        while not ended.wait(self._seconds / 3) and not self._lost:
            try:
                self._renew(time.monotonic())
            except redis.RedisError as error:
                logger.warning("the lease %s cannot be renewed now: %s", self._lock.name, type(error).__name__)

    def _renew(self, now: float) -> None:
        if not self._lost and now > self._until:
            self._lost = f"{self._lock.name} was not renewed for {self._seconds:.0f} s, so another may hold it by now"
        if self._lost:
            return
        try:
            self._lock.reacquire()
        except LockError:  # a RedisError too, but one that says no
            self._lost = f"another process holds {self._lock.name} by now, or Redis forgot it"
        else:
            self._until = now + self._seconds


@dataclass(frozen=True, slots=True)
class Leases:
    """Gives leases.

    Args:
        client: of the Redis that all machines share.
        place: its host and port, for messages.
        seconds: how long a lease outlives its holder.
    """

    client: redis.Redis
    place: str
    seconds: float = field(default=LEASE_S)

    @classmethod
    def at(cls, url: str, seconds: float = LEASE_S) -> Leases:
        """Return those of a Redis; the first use connects to it."""
        parts = urlsplit(url)
        client = redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 1))
        return cls(client, f"{parts.hostname}:{parts.port or 6379}", seconds)

    @contextmanager
    def hold(self, name: str, *, wait: bool = True, above: int = 0) -> Iterator[Lease]:
        """Hold a lease.

        Args:
            name: of what is locked.
            wait: for as long as another holds it.
            above: its number is greater than this; a Redis that lost its data would begin at 1 again.

        Raises:
            StoreBusy: another process holds it and `wait` is off.
            StoreUnavailable: Redis does not answer.
        """
        lock = Lock(self.client, f"{_PREFIX}lock:{name}", timeout=self.seconds, sleep=_POLL_S, thread_local=False)
        try:
            if not lock.acquire(blocking=wait):
                raise StoreBusy(f"another process is changing {name}")
            try:
                lease = Lease(lock, self._number(name, above), self.seconds)
            except redis.RedisError:
                _let_go(lock)
                raise
        except redis.RedisError as error:
            # The client's own message may not be shown: it is not ours to say that it holds no password.
            raise StoreUnavailable(
                f"the lock of {name} in Redis at {self.place} cannot be had ({type(error).__name__}); see that it "
                "runs and that REDIS_URL has the right host, port and password"
            ) from error
        ended = threading.Event()
        keeper = threading.Thread(target=lease.keep, args=(ended,), name=f"lease {name}", daemon=True)
        keeper.start()
        try:
            yield lease
        finally:
            ended.set()
            keeper.join()
            _let_go(lock)

    def _number(self, name: str, above: int) -> int:
        key = f"{_PREFIX}number:{name}"
        number = int(self.client.incr(key))
        return number if number > above else int(self.client.incrby(key, above - number + 1))


def _let_go(lock: Lock) -> None:
    """Release a lock; one that is lost, or cannot be reached, ends by itself."""
    try:
        lock.release()
    except redis.RedisError as error:
        logger.info("%s was not released: %s", lock.name, type(error).__name__)
