"""What starts, and what waits, while Redis or the model store is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from layoutloop.processes.signals import StopSignals
from layoutloop.settings.node import REPOSITORY, NodeSettings
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import OCR_MODEL, Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import store_path
from node.serve import prepare_models
from node.supervision import Instance
from scripts.archive import main as archive
from scripts.rollout import main as rollout
from scripts.serve import COMMANDS
from tests.far_servers import _Handler, serve
from tests.redis_server import RedisServer

NOBODY = "redis://127.0.0.1:1/0"
WRONG_KEYS = b"<Error><Code>InvalidAccessKeyId</Code><Message>The key you gave does not exist.</Message></Error>"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model store, whose locks are in a Redis that is not there."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REDIS_URL", NOBODY)
    return tmp_path / "store"


@pytest.fixture
def stop() -> Iterator[StopSignals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield StopSignals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_ocr_that_is_there_needs_no_redis(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    assert archive(["--ocr"]) == 0
    built = ModelStore(store).manifest(OCR_MODEL)
    monkeypatch.setenv("REDIS_URL", NOBODY)
    assert archive(["--ocr"]) == 0
    assert ModelStore(store).manifest(OCR_MODEL) == built
    monkeypatch.setenv("LAYOUTLOOP_OCR_PSM", "6")
    assert archive(["--ocr"]) == 1, "one that must be built does"


def test_an_ocr_that_must_be_built_waits_for_redis(store: Path, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    command = [sys.executable, "-m", "scripts.archive", "--ocr", "--wait"]
    environ = os.environ | {"REDIS_URL": redis.new_url()}
    building = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        assert building.stderr is not None
        assert building.stderr.readline().startswith("waiting: the lock of .training/ocr in Redis at 127.0.0.1:")
        assert building.poll() is None
        redis.start()
        assert building.wait(120) == 0
    finally:
        building.kill()
        building.communicate()
        redis.kill()
    serving = ModelStore(store).manifest(OCR_MODEL)
    assert serving is not None
    assert serving.current is not None


def test_what_waiting_cannot_mend_is_not_waited_for(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDIS_URL")
    write_manifest(ModelStore(store), OCR_MODEL, Manifest(("20261121T080000Z",), "20261121T080000Z", number=3))
    assert archive(["--ocr", "--wait"]) == 2
    assert "are in Redis: set REDIS_URL" in capsys.readouterr().err


def test_only_the_ocr_archive_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        archive(["--refresh", "--wait"])
    assert "--wait goes with --ocr alone" in capsys.readouterr().err


@pytest.mark.parametrize("signals", [0, 1], ids=["runs to its end", "a signal came"])
def test_a_signal_ends_the_wait(tmp_path: Path, stop: StopSignals, signals: int) -> None:
    stop.received = signals
    program = "import time; time.sleep(60)" if signals else ""
    settings = NodeSettings(home=tmp_path, model_dir=tmp_path / "store")
    began = time.monotonic()
    commands = replace(COMMANDS, archive=[sys.executable, "-c", program])
    done = prepare_models(Instance(settings, commands, os.environ), stop)
    assert (done, time.monotonic() - began < 15) == (not signals, True)


@pytest.fixture
def no_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A model store behind an S3 API that knows no key of ours."""
    from s3fs import S3FileSystem

    def refuse(handler: _Handler) -> None:
        handler.reply(403, b"" if handler.command == "HEAD" else WRONG_KEYS, Content_Type="application/xml")

    with serve("127.0.0.1", refuse) as server:
        environ = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_MAX_ATTEMPTS": "1",
            "MODEL_DIR": "s3://models/store",
            "LAYOUTLOOP_HOME": str(tmp_path),
            "REDIS_URL": NOBODY,
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield environ["MODEL_DIR"]
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("options", [["--list"], ["--watch"], []], ids=["list", "watch", "one look"])
def test_wrong_keys_are_told(no_s3: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout(options) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: the model store {no_s3}")
    assert "(MODEL_DIR) refuses its keys: " in line


@pytest.mark.parametrize("answers", [True, False], ids=["refuses the keys", "nobody is there"])
def test_a_store_that_is_away_stops_no_preparation(
    no_s3: str, tmp_path: Path, stop: StopSignals, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """The report of a node that was killed stays there, and is too old soon."""
    if not answers:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    settings = NodeSettings(home=tmp_path, model_dir=store_path(no_s3))
    commands = replace(COMMANDS, archive=[sys.executable, "-c", ""])
    assert prepare_models(Instance(settings, commands, os.environ), stop)
