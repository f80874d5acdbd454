"""Boxes of words, lines and blocks, from the same logits with different priors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.page import Box, Page, Size, Word
from handler.tagging.box_prior import MOST_COUNTED, BoxPrior
from handler.tagging.decoding import decode
from handler.tagging.junctions import FEATURES, FORMS
from handler.tagging.labels import LabelSet
from handler.tagging.segmentation import segment

LABELS = LabelSet.from_names(["date", "total"])
SURE = 8.0


def prior(goes_on: dict[str, float], counts: dict[int, dict[int, float]] | None = None) -> BoxPrior:
    """A prior in which boxes of both labels go on over junctions with such features."""
    weights = np.zeros((2, len(FEATURES)))
    for name, weight in goes_on.items():
        weights[:, FEATURES.index(name)] = weight
    pages = np.zeros((2, MOST_COUNTED + 1))
    for label, of_label in (counts or {}).items():
        for count, logarithm in of_label.items():
            pages[label, count] = logarithm
    return BoxPrior(LABELS.names, weights, weights, np.zeros((2, len(FORMS))), pages)


LINES = prior({"same line": 6, "next line": -6})
WORDS = prior({"always": -6})
BLOCKS = prior({"same line": 6, "next line": 6})
VALUES = prior({"same line": 6, "next line": -6, "after caption, in line": -14, "after currency, in line": -14})


def page(*lines: str) -> Page:
    words = [
        Word(text, Box(10 + 50 * column, 20 * row, 55 + 50 * column, 20 * row + 14), line=row)
        for row, line in enumerate(lines)
        for column, text in enumerate(line.split(" "))
    ]
    return Page(Size(500, 500), "given", tuple(words))


def logits(tags: str) -> NDArray[np.float32]:
    """One character a word: O, D and d for B- and I-date, T and t for total, ? for no token."""
    rows = np.zeros((len(tags), 5), dtype=np.float32)
    for row, tag in zip(rows, tags, strict=True):
        if tag == "?":
            row[:] = np.nan
        else:
            row["ODdTt".index(tag)] = SURE
    return rows


def found(page: Page, said: NDArray[np.float32], given: BoxPrior) -> list[tuple[str, str]]:
    return [(region.label or "", region.text) for region in decode(page, said, LABELS, given)]


TWO_LINES = page("12 Jan 2018 ok", "Total: RM 33.90")


@pytest.mark.parametrize(
    ("tags", "given", "expected"),
    [
        pytest.param(
            "DdOdOTt", LINES, ["12 Jan 2018 ok", "Total: RM 33.90"], id="whole lines, though words are missed"
        ),
        pytest.param("OOdOOOO", LINES, [], id="one word of four is no line"),
        pytest.param("DdddDdd", LINES, ["12 Jan 2018 ok", "Total: RM 33.90"], id="lines below each other stay two"),
        pytest.param("DdddTtt", WORDS, ["12", "Jan", "2018", "ok", "Total:", "RM", "33.90"], id="single words"),
        pytest.param("DddDddd", BLOCKS, ["12 Jan 2018 ok Total: RM 33.90"], id="blocks over lines"),
        pytest.param("OOOOOOt", VALUES, ["33.90"], id="a value without its currency"),
        pytest.param("OOOOTtt", VALUES, ["Total:", "RM", "33.90"], id="what the model is sure of counts"),
        pytest.param("O?OOT?t", LINES, ["Total: 33.90"], id="a word without a token is in no box and ends none"),
        pytest.param("???????", LINES, [], id="no tokens at all"),
    ],
)
def test_boxes_are_drawn_as_the_prior_says(tags: str, given: BoxPrior, expected: list[str]) -> None:
    assert [text for _, text in found(TWO_LINES, logits(tags), given)] == expected


def test_without_a_prior_words_are_joined_by_their_tags() -> None:
    regions = decode(TWO_LINES, logits("DdOdOTt"), LABELS)
    assert [region.text for region in regions] == ["12 Jan", "ok", "RM 33.90"]


def test_scores_are_of_the_label_that_the_box_got() -> None:
    (region,) = decode(page("12 Jan 2018 ok"), logits("DdTd"), LABELS, LINES)
    sure = (np.exp(SURE) + 1) / (np.exp(SURE) + 4)
    other = 2 / (np.exp(SURE) + 4)
    assert region.label == "date"
    assert region.score == pytest.approx((3 * sure + other) / 4)
    assert region.words == (0, 1, 2, 3)


def test_how_many_boxes_a_page_has_decides_where_the_model_is_not_sure() -> None:
    lines = page("12 Jan 2018", "13 Jan 2018")
    both = logits("DddDdd")
    both[3:, 0] = SURE - 1.0  # a date, and perhaps outside
    doubtful = logits("OOOOOO")
    doubtful[[0, 1, 2], [1, 2, 2]] = SURE - 1.0
    shape = {"same line": 6.0, "next line": -6.0}
    once = prior(shape, {0: {0: -4.0, 1: -0.1, 2: -4.0, 3: -4.0, 4: -4.0}})
    never = prior(shape, {0: {0: -0.1, 1: -4.0, 2: -4.0, 3: -4.0, 4: -4.0}})
    assert len(found(lines, both, LINES)) == 2, "without counts both are drawn"
    assert [text for _, text in found(lines, both, once)] == ["12 Jan 2018"], "the one less sure is given up"
    assert len(found(lines, logits("DddDdd"), once)) == 2, "what the model is sure of is not overruled"
    assert found(lines, doubtful, never) == []
    assert [text for _, text in found(lines, doubtful, once)] == ["12 Jan 2018"], "the most probable one is made"


def test_two_halves_are_joined_where_pages_have_one() -> None:
    halves = page("No 4 Jalan Besar", "43300 Kuala Lumpur")
    either = {"same line": 6.0, "next line": 0.0}
    once = prior(either, {0: {0: -5.0, 1: -0.1, 2: -5.0, 3: -5.0, 4: -5.0}})
    assert len(found(halves, logits("DdddDdd"), prior(either))) == 2, "the tags say that another begins"
    assert found(halves, logits("DdddDdd"), once) == [("date", "No 4 Jalan Besar 43300 Kuala Lumpur")]


def test_a_page_without_words_has_no_boxes() -> None:
    empty = Page(Size(10, 10), "given", ())
    assert segment(empty, np.zeros((0, 5), dtype=np.float32), LABELS, LINES) == []
