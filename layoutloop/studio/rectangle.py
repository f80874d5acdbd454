"""A rectangle of Label Studio in pixels: upright or tilted, and why no person can have meant one.

Label Studio stores percent of width and height, and turns about the corner (x, y) in pixels, clockwise. A rectangle
that was flipped by its handles may keep a negative width or height, and is drawn the other way from that corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from handler.page import Box, Size

MIN_VISIBLE_PERCENT = 0.1
_LEAST_PERCENT = 0.99 * MIN_VISIBLE_PERCENT  # Label Studio gives numbers back with rounding errors
_PERCENT = "numbers are percent of the page, from 0 to 100"
_MOST = 1e6  # percent or degrees; beyond it a number is no drawing
_MOST_DIAGONALS = 2.0  # of the page: a side that is longer was meant in another unit
_LEAST_SHARE = 0.1  # of a rectangle, on the page: nothing can be drawn past its edge in Label Studio
_TIGHT = (0.75, 1 / 3)
"""Shares of a word's width and height that a box covers at least which is drawn close around the ink: an engine's box
has the height of its line, twice that of a digit."""
_STRAIGHT = 1e-9  # of a side: what a quarter turn leaves of sine or cosine


@dataclass(frozen=True, slots=True)
class TiltedBox:
    """A rectangle that is turned about its corner (x, y); pixels of the page, y downwards, not clipped.

    Args:
        x: of the corner.
        y: of the corner.
        width: along its own first side; negative where it runs the other way.
        height: along its own second side; likewise.
        degrees: clockwise.
    """

    x: float
    y: float
    width: float
    height: float
    degrees: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return abs(self.width * self.height)

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The four corners, in the order in which its edge runs through them."""
        cosine, sine = self._turn()
        sides = ((0.0, 0.0), (self.width, 0.0), (self.width, self.height), (0.0, self.height))
        return tuple(
            (self.x + across * cosine - down * sine, self.y + across * sine + down * cosine) for across, down in sides
        )

    @property
    def is_upright(self) -> bool:
        """Whether it is turned by whole quarters only, so that the box around it is the rectangle itself."""
        return min(map(abs, self._turn())) < _STRAIGHT

    def around(self) -> Box:
        """Return the smallest upright box that holds it."""
        xs, ys = zip(*self.corners, strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))

    def holds_centre(self, box: Box) -> bool:
        """Whether the centre of an upright box is in it.

        That decides about words, not their area: the upright box around a long word of a tilted line is mostly
        beside the line.
        """
        cosine, sine = self._turn()
        right, down = (box.left + box.right) / 2 - self.x, (box.top + box.bottom) / 2 - self.y
        along, across = right * cosine + down * sine, down * cosine - right * sine
        return _between(along, self.width) and _between(across, self.height)

    def _turn(self) -> tuple[float, float]:
        return math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))


def has_numbers(value: object) -> bool:
    """Whether a result's value says where a rectangle is, on a page of whatever size."""
    return _numbers(value) is not None


def read_rectangle(value: object, size: Size) -> TiltedBox | str:
    """Return a result's rectangle in pixels, or why no person can have meant it, as the end of a sentence.

    Args:
        value: of a `rectangle` or `rectanglelabels` result.
        size: of the page as the annotator sees it.
    """
    numbers = _numbers(value)
    if numbers is None:
        return "x, y, width and height are numbers, percent of the page, and rotation is one of degrees"
    x, y, width, height, degrees = numbers
    across, down = size.width / 100, size.height / 100
    drawn = TiltedBox(x * across, y * down, width * across, height * down, degrees)
    if max(abs(drawn.width), abs(drawn.height)) > _MOST_DIAGONALS * math.hypot(size.width, size.height):
        return f"it is far larger than the page; {_PERCENT}"
    if _is_invisible(drawn.width, width) or _is_invisible(drawn.height, height):
        return f"it is too small to be seen; {_PERCENT}"
    around = drawn.around()
    if _area(clipped(around, size)) < _LEAST_SHARE * _area(around):
        return f"it lies outside the page; {_PERCENT}"
    return drawn


def held(words: Sequence[Box], drawn: Box | TiltedBox) -> NDArray[np.bool_]:
    """Return (words,) booleans: whether a drawn rectangle holds a word.

    It covers more than half of the word's area, or, drawn close around the ink, most of its width and its middle. A
    word without area (there are such, `handler.page.Box`), and any word where the rectangle is tilted, is held where
    its middle is.
    """
    if isinstance(drawn, TiltedBox):
        return np.array([drawn.holds_centre(word) for word in words], dtype=np.bool_)
    boxes = np.array([astuple(word) for word in words], dtype=np.float64).reshape(-1, 4)
    edges, sides = np.array(astuple(drawn), dtype=np.float64), boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    holds_middle = ((middle >= edges[:2]) & (middle <= edges[2:])).all(axis=1)
    shared = np.clip(np.minimum(boxes[:, 2:], edges[2:]) - np.maximum(boxes[:, :2], edges[:2]), 0, None)
    is_tight = holds_middle & (shared >= np.array(_TIGHT) * sides).all(axis=1)
    result: NDArray[np.bool_] = np.where(
        sides.prod(axis=1) > 0, (shared.prod(axis=1) > sides.prod(axis=1) / 2) | is_tight, holds_middle
    )
    return result


def clipped(box: Box, size: Size) -> Box:
    """Return the part of a box that is on the page."""
    left, right = (min(max(edge, 0.0), float(size.width)) for edge in (box.left, box.right))
    top, bottom = (min(max(edge, 0.0), float(size.height)) for edge in (box.top, box.bottom))
    return Box(left, top, right, bottom)


def _numbers(value: object) -> tuple[float, float, float, float, float] | None:
    """Return x, y, width, height and rotation; None where one is missing or absurd."""
    if not isinstance(value, Mapping):
        return None
    x, y, width, height = (_number(value.get(side)) for side in ("x", "y", "width", "height"))
    degrees = _number(value.get("rotation", 0.0))
    if x is None or y is None or width is None or height is None or degrees is None:
        return None
    return x, y, width, height, degrees


def _is_invisible(pixels: float, percent: float) -> bool:
    return abs(pixels) < 1 and abs(percent) < _LEAST_PERCENT


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
        return None
    return float(value)


def _between(length: float, side: float) -> bool:
    return min(0.0, side) <= length <= max(0.0, side)
