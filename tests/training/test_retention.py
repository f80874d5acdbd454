from __future__ import annotations

from pathlib import Path

import pytest

from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from training.retention import prune

VERSIONS = [f"2026112{day}T080000Z" for day in range(6)]


def make_version(model_dir: Path, version: str) -> None:
    folder = model_dir / "project-7"
    (folder / f"checkpoint-{version}").mkdir(parents=True)
    for suffix in (".mar", ".json", ".report.json", ".report.html"):
        (folder / f"project-7-{version}{suffix}").write_text("x")


@pytest.mark.parametrize(
    ("load", "current", "kept"),
    [
        pytest.param((VERSIONS[5],), VERSIONS[5], VERSIONS[4:], id="the newest two"),
        pytest.param((VERSIONS[1],), VERSIONS[1], [VERSIONS[1], *VERSIONS[4:]], id="what is in service stays"),
        pytest.param((VERSIONS[5], VERSIONS[0]), VERSIONS[5], [VERSIONS[0], *VERSIONS[4:]], id="what is loaded stays"),
    ],
)
def test_only_the_newest_are_kept(tmp_path: Path, load: tuple[str, ...], current: str, kept: list[str]) -> None:
    for version in VERSIONS:
        make_version(tmp_path, version)
    write_manifest(ModelStore(tmp_path), "project-7", Manifest(load, current))
    gone = prune(ModelStore(tmp_path), 7, keep=2)
    assert sorted(gone) == sorted(set(VERSIONS) - set(kept))
    left = {path.name for path in (tmp_path / "project-7").iterdir()}
    for version in VERSIONS:
        assert (f"checkpoint-{version}" in left) == (version in kept)
        assert sum(f"project-7-{version}" in name for name in left) == (4 if version in kept else 0)


def test_what_killed_builds_left_does_not_count_as_a_version(tmp_path: Path) -> None:
    """Else three orphans would delete three of the five that can be brought back."""
    for version in VERSIONS[:3]:
        make_version(tmp_path, version)
    orphans = ["20261120T070000Z", *VERSIONS[3:]]
    for version in orphans:
        (tmp_path / "project-7" / f"checkpoint-{version}").mkdir()
    (tmp_path / "project-7" / f"project-7-{VERSIONS[3]}.mar").touch()
    (tmp_path / "project-7" / "checkpoint-mine").mkdir()
    write_manifest(ModelStore(tmp_path), "project-7", Manifest((VERSIONS[2],), VERSIONS[2]))
    assert prune(ModelStore(tmp_path), 7, keep=2) == [VERSIONS[0], "20261120T070000Z"]
    left = {path.name for path in (tmp_path / "project-7").glob("checkpoint-*")}
    assert left == {f"checkpoint-{version}" for version in (*VERSIONS[1:], "mine")}
