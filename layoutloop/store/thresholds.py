"""Below which score a label's boxes are not drawn: LAYOUTLOOP_SCORE_THRESHOLD, and a project's own for each label.

A project's own are in `thresholds.json` in its folder of the model store, `{"total": 0.9, "date": 0.5}`, which the
dashboard writes and a person may: it is read for each request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from layoutloop.errors import ModelNotReady, RequestInvalid
from layoutloop.foreign_json import mapping_of, number_of, parse_json
from layoutloop.store.copy import store_of
from layoutloop.store.path import StorePath, store_access, store_path
from layoutloop.store.writing import write_json

FILE = "thresholds.json"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is drawn of a project's boxes.

    Args:
        usual: of a label without one of its own, in [0, 1].
        own: label, as the project names it -> its own, in [0, 1].
    """

    usual: float = 0.0
    own: Mapping[str, float] = field(default_factory=dict)

    def draw(self, label: str | None, score: float) -> bool:
        """Whether a box is certain enough to be drawn; one without a label, a line of text, always is."""
        return label is None or score >= self.own.get(label, self.usual)


def read_thresholds(store: StorePath, model: str | None, usual: float) -> Thresholds:
    """Return the thresholds of a project; without a model there are none of its own.

    Args:
        store: the model store, or a copy of it.
        model: of the project, `project-7`.
        usual: LAYOUTLOOP_SCORE_THRESHOLD.

    Raises:
        ModelNotReady: the project's file cannot be read or understood. To go on without it would draw what is not
            to be drawn.
    """
    if model is None:
        return Thresholds(usual)
    path = store / model / FILE
    try:
        with store_access(path):
            body = mapping_of(parse_json(path.read_bytes()), "it")
        return Thresholds(usual, {label: _share(value, label) for label, value in body.items()})
    except FileNotFoundError:
        return Thresholds(usual)
    except (OSError, ValueError) as error:
        raise ModelNotReady(
            f'{path} cannot be used ({error}): it is like {{"total": 0.9}}; mend it, delete it, or save the '
            "thresholds on the dashboard again"
        ) from error


def write_thresholds(store: StorePath, model: str, own: Mapping[str, float]) -> None:
    """Replace a project's own thresholds, in the model store itself where a copy of it is read here.

    Raises:
        RequestInvalid: one is no score.
        StoreUnavailable, OSError: they cannot be written.
    """
    try:
        checked = {label: _share(value, label) for label, value in own.items()}
    except ValueError as error:
        raise RequestInvalid(f"these thresholds cannot be used: {error}") from error
    path = store_path(store_of(store)) / model / FILE
    with store_access(path):
        write_json(path, checked)


def _share(value: object, label: str) -> float:
    number = number_of(value, f"the threshold of {label!r:.80}")
    if not 0 <= number <= 1:
        raise ValueError(f"the threshold of {label!r:.80} is between 0 and 1, got {value!r:.20}")
    return number
