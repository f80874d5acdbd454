"""Boxes of a model against boxes that people drew."""

from __future__ import annotations

import pytest

from handler.errors import OcrFailed
from handler.page import Box, Page, Region, Size, TaggedPage
from training.data.examples import Entity, Example
from training.measure.boxes import overlap, score_boxes

TOTAL, DATE = Box(100, 100, 200, 120), Box(100, 200, 180, 220)


def example(*entities: tuple[str, Box]) -> Example:
    page = Page(Size(400, 400), "pytesseract-5.3.0-eng-psm3", ())
    return Example(1, 0, page, tuple(Entity(label, box, ()) for label, box in entities))


def tagged(*regions: tuple[str, Box]) -> TaggedPage:
    return TaggedPage(tuple(Region(label, box, 0.9, "x", ()) for label, box in regions), windows=1)


@pytest.mark.parametrize(
    ("drawn", "predicted", "right"),
    [
        pytest.param([("total", TOTAL)], [("total", TOTAL)], 1, id="the same box"),
        pytest.param([("total", TOTAL)], [("total", Box(103, 102, 198, 119))], 1, id="cut closer than drawn"),
        pytest.param([("total", TOTAL)], [("total", Box(100, 100, 150, 120))], 0, id="half of it"),
        pytest.param([("total", TOTAL)], [("date", TOTAL)], 0, id="another label"),
        pytest.param([("total", TOTAL)], [("sum", TOTAL)], 1, id="a label of the model that is mapped"),
        pytest.param([("total", TOTAL)], [("total", TOTAL), ("total", TOTAL)], 1, id="found twice counts once"),
        pytest.param([("total", TOTAL), ("total", TOTAL)], [("total", TOTAL)], 1, id="drawn twice is found once"),
        pytest.param([("total", TOTAL), ("date", DATE)], [("date", DATE), ("total", TOTAL)], 2, id="in any order"),
        pytest.param(
            [("line", Box(0, 0, 100, 20)), ("line", Box(0, 12, 100, 32))],
            [("line", Box(0, 6, 100, 26)), ("line", Box(0, 0, 100, 20))],
            2,
            id="a box between two goes to the one that is left",
        ),
        pytest.param([], [("total", TOTAL)], 0, id="nothing is drawn"),
        pytest.param([("total", TOTAL)], [], 0, id="nothing is predicted"),
        pytest.param([("total", Box(1, 1, 1, 1))], [("total", Box(1, 1, 1, 1))], 0, id="a box without area"),
    ],
)
def test_what_is_right(drawn: list[tuple[str, Box]], predicted: list[tuple[str, Box]], right: int) -> None:
    scores = score_boxes([example(*drawn)], [tagged(*predicted)], ["total", "date", "line"], {"sum": "total"})
    (page,) = scores.pages
    assert (page.right, page.gold, page.predicted) == (right, len(drawn), len(predicted))
    both = len(drawn) + len(predicted)
    assert scores.overall.f1 == pytest.approx(2 * right / both if both else 0.0)


def test_a_page_that_failed_misses_all_that_is_drawn() -> None:
    scores = score_boxes([example(("total", TOTAL))], [OcrFailed("gave up")], ["total"])
    assert (scores.pages[0].right, scores.pages[0].gold, scores.pages[0].error) == (0, 1, "gave up")


def test_another_number_of_answers_than_of_pages_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        score_boxes([example()], [], [])


def test_overlap_is_intersection_over_union() -> None:
    found = overlap([TOTAL, Box(0, 0, 10, 10)], [Box(150, 100, 250, 120), Box(0, 0, 10, 10)])
    assert found.tolist() == [[pytest.approx(1 / 3), 0.0], [0.0, 1.0]]
