from __future__ import annotations

import numpy as np
import pytest

from handler.reading.rapidocr.alignment import Span, words_of

CHARACTERS = ["", *"abcdef", "中", "文", " "]


def spans(said: str, used: float | None = None) -> list[Span]:
    """Return the words where each column says one character; `-` is the blank."""
    scores = np.full((len(said), len(CHARACTERS)), 0.01, np.float32)
    for column, character in enumerate(said):
        scores[column, 0 if character == "-" else CHARACTERS.index(character)] = 0.9
    return words_of(scores, CHARACTERS, len(said) if used is None else used)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        pytest.param("", [], id="no column"),
        pytest.param("----", [], id="nothing"),
        pytest.param("  - ", [], id="spaces alone"),
        pytest.param("-a-b-c-", ["abc"], id="one word"),
        pytest.param("-aa-a-bb", ["aab"], id="repeated columns are one character, a blank parts two"),
        pytest.param("a-b- -c-d", ["ab", "cd"], id="a space"),
        pytest.param(" a-b   c ", ["ab", "c"], id="spaces at the ends and several"),
        pytest.param("a-b-c------d-e-f", ["abc", "def"], id="a gap without a space"),
        pytest.param("a-b--c-d", ["abcd"], id="a wide letter is no gap"),
        pytest.param("中-文-a-b", ["中", "文", "ab"], id="Han characters are words"),
        pytest.param("a-b-中", ["ab", "中"], id="Han after Latin letters"),
    ],
)
def test_columns_to_words(said: str, words: list[str]) -> None:
    assert [span.text for span in spans(said)] == words


def test_words_stand_where_their_characters_do() -> None:
    first, second = spans("--a-b-c-- --d-e-f---------", used=18)
    assert 0.5 <= first.start <= 2 < 6 <= first.end <= 8
    assert 10 <= second.start <= 12 < 16 <= second.end <= 18
    assert first.confidence == pytest.approx(0.9)


def test_han_and_letters_have_widths_of_their_own() -> None:
    """In a line of both, characters that touch have boxes that touch, and a space is as wide as one."""
    year, first, month = spans("-a-a-b-b--中--a-b-")[0:3]
    assert [span.text for span in (year, first, month)] == ["aabb", "中", "ab"]
    assert abs(first.start - year.end) < 1
    assert abs(month.start - first.end) < 1
    han, latin = spans("-中---文--- a-b-c-d-")[1:3]
    assert (han.text, latin.text) == ("文", "abcd")
    assert latin.start - han.end >= 2


def test_no_word_reaches_beyond_its_line() -> None:
    (only,) = spans("a-b-c-d", used=6)
    assert (only.start, only.end) == (0, 6)
    assert only.moved(10) == Span("abcd", 10, 16, only.confidence)
