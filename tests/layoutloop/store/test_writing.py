from __future__ import annotations

import hashlib
import json
import logging
import os
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

from layoutloop.errors import LeaseLost, SettingsInvalid, StoreBusy
from layoutloop.store.manifest import Manifest, archive_path, read_manifest
from layoutloop.store.writing import (
    add_to_load,
    drop_from_load,
    flip,
    locked,
    new_stamp,
    sha256_of,
    training_lock,
    write_json,
    write_manifest,
)

REPOSITORY = Path(__file__).resolve().parents[3]
NAME = "project-7"
V1, V2, V3 = "20261122T083000Z", "20261122T093000Z", "20261122T103000Z"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model store with three archives of one project."""
    for version in (V1, V2, V3):
        path = archive_path(tmp_path, NAME, version)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(version.encode())
    return tmp_path


def serving(store: Path) -> Manifest:
    found = read_manifest(store, NAME)
    assert found is not None
    return found


def digest(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()


@contextmanager
def holder(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the project's lock."""
    program = (
        "import sys, time; from pathlib import Path; from layoutloop.store.writing import locked\n"
        f"with locked(Path(sys.argv[1]), {NAME!r}): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(store)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_the_lock_is_exclusive_and_ends_with_its_process(store: Path) -> None:
    with holder(store) as process:
        with pytest.raises(StoreBusy, match="another process is changing project-7"), locked(store, NAME, wait=False):
            pass
        with locked(store, "project-8", wait=False):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(store, NAME, wait=False):
            pass


def test_whoever_waits_gets_the_lock_next(store: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with locked(store, NAME):
            got.set()

    with holder(store) as process:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.3)
        process.kill()
        assert got.wait(10)
        waiting.join()


def test_one_training_of_a_project_at_a_time(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def train() -> None:
        with training_lock(store, 7):
            pass

    with training_lock(store, 7):
        with training_lock(store, 8), locked(store, NAME, wait=False):
            assert not caplog.messages, "neither another project nor a promotion is kept waiting"
        waiting = threading.Thread(target=train)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert caplog.messages == ["another training or restore of project-7 runs; waiting for its end"]
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_lock_is_given_back_after_an_error(store: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(store, NAME):
        raise ZeroDivisionError
    with locked(store, NAME, wait=False), pytest.raises(StoreBusy), locked(store, NAME, wait=False):
        pass


def test_a_file_is_no_lock_where_others_lock_in_redis(tmp_path: Path) -> None:
    write_manifest(tmp_path, NAME, Manifest((V1,), V1, number=3))
    with pytest.raises(SettingsInvalid, match="are in Redis: set REDIS_URL"), locked(tmp_path, NAME):
        pass
    with pytest.raises(SettingsInvalid, match="set REDIS_URL"), training_lock(tmp_path, 7):
        pass
    with locked(tmp_path, "project-8"), training_lock(tmp_path, 8):
        pass
    write_manifest(tmp_path, NAME, Manifest((V1,), V1))  # as the message says
    with locked(tmp_path, NAME):
        pass


def test_the_first_stamp_is_now(tmp_path: Path) -> None:
    before = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    stamp = new_stamp(tmp_path, NAME)
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
def test_stamps_move_forward_whatever_the_clock_says(tmp_path: Path, taken: list[str], following: str) -> None:
    (tmp_path / NAME).mkdir()
    for name in taken:
        (tmp_path / NAME / name).touch()
    assert new_stamp(tmp_path, NAME) == following


def test_stamps_move_forward_while_the_clock_stands_still(tmp_path: Path) -> None:
    """Two within a second, before either has a file: they are different versions all the same."""
    stamps = [new_stamp(tmp_path, NAME) for _ in range(20)]
    assert stamps == sorted(set(stamps))


def test_stamps_asked_for_at_the_same_time_differ(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        stamps = list(threads.map(lambda _: new_stamp(tmp_path, NAME), range(40)))
    assert len(set(stamps)) == 40


def test_stamps_of_different_models_are_their_own(tmp_path: Path) -> None:
    (tmp_path / "project-8").mkdir()
    (tmp_path / "project-8" / "project-8-20990101T000000Z.mar").touch()
    assert new_stamp(tmp_path, NAME) < "2099"


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    bodies = [{"number": number, "filler": "ä" * 20_000} for number in range(100)]
    write_json(path, bodies[0])
    done = threading.Event()

    def write() -> None:
        for body in bodies:
            write_json(path, body)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        assert json.loads(path.read_text()) in bodies
        reads += 1
    writer.join()
    assert reads
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_may_be_read_by_other_users(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "card.json", {"label": "Größe"})
    path = tmp_path / "a" / "b" / "card.json"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.read_text(encoding="utf-8") == '{\n  "label": "Größe"\n}\n'


@pytest.mark.parametrize(
    "body", [pytest.param({"path": Path("x")}, id="no JSON"), pytest.param({"x": "\ud800"}, id="no text")]
)
def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path: Path, body: object) -> None:
    path = tmp_path / "serving.json"
    write_json(path, {"old": True})
    with pytest.raises((TypeError, ValueError)):
        write_json(path, body)
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_left_clean(tmp_path: Path) -> None:
    (tmp_path / "serving.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_json(tmp_path / "serving.json", {})
    assert os.listdir(tmp_path) == ["serving.json"]


def test_the_first_version_into_service(store: Path) -> None:
    add_to_load(store, NAME, V1)
    assert serving(store) == Manifest((V1,), None, {V1: digest(V1)})
    flip(store, NAME, V1)
    assert serving(store) == Manifest((V1,), V1, {V1: digest(V1)})


def test_the_next_version_takes_over(store: Path) -> None:
    add_to_load(store, NAME, V1)
    flip(store, NAME, V1)
    add_to_load(store, NAME, V2)
    assert serving(store) == Manifest((V2, V1), V1, {V1: digest(V1), V2: digest(V2)})
    flip(store, NAME, V2)
    found = serving(store)
    assert (found.load, found.current) == ((V2, V1), V2)
    assert found.left[V1] == pytest.approx(time.time(), abs=10)


def test_adding_and_flipping_again_changes_nothing(store: Path) -> None:
    for version in (V1, V2):
        add_to_load(store, NAME, version)
        flip(store, NAME, version)
    before = serving(store)
    add_to_load(store, NAME, V2)
    flip(store, NAME, V2)
    assert serving(store) == before


def test_a_version_that_comes_back_has_not_left(store: Path) -> None:
    write_manifest(store, NAME, Manifest((V2, V1), V2, {}, {V1: 5.0}))
    add_to_load(store, NAME, V1)
    assert serving(store).left == {}


def test_an_archive_that_was_built_again_gets_its_new_digest(store: Path) -> None:
    add_to_load(store, NAME, V1)
    archive_path(store, NAME, V1).write_bytes(b"rebuilt")
    add_to_load(store, NAME, V1)
    assert serving(store).sha256 == {V1: hashlib.sha256(b"rebuilt").hexdigest()}


def test_dropping(store: Path) -> None:
    for version in (V1, V2, V3):
        add_to_load(store, NAME, version)
    flip(store, NAME, V1)
    flip(store, NAME, V2)
    drop_from_load(store, NAME, {V1, V2, "20200101T000000Z"})
    found = serving(store)
    assert (found.load, found.current, found.left) == ((V3, V2), V2, {})
    assert found.sha256 == {V3: digest(V3), V2: digest(V2)}


def test_dropping_where_nothing_is(tmp_path: Path) -> None:
    drop_from_load(tmp_path, NAME, {V1})
    assert read_manifest(tmp_path, NAME) is None


@pytest.mark.parametrize("held", [(), (V1,)], ids=["nothing in service", "another version"])
def test_only_what_is_loaded_can_become_current(store: Path, held: tuple[str, ...]) -> None:
    for version in held:
        add_to_load(store, NAME, version)
    with pytest.raises(LeaseLost, match=f"{V3} is not in project-7's load list"):
        flip(store, NAME, V3)


def test_an_archive_that_is_not_there_is_not_asked_for(store: Path) -> None:
    with pytest.raises(FileNotFoundError):
        add_to_load(store, NAME, "20270101T000000Z")
    assert read_manifest(store, NAME) is None


def test_sha256_of_a_file_larger_than_one_chunk(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
