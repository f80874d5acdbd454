"""Locks that are files, and the stamps that are given out under them."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from layoutloop.errors import SettingsInvalid, StoreBusy
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore

REPOSITORY = Path(__file__).resolve().parents[3]
NAME = "project-7"
V1 = "20261122T083000Z"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


@contextmanager
def holder(store: ModelStore) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the project's lock."""
    program = (
        "import sys, time; from pathlib import Path; from layoutloop.store.model_store import ModelStore\n"
        f"with ModelStore(Path(sys.argv[1])).lock({NAME!r}): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(store.path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_the_lock_is_exclusive_and_ends_with_its_process(store: ModelStore) -> None:
    with holder(store) as process:
        with pytest.raises(StoreBusy, match="another process is changing project-7"), store.lock(NAME, wait=False):
            pass
        with store.lock("project-8", wait=False):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with store.lock(NAME, wait=False):
            pass


def test_whoever_waits_gets_the_lock_next(store: ModelStore) -> None:
    got = threading.Event()

    def wait() -> None:
        with store.lock(NAME):
            got.set()

    with holder(store) as process:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.3)
        process.kill()
        assert got.wait(10)
        waiting.join()


def test_one_training_of_a_project_at_a_time(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def train() -> None:
        with store.training_lock(7):
            pass

    with store.training_lock(7):
        with store.training_lock(8), store.lock(NAME, wait=False):
            assert not caplog.messages, "neither another project nor a promotion is kept waiting"
        waiting = threading.Thread(target=train)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert caplog.messages == ["another training or restore of project-7 runs; waiting for its end"]
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_lock_is_given_back_after_an_error(store: ModelStore) -> None:
    with pytest.raises(ZeroDivisionError), store.lock(NAME):
        raise ZeroDivisionError
    with store.lock(NAME, wait=False), pytest.raises(StoreBusy), store.lock(NAME, wait=False):
        pass


def test_a_file_is_no_lock_where_others_lock_in_redis(store: ModelStore) -> None:
    write_manifest(store, NAME, Manifest((V1,), V1, number=3))
    with pytest.raises(SettingsInvalid, match="are in Redis: set REDIS_URL"), store.lock(NAME):
        pass
    with pytest.raises(SettingsInvalid, match="set REDIS_URL"), store.training_lock(7):
        pass
    with store.lock("project-8"), store.training_lock(8):
        pass
    write_manifest(store, NAME, Manifest((V1,), V1))  # as the message says
    with store.lock(NAME):
        pass


def test_the_first_stamp_is_now(store: ModelStore) -> None:
    before = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    stamp = store.new_stamp(NAME)
    assert before <= stamp <= time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + 1))


@pytest.mark.parametrize(
    ("taken", "following"),
    [
        pytest.param([f"{NAME}-20990101T000000Z.mar"], "20990101T000001Z", id="an archive from a clock ahead"),
        pytest.param(["checkpoint-20991231T235959Z"], "21000101T000000Z", id="a checkpoint, over the year's end"),
        pytest.param(
            [f"{NAME}-20990101T000007Z.json", f"{NAME}-20990101T000003Z.mar"], "20990101T000008Z", id="newest"
        ),
    ],
)
def test_stamps_move_forward_whatever_the_clock_says(store: ModelStore, taken: list[str], following: str) -> None:
    (store.path / NAME).mkdir()
    for name in taken:
        (store.path / NAME / name).touch()
    assert store.new_stamp(NAME) == following


def test_stamps_move_forward_while_the_clock_stands_still(store: ModelStore) -> None:
    """Two within a second, before either has a file: they are different versions all the same."""
    stamps = [store.new_stamp(NAME) for _ in range(20)]
    assert stamps == sorted(set(stamps))


def test_stamps_asked_for_at_the_same_time_differ(store: ModelStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        stamps = list(threads.map(lambda _: store.new_stamp(NAME), range(40)))
    assert len(set(stamps)) == 40


def test_stamps_of_different_models_are_their_own(store: ModelStore) -> None:
    (store.path / "project-8").mkdir()
    (store.path / "project-8" / "project-8-20990101T000000Z.mar").touch()
    assert store.new_stamp(NAME) < "2099"
