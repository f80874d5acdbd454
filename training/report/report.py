"""Everything about one training, or one evaluation: `<name>-<version>.report.json` and `.html` beside the archive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from layoutloop.sure import Sure
from training.data.left_out import Reason
from training.fit.machine import Machine
from training.measure.gate import Verdict
from training.measure.reliability import Bin, Curve, Reliability
from training.measure.scoring import Compared, LabelScore, PageScore, Scores


@dataclass(frozen=True, slots=True)
class Report:
    """One training; or one evaluation, which has no verdict.

    Args:
        name: of the model, `project-7`.
        labels: the configured ones, in order.
        version: the version that came of it or was measured; None for a candidate that got none.
        verdict: of the gate; None where nothing was trained.
        dry_run: it was only tried: nothing goes into service, whatever the verdict.
        scores: of the candidate on the validation pages; None where there are none.
        counted_by: what was counted, of the candidate and of the others: `words` of entities, or `boxes` where the
            others read with another OCR engine.
        compared: other versions on the same pages, first the one that the verdict is about.
        reliability: what the scores of its boxes on these pages are worth; None where it found none, and in reports of
            before.
        base: what training started from.
        base_kind: `graft`, `checkpoint`, `scratch`, `current`.
        settings: JSON scalars: learning rate, batch, epochs and so on.
        new_labels: configured labels that the version before did not have.
        tasks: with a usable annotation.
        trained_pages: number of pages learned from.
        validation_pages: number of pages held out.
        trained_tasks: ids of the tasks learned from.
        held_out: tasks that were put into validation because too few fell there by themselves.
        left_out: reason -> how often, and the first few as sentences.
        annotations: as `Collected` has them; they tell next time how many are new.
        reading_ceiling: share of the marked entities that hold a word at all, in [0, 1].
        losses: (step, loss).
        f1s: (epoch, entity F1 on the validation pages).
        seconds: stage -> how long it took.
        engine: the OCR engine that read the pages, for example `pytesseract-5.3.0-eng-psm3`.
        language: Tesseract's language.
        psm: Tesseract's page segmentation mode.
        box_level: `words` or `lines`.
        machine: where it ran.
        restored_from: the version whose checkpoint this is, where it is one archived again.
        started: UTC time in ISO 8601.
        ended: UTC time in ISO 8601.
    """

    name: str
    labels: tuple[str, ...]
    version: str | None = None
    verdict: Verdict | None = None
    dry_run: bool = False
    scores: Scores | None = None
    counted_by: str = "words"
    compared: tuple[Compared, ...] = ()
    reliability: Reliability | None = None
    base: str | None = None
    base_kind: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    new_labels: tuple[str, ...] = ()
    tasks: int = 0
    trained_pages: int = 0
    validation_pages: int = 0
    trained_tasks: tuple[int, ...] = ()
    held_out: tuple[int, ...] = ()
    left_out: Mapping[str, Reason] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    reading_ceiling: float | None = None
    losses: tuple[tuple[float, float], ...] = ()
    f1s: tuple[tuple[float, float], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    engine: str | None = None
    language: str = "eng"
    psm: int = 3
    box_level: str = "words"
    machine: Machine | None = None
    restored_from: str | None = None
    started: str = ""
    ended: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the file's content; what is not finite, such as a loss that exploded, becomes null."""
        body: dict[str, Any] = _finite(asdict(self))
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Report:
        """Undo `to_json`; a point of a curve that was not finite is NaN again."""
        verdict, scores, machine = body.get("verdict"), body.get("scores"), body.get("machine")
        compared = body.get("compared", ())
        tuples = {key: tuple(body.get(key, ())) for key in ("labels", "new_labels", "trained_tasks", "held_out")}
        read = {
            "verdict": verdict and Verdict(**verdict),
            "scores": scores and _scores(scores),
            "compared": tuple(Compared(one["version"], _scores(one["scores"])) for one in compared),
            "machine": machine and Machine(**machine),
            "reliability": _reliability(body.get("reliability")),
            "left_out": {
                reason: Reason(one["count"], tuple(one["examples"])) for reason, one in body.get("left_out", {}).items()
            },
            "losses": _points(body.get("losses", ())),
            "f1s": _points(body.get("f1s", ())),
        }
        return cls(**{**body, **tuples, **read})


def _finite(value: Any) -> Any:
    """Replace every number that JSON cannot write by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _points(points: Sequence[Sequence[float | None]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x or 0), math.nan if y is None else y) for x, y in points)


def _reliability(body: Mapping[str, Any] | None) -> Reliability | None:
    if body is None:
        return None
    sure, by_label = body["sure"], {label: Sure(**one) for label, one in body["by_label"].items()}
    curves = {name: body[name] and _curve(body[name]) for name in ("served", "raw")}
    return Reliability(**{**body, **curves, "sure": sure and Sure(**sure), "by_label": by_label})


def _curve(body: Mapping[str, Any]) -> Curve:
    return Curve(body["error"], body["brier"], tuple(Bin(**one) for one in body["bins"]))


def _scores(body: Mapping[str, Any]) -> Scores:
    return Scores(
        labels=tuple(LabelScore(**one) for one in body["labels"]),
        overall=LabelScore(**body["overall"]),
        pages=tuple(PageScore(**one) for one in body["pages"]),
    )
