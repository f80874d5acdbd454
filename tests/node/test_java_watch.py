from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from layoutloop.settings.node import REPOSITORY, NodeSettings
from node.java_watch import JavaWatch, inference_url
from node.supervision import torchserve_config
from tests.far_servers import serve


def test_one_that_takes_connections_and_never_answers_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        java = JavaWatch(f"http://127.0.0.1:{silent.getsockname()[1]}", hangs_s=0.1, starts_s=0.1)
        java.timeout_s = 0.3
        began = time.monotonic()
        assert java.hangs()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [200, 400, 500])
def test_any_answer_is_one(status: int) -> None:
    with serve("127.0.0.1", lambda request: request.reply(status)) as server:
        java = JavaWatch(f"http://127.0.0.1:{server.port}", hangs_s=0.0, starts_s=0.0)
        assert not java.hangs()


def test_a_start_has_its_time() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        java = JavaWatch(f"http://127.0.0.1:{probe.getsockname()[1]}", hangs_s=0.0, starts_s=0.5)
        assert not java.hangs()
        time.sleep(0.6)
        assert java.hangs()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:7080", id="loopback"),
        pytest.param("0.0.0.0", "http://127.0.0.1:7080", id="a container's"),  # noqa: S104
        pytest.param("::", "http://[::1]:7080", id="IPv6"),
    ],
)
def test_where_it_is_found(tmp_path: Path, host: str, url: str) -> None:
    settings = NodeSettings(tmp_path, tmp_path, torchserve_host=host)
    config = tmp_path / "config.properties"
    template = (REPOSITORY / "config.properties").read_text(encoding="utf-8")
    config.write_text(torchserve_config(settings, template, 2), encoding="ascii")
    assert inference_url(config) == url
