"""Generated documents: the same seed gives the same, each word stands on the page and is of one thing at most."""

from __future__ import annotations

import random

import pytest

from handler.page import Box
from training.data.examples import Example
from training.generated.country import COUNTRIES, Writer
from training.generated.documents import LABELS, generated_documents
from training.generated.paper import Paper


@pytest.fixture(scope="module")
def documents() -> list[Example]:
    return generated_documents(300)


def test_a_seed_gives_the_same_documents_and_another_gives_others(documents: list[Example]) -> None:
    assert generated_documents(20) == documents[:20]
    others = generated_documents(20, seed=1)
    assert not any(one.page.words == other.page.words for one, other in zip(documents, others, strict=False))


def test_every_label_occurs_and_no_other(documents: list[Example]) -> None:
    assert {entity.label for example in documents for entity in example.entities} == set(LABELS)


def test_no_two_documents_have_one_layout(documents: list[Example]) -> None:
    """What tells layouts apart: where the first words stand, as a share of the page."""
    starts = {
        tuple((round(w.box.left / e.page.size.width, 3), round(w.box.top / e.page.size.height, 3)) for w in first)
        for e in documents
        if (first := e.page.words[:12])
    }
    assert len(starts) == len(documents)


def test_words_stand_on_their_page_and_are_of_one_entity_at_most(documents: list[Example]) -> None:
    for example in documents:
        size, words = example.page.size, example.page.words
        held = [index for entity in example.entities for index in entity.words]
        assert len(held) == len(set(held))
        assert len(words) >= 10
        for word in words:
            assert word.text.strip()
            assert 0 <= word.box.left <= word.box.right <= size.width
            assert 0 <= word.box.top <= word.box.bottom <= size.height
        for entity in example.entities:
            assert entity.box == Box.around(words[index].box for index in entity.words)


def test_one_half_has_words_with_the_boxes_of_their_lines(documents: list[Example]) -> None:
    def is_by_line(example: Example) -> bool:
        boxes: dict[int, set[Box]] = {}
        for word in example.page.words:
            boxes.setdefault(word.line, set()).add(word.box)
        return all(len(one) == 1 for one in boxes.values())

    assert 0.4 < sum(map(is_by_line, documents)) / len(documents) < 0.6


def test_they_come_from_many_countries() -> None:
    signs = {sign for country in COUNTRIES for sign in country.currencies}
    assert len(COUNTRIES) >= 10
    assert len(signs) >= 20
    written = {Writer(random.Random(seed)).amount(123450, currency=True) for seed in range(300)}
    assert {"$1,234.50", "1.234,50 €", "Fr. 1'234.50", "¥123,450", "1 234,50 kr"} <= written


def test_a_line_that_does_not_fit_is_wrapped_and_every_word_kept() -> None:
    paper = Paper(random.Random(0), width=600, size=20, margin=20)
    text = "one two three four five six seven eight nine ten eleven twelve"
    lines = paper.wrapped(text, 200)
    assert len(lines) > 2
    assert " ".join(lines) == text
    assert all(paper.length(line) <= 200 for line in lines)
    assert paper.wrapped("incomprehensibilities", 10) == ["incomprehensibilities"]
