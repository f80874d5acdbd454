"""The marks that say which projects are asked, in a real folder."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from layoutloop.store.manifest import VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.use_marks import RENEW_S, UseMarks, asked_path, heal_marks
from layoutloop.torchserve.in_service import InService, InServiceModels
from layoutloop.torchserve.inference import InferenceClient
from layoutloop.torchserve.tokens import TokenFile
from tests.layoutloop.torchserve.test_inference import NO_WORKER, VERSION, start

OCR = VersionCard("ocr", VERSION)
PAGE: dict[str, Any] = {"format": 1, "words": []}


def test_an_ask_is_noted_and_not_at_every_page(tmp_path: Path) -> None:
    marks = UseMarks(tmp_path)
    mark = asked_path(tmp_path, "project-7")
    marks.note("project-7")
    os.utime(mark, (5, 5))
    marks.note("project-7")
    assert mark.stat().st_mtime == 5
    marks._noted["project-7"] -= RENEW_S
    marks.note("project-7")
    assert mark.stat().st_mtime == pytest.approx(time.time(), abs=30)
    assert [path.name for path in mark.parent.iterdir()] == ["project-7"]


@pytest.mark.parametrize("gone", ["the mark", "the folder"])
def test_a_mark_that_somebody_deleted_is_made_again(tmp_path: Path, gone: str) -> None:
    marks = UseMarks(tmp_path)
    mark = asked_path(tmp_path, "project-7")
    marks.note("project-7")
    mark.unlink()
    if gone == "the folder":
        mark.parent.rmdir()
    marks._noted.clear()
    marks.note("project-7")
    assert mark.is_file()


@pytest.mark.parametrize("store", ["not there", "no folder may be made in it"])
def test_a_store_that_cannot_be_written_is_a_warning_once(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    model_dir = tmp_path / "store"
    if store != "not there":
        model_dir.mkdir()
        (model_dir / ".asked").write_text("a file")  # also root meets this
    marks = UseMarks(model_dir)
    for model in ("project-7", "project-8", "project-9"):
        marks._noted.clear()
        marks.note(model)
    assert len(caplog.records) == 1
    assert "set LAYOUTLOOP_IDLE_S=0" in caplog.text
    assert model_dir.exists() == (store != "not there")


@pytest.mark.parametrize(
    ("model", "noted"),
    [
        pytest.param(None, [], id="cold start"),
        pytest.param(VersionCard("", ""), [], id="reading for a training"),
        pytest.param(VersionCard("project-7", VERSION), ["project-7"], id="reading for a project"),
    ],
)
def test_reading_wakes_the_project_it_is_for(tmp_path: Path, model: VersionCard | None, noted: list[str]) -> None:
    with start(tmp_path / "key_file.json") as (fake, server):
        fake.models["ocr", VERSION] = lambda _: (200, PAGE)
        models = InServiceModels(
            ModelStore(tmp_path),
            InferenceClient(f"http://127.0.0.1:{server.port}", TokenFile(tmp_path / "key_file.json")),
        )
        assert models.read(b"image", InService(OCR, model), time.monotonic() + 5) == PAGE
    # A listing of `.asked/*` alone would be empty too where `.asked` is a file.
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(".asked*")) == [".asked"] * bool(
        noted
    )
    assert [path.name for path in tmp_path.glob(".asked/*")] == noted


@pytest.mark.parametrize("who", ["a page", "the watcher"])
def test_an_empty_file_in_the_place_of_the_folder_is_mended(tmp_path: Path, who: str) -> None:
    """Left by a release whose first training of a project made it; no idle project's worker went to sleep then."""
    (tmp_path / ".asked").touch()
    if who == "the watcher":
        heal_marks(tmp_path)
        assert not (tmp_path / ".asked").exists()
    UseMarks(tmp_path).note("project-7")
    assert (tmp_path / ".asked" / "project-7").is_file()


@pytest.mark.parametrize("model", ["", "ocr", "..", "project-x"])
def test_only_projects_are_noted(tmp_path: Path, model: str) -> None:
    UseMarks(tmp_path).note(model)
    assert list(tmp_path.iterdir()) == []


def test_a_project_is_noted_before_torchserve_is_asked(tmp_path: Path) -> None:
    mark = asked_path(tmp_path, "project-7")
    seen: list[bool] = []

    def answer(_: object) -> tuple[int, Any]:
        seen.append(mark.is_file())
        return (200, {"model_version": VERSION}) if seen[1:] else (503, NO_WORKER)

    with start(tmp_path / "key_file.json") as (fake, server):
        fake.models["project-7", VERSION] = answer
        client = InferenceClient(f"http://127.0.0.1:{server.port}", TokenFile(tmp_path / "key_file.json"))
        models = InServiceModels(ModelStore(tmp_path), client)
        with pytest.raises(Exception, match="has no worker"):
            models.tag(PAGE, VersionCard("project-7", VERSION), time.monotonic() + 5)
        assert models.tag(PAGE, VersionCard("project-7", VERSION), time.monotonic() + 5)
    assert seen == [True, True]
