"""Where the F1 of a project's versions, and what scores are worth, go in charts: templates draw the SVG. All pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from shim.version_reports import ScoreDot

WIDTH, HEIGHT = 400, 180
LEFT, RIGHT, _TOP, _BOTTOM = 34, WIDTH - 14, 16, HEIGHT - 26
_HIGH = 0.5
"""Where no version is below it, the axis begins here: else all that matters is in the upper tenth of the chart."""
_NAME_WIDTH = 56


@dataclass(frozen=True, slots=True)
class Point:
    """One version.

    Args:
        name: as the axis shows it.
        f1: in [0, 1]; None is a gap.
        in_service: drawn larger, with its figure.
        by_boxes: boxes were counted and not words; no line joins the two.
    """

    name: str
    f1: float | None
    in_service: bool = False
    by_boxes: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """The versions of a project, oldest first.

    Args:
        points: at least one of them has a figure.
    """

    points: Sequence[Point]

    @property
    def text(self) -> str:
        """What the chart shows, for those who cannot see it."""
        sentences = [
            f"{point.name}{' (in service)' if point.in_service else ''}: "
            + ("not measured" if point.f1 is None else f"{point.f1:.3f}{' by boxes' if point.by_boxes else ''}")
            for point in self.points
        ]
        return "Oldest first. " + "; ".join(sentences) + "."

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """Height and figure of each line of the grid."""
        return [(self._y(tick), tick) for tick in (self._low + (1.0 - self._low) * step / 5 for step in range(6))]

    @property
    def names(self) -> Iterator[tuple[float, str]]:
        """Where the last version is named, and as many before it as have room; of equal names the last."""
        left, named = float(WIDTH + _NAME_WIDTH), ""
        for index, point in reversed(list(enumerate(self.points))):
            x = self._x(index)
            if x <= left - _NAME_WIDTH and point.name != named:
                left, named = x, point.name
                yield x, point.name

    @property
    def dots(self) -> list[tuple[float, float, Point]]:
        """Where each version with a figure is."""
        return [(self._x(at), self._y(one.f1), one) for at, one in enumerate(self.points) if one.f1 is not None]

    @property
    def lines(self) -> list[list[tuple[float, float]]]:
        """Versions beside each other that all have a figure, counted alike."""
        runs = groupby(enumerate(self.points), key=lambda one: (one[1].f1 is not None, one[1].by_boxes))
        found = [
            [(self._x(at), self._y(point.f1 or 0.0)) for at, point in run] for (measured, _), run in runs if measured
        ]
        return [run for run in found if len(run) > 1]

    @property
    def _low(self) -> float:
        return _HIGH if min(point.f1 for point in self.points if point.f1 is not None) >= _HIGH else 0.0

    def _x(self, index: int) -> float:
        return LEFT + (RIGHT - LEFT) * (index + 0.5) / len(self.points)

    def _y(self, f1: float) -> float:
        return _TOP + (_BOTTOM - _TOP) * (1.0 - f1) / (1.0 - self._low)


@dataclass(frozen=True, slots=True)
class ScoreChart:
    """Of the boxes with about one score, the share that are right, over the score."""

    scores: Sequence[ScoreDot]

    @property
    def text(self) -> str:
        """What the chart shows, for those who cannot see it."""
        return " ".join(f"Of boxes with score {one.score:.2f}, {one.right:.0%} are right." for one in self.scores)

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """Height and figure of each line of the grid, from 0 to 1."""
        return [(_TOP + (_BOTTOM - _TOP) * (1.0 - step / 5), step / 5) for step in range(6)]

    @property
    def marks(self) -> list[tuple[float, float]]:
        """Where on the axis each score of the ticks is."""
        return [(LEFT + (RIGHT - LEFT) * tick, tick) for _, tick in self.ticks]

    @property
    def dots(self) -> list[tuple[float, float]]:
        """Where each dot is."""
        return [(LEFT + (RIGHT - LEFT) * one.score, _TOP + (_BOTTOM - _TOP) * (1.0 - one.right)) for one in self.scores]
