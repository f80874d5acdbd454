from __future__ import annotations

import os
import random
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shim.predict.answer_cache import AnswerCache

PAGE = {"format": 1, "words": [{"text": "Überweisung", "box": [0.1, 2, 3, 4], "confidence": 0.5, "line": 0}] * 50}
"""Compressed it has some 150 bytes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "answers.db"


def test_a_body_comes_back_as_it_was(path: Path) -> None:
    memory = AnswerCache(path)
    memory.put((b"a", 1), PAGE)
    assert memory.get((b"a", 1)) == PAGE
    assert memory.get((b"a", 2)) is None


def test_the_last_body_of_a_key_counts(path: Path) -> None:
    memory = AnswerCache(path, limit_bytes=450)
    for number in range(10):
        memory.put((b"a",), PAGE | {"number": number})
        memory.put((b"b",), PAGE)
    assert memory.get((b"a",)) == PAGE | {"number": 9}
    assert memory.get((b"b",)) == PAGE


def test_what_was_not_asked_for_longest_goes_first(path: Path) -> None:
    memory = AnswerCache(path, limit_bytes=450)
    for name in "abc":
        memory.put((name,), PAGE)
        memory.get(("a",))
    memory.put(("d",), PAGE)
    memory.put(("e",), PAGE)
    known = [name for name in "abcde" if memory.get((name,))]
    assert "a" in known
    assert "b" not in known
    assert known[-1] == "e"


def test_a_body_larger_than_the_limit_is_not_kept(path: Path) -> None:
    memory = AnswerCache(path, limit_bytes=50)
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) is None


def test_it_ends_with_the_process(path: Path) -> None:
    """It holds the words of documents, and a node may have another engine or version after a start."""
    memory = AnswerCache(path)
    memory.put(("a",), PAGE)
    assert list(path.parent.iterdir()) == []
    assert AnswerCache(path).get(("a",)) is None
    assert memory.get(("a",)) == PAGE, "a second one in the same folder disturbs nobody"


def test_a_name_that_is_taken(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("of a shim that was killed while it opened")
    memory = AnswerCache(path)
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) == PAGE


def opened(path: Path) -> Path:
    """Return the open file by its number."""
    (found,) = (one for one in Path("/proc/self/fd").iterdir() if one.is_symlink() and str(path) in os.readlink(one))
    return found


def test_nobody_else_may_read_it(path: Path) -> None:
    memory = AnswerCache(path)
    memory.put(("a",), PAGE)
    assert stat.S_IMODE(opened(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_many_threads(path: Path) -> None:
    memory = AnswerCache(path, limit_bytes=1500)
    wrong: list[object] = []

    def work(own: int) -> None:
        for number in range(100):
            body = PAGE | {"own": [own, number % 20]}
            memory.put((number % 20,), body)
            found = memory.get((number % 20,))
            if found is not None and (found["words"] != PAGE["words"] or found["own"][1] != number % 20):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert memory.get((19,)) is not None


def headless(data: bytes) -> bytes:
    return b"no database" * 1000


def bodies_spoilt(data: bytes) -> bytes:
    return data.replace(b"\x78\x01", b"\x00\x00")


@pytest.mark.parametrize("pause_s", [0.0, 60.0])
@pytest.mark.parametrize("damage", [headless, bodies_spoilt])
def test_a_damaged_file_costs_the_memory_alone(
    path: Path, caplog: pytest.LogCaptureFixture, pause_s: float, damage: Callable[[bytes], bytes]
) -> None:
    memory = AnswerCache(path, pause_s=pause_s)
    for number in range(100):  # more than SQLite keeps in memory
        memory.put((number,), PAGE | {"number": random.Random(number).randbytes(10_000).hex()})
    file = opened(path)
    file.write_bytes(damage(file.read_bytes()))
    assert memory.get((0,)) is None
    assert "cannot be cached" in caplog.text
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) == (None if pause_s else PAGE)


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    memory = AnswerCache(tmp_path / "file" / "answers.db")
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) is None
    assert len(caplog.records) == 1, "once, not for every page"
