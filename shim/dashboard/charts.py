"""The F1 of a project's versions as one inline SVG, drawn here: a page without scripts can show it. All pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 400, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 14, 16, 26
_HIGH = 0.5
"""Where no version is below it, the axis begins here: else all that matters lies in the upper tenth of the chart."""
_NAME_WIDTH = 56


@dataclass(frozen=True, slots=True)
class Point:
    """One version.

    Args:
        name: as the axis shows it.
        f1: in [0, 1]; None is a gap.
        in_service: drawn larger, with its figure.
    """

    name: str
    f1: float | None
    in_service: bool = False


def f1_chart(points: Sequence[Point], key: str) -> Markup:
    """Return the chart, oldest version first; nothing where no version has a figure.

    Colours and sizes of text are the style sheet's, so that it follows light and dark.

    Args:
        points: oldest first.
        key: makes the ids of this chart unlike those of others on the page.
    """
    known = [point.f1 for point in points if point.f1 is not None]
    if not known:
        return Markup("")
    low = _HIGH if min(known) >= _HIGH else 0.0
    places = [
        (_x(index, len(points)), None if point.f1 is None else _y(point.f1, low)) for index, point in enumerate(points)
    ]
    parts = [*_grid(low), *_names(points), *_lines(places)]
    parts += [_dot(point, place) for point, place in zip(points, places, strict=True)]
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-title {key}-text">'
        '<title id="{key}-title">F1 per version</title><desc id="{key}-text">{text}</desc>{parts}</svg>'
    ).format(width=WIDTH, height=HEIGHT, key=key, text=in_words(points), parts=Markup("").join(parts))


def in_words(points: Sequence[Point]) -> str:
    """Return what the chart shows, for those who cannot see it."""
    sentences = [
        f"{point.name}{' (in service)' if point.in_service else ''}: "
        + ("not measured" if point.f1 is None else f"{point.f1:.3f}")
        for point in points
    ]
    return "Oldest first. " + "; ".join(sentences) + "."


def _x(index: int, count: int) -> float:
    inner = WIDTH - _LEFT - _RIGHT
    return _LEFT + inner * (index + 0.5) / count


def _y(f1: float, low: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1.0 - f1) / (1.0 - low)


def _grid(low: float) -> list[Markup]:
    ticks = [low + (1.0 - low) * step / 5 for step in range(6)]
    return [
        Markup(
            '<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="axis" x="{text}" y="{below:.1f}" text-anchor="end">{tick:.1f}</text>'
        ).format(left=_LEFT, right=WIDTH - _RIGHT, text=_LEFT - 6, y=_y(tick, low), below=_y(tick, low) + 4, tick=tick)
        for tick in ticks
    ]


def _names(points: Sequence[Point]) -> list[Markup]:
    """Name the last version and as many before it as have room; of equal names the last."""
    shown: list[Markup] = []
    left = float(WIDTH + _NAME_WIDTH)
    named = ""
    for index, point in reversed(list(enumerate(points))):
        x = _x(index, len(points))
        if x <= left - _NAME_WIDTH and point.name != named:
            left, named = x, point.name
            text = Markup('<text class="axis" x="{x:.1f}" y="{y}" text-anchor="middle">{name}</text>')
            shown.append(text.format(x=x, y=HEIGHT - 8, name=point.name))
    return shown


def _lines(places: Sequence[tuple[float, float | None]]) -> list[Markup]:
    runs: list[list[str]] = [[]]
    for x, y in places:
        if y is None:
            runs.append([])
        else:
            runs[-1].append(f"{x:.1f},{y:.1f}")
    return [Markup('<polyline class="line" points="{}"/>').format(" ".join(run)) for run in runs if len(run) > 1]


def _dot(point: Point, place: tuple[float, float | None]) -> Markup:
    x, y = place
    if y is None or point.f1 is None:
        return Markup("")
    shape = Markup('<circle class="dot{now}" cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>').format(
        now=" now" if point.in_service else "", x=x, y=y, r=5 if point.in_service else 3.5
    )
    if not point.in_service:
        return shape
    above = y - 10 if y - 10 > 10 else y + 19
    figure = Markup('<text class="figure" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{f1:.3f}</text>')
    return shape + figure.format(x=x, y=above, f1=point.f1)
