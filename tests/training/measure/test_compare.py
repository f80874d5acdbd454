"""A candidate against kept versions that read with another OCR engine: real engines, real small checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from transformers import LayoutLMv3ForTokenClassification

from handler.errors import HandlerError
from handler.images import ImageLimits
from handler.ocr_settings import TASK_ENGINE, OcrSettings, engine_kind
from handler.page import Box
from handler.reading.reader import Reader
from handler.wire import page_to_json
from layoutloop.errors import ModelNotReady
from layoutloop.settings.training import TrainSettings
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import OCR_MODEL, Manifest, VersionCard, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from layoutloop.torchserve.in_service import InServiceModels
from layoutloop.torchserve.inference import InferenceClient
from tests.checkpoints import make_checkpoint
from tests.far_servers import _Handler, serve
from tests.handler.samples import encoded, rendered_page
from training.data.annotations import AnnotatedPage
from training.data.collect import Collected
from training.data.examples import Entity, Example
from training.data.page_readers import TorchServeReader
from training.measure.compare import Candidate, Comparison, KeptVersion, compare, rivals
from training.report.report import Report
from training.request import TrainingContext, TrainingRequest
from training.retrain import _Training
from training.summary import verdict_of
from training.worker.listeners import TerminalListener

LABEL = "word"
WORDS = ("Invoice", "Delivery", "Amount", "Thanks")
PAGES = 5
WIDE = 32_768
"""Pixels; wider than Tesseract reads and not wider than rapidocr does."""
OLD, NEW = "20261121T080000Z", "20261122T080000Z"
FLIP = {"rapidocr": "pytesseract", "pytesseract": "rapidocr"}
Answers = Literal["all", "none"]


def page_image(number: int) -> Image.Image:
    """One word a line, so that two engines draw the same boxes."""
    return rendered_page(WORDS[: 1 + number % len(WORDS)])


def wide_image() -> Image.Image:
    image = Image.new("RGB", (WIDE, 120), "white")
    ImageDraw.Draw(image).text((60, 40), WORDS[0], fill="black", font=ImageFont.load_default(40))
    return image


@cache
def reader(engine: str) -> Reader:
    return Reader(OcrSettings(engine, timeout_s=120), ImageLimits(), None)


@cache
def read(engine: str, number: int) -> Example:
    """A page as an engine reads it; a person drew a box around each word, with a margin."""
    page = reader(engine).read(encoded(page_image(number)))
    draw = ImageDraw.Draw(page_image(number))
    entities = []
    for line in range(1 + number % len(WORDS)):
        left, top, right, bottom = draw.textbbox((60, 60 + 90 * line), WORDS[line], ImageFont.load_default(40))
        entities.append(Entity(LABEL, Box(left - 3, top - 3, right + 3, bottom + 3), (line,)))
    return Example(100 + number, 0, page, tuple(entities))


def checkpoint(folder: Path, answers: Answers) -> Path:
    """A model that calls every word an entity of its own, or none."""
    make_checkpoint(folder, labels=(LABEL,))
    model = LayoutLMv3ForTokenClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias[1 if answers == "all" else 0] += 1000.0
    model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Place:
    """A model store with two kept versions of project 7, and a candidate."""

    store: ModelStore
    candidate: Candidate

    def keep(self, version: str, engine: str, answers: Answers) -> None:
        """Leave what a promotion leaves."""
        name = project_model(7)
        checkpoint(self.store.checkpoint_path(name, version), answers)
        card = VersionCard(name, version, (LABEL,), engine=f"{engine}-1.0-eng-psm3")
        write_json(self.store.card_path(name, version), card.to_json())

    def compare(self, as_read_for: Any) -> Comparison:
        kept: Sequence[KeptVersion] = rivals(self.store, 7)
        told: list[tuple[int, int]] = []
        found = compare(self.candidate, kept, COLLECTED, as_read_for, lambda *both: told.append(both))
        assert told == [(done, 1 + len(kept)) for done in range(1, 2 + len(kept))]
        return found


COLLECTED = Collected((LABEL,), {}, PAGES, {}, (), {}, "rapidocr-1.0-eng-psm3", {})


@pytest.fixture(params=["rapidocr", "pytesseract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    (tmp_path / "job").mkdir()
    pages = [read(request.param, number) for number in range(PAGES)]
    candidate = Candidate(checkpoint(tmp_path / "job" / "checkpoint", "all"), "words", pages, request.param)
    return Place(ModelStore(tmp_path / "store"), candidate)


def other_words(
    asked: list[str], refused: Mapping[int, HandlerError], card: VersionCard
) -> list[Example | HandlerError]:
    asked.append(card.version)
    return [refused.get(number) or read(card.engine_kind, number) for number in range(PAGES)]


def test_a_version_of_the_same_engine_is_compared_by_words(place: Place) -> None:
    asked: list[str] = []
    place.keep(OLD, place.candidate.engine_kind, "none")
    found = place.compare(partial(other_words, asked, {}))
    assert (asked, found.box_scores, found.unmeasured) == ([], None, {})
    assert found.comparable is found.scores
    assert (found.scores.overall.f1, found.rivals[0].scores.overall.f1) == (1.0, 0.0)
    assert "by boxes" not in verdict_of(found, OLD, forced=False).reason


def test_versions_of_two_engines_are_compared_by_boxes_each_on_its_own_words(place: Place) -> None:
    asked: list[str] = []
    place.keep(OLD, FLIP[place.candidate.engine_kind], "all")
    place.keep(NEW, place.candidate.engine_kind, "none")
    found = place.compare(partial(other_words, asked, {}))
    assert asked == [OLD], "the other has the candidate's words"
    assert found.box_scores is not None
    assert found.comparable is found.box_scores
    assert found.box_scores.overall.f1 == 1.0
    assert [(one.version, one.scores.overall.f1) for one in found.rivals] == [(OLD, 1.0), (NEW, 0.0)]
    verdict = verdict_of(found, OLD, forced=False)
    assert verdict.promote
    assert f"of version {OLD}, each on the words of its own OCR engine and by boxes," in verdict.reason


def test_a_worse_candidate_is_rejected_by_boxes(place: Place, tmp_path: Path) -> None:
    place.keep(OLD, FLIP[place.candidate.engine_kind], "all")
    worse = Place(
        place.store, replace(place.candidate, checkpoint=checkpoint(tmp_path / "job" / "worse" / "c", "none"))
    )
    verdict = verdict_of(worse.compare(partial(other_words, [], {})), OLD, forced=False)
    assert not verdict.promote
    assert (verdict.f1_before, verdict.f1_after) == (1.0, 0.0)


def tesseract_refusal() -> HandlerError:
    with pytest.raises(HandlerError) as refused:
        reader("pytesseract").read(encoded(wide_image()))
    return refused.value


def test_a_page_that_an_engine_refuses_costs_that_version_its_entities_alone(place: Place) -> None:
    place.keep(OLD, FLIP[place.candidate.engine_kind], "all")
    found = place.compare(partial(other_words, [], {1: tesseract_refusal()}))
    assert found.unmeasured == {}
    (rival,) = found.rivals
    errors = [page.error for page in rival.scores.pages]
    assert "Tesseract reads at most 32,767" in str(errors.pop(1))
    assert errors == [None] * (PAGES - 1)
    missed = len(place.candidate.pages[1].entities)
    right = sum(len(page.entities) for page in place.candidate.pages) - missed
    assert [page.right for page in rival.scores.pages][1] == 0
    assert sum(page.right for page in rival.scores.pages) == right
    assert rival.scores.overall.support == right + missed
    verdict = verdict_of(found, OLD, forced=False)
    assert verdict.promote
    assert verdict.f1_before == pytest.approx(2 * right / (2 * right + missed))


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", "[" * 100_000), ("config.json", "null"), ("tokenizer.json", "{}"), ("model.safetensors", "")],
    ids=["deep config", "config: null", "half a tokenizer", "no weights"],
)
def test_a_version_that_fails_in_any_way_is_unmeasured(place: Place, name: str, content: str) -> None:
    place.keep(OLD, place.candidate.engine_kind, "all")
    (place.store.checkpoint_path(project_model(7), OLD) / name).write_text(content)
    found = place.compare(partial(other_words, [], {}))
    assert (found.rivals, list(found.unmeasured)) == ((), [OLD])
    assert not verdict_of(found, OLD, forced=False).promote


def test_a_version_whose_engine_refuses_every_page_is_unmeasured(place: Place) -> None:
    place.keep(OLD, FLIP[place.candidate.engine_kind], "all")
    found = place.compare(partial(other_words, [], dict.fromkeys(range(PAGES), tesseract_refusal())))
    assert found.rivals == ()
    assert "its engine reads none of these pages: " in found.unmeasured[OLD]
    verdict = verdict_of(found, OLD, forced=False)
    assert not verdict.promote
    assert f"Version {OLD}, which is in service, could not be measured on these pages" in verdict.reason


def ocr(handler: _Handler) -> None:
    """The model `ocr` with its real engines; what its handler refuses is answered as TorchServe answers it."""
    seen = handler.server.seen[-1]
    engine = {name.lower(): value for name, value in seen.headers.items()}["x-layoutloop-engine"]
    try:
        handler.reply(200, json.dumps(page_to_json(reader(engine).read(seen.body))).encode())
    except HandlerError as error:
        body = {"error": {"code": error.code, "message": str(error)}}
        handler.reply(error.status, json.dumps(body).encode())


def training(folder: Path, port: int, images: Mapping[str, bytes]) -> _Training:
    store, client = ModelStore(folder / "store"), InferenceClient(f"http://127.0.0.1:{port}", None)
    write_manifest(store, OCR_MODEL, Manifest((OLD,), OLD))
    write_json(store.card_path(OCR_MODEL, OLD), VersionCard(OCR_MODEL, OLD, engine="rapidocr-1.0-eng-psm3").to_json())

    def image_of(page: AnnotatedPage) -> bytes:
        return images[page.reference]

    pages = TorchServeReader(image_of, InServiceModels(store, client), engine="rapidocr")
    context = TrainingContext(store, folder, TrainSettings(), lambda: ("", ()), pages, image_of, client)
    return _Training(TrainingRequest(7), context, TerminalListener())


@pytest.mark.parametrize(
    ("engine", "refused"),
    [
        pytest.param("pytesseract", [False, True], id="refuses what is too wide"),
        pytest.param("rapidocr", [False, False], id="reads both"),
    ],
)
def test_validation_pages_are_read_for_a_version_with_its_own_engine(
    tmp_path: Path, engine: str, refused: list[bool]
) -> None:
    images = {"first": encoded(page_image(0)), "wide": encoded(wide_image())}
    references = {"100/0": "first", "101/0": "wide"}
    validation = [read("rapidocr", 0), read("rapidocr", 1)]
    card = VersionCard(project_model(7), OLD, (LABEL,), engine=f"{engine}-1.0-eng-psm3")
    with serve("127.0.0.1", ocr) as server:
        found = training(tmp_path, server.port, images).as_read_for(
            replace(COLLECTED, references=references), validation, card
        )
    assert [isinstance(one, HandlerError) for one in found] == refused
    first, wide = found
    assert isinstance(first, Example)
    assert (first.task, first.entities) == (validation[0].task, validation[0].entities)
    assert engine_kind(first.page.engine) == engine
    assert [word.text for word in first.page.words] == [WORDS[0]]
    assert isinstance(wide, Example) or "Tesseract reads at most 32,767" in str(wide)


def test_what_is_no_pages_fault_ends_the_reading(tmp_path: Path) -> None:
    """Here another `ocr` came into service, which reads with an engine of its own."""

    def other(handler: _Handler) -> None:
        handler.reply(200, json.dumps(page_to_json(read("pytesseract", 0).page)).encode())

    card = VersionCard(project_model(7), OLD, (LABEL,), engine="rapidocr-1.0-eng-psm3")
    collected = replace(COLLECTED, references={"100/0": "first"})
    with serve("127.0.0.1", other) as server, pytest.raises(ModelNotReady, match="not with rapidocr"):
        training(tmp_path, server.port, {"first": b""}).as_read_for(collected, [read("rapidocr", 0)], card)


def with_own_words(example: Example) -> Example:
    """The same page, its words come with the task."""
    return replace(example, page=replace(example.page, engine=TASK_ENGINE))


def test_where_all_words_came_with_tasks_any_two_versions_are_compared_by_words(place: Place) -> None:
    asked: list[str] = []
    pages = [with_own_words(page) for page in place.candidate.pages]
    given = Place(place.store, replace(place.candidate, pages=pages, engine_kind=TASK_ENGINE))
    given.keep(OLD, FLIP[place.candidate.engine_kind], "none")
    found = given.compare(partial(other_words, asked, {}))
    assert (asked, found.box_scores, found.unmeasured) == ([], None, {})
    assert (found.scores.overall.f1, found.rivals[0].scores.overall.f1) == (1.0, 0.0)


def test_words_that_came_with_a_task_are_read_for_no_version_again(tmp_path: Path) -> None:
    given = with_own_words(read("rapidocr", 1))
    images, references = {"first": encoded(page_image(0))}, {"100/0": "first", "101/0": "never fetched"}
    card = VersionCard(project_model(7), OLD, (LABEL,), engine="pytesseract-1.0-eng-psm3")
    with serve("127.0.0.1", ocr) as server:
        first, second = training(tmp_path, server.port, images).as_read_for(
            replace(COLLECTED, references=references), [read("rapidocr", 0), given], card
        )
    assert second is given
    assert isinstance(first, Example)
    assert engine_kind(first.page.engine) == "pytesseract"


@pytest.mark.parametrize(
    ("read_by", "going_on", "archived"),
    [
        pytest.param("rapidocr-1.0-eng-psm3", None, "rapidocr-1.0-eng-psm3", id="pages that an engine read"),
        pytest.param(TASK_ENGINE, None, None, id="given words alone: as `ocr` is set"),
        pytest.param(TASK_ENGINE, "pytesseract", "pytesseract", id="given words alone, from a version that goes on"),
    ],
)
def test_a_version_names_the_engine_that_reads_pages_without_words(
    tmp_path: Path, read_by: str, going_on: str | None, archived: str | None
) -> None:
    one = training(tmp_path, 9, {})
    one = replace(one, context=replace(one.context, read=replace(one.context.read, engine=going_on)))
    assert one.archive_settings(Report("project-7", (LABEL,), engine=read_by)).engine == archived
