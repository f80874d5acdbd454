"""A real S3 API on a free loopback port, for tests: moto's server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_DEFAULT_REGION": "us-east-1"}


class ObjectStore:
    """Holds everything in memory; can be stopped in the middle of a test, and started empty."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.environ = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}
        self._log = folder / "moto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, "the S3 API did not start in time"
            time.sleep(0.05)

    def make_bucket(self, name: str) -> None:
        request = urllib.request.Request(f"{self.environ['AWS_ENDPOINT_URL']}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.environ['AWS_ENDPOINT_URL']}/moto-api/", timeout=2).close()
        except (URLError, OSError):
            return False
        return True


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    server = ObjectStore(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def s3_environment(folder: Path) -> Iterator[ObjectStore]:
    """Start one and point this process's drivers at it; a driver that knew another forgets it."""
    from s3fs import S3FileSystem

    with object_store(folder) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environ.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        try:
            yield server
        finally:
            S3FileSystem.clear_instance_cache()
