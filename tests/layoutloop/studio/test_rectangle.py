"""Where a rectangle stands, tilted or not, and which ones nobody can have meant."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pytest

from handler.page import Box, Size
from layoutloop.studio.rectangle import TiltedBox, read_rectangle
from layoutloop.studio.results import tilted_geometry

PAGE = Size(1240, 900)


def value(x: Any, y: Any, width: Any, height: Any, rotation: Any = 0) -> dict[str, Any]:
    return {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}


def usable(given: object, size: Size = PAGE) -> TiltedBox:
    drawn = read_rectangle(given, size)
    assert isinstance(drawn, TiltedBox), drawn
    return drawn


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(value(766.129, 3133.333, 3685.484, 377.778), "far larger than the page", id="a hundredfold"),
        pytest.param(value(3, 2, 3685.484, 377.778), "far larger than the page", id="a hundredfold of a corner"),
        pytest.param(value(150, 3133, 40, 30), "outside the page", id="below and beside it"),
        pytest.param(value(-31, 10, 30, 5), "outside the page", id="left of it"),
        pytest.param(value(100, 10, 30, 5), "outside the page", id="touches its edge from outside"),
        pytest.param(value(0, 0, 20, 5, 180), "outside the page", id="turned off it"),
        pytest.param(value(950, 102, 392, 34), "far larger than the page", id="pixels for percent"),
        pytest.param(value(96, 60, 50, 20), "outside the page", id="pixels for percent, begins on the page"),
        pytest.param(value(0.0774, 0.1133, 0.3161, 0.0378), "too small to be seen", id="shares for percent"),
        pytest.param(value(10, 10, 0, 5), "too small to be seen", id="no width"),
        pytest.param(value(10, 10, 0, 0), "too small to be seen", id="a click"),
        pytest.param(value(math.nan, 10, 20, 5), "are numbers", id="NaN"),
        pytest.param(value(10, 10, math.inf, 5), "are numbers", id="infinity"),
        pytest.param(value(10, "10", 20, 5), "are numbers", id="a string"),
        pytest.param(value(10, 10, None, 5), "are numbers", id="null"),
        pytest.param(value(10, True, 20, 5), "are numbers", id="true"),
        pytest.param(value(10, 10, 20, 5, "2.5"), "rotation is one of degrees", id="a string for the rotation"),
        pytest.param({"x": 10, "y": 10, "width": 20}, "are numbers", id="one is missing"),
        pytest.param(None, "are numbers", id="no value"),
    ],
)
def test_what_nobody_can_have_meant_is_told(given: object, said: str) -> None:
    problem = read_rectangle(given, PAGE)
    assert isinstance(problem, str)
    assert said in problem


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(value(-10, 90, 200, 40), id="over three edges"),
        pytest.param(value(90, -10, 30, 20), id="over a corner"),
        pytest.param(value(0, 0, 100, 100), id="the whole page"),
        pytest.param(value(50, 50, 0.1, 0.1), id="the smallest that predictions have"),
        pytest.param(value(50, 50, 0.099999, 0.1), id="the same after rounding"),
        pytest.param({"x": 10, "y": 10, "width": 20, "height": 5}, id="without a rotation"),
    ],
)
def test_what_can_be_meant_is_used(given: dict[str, Any]) -> None:
    assert usable(given).is_upright


def test_a_line_down_a_long_receipt_is_no_mistake() -> None:
    """Turned by a quarter, its width is in percent of the page's width and reaches far over 100."""
    drawn = usable(value(60, 2, 390, 1.5, 90), Size(500, 2000))
    assert drawn.is_upright
    assert astuple(drawn.around()) == pytest.approx((270, 40, 300, 1990))


@pytest.mark.parametrize("rotation", [2.5, 30, 45, 88, 135, 177.5, 182.5, 200, 270.5, 357.5, -2.5, 362.5])
@pytest.mark.parametrize(("across", "down"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_tilted_rectangle_holds_what_is_inside_it(rotation: float, across: int, down: int) -> None:
    """Turned about its corner in pixels; one that was flipped by its handles runs the other way from there."""
    drawn = usable(value(50, 50, across * 20, down * 5, rotation))
    assert not drawn.is_upright
    turn = math.radians(rotation)

    def at(along: float, beside: float) -> Box:
        """A word of 8 x 6 pixels in the middle of that share of the two sides."""
        right, below = along * across * 248, beside * down * 45
        x, y = (
            620 + right * math.cos(turn) - below * math.sin(turn),
            450 + right * math.sin(turn) + below * math.cos(turn),
        )
        return Box(x - 4, y - 3, x + 4, y + 3)

    assert all(drawn.holds_centre(at(along, beside)) for along in (0.01, 0.5, 0.99) for beside in (0.01, 0.5, 0.99))
    outside = [(-0.01, 0.5), (1.01, 0.5), (0.5, -0.03), (0.5, 1.03), (0.01, 1.03), (0.99, -0.03)]
    assert not any(drawn.holds_centre(at(along, beside)) for along, beside in outside)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270, 360, -90, 540])
def test_quarter_turns_are_upright(rotation: float) -> None:
    assert usable(value(50, 50, 10, 5, rotation)).is_upright


def test_the_same_rectangle_from_its_opposite_corner() -> None:
    one = usable(value(50, 50, 20, 5, 2.5))
    x, y = one.corners[2]
    other = TiltedBox(x, y, one.width, one.height, one.degrees + 180)
    assert sorted(other.corners) == [pytest.approx(corner) for corner in sorted(one.corners)]
    assert astuple(other.around()) == pytest.approx(astuple(one.around()))


def test_there_and_back() -> None:
    given = value(4.703306, 45.273269, 65.16129, 3.666667, 2.5)
    assert tilted_geometry(usable(given), PAGE) == given
