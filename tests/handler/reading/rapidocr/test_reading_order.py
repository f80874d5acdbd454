from __future__ import annotations

import math
import time

import numpy as np
import pytest

from handler.reading.rapidocr.reading_order import reading_order

Places = list[tuple[float, float, float, float]]


def corners_of(places: Places, angle: float = 0.0) -> np.ndarray:
    """Return the corners of boxes (left, top, width, height), the page turned by degrees."""
    corners = np.array([[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in places], dtype=np.float32)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (corners.reshape(-1, 2) @ np.array([[cos, sin], [-sin, cos]])).reshape(-1, 4, 2).astype(np.float32)


def column(x: float, top: float, lines: int, width: float = 400, step: float = 30) -> Places:
    return [(x, top + step * line, width, 24) for line in range(lines)]


RECEIPT = [place for row in range(12) for place in ((20, 30 * row, 260, 24), (420, 30 * row + 2, 60, 24))]
TWO_COLUMNS = column(50, 100, 12) + column(500, 113, 12)
FORM = [place for row in range(6) for place in ((20, 50 * row, 150, 24), (200, 50 * row, 280, 24))]


@pytest.mark.parametrize("angle", [0, 1.5, -1.5, 90, 180, 270])
@pytest.mark.parametrize(
    "places",
    [
        pytest.param([], id="nothing"),
        pytest.param([(5, 5, 0, 0)], id="a point"),
        pytest.param(column(50, 100, 5), id="one column"),
        pytest.param(TWO_COLUMNS, id="two columns"),
        pytest.param([(50, 20, 850, 40), *TWO_COLUMNS, (450, 520, 40, 24)], id="heading, two columns, page number"),
        pytest.param(
            column(50, 0, 6) + column(500, 3, 6) + [(50, 200, 850, 24)] + column(50, 250, 6) + column(500, 257, 6),
            id="columns above and below a line across",
        ),
        pytest.param(column(0, 0, 8, 250) + column(300, 9, 8, 250) + column(600, 4, 8, 250), id="three columns"),
        pytest.param(
            column(50, 0, 3) + column(50, 150, 3) + column(500, 0, 3) + column(500, 150, 3),
            id="paragraphs that end at the same height",
        ),
        pytest.param(RECEIPT, id="a receipt's rows stay rows"),
        pytest.param(FORM, id="a form's rows stay rows"),
    ],
)
def test_lines_in_the_order_they_are_given(places: Places, angle: float) -> None:
    shuffled = np.random.default_rng(0).permutation(len(places))
    order = reading_order(corners_of([places[number] for number in shuffled], angle))
    assert [int(shuffled[number]) for number in order] == list(range(len(places)))


def test_a_table_of_thousands_of_cells_costs_little() -> None:
    cells = [(20 + 100.0 * x, 6 + 24.0 * y, 55.0, 20.0) for y in range(100) for x in range(50)]
    started = time.process_time()
    assert reading_order(corners_of(cells)) == list(range(5000))
    assert time.process_time() - started < 1, "it once took 6 s"
