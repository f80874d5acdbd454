"""Clients that take their time, against the shim as it really runs: no thread waits for one without an end."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from shim.connections import ClientSocket, Worker
from tests.shim.real_server import RealShim, real_shim

DEADLINE_S = 3.0
MANY = 80
"""More than the shim has threads."""
HEAD = b"POST /setup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PAGE = b"GET /dashboard HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShim]:
    with real_shim(tmp_path_factory.mktemp("shim"), LAYOUTLOOP_DEADLINE_S=str(DEADLINE_S)) as running:
        yield running


@contextmanager
def dripping(shim: RealShim, first: bytes, drop: bytes) -> Iterator[list[socket.socket]]:
    """Open many connections, each of which sends a beginning and then a drop a fifth of a second."""
    ended = threading.Event()
    with ExitStack() as kept:
        clients = [kept.enter_context(socket.create_connection(("127.0.0.1", shim.port))) for _ in range(MANY)]

        def drip() -> None:
            while not ended.wait(0.2):
                for client in clients:
                    with suppress(OSError):
                        client.sendall(drop)

        for client in clients:
            client.sendall(first)
        thread = threading.Thread(target=drip)
        if drop:
            thread.start()
        try:
            yield clients
        finally:
            ended.set()
            if drop:
                thread.join()


def answers_within(shim: RealShim, seconds: float) -> float:
    """Wait until /health answers; return how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with suppress(OSError):
            if shim.get("/health")[0] == 200:
                return time.monotonic() - began
    pytest.fail(f"/health gave no answer in {seconds:g} s")


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        pytest.param(b"GET /health HTTP/1.1\r\nX: ", b"x", id="a head that never ends"),
        pytest.param(b"GET /health HT", b"", id="a head that stops"),
        pytest.param(HEAD + b"Content-Length: 100000\r\n\r\n{", b" ", id="a body that trickles"),
        pytest.param(HEAD + b"Content-Length: 100000\r\n\r\n{", b"", id="a body that stops"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n", id="chunks without end"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0", id="a chunk's size without end"),
    ],
)
def test_a_client_that_sends_slowly_holds_a_thread_for_the_deadline_at_most(
    shim: RealShim, first: bytes, drop: bytes
) -> None:
    before = len(shim.log)
    with dripping(shim, first, drop):
        time.sleep(0.5)
        answers_within(shim, 2 * DEADLINE_S + 3)  # 80 clients for 48 threads
    assert answers_within(shim, DEADLINE_S) < 1
    assert "Traceback" not in shim.log[before:]


def test_clients_that_stay_after_their_answer_hold_up_nobody(shim: RealShim) -> None:
    """gunicorn gives each 2 s to close its side; 80 of them took the accepting thread for minutes."""
    last = PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with dripping(shim, last, b""):
        time.sleep(0.5)
        answers_within(shim, 6)


def test_a_client_that_reads_nothing_is_given_up() -> None:
    """Answers fit into the kernel's buffers, up to some MB; this one does not."""
    ours, theirs = socket.socketpair()
    with theirs, ClientSocket(fileno=ours.detach()) as client:
        client.patience_s = 0.3
        began = time.monotonic()
        with pytest.raises(ConnectionResetError, match="took too long"):
            client.sendall(bytes(64 * 2**20))
        assert 0.3 <= time.monotonic() - began < 5
        assert client.gettimeout() is None


def test_a_slow_client_is_served_all_the_same(shim: RealShim) -> None:
    body = json.dumps({"project": "7", "schema": "<View/>"}).encode()
    with socket.create_connection(("127.0.0.1", shim.port), timeout=10) as client:
        request = HEAD + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        for begin in range(0, len(request), 20):
            client.sendall(request[begin : begin + 20])
            time.sleep(0.05)
        assert client.recv(100).startswith(b"HTTP/1.1 422")


def test_a_connection_that_ends_is_counted_off_once() -> None:
    """gunicorn accepts as many as its limit and the count allow: one that sinks with each end lets in any number."""
    ours, client = socket.socketpair()
    client.close()
    worker = Worker.__new__(Worker)
    worker.cfg, worker.log, worker.alive, worker.nr_conns = Config(), logging.getLogger(), True, 1
    conn = TConn(worker.cfg, ClientSocket(fileno=ours.detach()), ("127.0.0.1", 2), ("127.0.0.1", 1))
    ended: Future[bool] = Future()
    ended.set_result(worker.handle(conn))
    worker.finish_request(conn, ended)
    assert worker.nr_conns == 0
