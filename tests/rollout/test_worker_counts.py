"""Who gets how many workers, from the times of real files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.use_marks import asked_path
from layoutloop.torchserve.management import ServedVersion
from rollout.worker_counts import SETTLE_S, WorkerCounts
from tests.layoutloop.torchserve.test_management import V1, V2

HOUR = 3600.0
IN_SERVICE = Manifest((V1,), V1)
QUIET, BUSY = ServedVersion(V1, 1, 1, 0), ServedVersion(V1, 1, 1, 2)


def mark(model_dir: Path, age_s: float, name: str = "project-7") -> None:
    """A project asked so long ago."""
    path = asked_path(model_dir, name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age_s,) * 2)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose project-7 was promoted long ago, and asked a little later."""
    for name in ("ocr", "project-7"):
        write_manifest(ModelStore(tmp_path), name, IN_SERVICE)
        os.utime(tmp_path / name / "serving.json", (time.time() - 2 * HOUR,) * 2)
    mark(tmp_path, HOUR)
    return tmp_path


def counts(store: Path, idle_s: float = 1800.0) -> WorkerCounts:
    return WorkerCounts(store, ocr=3, project=2, idle_s=idle_s)


def test_an_idle_project_gets_none_and_ocr_never_sleeps(store: Path) -> None:
    assert (counts(store).of("project-7", IN_SERVICE), counts(store).of("ocr", IN_SERVICE)) == (0, 3)


def test_a_project_that_was_never_asked_counts_from_its_promotion(store: Path) -> None:
    asked_path(store, "project-7").unlink()
    assert counts(store).of("project-7", IN_SERVICE) == 0
    assert counts(store, 3 * HOUR).of("project-7", IN_SERVICE) == 2


@pytest.mark.parametrize("why", ["asked", "promoted", "0 is never", "no marks", "not readable", "tried"])
def test_a_project_that_is_not_idle(store: Path, why: str) -> None:
    serving, idle_s, path = IN_SERVICE, 1800.0, asked_path(store, "project-7")
    match why:
        case "asked":
            mark(store, 1000)
        case "promoted":
            write_manifest(ModelStore(store), "project-7", IN_SERVICE)
        case "0 is never":
            idle_s = 0
        case "no marks":
            path.unlink()
            path.parent.rmdir()
        case "not readable":
            path.unlink()
            path.symlink_to(path)  # also root cannot read this
        case "tried":
            serving = Manifest((V2, V1), V1)
    assert counts(store, idle_s).of("project-7", serving) == 2


def test_an_old_version_that_left_is_no_new_one(store: Path) -> None:
    assert counts(store).of("project-7", Manifest((V2, V1), V2, left={V1: 5.0})) == 0


@pytest.mark.parametrize("ahead_s", [-100 * HOUR, 100 * HOUR], ids=["behind", "ahead"])
def test_a_clock_that_is_wrong_keeps_nobody_asleep_or_awake(store: Path, ahead_s: float) -> None:
    """Once a mark was seen, only that it changed counts, not what it says."""
    mark(store, -ahead_s)
    found = counts(store, idle_s=0.3)
    time.sleep(0.4)
    found.is_idle("project-7")
    time.sleep(0.4)
    assert found.is_idle("project-7")
    mark(store, -ahead_s - 1)
    assert not found.is_idle("project-7")
    time.sleep(0.4)
    assert found.is_idle("project-7")


def test_workers_go_when_the_queue_was_empty_for_a_while(store: Path) -> None:
    found = counts(store)
    assert found.is_idle("project-7")
    assert not found.may_stop("project-7", QUIET)
    assert not found.may_stop("project-7", QUIET)
    found._empty["project-7", V1] -= SETTLE_S
    assert not found.may_stop("project-7", BUSY)
    assert not found.may_stop("project-7", QUIET)
    found._empty["project-7", V1] -= SETTLE_S
    assert found.may_stop("project-7", QUIET)


def test_an_ask_at_the_last_moment_keeps_the_workers(store: Path) -> None:
    found = counts(store)
    assert found.is_idle("project-7")
    assert not found.may_stop("project-7", QUIET)
    found._empty["project-7", V1] -= SETTLE_S
    mark(store, 0)
    assert not found.may_stop("project-7", QUIET)
    assert not found.is_idle("project-7")


def test_quiet_before_the_last_ask_does_not_count(store: Path) -> None:
    found = counts(store, idle_s=0.1)
    assert found.is_idle("project-7")
    assert not found.may_stop("project-7", QUIET)
    found._empty["project-7", V1] -= 1000
    mark(store, 0)
    assert not found.is_idle("project-7")
    time.sleep(0.2)
    assert found.is_idle("project-7")
    assert not found.may_stop("project-7", QUIET)
