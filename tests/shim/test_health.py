from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from layoutloop.torchserve.nodes import Refusals
from shim.health import NOT_LOADED, read_health

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
    service = read_health(ModelStore(tmp_path), tmp_path, has_key=True)
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
    assert read_health(ModelStore(tmp_path), tmp_path, has_key=True).nodes == (("node",) if counted else ())


AWAY = "TorchServe does not answer: Connection refused"


@pytest.mark.parametrize(
    ("report", "starting", "missing", "node_errors"),
    [
        pytest.param(
            {"away_since": 4, "errors": {"torchserve": AWAY}},
            *(("TorchServe of box is starting",), (), ()),
            id="away for seconds",
        ),
        pytest.param(
            {"away_since": 40, "errors": {"torchserve": AWAY}},
            *((), (NOT_LOADED,), (f"box: torchserve: {AWAY}",)),
            id="away for long",
        ),
        pytest.param(
            {"away_since": 40, "silent_s": 60, "errors": {"torchserve": AWAY}},
            *(("TorchServe of box is starting",), (), ()),
            id="told to be patient",
        ),
        pytest.param(
            {"away_since": 4, "silent_s": 3, "errors": {"torchserve": AWAY}},
            *((), (NOT_LOADED,), (f"box: torchserve: {AWAY}",)),
            id="told to be quick",
        ),
        pytest.param(
            {"errors": {"torchserve": AWAY}},
            *((NOT_LOADED,), (), (f"box: torchserve: {AWAY}",)),
            id="a watcher that does not say since when",
        ),
        pytest.param(
            {"away_since": 4, "errors": {"ocr 1": "sha256 differs"}},
            *(("TorchServe of box is starting",), (), ("box: ocr 1: sha256 differs",)),
            id="another error",
        ),
        pytest.param({}, *((NOT_LOADED,), (), ()), id="it answers and loads"),
        pytest.param({"checked": {"ocr": 4.0}}, *((), (NOT_LOADED,), ()), id="it looked and does not hold it"),
        pytest.param(
            {"checked": {"ocr": 4.0}, "away_since": 4},
            *(("TorchServe of box is starting",), (), ()),
            id="it looked, and is busy with the others",
        ),
        pytest.param({"checked": {"project-7": 4.0}}, *((NOT_LOADED,), (), ()), id="it looked at another"),
        pytest.param({"holds": HELD}, *((), (), ()), id="all is there"),
    ],
)
def test_a_start_is_no_failure_until_it_takes_too_long(
    tmp_path: Path,
    report: dict[str, Any],
    starting: tuple[str, ...],
    missing: tuple[str, ...],
    node_errors: tuple[str, ...],
) -> None:
    write_manifest(ModelStore(tmp_path), "ocr", Manifest(("1",), "1"))
    now = time.time()
    body = {"time": now, "holds": {}, "errors": {}} | report
    if "away_since" in report:
        body["away_since"] = now - report["away_since"]
    write_json(tmp_path / ".nodes" / "box.json", body)
    service = read_health(ModelStore(tmp_path), tmp_path, has_key=True)
    assert (service.starting, service.node_errors, service.missing) == (starting, node_errors, missing)
    assert service.ready == (not starting and not missing)


@pytest.mark.parametrize("of_all", [True, False], ids=["all", "one of several"])
def test_nodes_that_refuse_pages_are_told_and_where_all_do_nothing_is_ready(tmp_path: Path, of_all: bool) -> None:
    write_manifest(ModelStore(tmp_path), "ocr", Manifest(("1",), "1"))
    write_json(tmp_path / ".nodes" / "box.json", {"time": time.time(), "holds": HELD, "errors": {}})
    assert read_health(ModelStore(tmp_path), tmp_path, has_key=True).ready
    refusals = Refusals(("it wants a key",), of_all)
    service = read_health(ModelStore(tmp_path), tmp_path, has_key=True, refusals=refusals)
    assert (service.ready, service.starting, service.missing) == (not of_all, (), ("it wants a key",))
