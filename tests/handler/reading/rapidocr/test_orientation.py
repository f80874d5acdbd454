from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from handler.errors import OcrTimeout
from handler.page import Size
from handler.reading.rapidocr.alignment import Span
from handler.reading.rapidocr.lines import Line
from handler.reading.rapidocr.orientation import read_upright, turn_margins

LEVEL = np.array([[0, 0], [90, 0], [90, 9], [0, 9]], np.float32)
TALL = np.array([[0, 90], [0, 0], [9, 0], [9, 90]], np.float32)


def line_of(mark: int, corners: np.ndarray) -> Line:
    """Return a line whose first column is `mark` and whose last is 0."""
    pixels = np.zeros((48, 480, 3), np.uint8)
    pixels[:, 0] = mark
    return Line(corners, pixels)


def on_its_head(line: Line) -> Line:
    return Line(line.corners, line.pixels[::-1, ::-1])


def picture(quarters: int) -> Image.Image:
    """Return a page of 60 x 40 pixels whose top left quarter is black, turned clockwise."""
    image = Image.new("RGB", (60, 40), "white")
    image.paste("black", (0, 0, 30, 20))
    return image.rotate(-90 * quarters, expand=True)


def lines_of(image: Image.Image, tilt: float = 0.0) -> list[Line]:
    """Return ten lines as they are found on a picture, all cut out so that they run to the right or up."""
    top, bottom = np.array_split(np.asarray(image.convert("L")), 2)
    parts = [part for half in (top, bottom) for part in np.array_split(half, 2, axis=1)]
    place = (0, 1, 3, 2)[int(np.argmin([part.mean() for part in parts]))]
    slope = np.array([[0, 0], [0, 90], [0, 90], [0, 0]], np.float32) * np.tan(np.radians(tilt))
    line = line_of(200, TALL if place % 2 else LEVEL + slope)
    return [line if place in (0, 3) else on_its_head(line)] * 10


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
    ("quarters", "upright", "turned", "sizes", "turn"),
    [
        pytest.param(0, 0.97, 0.99, [10], 0, id="sure of itself, no second look"),
        pytest.param(1, 0.95, 0.6, [10, 7, 10], 270, id="text runs down"),
        pytest.param(2, 0.95, 0.6, [10, 7, 10], 180, id="upside down"),
        pytest.param(2, 0.95, 0.0, [10, 7, 10], 180, id="upside down, nothing read"),
        pytest.param(3, 0.95, 0.6, [10], 90, id="text runs up"),
        pytest.param(0, 0.7, 0.55, [10, 7], 0, id="a bad scan, but upright"),
        pytest.param(0, 0.7, 0.75, [10, 7], 0, id="hardly better on its head"),
        pytest.param(0, 0.0, 0.0, [10, 7], 0, id="no text"),
        pytest.param(1, 0.5, 0.55, [10, 7, 10, 7], 0, id="makes no sense on its side either"),
    ],
)
def test_a_page_is_turned_where_it_then_says_more(
    quarters: int, upright: float, turned: float, sizes: list[int], turn: int
) -> None:
    read = Recogniser(upright, turned)
    page = read_upright(picture(quarters), lines_of, read)
    assert (page.turn, read.sizes) == (turn, sizes)
    assert page.size == (Size(60, 40) if (quarters + turn // 90) % 2 == 0 else Size(40, 60))
    assert len(page.lines) == len(page.spans) == 10
    assert all(line.pixels[0, 0, 0] for line in page.lines) is ((4 - quarters) % 4 == turn // 90)


@pytest.mark.parametrize(
    ("tilt", "turn"),
    [
        pytest.param(1.0, 180, id="so little counts as upright"),
        pytest.param(3.0, 177, id="clockwise"),
        pytest.param(-3.0, 183, id="the other way"),
        pytest.param(20.0, 180, id="more than can be meant"),
    ],
)
def test_a_tilt_is_part_of_the_turn(tilt: float, turn: float) -> None:
    seen: list[tuple[int, int]] = []

    def find(image: Image.Image) -> list[Line]:
        seen.append(image.size)
        return lines_of(image, tilt if len(seen) == 1 else 0)

    page = read_upright(picture(2), find, Recogniser(0.95, 0.6))
    assert page.turn == turn
    assert page.size == Size(*seen[-1])
    assert len(seen) == (2 if turn == 180 else 3), "as it is, level, and the other way up"


@pytest.mark.parametrize(
    ("upright", "turned", "sizes", "is_turned"),
    [
        pytest.param(0.97, 0.99, [], False, id="sure of itself, no second look"),
        pytest.param(0.6, 0.95, [7, 10], True, id="upside down"),
        pytest.param(0.0, 0.95, [7, 10], True, id="upside down, nothing read"),
        pytest.param(0.7, 0.55, [7], False, id="a bad scan, but upright"),
        pytest.param(0.0, 0.0, [7], False, id="no text"),
    ],
)
def test_lines_along_a_page_are_turned_where_they_then_say_more(
    upright: float, turned: float, sizes: list[int], is_turned: bool
) -> None:
    read, given = Recogniser(upright, turned), [line_of(200, TALL)] * 10
    lines, spans = turn_margins(given, Recogniser(upright, turned)(given), read)
    assert read.sizes == sizes
    expected = np.roll(TALL, 2, axis=0) if is_turned else TALL
    assert all(np.array_equal(line.corners, expected) for line in lines)
    confidence = turned if is_turned else upright
    assert [[span.confidence for span in found] for found in spans] == [[confidence] if confidence else []] * 10


def test_a_turned_margin_leaves_the_page_as_it_is() -> None:
    def read(lines: Sequence[Line]) -> list[list[Span]]:
        sure = [(line.pixels[0, 0, 0] > 0) == (line.corners[1, 0] > line.corners[0, 0] + 9) for line in lines]
        return [[Span("word", 0, 60, 0.95 if is_sure else 0.6)] for is_sure in sure]

    given = [line_of(200, LEVEL)] * 5 + [line_of(200, TALL)] * 2
    page = read_upright(picture(0), lambda _: given, read)
    assert page.turn == 0
    assert [line.corners[0].tolist() for line in page.lines] == [[0, 0]] * 5 + [[9, 0]] * 2
    assert [found[0].confidence for found in page.spans] == [0.95] * 7


@pytest.mark.parametrize(
    ("quarters", "upright", "turned", "readings", "turn"),
    [
        pytest.param(0, 0.7, 0.55, 1, 0, id="some lines the other way up"),
        pytest.param(2, 0.95, 0.6, 2, 0, id="the page the other way up"),
        pytest.param(1, 0.5, 0.55, 2, 90, id="as it is, once its side makes no sense"),
    ],
)
def test_what_is_read_again_and_runs_out_of_time_keeps_what_was_read(
    quarters: int, upright: float, turned: float, readings: int, turn: int
) -> None:
    recognise = Recogniser(upright, turned)

    def read(lines: Sequence[Line]) -> list[list[Span]]:
        if len(recognise.sizes) == readings:
            raise OcrTimeout("more than 30 s")
        return recognise(lines)

    page = read_upright(picture(quarters), lines_of, read)
    assert (page.turn, len(page.lines)) == (turn, 10)
    assert all(page.spans)


def test_no_lines() -> None:
    page = read_upright(picture(0), lambda _: [], Recogniser(1, 1))
    assert (page.lines, page.spans, page.turn) == ([], [], 0)
