from __future__ import annotations

from pathlib import Path

import pytest

from layoutloop.store.disk import disk_problem
from layoutloop.store.model_store import ModelStore
from shim.health import read_health
from tests.full_disk import fill, small_disk


def test_a_full_disk_is_told_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", 64) as home:
        store = ModelStore(tmp_path)
        assert disk_problem(home, "LAYOUTLOOP_HOME") == ""
        filler = fill(home)
        sentence = disk_problem(home, "LAYOUTLOOP_HOME")
        assert sentence.startswith(f"The disk of LAYOUTLOOP_HOME ({home}) is full (less than 32 MiB left);")
        assert sentence in read_health(store, home, has_key=True).missing
        filler.unlink()
        assert disk_problem(home, "LAYOUTLOOP_HOME") == ""
        assert sentence not in read_health(store, home, has_key=True).missing


@pytest.mark.parametrize("folder", ["", "not there yet"])
def test_a_disk_that_is_well(tmp_path: Path, folder: str) -> None:
    assert disk_problem(tmp_path / folder, "MODEL_DIR") == ""
