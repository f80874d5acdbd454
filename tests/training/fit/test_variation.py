from __future__ import annotations

import random

from tests.training.samples import make_example
from training.fit.variation import Variation


def test_places_and_labels_stay() -> None:
    example = make_example(1)
    varied = Variation.of([example])(example)
    assert varied.entities == example.entities
    assert [word.box for word in varied.page.words] == [word.box for word in example.page.words]
    assert [word.line for word in varied.page.words] == [word.line for word in example.page.words]


def test_numbers_keep_their_form_and_unmarked_words_stay() -> None:
    random.seed(0)
    example = make_example(1)
    vary = Variation(("Acme",))
    seen = [vary(example).page.words for _ in range(50)]
    dates, amounts = {words[0].text for words in seen}, {words[8].text for words in seen}
    assert len(dates) > 20
    assert len(amounts) > 20
    assert {len(text) for text in dates} == {10}
    assert all(text[4] == text[7] == "-" for text in dates)
    assert {words[7].text for words in seen} == {"EUR", "Acme"}, "a marked word of letters"
    unmarked = {tuple(word.text for word in words[1:7]) for words in seen}
    assert unmarked == {tuple(word.text for word in example.page.words[1:7])}


def test_a_page_without_letters_can_be_varied() -> None:
    example = make_example(1)
    assert Variation(())(example).page.words[7].text == "EUR"
