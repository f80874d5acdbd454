"""Scores by boxes, where the words of two OCR engines do not compare: is a box where a person drew one?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from handler.errors import HandlerError
from handler.page import Box, TaggedPage
from training.data.examples import Example, entities_of
from training.measure.scoring import Key, Scores, scores_of

LEAST_OVERLAP = 0.5
"""Intersection over union above which two boxes are one: the threshold of the PASCAL VOC challenge (Everingham et al.,
"The PASCAL Visual Object Classes Challenge", IJCV 2010). People draw with a margin, engines cut close."""


def score_boxes(
    examples: Sequence[Example],
    tagged: Sequence[TaggedPage | HandlerError],
    labels: Sequence[str],
    label_map: Mapping[str, str] | None = None,
) -> Scores:
    """Compare a model's boxes with those that people drew, whatever words are in them.

    A prediction is right when it has the label of a drawn box and overlaps it by more than LEAST_OVERLAP; each drawn
    box is found once, the pairs are those with the largest overlap in all.

    Args:
        examples: annotated pages; their words do not count.
        tagged: the model's answer for each of them, in the same order, in pixels of the same page.
        labels: the configured ones; each gets a row, also without any entity.
        label_map: model's label -> project's label (`predicted_values`).

    Raises:
        ValueError: another number of answers than of pages.
    """
    keyed = [_keys(example, answer, label_map or {}) for example, answer in zip(examples, tagged, strict=True)]
    return scores_of(examples, tagged, [gold for gold, _ in keyed], [found for _, found in keyed], labels)


def _keys(
    example: Example, answer: TaggedPage | HandlerError, label_map: Mapping[str, str]
) -> tuple[Counter[Key], Counter[Key]]:
    """Return what is marked and what is predicted, each under the number of its place: equal where they overlap."""
    gold: Counter[Key] = Counter((entity.label, (place,)) for place, entity in enumerate(example.entities))
    if isinstance(answer, HandlerError):
        return gold, Counter()
    drawn = [(entity.label, entity.box) for entity in example.entities]
    predicted = [(entity.label, entity.box) for entity in entities_of(answer.regions, label_map)]
    place_of = dict(_pairs(predicted, drawn))
    found: Counter[Key] = Counter()
    for number, (label, _) in enumerate(predicted):
        found[label, (place_of.get(number, len(drawn) + number),)] += 1
    return gold, found


def _pairs(predicted: Sequence[tuple[str, Box]], drawn: Sequence[tuple[str, Box]]) -> list[tuple[int, int]]:
    """Return (prediction, drawn box) of those with one label that overlap enough, each at most once."""
    if not predicted or not drawn:
        return []
    same = np.array([[ours == theirs for theirs, _ in drawn] for ours, _ in predicted])
    overlaps = np.where(same, overlap([box for _, box in predicted], [box for _, box in drawn]), 0.0)
    overlaps[overlaps <= LEAST_OVERLAP] = 0.0
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if overlaps[row, column]]


def overlap(ours: Sequence[Box], theirs: Sequence[Box]) -> NDArray[np.float64]:
    """Return (ours, theirs) intersection over union in [0, 1]; 0 where neither box has an area."""
    one, other = (np.array([astuple(box) for box in boxes], dtype=np.float64) for boxes in (ours, theirs))
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = ((one[:, 2:] - one[:, :2]).prod(axis=1), (other[:, 2:] - other[:, :2]).prod(axis=1))
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), dtype=np.float64)
