"""The shim as it really runs, under gunicorn, and requests that no HTTP library would send."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("LAYOUTLOOP_", "BASIC_AUTH"))}


@dataclass(frozen=True, slots=True)
class RealShim:
    """A running shim.

    Args:
        port: on loopback.
        home: its LAYOUTLOOP_HOME.
        path: of its log.
    """

    port: int
    home: Path
    path: Path

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.path.read_text(encoding="utf-8")

    def send(self, request: bytes) -> tuple[int, str]:
        """Return status and body of the answer to raw bytes; the connection is closed behind them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def get(self, path: str, host: bytes = b"localhost", *headers: bytes) -> tuple[int, str]:
        """Send a GET with this Host header; none where it is empty."""
        lines = [f"GET {path} HTTP/1.1".encode(), *([b"Host: " + host] if host else []), *headers, b"Connection: close"]
        return self.send(b"\r\n".join(lines) + b"\r\n\r\n")

    def post(self, path: str, body: bytes, *headers: bytes) -> tuple[int, str]:
        """Send a POST; its length is not told."""
        start = (f"POST {path} HTTP/1.1".encode(), b"Host: localhost", b"Content-Type: application/json")
        return self.send(b"\r\n".join([*start, *headers, b"Connection: close"]) + b"\r\n\r\n" + body)

    def post_json(self, path: str, body: bytes, *headers: bytes) -> tuple[int, str]:
        """Send a POST with its length."""
        return self.post(path, body, f"Content-Length: {len(body)}".encode(), *headers)


@contextmanager
def real_shim(place: Path, **settings: str) -> Iterator[RealShim]:
    """Start a shim on loopback and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environ = CLEAN | {"MODEL_DIR": str(place / "store"), "LAYOUTLOOP_HOME": str(place / "home")} | settings
    log = place / "shim.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "shim", "--port", str(port)], env=environ, stdout=output, stderr=output
        ) as process,
    ):
        shim = RealShim(port, place / "home", log)
        try:
            for _ in range(300):
                try:
                    shim.get("/health")
                    break
                except OSError:
                    assert process.poll() is None, shim.log
                    time.sleep(0.1)
            yield shim
        finally:
            process.terminate()
