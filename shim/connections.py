"""gunicorn's worker with threads, whose waits for a client end: a thread that waits is one that all others lack."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

LONGEST_S = 30.0
"""A request has arrived by then, head and body (`MAX_BODY_BYTES` at 2 MB/s); its answer is taken in as long again."""


class ClientSocket(socket.socket):
    """A connection that counts as broken where the client takes too long.

    gunicorn waits without an end for the rest of a head, for a body and for its answer to be read. It takes a broken
    connection as an ordinary end, and the app as a body that breaks off.
    """

    patience_s = LONGEST_S
    _until: float | None = None

    def begin_request(self) -> None:
        """Let the time of a request begin with the next wait for it."""
        self._until = None

    def recv(self, *arguments: Any) -> bytes:
        """Receive, as long as there is time for the request."""
        if self._until is None:
            self._until = time.monotonic() + self.patience_s
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise _broken()
        limit_s = self.gettimeout()
        self.settimeout(left_s if limit_s is None else min(left_s, limit_s))
        try:
            return super().recv(*arguments)
        except TimeoutError:
            raise _broken() from None
        finally:
            self.settimeout(limit_s)

    def sendall(self, *arguments: Any) -> None:
        """Send, as long as there is time for the answer."""
        self.settimeout(self.patience_s)
        try:
            super().sendall(*arguments)
        except TimeoutError:
            raise _broken() from None
        finally:
            self.settimeout(None)


def _broken() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, f"{os.strerror(errno.ECONNRESET)}: the client took too long")


class Worker(ThreadWorker):
    """Serves connections whose waits end; its app says for how long a predict may take (`deadline_s`)."""

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread serve the next request of a connection."""
        if not isinstance(conn.sock, ClientSocket):
            conn.sock = ClientSocket(fileno=conn.sock.detach())
            conn.sock.patience_s = min(LONGEST_S, getattr(self.app, "deadline_s", LONGEST_S))
        conn.sock.begin_request()
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> Any:
        """Serve a request in this thread, and close the connection here where it was the last.

        gunicorn closes it in the thread that accepts, which waits up to 2 s for the client to close it too. There it is
        only counted off then: an error of a second close would count it off twice.
        """
        goes_on = super().handle(conn)
        if not goes_on:
            conn.close(graceful=True)
            conn.close = _nothing_more  # type: ignore[method-assign]
        return goes_on


def _nothing_more(graceful: bool = False) -> None:
    """Stand for the close of a connection that is closed."""
