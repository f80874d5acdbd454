from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from handler.reading.cache import FileCache
from tests.full_disk import fill, small_disk

KEYS = [FileCache.key(str(index).encode()) for index in range(50)]
MEGABYTE = 2**20


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "made" / "when missing", MEGABYTE)
    assert cache.get(KEYS[0]) is None
    cache.put(KEYS[0], b"page")
    cache.put(KEYS[1], b"")
    assert (cache.get(KEYS[0]), cache.get(KEYS[1])) == (b"page", b"")
    cache.put(KEYS[0], b"page anew")
    assert FileCache(tmp_path / "made" / "when missing", MEGABYTE).get(KEYS[0]) == b"page anew"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((b"ab", b"c"), (b"a", b"bc"), id="cut elsewhere"),
        pytest.param((b"a",), (b"a", b""), id="an empty part"),
        pytest.param((b"a", b"b"), (b"b", b"a"), id="another order"),
        pytest.param((b"pytesseract-5.3.0-eng-psm3 1", b"x"), (b"tesserocr-5.5.4-eng-psm3 1", b"x"), id="engine"),
    ],
)
def test_keys_differ(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> None:
    assert FileCache.key(*one) != FileCache.key(*other)
    assert FileCache.key(*one) == FileCache.key(*one)


def test_bounded_in_bytes(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1000)
    for key in KEYS:
        cache.put(key, bytes(100))
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 1000
    assert cache.get(KEYS[-1]) == bytes(100)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1000)
    for age, key in enumerate(reversed(KEYS[:6])):
        cache.put(key, bytes(100))
        stamp = time.time() - 1000 - age
        os.utime(tmp_path / key[:2] / key, (stamp, stamp))
    assert cache.get(KEYS[0]) is not None, "it was written last but one hour ago; asking for it makes it young"
    cache.put(KEYS[6], bytes(300))
    kept = [index for index in range(7) if cache.get(KEYS[index]) is not None]
    assert kept[0] == 0
    assert kept[-1] == 6
    assert 1 not in kept, "the oldest that nobody asked for"


def test_an_entry_larger_than_the_cache(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    cache.put(KEYS[0], bytes(5000))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="emptied"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-3]), id="cut"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), id="a byte changed"),
        pytest.param(lambda path: path.write_bytes(b'{"format": 1}'), id="overwritten"),
    ],
)
def test_a_damaged_entry_counts_as_not_there(tmp_path: Path, damage: object, caplog: pytest.LogCaptureFixture) -> None:
    cache = FileCache(tmp_path, MEGABYTE)
    cache.put(KEYS[0], b"a page of words")
    damage(tmp_path / KEYS[0][:2] / KEYS[0])
    assert cache.get(KEYS[0]) is None
    assert "damaged entry" in caplog.text
    cache.put(KEYS[0], b"read anew")
    assert cache.get(KEYS[0]) == b"read anew"


@contextmanager
def as_another_user(entry: Path) -> Iterator[None]:
    """Be one who may read an entry, and not touch it; only root can become another."""
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            os.utime(entry)
        yield
    finally:
        os.seteuid(0)


@contextmanager
def swept_meanwhile(entry: Path) -> Iterator[None]:
    """Delete an entry after its content was asked for and before that is all there: a pipe in its place waits."""
    content = entry.read_bytes()
    entry.unlink()
    os.mkfifo(entry)

    def write() -> None:
        with entry.open("wb") as pipe:  # waits for the reader
            entry.unlink()
            pipe.write(content)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    yield
    writer.join()
    assert not entry.exists()


@pytest.mark.parametrize("untouchable", [swept_meanwhile, as_another_user] if os.geteuid() == 0 else [swept_meanwhile])
def test_an_entry_whose_use_cannot_be_noted_is_a_hit(
    untouchable: Callable[[Path], AbstractContextManager[None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lets nobody else in
        cache = FileCache(Path(folder), MEGABYTE)
        cache.put(KEYS[0], b"page")
        entry = Path(folder) / KEYS[0][:2] / KEYS[0]
        for path in (Path(folder), entry.parent, entry):
            path.chmod(0o755)
        with untouchable(entry):
            assert cache.get(KEYS[0]) == b"page"


def test_a_place_that_cannot_be_written_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = FileCache(tmp_path / "file" / "cache", MEGABYTE)
    with caplog.at_level(logging.WARNING):
        cache.put(KEYS[0], b"page")
    assert "the page cache cannot be written" in caplog.text
    assert cache.get(KEYS[0]) is None


def test_an_entry_that_cannot_be_replaced_leaves_no_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / KEYS[0][:2] / KEYS[0] / "folder").mkdir(parents=True)
    cache = FileCache(tmp_path, MEGABYTE)
    cache.put(KEYS[0], b"page")
    assert "the page cache cannot be written" in caplog.text
    assert cache.get(KEYS[0]) is None
    assert files(tmp_path) == []


def test_what_cannot_be_swept_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lo" / "st+found").mkdir(parents=True)
    cache = FileCache(tmp_path, 50)
    cache.put(KEYS[0], b"page")
    assert "the page cache cannot be swept" in caplog.text


@pytest.mark.parametrize(("age_s", "kept"), [pytest.param(60, True, id="young"), pytest.param(7200, False, id="old")])
def test_what_a_crash_left_behind_goes(tmp_path: Path, age_s: float, kept: bool) -> None:
    rest = tmp_path / "ab" / ".new-crashed"
    rest.parent.mkdir()
    rest.write_bytes(b"half a page")
    os.utime(rest, (time.time() - age_s,) * 2)
    FileCache(tmp_path, MEGABYTE)
    assert rest.exists() is kept


WORKER = """
import sys
from pathlib import Path
from handler.reading.cache import FileCache
cache = FileCache(Path(sys.argv[1]), 40_000)
wrong = 0
for round in range(40):
    for index in range(20):
        key, data = FileCache.key(str(index).encode()), str(index).encode() * 2000
        found = cache.get(key)
        wrong += found is not None and found != data
        cache.put(key, data)
print(wrong)
"""


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    """Reads are whole or nothing, although both write and sweep the same few entries."""
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert said == [(b"0\n", b"")] * 2
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2 * 40_000
    assert not [path for path in files(tmp_path) if path.name.startswith(".new-")]


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def test_a_full_disk_gets_the_reserve_and_half_of_the_pages_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        first, second = (FileCache(disk / "cache", 2**30) for _ in range(2))
        for key in KEYS[:10]:
            first.put(key, bytes(MEGABYTE))
        filler = fill(disk)
        assert free_bytes(disk) == 0
        for key in KEYS[10:]:
            first.put(key, b"page")
            second.put(key, b"page")
        assert 20 * MEGABYTE <= free_bytes(disk) <= 23 * MEGABYTE
        assert caplog.text.count("the page cache gives back what it can") == 1
        assert sum(first.get(key) is not None for key in KEYS) == 5
        fill(disk)  # what was given back is for others: the cache takes none of it
        first.put(KEYS[10], b"page")
        assert first.get(KEYS[10]) is None
        for path in (filler, disk / "all.fill"):
            path.unlink(missing_ok=True)
        first.put(KEYS[10], b"page")
        assert first.get(KEYS[10]) == b"page"
        assert "there is room again" in caplog.text
        assert (disk / "cache" / "reserve").stat().st_blocks * 512 >= 16 * MEGABYTE


def test_a_full_disk_without_a_reserve_gets_half_of_the_pages_back_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 40) as disk:
        before = FileCache(disk / "cache", 2**30)
        for key in KEYS[:10]:
            before.put(key, bytes(MEGABYTE))
        (disk / "cache" / "reserve").unlink()  # as where there was never room for one
        filler = fill(disk)
        cache = FileCache(disk / "cache", 2**30)
        assert sum(cache.get(key) is not None for key in KEYS) == 5
        for key in KEYS[10:]:
            fill(disk)
            cache.put(key, b"page")
        assert sum(cache.get(key) is not None for key in KEYS) == 5
        filler.unlink()


def test_the_reserve_is_within_what_the_cache_may_take(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 256 * MEGABYTE)
    for number in range(300):
        cache.put(FileCache.key(str(number).encode()), bytes(MEGABYTE))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 256 * MEGABYTE
    assert (tmp_path / "reserve").stat().st_size == 16 * MEGABYTE
