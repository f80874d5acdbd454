from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from handler.page import Box, Region, TaggedPage
from layoutloop.errors import RolloutFailed, Superseded
from layoutloop.store.changes import write_manifest
from layoutloop.store.locks import FILE_LOCK
from layoutloop.store.manifest import Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from layoutloop.torchserve.inference import InferenceClient
from layoutloop.torchserve.tokens import TokenFile
from tests.layoutloop.torchserve.test_inference import Reply, start
from tests.training.samples import make_example
from training.archive.archive import ProjectSettings
from training.publish import Proof, Publisher, agrees, archived_version, prove, was_promoted

REGIONS = tuple(Region(label, Box(0, 0, 1, 1), 0.9, "x", words) for label, words in (("total", (1, 2)), ("date", (4,))))
WIRE = [{"label": region.label, "words": list(region.words), "score": 0.5} for region in REGIONS]


@pytest.mark.parametrize(
    ("found", "same"),
    [
        pytest.param(WIRE, True, id="the same"),
        pytest.param(WIRE[::-1], True, id="another order"),
        pytest.param(WIRE[:1], True, id="half of them"),
        pytest.param([WIRE[0], {**WIRE[1], "words": [5]}], False, id="a third of both"),
        pytest.param([], False, id="none"),
        pytest.param(None, False, id="no list"),
    ],
)
def test_agrees(found: object, same: bool) -> None:
    assert agrees(found, Proof(make_example(1).page, TaggedPage(REGIONS, 1))) == same


def test_a_proof_is_a_page_with_an_answer(text_checkpoint: Path) -> None:
    proof = prove(text_checkpoint, "words", [make_example(1)])
    assert proof is not None
    assert proof.page == make_example(1).page
    assert prove(text_checkpoint, "words", []) is None


def make_publisher(store: ModelStore, folder: Path) -> Publisher:
    """Of a job that is asked to do its work, and has no TorchServe."""
    client = InferenceClient("http://127.0.0.1:9", TokenFile(folder / "no-key"))
    return Publisher(store, 7, folder, client, still_mine=lambda: None)


def test_a_second_try_archives_nothing_anew(tmp_path: Path, text_checkpoint: Path) -> None:
    job, store = tmp_path / "job", ModelStore(tmp_path / "store")
    job.mkdir()
    publisher = make_publisher(store, job)
    first = publisher.archive(text_checkpoint, ProjectSettings())
    assert archived_version(job) == first
    assert publisher.archive(text_checkpoint, ProjectSettings()) == first
    assert not was_promoted(store, 7, first)
    write_manifest(store, "project-7", Manifest((first,), first))
    assert was_promoted(store, 7, first)


def test_an_archive_that_was_overtaken_gets_a_new_stamp(tmp_path: Path, text_checkpoint: Path) -> None:
    """Versions only move forward: somebody restored an old one between two tries."""
    job, store = tmp_path / "job", ModelStore(tmp_path / "store")
    job.mkdir()
    publisher = make_publisher(store, job)
    first = publisher.archive(text_checkpoint, ProjectSettings())
    write_manifest(store, "project-7", Manifest(("29991231T000000Z",), "29991231T000000Z"))
    (job / "archived.json").write_text(json.dumps({"version": first}))
    second = publisher.archive(text_checkpoint, ProjectSettings(restored_from=first))
    assert second > first
    assert store.archive_path("project-7", second).is_file()
    assert store.card("project-7", second).restored_from == first


OLD, NEW = "20261122T080000Z", "20261123T080000Z"


@pytest.mark.parametrize(
    ("regions", "mine", "error"),
    [
        pytest.param(WIRE, True, None, id="it answers as it did in training"),
        pytest.param([], True, RolloutFailed, id="it finds something else"),
        pytest.param(WIRE, False, Superseded, id="the job is another process's by now"),
    ],
)
def test_a_candidate_is_asked_about_a_real_page_right_before_the_flip(
    tmp_path: Path, regions: list[object], mine: bool, error: type[Exception] | None
) -> None:
    store = ModelStore(tmp_path / "store")
    before = Manifest((OLD,), OLD, {OLD: "x"})
    write_manifest(store, "project-7", before)
    store.archive_path("project-7", NEW).write_bytes(b"archive")
    write_json(store.card_path("project-7", NEW), VersionCard("project-7", NEW, ("total",)).to_json())
    seen_before_the_flip: list[str | None] = []

    def current() -> str | None:
        serving = store.manifest("project-7")
        return serving.current if serving else None

    def answer(_: object) -> Reply:
        seen_before_the_flip.append(current())
        return 200, {"format": 1, "model_version": NEW, "windows": 1, "regions": regions}

    def still_mine() -> None:
        seen_before_the_flip.append(current())
        if not mine:
            raise Superseded("another attempt runs it")

    with start(tmp_path / "key_file.json") as (fake, server):
        fake.models["project-7", NEW] = answer
        client = InferenceClient(f"http://127.0.0.1:{server.port}", TokenFile(fake.key_file))
        # A node that says, after each request to load, that it holds the version.
        soon = time.time() + 60
        node = json.dumps({"time": soon, "checked": {"project-7": soon}, "holds": {"project-7": [NEW]}, "errors": {}})
        (store.path / ".nodes").mkdir()
        (store.path / ".nodes" / "node.json").write_text(node)
        proof = Proof(make_example(1).page, TaggedPage(REGIONS, 1))

        def put() -> None:
            Publisher(store, 7, tmp_path / "job", client, still_mine).put_into_service(NEW, proof, FILE_LOCK)

        _expect(put, error)
    assert set(seen_before_the_flip) == {OLD}
    if error is None:
        assert current() == NEW
    else:
        assert store.manifest("project-7") == before


def _expect(put: Callable[[], None], error: type[Exception] | None) -> None:
    if error is None:
        put()
    else:
        with pytest.raises(error):
            put()
