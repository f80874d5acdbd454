"""What is in service, changed by the holder of the lock."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from layoutloop.errors import LeaseLost
from layoutloop.store.changes import add_to_load, drop_from_load, flip, write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore

NAME = "project-7"
V1, V2, V3 = "20261122T083000Z", "20261122T093000Z", "20261122T103000Z"


@pytest.fixture
def empty(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


@pytest.fixture
def store(empty: ModelStore) -> ModelStore:
    """A model store with three archives of one project."""
    for version in (V1, V2, V3):
        path = empty.archive_path(NAME, version)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(version.encode())
    return empty


def serving(store: ModelStore) -> Manifest:
    found = store.manifest(NAME)
    assert found is not None
    return found


def digest(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()


def test_the_first_version_into_service(store: ModelStore) -> None:
    add_to_load(store, NAME, V1)
    assert serving(store) == Manifest((V1,), None, {V1: digest(V1)})
    flip(store, NAME, V1)
    assert serving(store) == Manifest((V1,), V1, {V1: digest(V1)})


def test_the_next_version_takes_over(store: ModelStore) -> None:
    add_to_load(store, NAME, V1)
    flip(store, NAME, V1)
    add_to_load(store, NAME, V2)
    assert serving(store) == Manifest((V2, V1), V1, {V1: digest(V1), V2: digest(V2)})
    flip(store, NAME, V2)
    found = serving(store)
    assert (found.load, found.current) == ((V2, V1), V2)
    assert found.left[V1] == pytest.approx(time.time(), abs=10)


def test_adding_and_flipping_again_changes_nothing(store: ModelStore) -> None:
    for version in (V1, V2):
        add_to_load(store, NAME, version)
        flip(store, NAME, version)
    before = serving(store)
    add_to_load(store, NAME, V2)
    flip(store, NAME, V2)
    assert serving(store) == before


def test_a_version_that_comes_back_has_not_left(store: ModelStore) -> None:
    write_manifest(store, NAME, Manifest((V2, V1), V2, {}, {V1: 5.0}))
    add_to_load(store, NAME, V1)
    assert serving(store).left == {}


def test_an_archive_that_was_built_again_gets_its_new_digest(store: ModelStore) -> None:
    add_to_load(store, NAME, V1)
    store.archive_path(NAME, V1).write_bytes(b"rebuilt")
    add_to_load(store, NAME, V1)
    assert serving(store).sha256 == {V1: hashlib.sha256(b"rebuilt").hexdigest()}


def test_dropping(store: ModelStore) -> None:
    for version in (V1, V2, V3):
        add_to_load(store, NAME, version)
    flip(store, NAME, V1)
    flip(store, NAME, V2)
    drop_from_load(store, NAME, {V1, V2, "20200101T000000Z"})
    found = serving(store)
    assert (found.load, found.current, found.left) == ((V3, V2), V2, {})
    assert found.sha256 == {V3: digest(V3), V2: digest(V2)}


def test_dropping_where_nothing_is(empty: ModelStore) -> None:
    drop_from_load(empty, NAME, {V1})
    assert empty.manifest(NAME) is None


@pytest.mark.parametrize("held", [(), (V1,)], ids=["nothing in service", "another version"])
def test_only_what_is_loaded_can_become_current(store: ModelStore, held: tuple[str, ...]) -> None:
    for version in held:
        add_to_load(store, NAME, version)
    with pytest.raises(LeaseLost, match=f"{V3} is not in project-7's load list"):
        flip(store, NAME, V3)


def test_an_archive_that_is_not_there_is_not_asked_for(store: ModelStore) -> None:
    with pytest.raises(FileNotFoundError):
        add_to_load(store, NAME, "20270101T000000Z")
    assert store.manifest(NAME) is None
