"""What the dashboard shows of a version's report: the few figures it needs, read leniently and cached.

`training` writes the reports and is not imported here. One that is damaged must not hide all the others.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

import cachetools

from layoutloop.foreign_json import parse_json
from layoutloop.store.path import StorePath
from layoutloop.sure import Sure

_CACHED = 5000
_MOST_LABELS = 200
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class LabelRow:
    """How well one label was found.

    Args:
        label: as the project names it.
        precision: in [0, 1]; None where nothing was predicted, so that it would be a division by zero.
        recall: in [0, 1]; None where nothing was marked.
        f1: in [0, 1]; None where both are.
        support: marked entities.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class MarkedEntities:
    """What became of the marked entities of the pages held out; the three shares, in [0, 1], add up to 1.

    Args:
        right: label and box as marked.
        other_box: the label as marked, around other words.
        missed: nothing of that label is there.
    """

    right: float
    other_box: float
    missed: float


@dataclass(frozen=True, slots=True)
class ScoreDot:
    """Boxes with similar scores: their mean score, and the share of them that are right."""

    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What the scores of a version's boxes on the pages held out are worth.

    Args:
        boxes: that it drew there.
        calibrated: whether there were enough to calibrate scores on.
        dots: from the lowest score.
        sure: of all boxes; None where no score is so high.
        by_label: likewise of each label.
    """

    boxes: int
    calibrated: bool
    dots: tuple[ScoreDot, ...]
    sure: Sure | None
    by_label: Mapping[str, Sure]


@dataclass(frozen=True, slots=True)
class VersionReport:
    """The figures of one version.

    Args:
        f1: over all labels, on the pages that its training held out; None where there were none.
        found: what became of the marked entities; None where the report does not say.
        by_boxes: whether boxes were counted and not words of entities, since two OCR engines were compared: such a
            figure says something else than one by words.
        scored: what its scores are worth; None where the report does not say.
        rows: all labels together first, then each.
        trained_pages: learned from; None where the report does not say.
        validation_pages: held out.
        ended: when the training was through, Unix seconds.
        problem: why there are no figures, as a sentence; empty where there are.
    """

    f1: float | None = None
    found: MarkedEntities | None = None
    by_boxes: bool = False
    scored: Scored | None = None
    rows: tuple[LabelRow, ...] = ()
    trained_pages: int | None = None
    validation_pages: int | None = None
    ended: float | None = None
    problem: str = ""

    @property
    def measure(self) -> str:
        """What the figure is called."""
        return "F1 by boxes" if self.by_boxes else "F1"


class VersionReports:
    """Reads reports, each once until its file changes."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._cache: cachetools.LRUCache[Hashable, VersionReport] = cachetools.LRUCache(_CACHED)
        self._lock = threading.Lock()

    def of(self, path: StorePath) -> VersionReport:
        """Return a report's figures; a file that is not there, or is none, gives a report that says so."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return VersionReport(problem="No report is beside this version: it was not measured.")
        except OSError as error:
            return VersionReport(problem=f"The report {path.name} cannot be read: {error.strerror}.")
        return self._read(path, found.st_size, found.st_mtime_ns)

    @cachetools.cachedmethod(attrgetter("_cache"), lock=attrgetter("_lock"))
    def _read(self, path: StorePath, size: int, _changed: int) -> VersionReport:
        if size > _MOST_BYTES:
            return _damaged(path, f"{size} bytes are too many")
        try:
            return parse_report(parse_json(path.read_bytes()))
        except OSError as error:
            return _damaged(path, error.strerror or "the file cannot be opened")
        except ValueError:
            return _damaged(path, "it is no JSON")


def _damaged(path: StorePath, why: str) -> VersionReport:
    return VersionReport(
        problem=f"The report {path.name} is damaged ({why}); the version itself is not touched by that."
    )


def parse_report(body: object) -> VersionReport:
    """Read what `training` wrote; a field that is not as expected is left out, and with it what depends on it."""
    if not isinstance(body, Mapping):
        return VersionReport(problem="The report is damaged (it is no JSON object).")
    scores = _mapping(body.get("scores"))
    labels = scores.get("labels")
    rows = [_row(one) for one in (scores.get("overall"), *(labels if isinstance(labels, list) else ()))]
    # Without a validation page every figure is zero, which says nothing about the model.
    measured = bool(scores.get("pages"))
    found = tuple(row for row in rows if row is not None)[: _MOST_LABELS + 1] if measured else ()
    return VersionReport(
        f1=_share(_mapping(scores.get("overall")).get("f1")) if measured else None,
        found=_found(scores.get("pages")),
        by_boxes=measured and body.get("counted_by") == "boxes",
        scored=_scored(body.get("reliability")),
        rows=found,
        trained_pages=_count(body.get("trained_pages")),
        validation_pages=_count(body.get("validation_pages")),
        ended=_moment(body.get("ended")),
    )


def _row(body: object) -> LabelRow | None:
    given = _mapping(body)
    label, support, predicted = given.get("label"), _count(given.get("support")), _count(given.get("predicted"))
    if not isinstance(label, str) or support is None:
        return None
    return LabelRow(
        label=label,
        precision=_share(given.get("precision")) if predicted else None,
        recall=_share(given.get("recall")) if support else None,
        f1=_share(given.get("f1")) if predicted or support else None,
        support=support,
    )


def _found(pages: object) -> MarkedEntities | None:
    """Add up the pages' counts; None where one of them has no such count, or nothing is marked."""
    right = other = gold = 0
    for page in map(_mapping, pages if isinstance(pages, list) else ()):
        counts = [_count(page.get(name)) for name in ("right", "other_box", "gold")]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts) or known[0] + known[1] > known[2]:
            return None
        right, other, gold = right + known[0], other + known[1], gold + known[2]
    return MarkedEntities(right / gold, other / gold, (gold - right - other) / gold) if gold else None


def _scored(value: object) -> Scored | None:
    given = _mapping(value)
    boxes, bins = _count(given.get("boxes")), _mapping(given.get("served")).get("bins")
    if not boxes or not isinstance(bins, list):
        return None
    read = [(_share(one.get("score")), _share(one.get("right"))) for one in map(_mapping, bins)]
    dots = tuple(ScoreDot(score, right) for score, right in read if score is not None and right is not None)
    labels = {label: _sure(one) for label, one in list(_mapping(given.get("by_label")).items())[:_MOST_LABELS]}
    found = {label: one for label, one in labels.items() if one is not None}
    return Scored(boxes, bool(given.get("calibrated_on")), dots, _sure(given.get("sure")), found)


def _sure(value: object) -> Sure | None:
    given = _mapping(value)
    score, boxes, wrong, total = (
        _share(given.get("score")),
        *(_count(given.get(key)) for key in ("boxes", "wrong", "of")),
    )
    if score is None or not boxes or wrong is None or not total or not wrong <= boxes <= total:
        return None
    return Sure(score, boxes, wrong, total)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _share(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1 else None  # a NaN is not


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 10**12 else None


def _moment(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None
