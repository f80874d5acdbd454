from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from shim.answer_memory import AnswerMemory

PAGE = {"format": 1, "words": [{"text": "Überweisung", "box": [0.1, 2, 3, 4], "confidence": 0.5, "line": 0}] * 50}
"""Compressed it has some 150 bytes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "answers.db"


def test_a_body_comes_back_as_it_was(path: Path) -> None:
    memory = AnswerMemory(path)
    memory.put((b"a", 1), PAGE)
    assert memory.get((b"a", 1)) == PAGE
    assert memory.get((b"a", 2)) is None


def test_the_last_body_of_a_key_counts(path: Path) -> None:
    memory = AnswerMemory(path, limit_bytes=450)
    for number in range(10):
        memory.put((b"a",), PAGE | {"number": number})
        memory.put((b"b",), PAGE)
    assert memory.get((b"a",)) == PAGE | {"number": 9}
    assert memory.get((b"b",)) == PAGE


def test_what_was_not_asked_for_longest_goes_first(path: Path) -> None:
    memory = AnswerMemory(path, limit_bytes=450)
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
    memory = AnswerMemory(path, limit_bytes=50)
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) is None


def test_a_start_begins_with_nothing(path: Path) -> None:
    """A node may have another Tesseract by then."""
    AnswerMemory(path).put(("a",), PAGE)
    assert AnswerMemory(path).get(("a",)) is None


def test_nobody_else_may_read_it(path: Path) -> None:
    AnswerMemory(path).put(("a",), PAGE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_many_threads(path: Path) -> None:
    memory = AnswerMemory(path, limit_bytes=1500)
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


@pytest.mark.parametrize("pause_s", [0.0, 60.0])
def test_a_damaged_file_costs_the_memory_alone(path: Path, caplog: pytest.LogCaptureFixture, pause_s: float) -> None:
    memory = AnswerMemory(path, pause_s=pause_s)
    for number in range(100):
        memory.put((number,), PAGE | {"number": [number] * 500})
    path.write_bytes(b"no database" * 1000)
    assert memory.get(("b",)) is None
    assert "cannot be remembered" in caplog.text
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) == (None if pause_s else PAGE)


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    memory = AnswerMemory(tmp_path / "file" / "answers.db")
    memory.put(("a",), PAGE)
    assert memory.get(("a",)) is None
    assert len(caplog.records) == 1, "once, not for every page"
