"""Scores calibrated on pages that were held out: a real small checkpoint, and boxes of which the truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from handler.page import Box, Page, Size, TaggedPage, Word
from handler.tagging.calibration import FILE, Calibration, Evidence
from handler.tagging.tagger import Tagger, TaggerSettings
from tests.checkpoints import make_checkpoint
from training.data.examples import Entity, Example
from training.measure.calibration import JudgedBox, as_served, calibrate, calibrated_on, fit_calibration, judge
from training.measure.evaluate import tag_examples
from training.measure.reliability import LEAST_BOXES, curve_of


def boxes_of(count: int, seed: int, weights: Sequence[float] = (0.4, 0.8, -0.5)) -> list[JudgedBox]:
    """Boxes that are right as often as these weights say, of a model that is too sure."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        evidence = Evidence(
            float(1 / (1 + math.exp(-generator.normal(2.5, 2.0)))), float(generator.choice([-3.0, 4.0]))
        )
        total = sum(weight * term for weight, term in zip(weights, evidence.terms, strict=True))
        is_right = bool(generator.random() < 1 / (1 + math.exp(-total)))
        made.append(JudgedBox(number // 5, "total", evidence, is_right))
    return made


def error(calibration: Calibration, boxes: Sequence[JudgedBox]) -> float:
    return curve_of([calibration.score(box.evidence) for box in boxes], [box.right for box in boxes]).error


AS_IT_IS = Calibration((1.0, 0.0, 0.0), 0)


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_other_pages_become_probabilities(seed: int) -> None:
    known, unseen = boxes_of(100, seed), boxes_of(2000, seed + 100)
    assert error(AS_IT_IS, unseen) > 0.15
    assert error(fit_calibration(known), unseen) < 0.6 * error(AS_IT_IS, unseen)


def test_many_boxes_say_what_the_weights_are() -> None:
    fitted = fit_calibration(boxes_of(20_000, 1))
    assert fitted.weights == pytest.approx((0.4, 0.8, -0.5), abs=0.1)
    assert fitted.boxes == 20_000


def test_few_boxes_change_little() -> None:
    assert fit_calibration([]).weights == (1.0, 0.0, 0.0)
    one = fit_calibration([JudgedBox(0, "total", Evidence(0.9, 2.0), False)])
    assert one.weights == pytest.approx((1.0, 0.0, 0.0), abs=0.35)


@pytest.mark.parametrize("right", [True, False], ids=["all right", "all wrong"])
def test_boxes_that_are_all_alike(right: bool) -> None:
    same = [JudgedBox(page, "total", Evidence(0.8, 1.0), right) for page in range(200)]
    assert (fit_calibration(same).score(Evidence(0.8, 1.0)) > 0.95) is right


def example(task: int, words: int = 12) -> Example:
    generator = np.random.default_rng(task)
    texts = ("Invoice", "Total", "12.50", "Date", "2026-11-22", "ACME", "Street", "page")
    page = tuple(
        Word(str(generator.choice(texts)), Box(20 + 60 * column, 40 * row, 70 + 60 * column, 40 * row + 20), line=row)
        for row, column in (divmod(at, 6) for at in range(words))
    )
    return Example(task, 0, Page(Size(400, 300), "given", page), ())


def with_truth(examples: Sequence[Example], checkpoint: Path) -> list[Example]:
    """Draw every other box that the checkpoint finds, so that half of them are right."""
    found = tag_examples(checkpoint, examples, TaggerSettings())
    drawn = []
    for one, answer in zip(examples, found, strict=True):
        assert isinstance(answer, TaggedPage)
        entities = (Entity(str(region.label), region.box, region.words) for region in answer.regions[::2])
        drawn.append(Example(one.task, 0, one.page, tuple(entities)))
    return drawn


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("calibrated") / "checkpoint", outside_bias=-2.0)


def test_a_checkpoint_gets_its_calibration(checkpoint: Path) -> None:
    pages = with_truth([example(task) for task in range(30)], checkpoint)
    boxes = judge(checkpoint, "words", pages, {})
    assert len(boxes) >= LEAST_BOXES
    found = calibrate(checkpoint, "words", pages, {})
    assert found is not None
    assert found.raw is not None
    assert (found.boxes, found.calibrated_on) == (len(boxes), len(boxes))
    assert found.served.error < found.raw.error
    calibration = Calibration.find(checkpoint)
    assert calibration is not None
    served = [
        region.score
        for answer in Tagger.load(checkpoint).tag([one.page for one in pages])
        if isinstance(answer, TaggedPage)
        for region in answer.regions
    ]
    assert served == pytest.approx([calibration.score(box.evidence) for box in boxes])
    before = (checkpoint / FILE).read_bytes()
    assert calibrate(checkpoint, "words", pages, {}) == found, "a second try finds the file and says the same"
    assert (checkpoint / FILE).read_bytes() == before
    measured = as_served(pages, tag_examples(checkpoint, pages, TaggerSettings()), {}, calibrated_on(checkpoint))
    assert measured is not None
    assert (measured.boxes, measured.calibrated_on, measured.raw) == (len(boxes), len(boxes), None)


def test_too_few_boxes_leave_scores_as_they_are(checkpoint: Path) -> None:
    (checkpoint / FILE).write_text('{"weights": {"words": 1, "count": 0, "always": 0}, "boxes": 60}')
    pages = with_truth([example(1)], checkpoint)
    found = calibrate(checkpoint, "words", pages, {})
    assert found is not None
    assert (found.calibrated_on, found.served) == (0, found.raw)
    assert not (checkpoint / FILE).exists()
    assert calibrated_on(checkpoint) == 0
    assert calibrate(checkpoint, "words", [], {}) is None


def test_a_box_is_right_by_the_projects_name_for_its_label(checkpoint: Path) -> None:
    pages = with_truth([example(task) for task in range(5)], checkpoint)
    renamed = [
        Example(one.task, 0, one.page, tuple(Entity(f"my {e.label}", e.box, e.words) for e in one.entities))
        for one in pages
    ]
    names = {label: f"my {label}" for label in ("vendor", "total", "date")}
    assert not any(box.right for box in judge(checkpoint, "words", renamed, {}))
    judged = judge(checkpoint, "words", renamed, names)
    assert sum(box.right for box in judged) == sum(len(one.entities) for one in pages) > 0
    assert {box.label for box in judged} <= set(names.values())
