"""What stands between two words, as the decoder's prior sees it."""

from __future__ import annotations

import pytest

from handler.page import Box, Page, Size, Word
from handler.tagging.junctions import FEATURES, FORMS, form_of, junctions
from handler.turn import words_of_picture


@pytest.mark.parametrize(
    ("text", "form"),
    [
        pytest.param("33.90", "amount", id="amount"),
        pytest.param("1.234,56", "amount", id="continental"),
        pytest.param("€12.00", "amount", id="currency and amount in one"),
        pytest.param("25/12/2018", "date", id="date"),
        pytest.param("3-Jan-19", "date", id="date with a name"),
        pytest.param("08:13", "time", id="time"),
        pytest.param("2018", "number", id="number"),
        pytest.param("A-17b", "code", id="code"),
        pytest.param("RM", "currency", id="short capitals"),
        pytest.param("$", "currency", id="sign of a currency"),
        pytest.param("Date:", "caption", id="caption"),
        pytest.param("合計\N{FULLWIDTH COLON}", "caption", id="caption, wide colon"),
        pytest.param("TOTAL", "capitals", id="capitals"),
        pytest.param("合計", "letters", id="letters without case"),
        pytest.param("-", "sign", id="sign"),
        pytest.param("", "sign", id="nothing"),
    ],
)
def test_forms(text: str, form: str) -> None:
    assert FORMS[form_of(text)] == form


def between(*words: Word) -> set[str]:
    page = Page(Size(400, 400), "given", words)
    (row,) = junctions(page, [(len(words) - 2, len(words) - 1)])
    return {name for name, value in zip(FEATURES, row.tolist(), strict=True) if value}


FIRST = Word("Total:", Box(10, 10, 50, 20), line=0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(
            (FIRST, Word("RM", Box(54, 10, 70, 20), line=0)),
            {"same line", "after caption, in line", "before currency, in line"},
            id="in one line",
        ),
        pytest.param(
            (FIRST, Word("RM", Box(90, 10, 99, 20), line=0)),
            {"same line", "gap over 0.7", "gap over 1.5", "gap over 3"}
            | {"after caption, in line", "before currency, in line"},
            id="far apart in one line",
        ),
        pytest.param(
            (FIRST, Word("RM", Box(62, 11, 70, 21), line=1)),
            {"beside", "gap over 0.7", "after caption, at break", "before currency, at break"},
            id="two lines side by side",
        ),
        pytest.param(
            (FIRST, Word("RM", Box(12, 24, 30, 34), line=1)),
            {"next line", "aligned", "after caption, at break", "before currency, at break"},
            id="the next line",
        ),
        pytest.param(
            (FIRST, Word("RM", Box(200, 60, 230, 80), line=1)),
            {"farther", "other height", "after caption, at break", "before currency, at break"},
            id="a far and larger line",
        ),
        pytest.param(
            (Word("Sum", Box(10, 10, 10, 10)), Word("1", Box(10, 10, 10, 10))),
            {"same line", "after letters, in line", "before number, in line"},
            id="words without an area",
        ),
    ],
)
def test_what_stands_between(words: tuple[Word, ...], expected: set[str]) -> None:
    assert between(*words) == {"always", *expected}


LINES = (
    Word("Total:", Box(450, 850, 650, 900), line=0),
    Word("RM", Box(670, 850, 750, 900), line=0),
    Word("12.00", Box(1000, 850, 1200, 900), line=0),
    Word("Thank", Box(460, 920, 625, 970), line=1),
    Word("you", Box(1150, 1250, 1300, 1325), line=2),
)


@pytest.mark.parametrize("turn", [90, 180, 270, 10, 350, 100])
def test_a_turned_page_says_what_it_says_upright(turn: float) -> None:
    pairs = [(number, number + 1) for number in range(len(LINES) - 1)]
    size = Size(2000, 3000)
    picture = Size(3000, 2000) if round(turn / 90) % 2 else size
    turned = Page(picture, "given", words_of_picture(LINES, size, turn, picture), turn=turn)
    upright = junctions(Page(size, "given", LINES), pairs)
    assert junctions(turned, pairs).tolist() == upright.tolist()
