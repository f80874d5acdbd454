from __future__ import annotations

from pathlib import Path

import pytest

from layoutloop.errors import ModelNotReady, RequestInvalid
from layoutloop.store.copy import begin_copy
from layoutloop.store.thresholds import Thresholds, read_thresholds, write_thresholds


def test_what_was_written_is_read(tmp_path: Path) -> None:
    own = {"total": 0.9, "date": 0, "Straße": 1.0}
    write_thresholds(tmp_path, "project-7", own)
    assert read_thresholds(tmp_path, "project-7", 0.5) == Thresholds(0.5, own)
    assert read_thresholds(tmp_path, "project-8", 0.5) == Thresholds(0.5)
    assert read_thresholds(tmp_path, None, 0.5) == Thresholds(0.5)


@pytest.mark.parametrize(
    ("label", "score", "is_drawn"),
    [
        pytest.param("total", 0.9, True, id="at its own"),
        pytest.param("total", 0.89, False, id="below its own"),
        pytest.param("date", 0.5, True, id="at the usual"),
        pytest.param("date", 0.4, False, id="below the usual"),
        pytest.param("free", 0.0, True, id="its own is below the usual"),
        pytest.param(None, 0.0, True, id="a line of text"),
    ],
)
def test_what_is_drawn(label: str | None, score: float, is_drawn: bool) -> None:
    assert Thresholds(0.5, {"total": 0.9, "free": 0.0}).draw(label, score) is is_drawn


@pytest.mark.parametrize(
    ("content", "part"),
    [
        pytest.param("{", "", id="cut off"),
        pytest.param("[0.9]", "it is a JSON object", id="a list"),
        pytest.param('{"total": "0.9"}', "the threshold of 'total' is a number, got '0.9'", id="a text"),
        pytest.param('{"total": 90}', "between 0 and 1, got 90", id="percent"),
        pytest.param('{"total": NaN}', "", id="no number"),
        pytest.param('{"total": true}', "is a number, got True", id="a truth"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str, part: str) -> None:
    (tmp_path / "project-7").mkdir()
    (tmp_path / "project-7" / "thresholds.json").write_text(content)
    with pytest.raises(ModelNotReady, match=r"project-7/thresholds\.json cannot be used") as caught:
        read_thresholds(tmp_path, "project-7", 0.0)
    assert part in str(caught.value)


def test_what_is_no_score_is_not_written(tmp_path: Path) -> None:
    write_thresholds(tmp_path, "project-7", {"total": 0.9})
    with pytest.raises(RequestInvalid, match=r"the threshold of 'date' is between 0 and 1, got 1\.5"):
        write_thresholds(tmp_path, "project-7", {"date": 1.5})
    assert read_thresholds(tmp_path, "project-7", 0.0).own == {"total": 0.9}


def test_a_copy_of_a_store_is_not_what_is_written(tmp_path: Path) -> None:
    """The shim reads a copy of a store at a URL; what it wrote there would be gone a second later."""
    store, copy = tmp_path / "store", tmp_path / "copy"
    (store / "project-7").mkdir(parents=True)
    begin_copy(copy, store)
    write_thresholds(copy, "project-7", {"total": 0.9})
    assert read_thresholds(store, "project-7", 0.0).own == {"total": 0.9}
    assert not (copy / "project-7").exists()
