"""A report as one HTML page that stands alone: no script, no font, no address that a browser would load."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handler.ocr_settings import TASK_ENGINE
from training.data.annotations import count_new
from training.data.learned import UNREAD
from training.measure.reliability import LEAST_BOXES
from training.measure.scoring import Found, LabelScore, Scores
from training.report.curves import f1_curve, loss_curve, reliability_plot
from training.report.drawing import MARKED, PREDICTED, Drawing
from training.report.report import Report

NOTHING = "–"  # noqa: RUF001  an en dash is what a table shows where there is no figure


@dataclass(frozen=True, slots=True)
class _Figures:
    """What one model reaches on one label, as text."""

    f1: str
    precision: str
    recall: str
    predicted: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table: label, marked entities, each model's figures, and the F1 by which the first leads."""

    label: str
    support: int
    models: tuple[_Figures, ...]
    differences: tuple[float | None, ...]


def render(report: Report, drawings: Sequence[Drawing]) -> str:
    """Return the page; labels, reasons and settings come from users, so everything is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "sign": _sign, "tone": _tone, "percent": _percent, "share_of": _share_of}
    curves = [("Loss of training", "step", report.losses, loss_curve)]
    curves += [("Entity F1 on the validation pages", "epoch", report.f1s, f1_curve)]
    return environment.get_template("report.html.jinja").render(
        report=report,
        headline=_headline(report),
        rows=_rows(report),
        found=Found.on(report.scores.pages) if report.scores and report.scores.overall.support else None,
        failed=[page for page in report.scores.pages if page.error is not None] if report.scores else [],
        curves=[(title, x, _uri("svg+xml", draw(points).encode())) for title, x, points, draw in curves if points],
        plot=_uri("svg+xml", reliability_plot(report.reliability).encode()) if report.reliability else "",
        least_boxes=LEAST_BOXES,
        pictures=[(drawing, _uri("jpeg", drawing.jpeg)) for drawing in drawings],
        colours={"marked": MARKED, "predicted": PREDICTED},
        facts=_facts(report),
    )


def _headline(report: Report) -> tuple[str, str]:
    """Return the kind of outcome, for its colour, and the outcome in one or two words."""
    if report.restored_from and report.verdict is None and report.scores is None:
        return "neutral", "Restored"
    if report.verdict is None:
        return "neutral", "Measured"
    if report.dry_run:
        return "neutral", "Dry run: would be promoted" if report.verdict.promote else "Dry run: would be rejected"
    return ("good", "Promoted") if report.verdict.promote else ("bad", "Rejected, nothing changed")


def _rows(report: Report) -> list[_Row]:
    """Return one row per label of any model, all together first."""
    if report.scores is None:
        return []
    models = [report.scores, *(one.scores for one in report.compared)]
    labels = dict.fromkeys(score.label for scores in models for score in scores.labels)
    return [
        _row([scores.overall for scores in models]),
        *(_row([_of(scores, label) for scores in models]) for label in labels),
    ]


def _row(scores: Sequence[LabelScore]) -> _Row:
    first = scores[0]
    return _Row(
        label=first.label,
        support=first.support,
        models=tuple(_figures(one) for one in scores),
        differences=tuple(first.f1 - one.f1 if first.support else None for one in scores[1:]),
    )


def _of(scores: Scores, label: str) -> LabelScore:
    """Return the row of a label, which has none where this model has none of it."""
    return next((one for one in scores.labels if one.label == label), LabelScore(label, 0, 0, 0, 0, 0))


def _figures(score: LabelScore) -> _Figures:
    """Return the figures; a dash where one would be a division by zero."""
    return _Figures(
        f1=f"{score.f1:.3f}" if score.support or score.predicted else NOTHING,
        precision=f"{score.precision:.3f}" if score.predicted else NOTHING,
        recall=f"{score.recall:.3f}" if score.support else NOTHING,
        predicted=f"{score.predicted:,}",
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    """Return what else there is to know, by name; what is unknown is left out."""
    machine = report.machine
    facts: list[tuple[str, object]] = [
        ("Model", report.name),
        ("Version", report.version),
        ("Restored from", report.restored_from),
        ("Started from", " ".join(filter(None, (report.base, report.base_kind and f"({report.base_kind})")))),
        ("Started", report.started),
        ("Ended", report.ended),
        ("Took", _duration(report.started, report.ended)),
        ("Machine", machine and f"{machine.cores} cores, {machine.device}, {machine.dtype}"),
        ("OCR engine", "none: all words came with the tasks" if report.engine == TASK_ENGINE else report.engine),
        ("OCR", f"language {report.language}, page segmentation mode {report.psm}"),
        ("Boxes", f"of {report.box_level}"),
        ("Labels", ", ".join(report.labels)),
        ("Tasks held out on purpose", ", ".join(map(str, report.held_out))),
        ("Annotations", f"{_learned(report.annotations):,}" if report.annotations else ""),
    ]
    facts += [(f"Setting: {name}", value) for name, value in report.settings.items() if value is not None]
    facts += [(f"Time: {stage}", f"{seconds:,.1f} s") for stage, seconds in report.seconds.items()]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _learned(annotations: Mapping[str, str]) -> int:
    """Return how many annotations were learned from, in part at least."""
    return count_new(dict.fromkeys(annotations, UNREAD), annotations)


def _duration(started: str, ended: str) -> str:
    try:
        seconds = round((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())
    except (ValueError, TypeError):
        return ""  # one of them is unknown
    return f"{seconds // 60} min {seconds % 60} s"


def _figure(value: float | None) -> str:
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.3f}"


def _sign(value: float | None) -> str:
    """Write a difference with its sign, so that colour is not all that tells; a real minus, not a hyphen."""
    if value is None:
        return NOTHING
    text = f"{abs(value):.3f}"
    if float(text) == 0:
        return f"±{text}"
    return f"+{text}" if value > 0 else f"\N{MINUS SIGN}{text}"


def _tone(value: float | None) -> str:
    """Return the class that colours a difference, none where it is shown as zero."""
    if value is None or round(value, 3) == 0:
        return ""
    return "up" if value > 0 else "down"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _share_of(count: int, total: int) -> str:
    return f"{count / total:.0%}"


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
