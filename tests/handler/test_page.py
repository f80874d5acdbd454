from __future__ import annotations

import math

import pytest

from handler.page import Box, Page, Size


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        pytest.param((1, 2, 3, 4), Box(1, 2, 3, 4), id="P2 in order"),
        pytest.param((3, 4, 1, 2), Box(1, 2, 3, 4), id="P2 both reversed"),
        pytest.param((3, 2, 1, 4), Box(1, 2, 3, 4), id="P2 left and right reversed"),
        pytest.param((1, 4, 3, 2), Box(1, 2, 3, 4), id="P2 top and bottom reversed"),
        pytest.param((5, 5, 5, 5), Box(5, 5, 5, 5), id="P3 a point"),
        pytest.param((-5, -1, 0, 0), Box(-5, -1, 0, 0), id="P2 negative"),
    ],
)
def test_from_corners_takes_any_order(corners: tuple[float, ...], box: Box) -> None:
    assert Box.from_corners(*corners) == box


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        pytest.param((3, 0, 1, 0), "top left to bottom right.*Box.from_corners", id="P2 left after right"),
        pytest.param((0, 3, 0, 1), "top left to bottom right", id="P2 top after bottom"),
        pytest.param((math.nan, 0, 1, 1), "four finite numbers", id="nan"),
        pytest.param((0, 0, math.inf, 1), "four finite numbers", id="infinite"),
        pytest.param((-math.inf, 0, 1, 1), "four finite numbers", id="minus infinite"),
    ],
)
def test_a_bad_box_cannot_be_built(edges: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Box(*edges)


@pytest.mark.parametrize("turn", [0, 15, 75, 90, 105, 269.5, 345, 359.9])
def test_a_turn_is_near_a_quarter(turn: float) -> None:
    assert Page(Size(9, 9), "e", (), turn=turn).turn == turn


@pytest.mark.parametrize("turn", [-1, 15.1, 45, 74.9, 135, 344, 360, math.nan, math.inf])
def test_another_turn_cannot_be_built(turn: float) -> None:
    with pytest.raises(ValueError, match=r"`turn` is degrees in \[0, 360\), at most 15 from a multiple of 90, got"):
        Page(Size(9, 9), "e", (), turn=turn)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_a_page_has_at_least_one_pixel(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"at least 1 x 1 pixels, got {size[0]} x {size[1]}"):
        Size(*size)


@pytest.mark.parametrize(
    ("boxes", "around"),
    [
        pytest.param([Box(1, 2, 3, 4)], Box(1, 2, 3, 4), id="one"),
        pytest.param([Box(10, 0, 20, 5), Box(0, 3, 4, 9)], Box(0, 0, 20, 9), id="two"),
        pytest.param([Box(0, 0, 9, 9), Box(5, 5, 5, 5)], Box(0, 0, 9, 9), id="P3 a point inside"),
        pytest.param(iter([Box(1, 1, 2, 2), Box(0, 0, 1, 1)]), Box(0, 0, 2, 2), id="an iterator"),
    ],
)
def test_around(boxes: list[Box], around: Box) -> None:
    assert Box.around(boxes) == around
