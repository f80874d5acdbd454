"""The dashboard as HTML. All that is shown comes from outside, so everything is escaped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from flask import url_for
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from layoutloop.plural import counted
from shim.dashboard import job_sentences
from shim.dashboard.charts import HEIGHT, LEFT, RIGHT, WIDTH, Chart, Point, ScoreChart
from shim.dashboard.view import Project
from shim.version_reports import Scored

NOTHING = "–"  # noqa: RUF001  an en dash is what a table shows where there is no figure
_DAY_S = 86400.0


def render(template: str, **values: object) -> str:
    """Return a page, or a part of one.

    Flask's own environment would escape nothing here: it goes by names that end in `.html`.
    """
    page = _ENVIRONMENT.get_template(f"{template}.html.jinja").render(now=time.time(), **values)
    return page.encode("utf-8", "replace").decode()  # half a character anywhere would make the whole page a 500


def chart_of(project: Project) -> Markup:
    """Return the chart of a project's versions; nothing where fewer than one was measured."""
    oldest_first = tuple(reversed(project.versions))
    made = [version.made for version in oldest_first if version.made is not None]
    pattern = "%H:%M" if made and max(made) - min(made) < _DAY_S else "%d %b"
    points = [
        Point(
            name=_moment(version.made, pattern) or version.stamp,
            f1=version.report.f1,
            in_service=version.in_service,
            by_boxes=version.report.by_boxes,
        )
        for version in oldest_first
    ]
    return f1_chart(points, f"chart-{project.id}")


def f1_chart(points: Sequence[Point], key: str) -> Markup:
    """Return the chart as SVG, which a page without scripts can show; nothing where no version has a figure.

    Colours and sizes of text are the style sheet's, so that it follows light and dark.

    Args:
        points: oldest first.
        key: makes the ids of this chart unlike those of others on the page.
    """
    if all(point.f1 is None for point in points):
        return Markup("")
    place = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT}
    return Markup(render("chart", chart=Chart(points), key=key, **place))  # noqa: S704 - rendered, so escaped


def score_chart(scored: Scored, key: str) -> Markup:
    """Return the chart of what a version's scores are worth as SVG; `key` makes its ids its own."""
    place = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT}
    return Markup(render("scores", chart=ScoreChart(scored.dots), key=key, **place))  # noqa: S704 - rendered, so escaped


def when(moment: float | None) -> Markup:
    """Return a moment to the minute, in UTC as the versions' names are."""
    text = _moment(moment, "%Y-%m-%d %H:%M")
    if not text:
        return Markup("at an unknown time")
    exact = _moment(moment, "%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}">{} UTC</time>').format(exact, text)


def share(value: float) -> str:
    """Write a share of what is marked, in whole percent."""
    return f"{value:.0%}"


def figure(value: float | None) -> str:
    """Return an F1, precision or recall with three places, and a dash for none."""
    return NOTHING if value is None or not 0 <= value <= 1 else f"{value:.3f}"  # a job's record may say any number


def _moment(moment: float | None, pattern: str) -> str:
    try:
        return datetime.fromtimestamp(moment, timezone.utc).strftime(pattern) if moment is not None else ""
    except (ValueError, OverflowError, OSError):
        return ""  # a record may say any number


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": when,
        "figure": figure,
        "share": share,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    environment.filters |= {"counted": counted, "duration": job_sentences.duration}
    environment.globals |= {"url_for": url_for, "sentences": job_sentences, "chart_of": chart_of, "nothing": NOTHING}
    environment.globals |= {"score_chart": score_chart}
    return environment


_ENVIRONMENT = _environment()
