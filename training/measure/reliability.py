"""How far scores can be trusted: of the boxes with such a score, how many are right? Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from layoutloop.plural import counted
from layoutloop.sure import Sure

MOST_BINS = 10
LEAST_IN_BIN = 10
LEAST_BOXES = 50
"""Fewer say too little to calibrate on: scores stay as the model gives them."""
LEAST_SURE = 20
"""Fewer boxes than this above a score say nothing about it."""
_WRONG_AT_MOST = (0.0, 0.01, 0.02, 0.05)
"""Shares of wrong boxes that are tried in turn."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Boxes with similar scores.

    Args:
        score: their mean score, in [0, 1].
        right: share of them that are right, in [0, 1].
        boxes: how many they are.
    """

    score: float
    right: float
    boxes: int


@dataclass(frozen=True, slots=True)
class Curve:
    """What one kind of score is worth.

    Args:
        error: expected calibration error, in [0, 1]: the mean difference of score and share of right boxes, over bins
            with equally many boxes (Nguyen and O'Connor, "Posterior Calibration and Exploratory Analysis for Natural
            Language Processing Models", EMNLP 2015): in bins of equal width nearly all boxes share the last one.
        brier: mean squared difference of a score and 1 where its box is right, 0 where not, in [0, 1].
        bins: from the lowest score; at most MOST_BINS, with at least LEAST_IN_BIN boxes where there are so many.
    """

    error: float
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Reliability:
    """What the scores of a model's boxes on annotated pages are worth.

    Args:
        boxes: that the model found.
        calibrated_on: boxes that its scores were calibrated on; 0 for scores as the model gives them.
        served: of the scores as they are served; those of a training's own pages are from other pages' boxes.
        raw: of the scores without calibration; None where they were not looked at.
        sure: from which score on boxes need hardly be looked at; None where there is none.
        by_label: likewise for each label that has such a score.
    """

    boxes: int
    calibrated_on: int
    served: Curve
    raw: Curve | None = None
    sure: Sure | None = None
    by_label: Mapping[str, Sure] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What to know of the scores."""
        if self.sure is None:
            boxes = counted(self.boxes, "box", "boxes")
            return f"No score is so high that hardly a box above it is wrong (of {boxes})."
        return f"Of {counted(self.boxes, 'box', 'boxes')}: {self.sure.sentence}."


def curve_of(scores: Sequence[float], right: Sequence[bool]) -> Curve:
    """Return what scores are worth, each of a box that is right or not; at least one."""
    given, truth = np.array(scores, dtype=np.float64), np.array(right, dtype=np.float64)
    parts = np.array_split(np.argsort(given, kind="stable"), min(MOST_BINS, max(1, len(given) // LEAST_IN_BIN)))
    bins = tuple(Bin(float(given[part].mean()), float(truth[part].mean()), len(part)) for part in parts)
    error = sum(abs(one.score - one.right) * one.boxes for one in bins) / len(given)
    return Curve(error, float(((given - truth) ** 2).mean()), bins)


def sure_from(scores: Sequence[float], right: Sequence[bool]) -> Sure | None:
    """Return the lowest score from which on no box is wrong; else 1, 2 or 5 % of them; None for fewer than 20 boxes."""
    given, truth = np.array(scores, dtype=np.float64), np.array(right, dtype=np.bool_)
    steps = [_above(given, truth, hundredths / 100) for hundredths in range(1, 100)]
    for most in _WRONG_AT_MOST:
        for step in steps:
            if step.boxes >= LEAST_SURE and step.wrong <= most * step.boxes:
                return step
    return None


def _above(scores: NDArray[np.float64], right: NDArray[np.bool_], score: float) -> Sure:
    chosen = scores >= score
    if chosen.any():  # a gap without boxes belongs to the score above it
        score = max(score, math.floor(100 * float(scores[chosen].min())) / 100)
    return Sure(score, int(chosen.sum()), int((chosen & ~right).sum()), len(scores))
