from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from shim.service import read_service

HELD = {"ocr": ["1"], "project-7": ["2"]}


@pytest.mark.parametrize(
    ("reports", "asleep"),
    [
        pytest.param([{"holds": HELD, "asleep": ["project-7"]}], ("project-7",), id="one node"),
        pytest.param([{"holds": HELD, "asleep": ["project-7"]}] * 2, ("project-7",), id="on both"),
        pytest.param([{"holds": HELD, "asleep": ["project-7"]}, {"holds": HELD}], (), id="awake on one"),
        pytest.param(
            [{"holds": HELD, "asleep": ["project-7"]}, {"holds": {"ocr": ["1"], "project-7": []}}],
            *(("project-7",),),
            id="not held by the other",
        ),
        pytest.param([{"holds": HELD}], (), id="a watcher of before"),
        pytest.param([], (), id="no node"),
    ],
)
def test_what_sleeps(tmp_path: Path, reports: list[dict[str, object]], asleep: tuple[str, ...]) -> None:
    (tmp_path / ".nodes").mkdir()
    for number, report in enumerate(reports):
        body = {"time": time.time(), "errors": {}} | report
        (tmp_path / ".nodes" / f"node-{number}.json").write_text(json.dumps(body))
    service = read_service(tmp_path, tmp_path, has_key=True)
    assert service.asleep == asleep
    assert service.nodes == tuple(f"node-{number}" for number in range(len(reports)))


@pytest.mark.parametrize(
    ("age_s", "silent_s", "counted"),
    [
        pytest.param(20, None, True, id="heard of lately"),
        pytest.param(40, None, False, id="silent"),
        pytest.param(40, 60, True, id="told to be patient"),
        pytest.param(20, 10, False, id="told to be quick"),
    ],
)
def test_how_long_a_node_may_be_silent_stands_in_its_report(
    tmp_path: Path, age_s: float, silent_s: float | None, counted: bool
) -> None:
    (tmp_path / ".nodes").mkdir()
    body = {"time": time.time() - age_s, "holds": {}, "errors": {}} | ({"silent_s": silent_s} if silent_s else {})
    (tmp_path / ".nodes" / "node.json").write_text(json.dumps(body))
    assert read_service(tmp_path, tmp_path, has_key=True).nodes == (("node",) if counted else ())
