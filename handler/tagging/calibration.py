"""What a box's score says: with how much probability a person would have drawn exactly this box.

A model's own probabilities are too sure of what is unusual on a page, a second date for instance, and not sure enough
of a word that is labelled well but often confused, such as one of several equal amounts. What speaks for a box is
therefore weighed with weights that pages which were not learned from have shown to be right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import CheckpointInvalid
from handler.tagging.learned_file import read_learned

FILE = "calibration.json"
"""Beside the weights of a checkpoint; without it a score is the mean probability of the box's words."""
WEIGHTS = ("words", "count", "always")
_CERTAIN = 1e-3
"""Nearer to 0 or 1 no probability of a model is taken for different."""
_LARGEST = 100.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a box.

    Args:
        words: mean probability of its words, in [0, 1].
        count: logarithm of how much more usual it is for a page to have so many boxes of the label than one fewer;
            0 where that was not learned.
    """

    words: float
    count: float = 0.0

    @property
    def terms(self) -> tuple[float, float, float]:
        """What WEIGHTS multiply."""
        share = min(max(self.words, _CERTAIN), 1 - _CERTAIN)
        return math.log(share / (1 - share)), self.count, 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted by `training.measure.calibration`: weights of a logistic regression.

    Args:
        weights: of each of WEIGHTS; (1, 0, 0) leaves the probability of the words as it is.
        boxes: how many it was fitted to.
    """

    weights: tuple[float, float, float]
    boxes: int

    def score(self, evidence: Evidence) -> float:
        """Return the probability that the box is right, in [0, 1]."""
        total = sum(weight * term for weight, term in zip(self.weights, evidence.terms, strict=True))
        return 1 / (1 + math.exp(-min(max(total, -_LARGEST), _LARGEST)))

    def to_json(self) -> dict[str, Any]:
        """Return the content of its file."""
        return {"weights": dict(zip(WEIGHTS, self.weights, strict=True)), "boxes": self.boxes}

    @classmethod
    def from_json(cls, body: Any) -> Calibration:
        """Undo `to_json`, of a JSON object that may come from anywhere.

        Raises:
            CheckpointInvalid: it has other weights, or a number is none.
        """
        given = body.get("weights")
        if not isinstance(given, dict) or set(given) != set(WEIGHTS) or not all(map(_is_weight, given.values())):
            raise CheckpointInvalid(
                f"{FILE}: weights must be {', '.join(WEIGHTS)}, numbers within {_LARGEST:g}, got {str(given)[:200]}; "
                "train again, or delete the file to have scores as the model gives them"
            )
        if type(boxes := body.get("boxes")) is not int or boxes < 0:
            raise CheckpointInvalid(f"{FILE}: boxes must be how many it was fitted to, got {boxes!r:.40}")
        words, count, always = (float(given[name]) for name in WEIGHTS)
        return cls((words, count, always), boxes)

    @classmethod
    def find(cls, checkpoint: Path) -> Calibration | None:
        """Read a checkpoint's; None where it has none.

        Raises:
            CheckpointInvalid: its file is damaged.
        """
        body = read_learned(checkpoint / FILE)
        return None if body is None else cls.from_json(body)


def _is_weight(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST  # type: ignore[arg-type]  # NaN is not
