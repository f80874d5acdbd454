"""What a project's annotations say about its boxes: how they begin, end and go on, and how many a page has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import CheckpointInvalid
from handler.tagging.junctions import FEATURES, FORMS
from handler.tagging.learned_file import read_learned

FILE = "box_prior.json"
"""Beside the weights of a checkpoint; one without it is decoded word by word."""
MOST_COUNTED = 4
"""So many boxes of a label or more on a page are one case."""
_LARGEST = 1e4


@dataclass(frozen=True, slots=True)
class BoxPrior:
    """Learned from annotations by `training.fit.box_prior`.

    Args:
        labels: entity labels, in the order of the checkpoint's.
        goes_on: (labels, FEATURES) weights of a logistic regression: whether a box of the label that holds the word
            before a junction holds the next one, too.
        came_from: likewise, whether a box that holds the word after a junction holds the one before.
        holds: (labels, FORMS) logarithms of how much more often a word of a form is in a box of the label than not.
        counts: (labels, MOST_COUNTED + 1) logarithms of how often a page has so many boxes of the label.
    """

    labels: tuple[str, ...]
    goes_on: NDArray[np.float64]
    came_from: NDArray[np.float64]
    holds: NDArray[np.float64]
    counts: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Return the content of its file."""
        tables = {"goes_on": self.goes_on, "came_from": self.came_from, "holds": self.holds, "counts": self.counts}
        rounded = {
            name: [[round(value, 5) for value in row] for row in table.tolist()] for name, table in tables.items()
        }
        return {"labels": list(self.labels), "features": list(FEATURES), **rounded}

    @classmethod
    def from_json(cls, body: Any, labels: tuple[str, ...]) -> BoxPrior:
        """Undo `to_json`.

        Args:
            body: a JSON object that may come from anywhere.
            labels: of the checkpoint.

        Raises:
            CheckpointInvalid: it is of other labels or features, or a number is none.
        """
        for name, wanted in (("labels", list(labels)), ("features", list(FEATURES))):
            if body.get(name) != wanted:
                raise CheckpointInvalid(
                    f"{FILE} is of other {name} than the checkpoint's: {str(body.get(name))[:200]}; "
                    "train again, or delete the file to have words joined by their labels alone"
                )
        weights = (len(labels), len(FEATURES))
        return cls(
            labels,
            _table(body, "goes_on", weights),
            _table(body, "came_from", weights),
            _table(body, "holds", (len(labels), len(FORMS))),
            _table(body, "counts", (len(labels), MOST_COUNTED + 1)),
        )

    @classmethod
    def find(cls, checkpoint: Path, labels: tuple[str, ...]) -> BoxPrior | None:
        """Read a checkpoint's; None where it has none.

        Raises:
            CheckpointInvalid: its file is damaged.
        """
        body = read_learned(checkpoint / FILE)
        return None if body is None else cls.from_json(body, labels)


def _table(body: dict[str, Any], name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    rows = body.get(name)
    if not isinstance(rows, list) or len(rows) != shape[0]:
        raise CheckpointInvalid(f"{FILE}: {name} must have {shape[0]} rows, one for each label")
    for row in rows:
        if not isinstance(row, list) or len(row) != shape[1] or not all(map(_is_weight, row)):
            raise CheckpointInvalid(f"{FILE}: each row of {name} must be {shape[1]} numbers within {_LARGEST:,.0f}")
    return np.array(rows, dtype=np.float64).reshape(shape)


def _is_weight(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST  # type: ignore[arg-type]  # NaN is not
