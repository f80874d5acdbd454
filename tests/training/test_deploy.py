from __future__ import annotations

import json
from pathlib import Path

import pytest

from handler.page import Box, Region, TaggedPage
from shim.serving import Serving, archive_path, read_card
from tests.training.samples import make_example
from training.archive import ProjectSettings
from training.deploy import Proof, agrees, archive_once, archived_version, prove, was_promoted
from training.store import write_serving

REGIONS = tuple(Region(label, Box(0, 0, 1, 1), 0.9, "x", words) for label, words in (("total", (1, 2)), ("date", (4,))))
WIRE = [{"label": region.label, "words": list(region.words), "score": 0.5} for region in REGIONS]


@pytest.mark.parametrize(
    ("found", "exact", "same"),
    [
        pytest.param(WIRE, True, True, id="the same"),
        pytest.param(WIRE[::-1], True, True, id="another order"),
        pytest.param(WIRE[:1], True, False, id="one is missing"),
        pytest.param([], True, False, id="none"),
        pytest.param(None, True, False, id="no list"),
        pytest.param([WIRE[0], {**WIRE[1], "words": [5]}], True, False, id="other words"),
        pytest.param(WIRE[:1], False, True, id="half of them, in bfloat16"),
        pytest.param([], False, False, id="none, in bfloat16"),
    ],
)
def test_agrees(found: object, exact: bool, same: bool) -> None:
    assert agrees(found, Proof(make_example(1).page, TaggedPage(REGIONS, 1), exact)) == same


def test_a_proof_is_a_page_with_an_answer(text_checkpoint: Path) -> None:
    proof = prove(text_checkpoint, "words", [make_example(1)], exact=True)
    assert proof is not None
    assert proof.page == make_example(1).page
    assert prove(text_checkpoint, "words", [], exact=True) is None


def test_a_second_try_archives_nothing_anew(tmp_path: Path, text_checkpoint: Path) -> None:
    job, store = tmp_path / "job", tmp_path / "store"
    job.mkdir()
    first = archive_once(job, text_checkpoint, store, 7, ProjectSettings())
    assert archived_version(job) == first
    assert archive_once(job, text_checkpoint, store, 7, ProjectSettings()) == first
    assert not was_promoted(store, 7, first)
    write_serving(store, "project-7", Serving((first,), first))
    assert was_promoted(store, 7, first)


def test_an_archive_that_was_overtaken_gets_a_new_stamp(tmp_path: Path, text_checkpoint: Path) -> None:
    """Versions only move forward: somebody restored an old one between two tries."""
    job, store = tmp_path / "job", tmp_path / "store"
    job.mkdir()
    first = archive_once(job, text_checkpoint, store, 7, ProjectSettings())
    write_serving(store, "project-7", Serving(("29991231T000000Z",), "29991231T000000Z"))
    (job / "archived.json").write_text(json.dumps({"version": first}))
    second = archive_once(job, text_checkpoint, store, 7, ProjectSettings(), restored_from=first)
    assert second > first
    assert archive_path(store, "project-7", second).is_file()
    assert read_card(store, "project-7", second).restored_from == first
