"""A checkpoint's scores become probabilities: fitted to its boxes on pages that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

from handler.errors import HandlerError
from handler.page import BOX_LEVELS, TaggedPage
from handler.tagging.calibration import FILE, Calibration, Evidence
from handler.tagging.decoding import decode_boxes
from handler.tagging.tagger import Tagger, TaggerSettings
from layoutloop.store.writing import write_json
from training.data.examples import Example, entities_of
from training.measure.reliability import LEAST_BOXES, Reliability, curve_of, sure_from

FOLDS = 10
_BEFOREHAND = np.array([1.0, 0.0, 0.0])
"""Without a box to learn from, a score is the probability of the words."""
_SPREAD = 0.3
"""Standard deviation of the weights around that, beforehand; chosen on 10 pages that were held out of 50 receipts."""


@dataclass(frozen=True, slots=True)
class JudgedBox:
    """A box that a model drew on an annotated page.

    Args:
        page: the position of its page.
        label: as the project names it.
        evidence: what speaks for it.
        right: whether a person drew it exactly so.
    """

    page: int
    label: str
    evidence: Evidence
    right: bool


def calibrate(
    checkpoint: Path, box_level: str, examples: Sequence[Example], label_map: Mapping[str, str]
) -> Reliability | None:
    """Write a checkpoint's calibration, and return what its scores are worth; None where it finds no box.

    With fewer than LEAST_BOXES boxes there is no calibration. Done again, it gives the same: it looks at what the model
    says before any score. Scores of the returned curve are from calibrations that other pages gave, a tenth of the
    pages left out at a time, so that they are as good as on a page that comes.

    Args:
        checkpoint: its folder.
        box_level: `words` or `lines`, as in training.
        examples: annotated pages that it did not learn from.
        label_map: model's label -> project's label (`predicted_values`).

    Raises:
        CheckpointInvalid, PageInvalid: it cannot be run on these pages.
    """
    boxes = judge(checkpoint, box_level, examples, label_map)
    (checkpoint / FILE).unlink(missing_ok=True)
    raw = [min(box.evidence.words, 1.0) for box in boxes]
    if len(boxes) < LEAST_BOXES:
        return _reliability(boxes, raw, 0) if boxes else None
    write_json(checkpoint / FILE, fit_calibration(boxes).to_json())
    return _reliability(boxes, _from_other_pages(boxes), len(boxes))


def judge(
    checkpoint: Path, box_level: str, examples: Sequence[Example], label_map: Mapping[str, str]
) -> list[JudgedBox]:
    """Return the boxes that a checkpoint finds on annotated pages; a page that it cannot answer has none."""
    if not examples:
        return []
    level = next(level for level in BOX_LEVELS if level == box_level)
    tagger = Tagger.load(checkpoint, TaggerSettings(box_level=level))
    judged: list[JudgedBox] = []
    for number, (example, logits) in enumerate(
        zip(examples, tagger.word_logits([example.page for example in examples]), strict=True)
    ):
        if isinstance(logits, HandlerError):
            continue
        drawn = _drawn(example)
        for box in decode_boxes(example.page, logits, tagger.labels, tagger.prior):
            label = label_map.get(box.label, box.label)
            judged.append(JudgedBox(number, label, box.evidence, (label, box.words) in drawn))
    return judged


def fit_calibration(boxes: Sequence[JudgedBox]) -> Calibration:
    """Return the most probable weights: a logistic regression with few boxes near to the model's own scores."""
    terms = np.array([box.evidence.terms for box in boxes], dtype=np.float64).reshape(-1, len(_BEFOREHAND))
    right = np.array([box.right for box in boxes], dtype=np.float64)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total, moved = terms @ weights, (weights - _BEFOREHAND) / _SPREAD
        value = np.logaddexp(0.0, total).sum() - right @ total + moved @ moved / 2
        return float(value), terms.T @ (expit(total) - right) + moved / _SPREAD

    found = minimize(loss, _BEFOREHAND, jac=True, method="L-BFGS-B")
    words, count, always = (round(float(weight), 5) for weight in found.x)
    return Calibration((words, count, always), len(boxes))


def as_served(
    examples: Sequence[Example],
    answers: Sequence[TaggedPage | HandlerError],
    label_map: Mapping[str, str],
    calibrated_on: int,
) -> Reliability | None:
    """Return what the scores of a model's answers are worth on other pages than those it was trained with.

    Args:
        examples: annotated pages.
        answers: one for each of them, in the same order.
        label_map: model's label -> project's label (`predicted_values`).
        calibrated_on: boxes that its scores were calibrated on; 0 for none.
    """
    boxes = [
        JudgedBox(page, entity.label, Evidence(region.score), (entity.label, entity.words) in _drawn(example))
        for page, (example, answer) in enumerate(zip(examples, answers, strict=True))
        if isinstance(answer, TaggedPage)
        for region in answer.regions
        for entity in entities_of([region], label_map)
    ]
    scores = [box.evidence.words for box in boxes]
    return replace(_reliability(boxes, scores, calibrated_on), raw=None) if boxes else None


def calibrated_on(checkpoint: Path) -> int:
    """Return how many boxes a checkpoint's scores were calibrated on; 0 for none."""
    calibration = Calibration.find(checkpoint)
    return calibration.boxes if calibration else 0


def _drawn(example: Example) -> set[tuple[str, tuple[int, ...]]]:
    return {(entity.label, entity.words) for entity in example.entities if entity.words}


def _from_other_pages(boxes: Sequence[JudgedBox]) -> list[float]:
    """Return each box's score by a calibration without its page, and a tenth of the others."""
    folds = [fit_calibration([box for box in boxes if box.page % FOLDS != fold]) for fold in range(FOLDS)]
    return [folds[box.page % FOLDS].score(box.evidence) for box in boxes]


def _reliability(boxes: Sequence[JudgedBox], scores: Sequence[float], calibrated_on: int) -> Reliability:
    right = [box.right for box in boxes]
    sure = {}
    for label in dict.fromkeys(box.label for box in boxes):
        own = [(score, box.right) for score, box in zip(scores, boxes, strict=True) if box.label == label]
        sure[label] = sure_from(*zip(*own, strict=True))
    return Reliability(
        boxes=len(boxes),
        calibrated_on=calibrated_on,
        served=curve_of(scores, right),
        raw=curve_of([min(box.evidence.words, 1.0) for box in boxes], right),
        sure=sure_from(scores, right),
        by_label={label: one for label, one in sure.items() if one is not None},
    )
