"""The table of versions, and what --back-to refuses. Promotions are in tests/training and tests/end_to_end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from scripts.rollout import main
from training.measure.scoring import MICRO, LabelScore, PageScore, Scores
from training.report.files import keep_report
from training.report.report import Report

NAME = "project-7"
VERSIONS = ["20261123T080000Z", "20261122T080000Z", "20261121T080000Z"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three versions: the newest one's report is damaged, the next one's is whole, the oldest one has none."""
    folder = tmp_path / "store"
    for version in VERSIONS:
        write_json(ModelStore(folder).card_path(NAME, version), VersionCard(NAME, version, ("total",)).to_json())
        ModelStore(folder).archive_path(NAME, version).touch()
    write_manifest(ModelStore(folder), NAME, Manifest(tuple(VERSIONS[:1]), VERSIONS[0]))
    ModelStore(folder).report_path(NAME, VERSIONS[0]).write_text("{")
    keep_report(ModelStore(folder), Report(NAME, ("total",), version=VERSIONS[1], trained_pages=8, validation_pages=2))
    monkeypatch.setenv("MODEL_DIR", str(folder))
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path / "home"))
    return folder


def test_a_damaged_report_hides_no_version(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == VERSIONS
    assert "current" in lines[0]
    assert "no figures" in lines[0]
    assert "8 + 2 pages  F1 unknown" in lines[1]
    assert "figures" not in lines[2]


@pytest.mark.parametrize(
    ("counted_by", "says"),
    [pytest.param("words", "  F1 0.750  ", id="words"), pytest.param("boxes", "  F1 by boxes 0.750  ", id="boxes")],
)
def test_f1_says_what_was_counted(store: Path, capsys: pytest.CaptureFixture[str], counted_by: str, says: str) -> None:
    scores = Scores((), LabelScore(MICRO, 0.75, 0.75, 0.75, 4, 4), (PageScore(1, 0, 3, 4, 4),))
    report = Report(NAME, ("total",), version=VERSIONS[1], scores=scores, counted_by=counted_by)
    keep_report(ModelStore(store), report)
    assert main(["--list"]) == 0
    assert says in capsys.readouterr().out.splitlines()[1]


def test_an_empty_store_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "nothing here"))
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path / "home"))
    assert main(["--list"]) == 0
    assert capsys.readouterr().err == f"no versions in {tmp_path / 'nothing here'} (MODEL_DIR)\n"


@pytest.mark.parametrize(
    ("nodes", "says"),
    [pytest.param(count, says, id=says) for count, says in enumerate(("0 nodes", "1 node", "2 nodes"))],
)
def test_on_how_many_nodes_a_version_is(store: Path, capsys: pytest.CaptureFixture[str], nodes: int, says: str) -> None:
    for number in range(nodes):
        report = {"time": time.time(), "holds": {NAME: VERSIONS[:1]}, "errors": {}}
        write_json(store / ".nodes" / f"node-{number}.json", report)
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(f"  on {says}")


@pytest.mark.parametrize(
    ("version", "says"),
    [
        pytest.param("20200101T000000Z", "no kept checkpoint of version 20200101T000000Z", id="a typo"),
        pytest.param("../../../elsewhere", "a version is a stamp like", id="a path"),
        pytest.param(VERSIONS[0], "is in service already", id="the one in service"),
    ],
)
def test_back_to_what_is_not_there_makes_no_folder(
    store: Path, version: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(store.parent.rglob("*"))
    assert main(["--project", "7", "--back-to", version, "--untested"]) == 1
    assert says in capsys.readouterr().err
    assert set(store.parent.rglob("*")) == before
