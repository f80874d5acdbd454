"""Old versions back into service, out of a real model store; no TorchServe runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from layoutloop.errors import RolloutFailed, Superseded
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.inference import InferenceClient
from layoutloop.torchserve.tokens import TokenFile
from rollout.promotion import promote
from training.archive.archive import ProjectSettings, build_project
from training.publish import Publisher
from training.report.files import keep_report, read_report
from training.report.report import Report
from training.restore import restore

NAME = "project-7"


def nobody_else() -> None:
    """This process does the job."""


@dataclass
class Place:
    """A model store with two versions of project 7, the newer one in service, and the folder of a job."""

    store: ModelStore
    job: Path
    old: str
    new: str

    def restore(self, version: str, project: int = 7, still_mine: Callable[[], None] = nobody_else) -> str:
        client = InferenceClient("http://127.0.0.1:9", TokenFile(self.job / "no-key"))
        return restore(Publisher(self.store, project, self.job, client, still_mine, untested=True), version)

    @property
    def current(self) -> str | None:
        serving = self.store.manifest(NAME)
        return serving.current if serving else None

    def everything(self) -> set[Path]:
        return set(self.store.path.parent.rglob("*"))


@pytest.fixture
def place(tmp_path: Path, text_checkpoint: Path) -> Place:
    store = ModelStore(tmp_path / "store")
    old, new = (build_project(store, 7, text_checkpoint, ProjectSettings()).version for _ in range(2))
    promote(store, NAME, new, untested=True)
    return Place(store, tmp_path / "home" / "training" / NAME / "job", old, new)


def test_an_old_version_is_in_service_under_a_new_stamp(place: Place) -> None:
    keep_report(place.store, Report(NAME, ("total",), version=place.old, trained_tasks=(1, 2)))
    version = place.restore(place.old)
    assert version > place.new
    assert place.current == version
    assert place.store.card(NAME, version).restored_from == place.old
    report = read_report(place.store.report_path(NAME, version))
    assert (report.version, report.restored_from, report.trained_tasks) == (version, place.old, (1, 2))


@pytest.mark.parametrize(
    ("version", "project", "says"),
    [
        pytest.param("20200101T000000Z", 7, "no kept checkpoint of version 20200101T000000Z, only of 2", id="a typo"),
        pytest.param("OLD", 8, "project-8 has no kept checkpoint .*, only of none", id="another project"),
        pytest.param("NEW", 7, "is in service already", id="the one in service"),
        pytest.param("../../../x", 7, r"a version is a stamp .*, got '\.\./\.\./\.\./x'", id="a path"),
        pytest.param("*", 7, "a version is a stamp", id="a pattern"),
        pytest.param("20200101T000000Z\n", 7, "a version is a stamp", id="a line break"),
        pytest.param("", 7, "a version is a stamp", id="nothing"),
    ],
)
def test_what_cannot_be_restored_leaves_nothing(place: Place, version: str, project: int, says: str) -> None:
    before = place.everything()
    with pytest.raises(RolloutFailed, match=says):
        place.restore({"OLD": place.old, "NEW": place.new}.get(version, version), project)
    assert place.everything() == before
    assert place.current == place.new


def test_a_training_is_not_waited_for(place: Place) -> None:
    with place.store.training_lock(7):
        version = place.restore(place.old)
    assert place.current == version


def test_an_orphan_changes_nothing(place: Place) -> None:
    def still_mine() -> None:
        raise Superseded("attempt 1 is over; stop")

    with pytest.raises(Superseded):
        place.restore(place.old, still_mine=still_mine)
    assert place.current == place.new


def test_a_second_try_restores_nothing_anew(place: Place) -> None:
    version = place.restore(place.old)
    assert place.restore(place.old) == version
    assert len(list(place.store.folder(NAME).glob("*.mar"))) == 3
