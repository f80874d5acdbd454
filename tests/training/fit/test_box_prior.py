"""How boxes are drawn is learned from eight pages, and kept only where it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from handler.page import Box, Page, Size, TaggedPage, Word
from handler.tagging.box_prior import BoxPrior
from handler.tagging.decoding import decode
from handler.tagging.labels import LabelSet
from handler.turn import words_of_picture
from training.data.examples import Entity, Example
from training.fit.box_prior import fit_prior, learn_prior
from training.fit.simulated import simulated_logits
from training.measure.scoring import score

LABELS = ("date", "total", "address")
TAGS = LabelSet.from_names(LABELS)
Draw = Callable[[str, Sequence[int], Sequence[str]], list[list[int]]]
"""From a label, the lines of a field and all words: the boxes, as words."""


def receipt(task: int, draw: Draw) -> Example:
    """A page with a date, an address of two lines, goods and a total, drawn in some way."""
    random = np.random.default_rng(task)
    number = [f"{value:.2f}" for value in random.uniform(1, 90, 4)]
    day = f"{random.integers(10, 28)}/{random.integers(10, 12)}/2018"
    rows = [
        ("", "INVOICE"),
        ("address", f"No {random.integers(1, 99)} Jalan Besar"),
        ("address", f"{random.integers(10000, 99999)} Kuala Lumpur"),
        ("", "Tel 03-77281"),
        ("date", f"Date: {day} 08:13"),
        *[("", f"goods {random.integers(1, 9)} x {value}") for value in number[: 1 + task % 3]],
        ("total", f"Total: RM {number[3]}"),
        ("", "thank you"),
    ]
    words: list[Word] = []
    lines: dict[str, list[list[int]]] = {}
    for row, (label, text) in enumerate(rows):
        first = len(words)
        for column, word in enumerate(text.split()):
            box = Box(20 + 60 * column, 30 * row, 70 + 60 * column, 30 * row + 18)
            words.append(Word(word, box, line=row))
        if label:
            lines.setdefault(label, []).append(list(range(first, len(words))))
    texts = [word.text for word in words]
    entities = [
        Entity(label, Box.around(words[index].box for index in box), tuple(box))
        for label, held in lines.items()
        for box in draw(label, held, texts)  # type: ignore[arg-type]
    ]
    return Example(task, 0, Page(Size(500, 500), "given", tuple(words)), tuple(entities))


def by_line(_label: str, lines: Sequence[list[int]], _texts: Sequence[str]) -> list[list[int]]:
    return list(lines)


def by_block(_label: str, lines: Sequence[list[int]], _texts: Sequence[str]) -> list[list[int]]:
    return [[word for line in lines for word in line]]


def by_word(_label: str, lines: Sequence[list[int]], _texts: Sequence[str]) -> list[list[int]]:
    return [[word] for line in lines for word in line]


def by_value(label: str, lines: Sequence[list[int]], _texts: Sequence[str]) -> list[list[int]]:
    return list(lines) if label == "address" else [[lines[0][{"date": 1, "total": 2}[label]]]]


def mixed(task: int) -> Draw:
    return (by_line, by_block, by_word, by_value)[task % 4]


def pages(draw: Draw | None, count: int, first: int = 0) -> list[Example]:
    return [receipt(task, draw or mixed(task)) for task in range(first, first + count)]


def f1(prior: BoxPrior | None, examples: Sequence[Example], seed: int = 7) -> float:
    """Of exact boxes, from logits with mistakes."""
    generator = np.random.default_rng(seed)
    said = [simulated_logits(example, TAGS, generator) for example in examples]
    answers = [TaggedPage(decode(one.page, logits, TAGS, prior), 1) for one, logits in zip(examples, said, strict=True)]
    return score(examples, answers, LABELS).overall.f1


@pytest.mark.parametrize(
    ("draw", "better_by"),
    [
        pytest.param(by_line, 0.15, id="a box for each line"),
        pytest.param(by_block, 0.15, id="a box around all lines"),
        pytest.param(by_value, 0.1, id="only the value, without caption and currency"),
        pytest.param(by_word, 0.0, id="a box for each word"),
        pytest.param(None, 0.0, id="drawn in four ways"),
    ],
)
@pytest.mark.parametrize("count", [8, 40])
def test_boxes_are_drawn_as_on_the_annotated_pages(draw: Draw | None, better_by: float, count: int) -> None:
    unseen = pages(draw, 60, first=1000)
    prior = learn_prior(pages(draw, count), LABELS)
    assert f1(prior, unseen) >= f1(None, unseen) + better_by


@pytest.mark.parametrize(
    ("draw", "date"),
    [
        pytest.param(by_line, "Date: 23/11/2018 08:13", id="line"),
        pytest.param(by_value, "23/11/2018", id="value"),
    ],
)
def test_the_same_words_make_the_boxes_of_each_project(draw: Draw, date: str) -> None:
    prior = learn_prior(pages(draw, 8), LABELS)
    example = receipt(1000, by_line)
    words = [word.text for word in example.page.words]
    at = words.index("Date:")
    said = np.zeros((len(words), len(TAGS.tags)), dtype=np.float32)
    said[:, 0] = 8.0
    said[at + 1] = [0, 8, 0, 0, 0, 0, 0]
    said[[at, at + 2]] = [4, 4, 4, 0, 0, 0, 0]
    regions = decode(example.page, said, TAGS, prior)
    assert [region.text for region in regions if region.label == "date"] == [date.replace("23/11/2018", words[at + 1])]


def test_pages_annotated_without_boxes_teach_that_a_page_may_have_none() -> None:
    learned, unseen = pages(by_line, 40), pages(by_line, 20, first=1000)
    without_boxes = [replace(one, entities=()) for one in learned[20:]]
    prior = learn_prior([*learned[:20], *without_boxes], LABELS)
    generator = np.random.default_rng(7)
    for example in unseen:
        said = generator.normal(0.0, 0.3, (len(example.page.words), len(TAGS.tags))).astype(np.float32)
        said[:, 0] += 6.0
        assert not decode(example.page, said, TAGS, prior)
    assert prior is not None


def test_too_little_to_learn_from() -> None:
    assert learn_prior([], LABELS) is None
    assert learn_prior(pages(by_line, 1), LABELS) is None
    empty = Example(1, 0, Page(Size(10, 10), "given", ()), ())
    assert learn_prior([empty] * 8, LABELS) is None


def test_what_there_is_once_or_never_is_like_the_other_labels() -> None:
    """A label seen once, one never seen, one that is not of the model, a box without words, a page without any."""
    examples = pages(by_line, 8)
    once = next(entity for entity in examples[0].entities if entity.label == "date")
    others = [
        Example(one.task, 0, one.page, tuple(entity for entity in one.entities if entity.label == "total"))
        for one in examples
    ]
    strange = (once, Entity("alien", once.box, (0, 1)), Entity("total", Box(0, 0, 1, 1), ()))
    first = Example(0, 0, examples[0].page, (*others[0].entities, *strange))
    bare = Example(99, 0, Page(Size(10, 10), "given", ()), ())
    prior = fit_prior([first, *others[1:], bare], LABELS)
    assert all(np.isfinite(table).all() for table in (prior.goes_on, prior.came_from, prior.holds, prior.counts))
    page = examples[3].page
    held = [len(page.words) - 2, len(page.words) - 1]
    said = np.zeros((len(page.words), len(TAGS.tags)), dtype=np.float32)
    said[:, 0] = 8.0
    for label in range(3):
        said[held] = 0.0
        said[held, [2 * label + 1, 2 * label + 2]] = 8.0
        (region,) = decode(page, said, TAGS, prior)
        assert (region.label, region.words) == (LABELS[label], tuple(held))


def test_boxes_that_cross() -> None:
    """Two columns read line by line: the words of two boxes alternate; no run of words is such a box."""
    words = tuple(
        Word("word", Box(left, 30 * row, left + 80, 30 * row + 18), line=2 * row + column)
        for row in range(4)
        for column, left in enumerate((20, 200))
    )
    boxes = [
        Entity("address", Box(20, 0, 100, 110), (0, 2, 4, 6)),
        Entity("address", Box(200, 0, 280, 110), (1, 3, 5, 7)),
    ]
    crossing = [Example(task, 0, Page(Size(400, 200), "given", words), tuple(boxes)) for task in range(8)]
    prior = learn_prior(crossing, LABELS)
    assert f1(prior, crossing) == 0
    assert f1(None, crossing) == 0
    fitted = fit_prior(crossing, LABELS)
    assert all(np.isfinite(table).all() for table in (fitted.goes_on, fitted.came_from, fitted.holds, fitted.counts))


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_pages_teach_what_the_same_pages_upright_teach(turn: float) -> None:
    upright = pages(None, 8)
    turned = [
        replace(one, page=replace(one.page, words=words_of_picture(one.page.words, one.page.size, turn, one.page.size)))
        for one in upright
    ]
    turned = [replace(one, page=replace(one.page, turn=turn)) for one in turned]
    assert fit_prior(turned, LABELS).to_json() == fit_prior(upright, LABELS).to_json()
