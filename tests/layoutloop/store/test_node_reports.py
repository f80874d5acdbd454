from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from layoutloop.store.model_store import ModelStore

GOOD = {"time": 0.0, "holds": {"ocr": ["20261122T083000Z"]}, "errors": {}}
BAD = [
    pytest.param("[" * 100_000, id="deep"),
    pytest.param("null", id="null"),
    pytest.param("[]", id="a list"),
    pytest.param("{}", id="no time"),
    pytest.param('{"time": Infinity, "holds": {}, "errors": {}}', id="infinite time"),
    pytest.param('{"time": 1e999, "holds": {}, "errors": {}}', id="a time beyond a float"),
    pytest.param('{"time": "now", "holds": {}, "errors": {}}', id="a word for a time"),
    pytest.param('{"time": NOW, "holds": [["ocr", []]], "errors": {}}', id="holds: a list"),
    pytest.param('{"time": NOW, "holds": {"ocr": null}, "errors": {}}', id="holds: null"),
    pytest.param('{"time": NOW, "holds": {"ocr": [7]}, "errors": {}}', id="holds: a number"),
    pytest.param('{"time": NOW, "holds": {}, "errors": ["x"]}', id="errors: a list"),
    pytest.param('{"time": NOW, "holds": {}, "errors": {}, "asleep": 5}', id="asleep: a number"),
    pytest.param('{"time": NOW, "holds": {}, "errors": {}, "asleep": [["a"]]}', id="asleep: lists"),
    pytest.param('{"time": NOW, "holds": {}, "errors": {}, "checked": 5}', id="checked: a number"),
    pytest.param('{"time": NOW, "holds": {}, "errors": {}, "checked": {"ocr": "x"}}', id="checked: a word"),
    pytest.param('{"time": NOW, "holds": {}, "errors": {}, "away_since": "x"}', id="away_since: a word"),
    pytest.param('{"time": NOW, "holds": {}, "errors": {}, "silent_s": []}', id="silent_s: a list"),
]


@pytest.mark.parametrize("content", BAD)
def test_a_file_that_is_no_report_is_named_and_hides_no_other(tmp_path: Path, content: str) -> None:
    (tmp_path / ".nodes").mkdir()
    (tmp_path / ".nodes" / "bad.json").write_text(content.replace("NOW", str(time.time())))
    (tmp_path / ".nodes" / "good.json").write_text(json.dumps(GOOD | {"time": time.time()}))
    reports = ModelStore(tmp_path).node_reports()
    assert list(reports.live) == ["good"]
    assert [".nodes/bad.json is no report" in problem for problem in reports.problems] == [True]


def test_a_folder_in_the_place_of_a_report(tmp_path: Path) -> None:
    (tmp_path / ".nodes" / "box.json").mkdir(parents=True)
    assert ["Is a directory" in one for one in ModelStore(tmp_path).node_reports().problems] == [True]
