from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from handler.reading.rapidocr.alignment import Span
from handler.reading.rapidocr.lines import Line
from handler.reading.rapidocr.orientation import read_upright

LEVEL = np.array([[0, 0], [90, 0], [90, 9], [0, 9]], np.float32)
TALL = np.array([[0, 90], [0, 0], [9, 0], [9, 90]], np.float32)


def line_of(mark: int, corners: np.ndarray) -> Line:
    """Return a line whose first column is `mark` and whose last is 0."""
    pixels = np.zeros((48, 480, 3), np.uint8)
    pixels[:, 0] = mark
    return Line(corners, pixels)


class Recogniser:
    """Says with which confidence it reads lines: `upright` those that begin with their mark, `turned` the others."""

    def __init__(self, upright: float, turned: float) -> None:
        self.confidences = (turned, upright)
        self.sizes: list[int] = []

    def __call__(self, lines: Sequence[Line]) -> list[list[Span]]:
        self.sizes.append(len(lines))
        confidences = [self.confidences[int(line.pixels[0, 0, 0] > 0)] for line in lines]
        return [[Span("word", 0, 60, confidence)] if confidence else [] for confidence in confidences]


@pytest.mark.parametrize(
    ("upright", "turned", "sizes", "is_turned"),
    [
        pytest.param(0.97, 0.99, [10], False, id="sure of itself, no second look"),
        pytest.param(0.6, 0.95, [10, 7, 10], True, id="upside down"),
        pytest.param(0.0, 0.95, [10, 7, 10], True, id="upside down, nothing read"),
        pytest.param(0.7, 0.55, [10, 7], False, id="a bad scan, but upright"),
        pytest.param(0.0, 0.0, [10, 7], False, id="no text"),
    ],
)
@pytest.mark.parametrize("corners", [LEVEL, TALL], ids=["level", "tall"])
def test_lines_are_turned_where_they_then_say_more(
    corners: np.ndarray, upright: float, turned: float, sizes: list[int], is_turned: bool
) -> None:
    read = Recogniser(upright, turned)
    lines, spans = read_upright([line_of(200, corners)] * 10, read)
    assert read.sizes == sizes
    expected = np.roll(corners, 2, axis=0) if is_turned else corners
    assert all(np.array_equal(line.corners, expected) for line in lines)
    confidence = turned if is_turned else upright
    assert [[span.confidence for span in found] for found in spans] == [[confidence] if confidence else []] * 10


def test_a_turned_margin_leaves_the_page_as_it_is() -> None:
    def read(lines: Sequence[Line]) -> list[list[Span]]:
        sure = [(line.pixels[0, 0, 0] > 0) == (line.corners[1, 0] > line.corners[0, 0] + 9) for line in lines]
        return [[Span("word", 0, 60, 0.95 if is_sure else 0.6)] for is_sure in sure]

    given = [line_of(200, LEVEL)] * 5 + [line_of(200, TALL)] * 2
    lines, spans = read_upright(given, read)
    assert [line.corners[0].tolist() for line in lines] == [[0, 0]] * 5 + [[9, 0]] * 2
    assert [found[0].confidence for found in spans] == [0.95] * 7


def test_no_lines() -> None:
    assert read_upright([], Recogniser(1, 1)) == ([], [])
