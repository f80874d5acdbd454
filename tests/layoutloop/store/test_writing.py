from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from layoutloop.store.writing import sha256_of, write_json


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


@pytest.mark.parametrize(
    ("folder", "file"),
    [pytest.param(0o755, 0o600, id="its owner"), pytest.param(0o2770, 0o660, id="and the group of a shared volume")],
)
def test_who_may_read_what_is_written(tmp_path: Path, folder: int, file: int) -> None:
    tmp_path.chmod(folder)
    write_json(tmp_path / "a" / "b" / "card.json", {"label": "Größe"})
    path = tmp_path / "a" / "b" / "card.json"
    assert path.stat().st_mode & 0o777 == file
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


def test_sha256_of_a_file_larger_than_one_chunk(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
