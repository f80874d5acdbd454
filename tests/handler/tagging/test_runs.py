"""Runs of words, divided into boxes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from handler.tagging.runs import Divided, Run, climb


def divisions(words: int, first: int = 0) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Every way to put words into boxes of two labels, or into none."""
    if first == words:
        yield ()
        return
    for rest in divisions(words, first + 1):
        yield rest
    for end, label in product(range(first + 1, words + 1), range(2)):
        for rest in divisions(words, end):
            yield ((label, first, end), *rest)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_division_is_found(seed: int) -> None:
    """Against every division of five words, summed up by the definition."""
    generator = np.random.default_rng(seed)
    size = (6, 2)
    run = Run(0, *(generator.normal(0, 2, shape).tolist() for shape in ((5, 2), (5, 2), size, size)))
    every = list(divisions(5))
    best = max(every, key=run.worth)
    assert len(every) > 300
    assert run.worth(run.best()) == pytest.approx(run.worth(best))
    assert run.best() == best


def test_the_climb_of_a_full_page_ends() -> None:
    """Boxes of which pages are said to have none are given up one by one; a hundred are too many for that."""
    words = 200
    never = [[0.0, -50.0, -100.0, -150.0, -200.0]]
    row = [[1.0], [-9.0]] * (words // 2)
    zeros = [[0.0]] * (words + 1)
    run = Run(0, row, zeros, zeros, [[-9.0]] * (words + 1))
    assert len(run.best()) == words // 2
    few = Run(0, row[:6], zeros[:7], zeros[:7], [[-9.0]] * 7)
    assert [one.spans for one in climb([Divided.of(few)], never)] == [()]
    assert [one.spans for one in climb([Divided.of(run)], never)] == [run.best()], "as good as before the limit"


def test_a_page_with_far_too_many_boxes_gets_fewer() -> None:
    """Eight doubtful boxes where pages have one: the prior also tells eight from seven."""
    one = [[-9.0, -0.1, -3.0, -4.0, -5.0]]
    zeros = [[0.0]] * 16
    run = Run(0, ([[0.5], [-9.0]] * 8)[:15], zeros, zeros, [[-9.0]] * 16)
    assert len(run.best()) == 8
    (climbed,) = climb([Divided.of(run)], one)
    assert len(climbed.spans) == 1
