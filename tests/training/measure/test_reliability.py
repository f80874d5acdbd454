from __future__ import annotations

import pytest

from layoutloop.sure import Sure
from training.measure.reliability import Curve, Reliability, curve_of, sure_from


def test_a_curve_of_scores_that_say_what_they_are() -> None:
    scores = [0.25] * 20 + [0.75] * 20
    right = ([True] * 5 + [False] * 15) + ([True] * 15 + [False] * 5)
    curve = curve_of(scores, right)
    assert sum(one.boxes for one in curve.bins) == 40
    assert [one.score for one in curve.bins] == [0.25, 0.25, 0.75, 0.75]
    assert curve.brier == pytest.approx(0.25 * 0.75)
    assert curve_of([0.25] * 10, [True] * 3 + [False] * 7).error == pytest.approx(0.05)


def test_a_curve_of_scores_that_promise_too_much() -> None:
    curve = curve_of([1.0] * 30, [True] * 15 + [False] * 15)
    assert (curve.error, curve.brier) == (pytest.approx(0.5), 0.5)


@pytest.mark.parametrize("boxes", [1, 9, 10, 99, 1000])
def test_a_bin_has_enough_boxes_where_there_are_enough(boxes: int) -> None:
    bins = curve_of([index / boxes for index in range(boxes)], [True] * boxes).bins
    assert sum(one.boxes for one in bins) == boxes
    assert len(bins) <= 10
    assert all(one.boxes >= min(10, boxes) for one in bins)
    assert [one.score for one in bins] == sorted(one.score for one in bins)


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        pytest.param([0.995] * 19, [True] * 19, None, id="too few"),
        pytest.param([0.97] * 30 + [0.5] * 10, [True] * 30 + [False] * 10, Sure(0.97, 30, 0, 40), id="none wrong"),
        pytest.param([0.97] * 30 + [0.5] * 10, [True] * 40, Sure(0.5, 40, 0, 40), id="all right: from the lowest"),
        pytest.param([0.996] * 99 + [0.998], [True] * 99 + [False], Sure(0.99, 100, 1, 100), id="one in a hundred"),
        pytest.param([0.9] * 30, [True] * 28 + [False] * 2, None, id="more than one in twenty"),
        pytest.param([0.003] * 30, [True] * 30, None, id="no score"),
    ],
)
def test_from_which_score_on_boxes_need_no_look(scores: list[float], right: list[bool], expected: Sure | None) -> None:
    assert sure_from(scores, right) == expected


def test_the_sentence_for_a_person() -> None:
    assert Sure(0.97, 140, 0, 226).sentence == "at 0.97 and above, 62% of the boxes, none wrong of 140"
    assert Sure(0.9, 2000, 20, 2000).sentence == "at 0.90 and above, 100% of the boxes, 20 wrong of 2,000"
    curve = Curve(0.0, 0.0, ())
    assert Reliability(226, 60, curve, sure=Sure(0.97, 140, 0, 226)).sentence.startswith("Of 226 boxes: at 0.97")
    assert Reliability(1, 0, curve).sentence.endswith("is wrong (of 1 box).")
