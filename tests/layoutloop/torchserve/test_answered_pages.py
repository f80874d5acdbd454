from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from handler.page import Box, Page, Region, Size, TaggedPage, Word
from handler.turn import words_of_picture
from layoutloop.errors import PageRejected, TorchServeUnavailable
from layoutloop.torchserve.answered_pages import parse_page, parse_tagged_page, text_lines

WORD = {"text": "Total", "box": [10, 20, 60.5, 40], "confidence": 0.96, "line": 12}
PAGE = {"format": 1, "width": 1654, "height": 2339, "engine": "pytesseract-5.3.0-eng-psm3", "words": [WORD] * 3}
REGION = {"label": "total", "box": [10, 20, 60.5, 40], "score": 0.98, "text": "Total 12.50", "words": [1, 2]}
REGIONS = {"format": 1, "model_version": "20261122T083000Z", "windows": 2, "regions": [REGION]}
READ = Page(Size(1654, 2339), "pytesseract-5.3.0-eng-psm3", (Word("Total", Box(10, 20, 60.5, 40), 0.96, 12),) * 3)


def word(text: str, left: float, top: float, line: int, confidence: float = 1.0) -> Word:
    return Word(text, Box(left, top, left + 10, top + 5), confidence, line)


def test_pages_that_were_read_and_labelled() -> None:
    assert parse_page(PAGE) == READ
    assert parse_tagged_page(REGIONS, READ) == TaggedPage(
        (Region("total", Box(10, 20, 60.5, 40), 0.98, "Total 12.50", (1, 2)),), 2
    )


@pytest.mark.parametrize(
    ("parse", "model"),
    [(parse_page, "ocr"), (partial(parse_tagged_page, page=READ), "tagging")],
    ids=("page", "tagged"),
)
@pytest.mark.parametrize("number", [0, 2, 17])
def test_another_format_names_the_command_that_helps(parse: Any, model: str, number: int) -> None:
    body = {**PAGE, **REGIONS, "format": number}
    with pytest.raises(PageRejected, match=r"python -m scripts\.archive --refresh") as rejected:
        parse(body)
    assert rejected.value.code == "format_unsupported"
    assert f"the {model} model" in str(rejected.value)
    assert f"format {number}" in str(rejected.value)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(None, "the ocr model: a Page is a JSON object, got NoneType", id="null"),
        pytest.param([], "is a JSON object, got list", id="a list"),
        pytest.param("<html>", "is a JSON object, got str", id="a page of a proxy"),
        pytest.param({}, "the ocr model: `format`", id="no format"),
        pytest.param({**PAGE, "format": True}, "`format`", id="format is true"),
        pytest.param({**PAGE, "format": "1"}, "`format`", id="format is a string"),
        pytest.param({**PAGE, "width": 0}, "at least 1 x 1 pixels, got 0 x 2339", id="width"),
        pytest.param({**PAGE, "words": [{**WORD, "box": [5, 2, 3, 4]}]}, "top left to bottom right", id="backwards"),
    ],
)
def test_something_else_than_a_page(body: object, sentence: str) -> None:
    with pytest.raises(TorchServeUnavailable, match=re.escape(sentence)):
        parse_page(body)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param("<html>", "the tagging model: a Regions is a JSON object, got str", id="a page of a proxy"),
        pytest.param({**REGIONS, "regions": None}, "`regions` is a list", id="no regions"),
        pytest.param({**REGIONS, "regions": [{**REGION, "label": None}]}, "region 0: `label` is a string", id="label"),
        *(
            pytest.param({**REGIONS, "regions": [{**REGION, "words": words}]}, "region 0: `words` are", id=repr(words))
            for words in ([3], [-1], [True], [1.0], None, "01")
        ),
    ],
)
def test_something_else_than_regions_of_the_page(body: object, sentence: str) -> None:
    with pytest.raises(TorchServeUnavailable, match=re.escape(sentence)):
        parse_tagged_page(body, READ)


def test_messages_hold_no_words_of_the_page() -> None:
    with pytest.raises(TorchServeUnavailable) as refused:
        parse_page({**PAGE, "words": "account number 123"})
    assert "account" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param((), [], id="an empty page"),
        pytest.param((word("a", 0, 0, 3),), [Region(None, Box(0, 0, 10, 5), 1.0, "a", (0,))], id="one word"),
        pytest.param(
            (word("Total", 0, 2, 0, 0.5), word("12.50", 40, 0, 0, 1.0)),
            [Region(None, Box(0, 0, 50, 7), 0.75, "Total 12.50", (0, 1))],
            id="one line",
        ),
        pytest.param(
            (word("合", 0, 0, 0), word("計", 10, 0, 0), word("No.", 25, 0, 0)),
            [Region(None, Box(0, 0, 35, 5), 1.0, "合計 No.", (0, 1, 2))],
            id="joined as its script is written",
        ),
        pytest.param(
            (word("b", 0, 50, 9), word("a", 0, 0, 1), word("c", 20, 50, 9)),
            [Region(None, Box(0, 50, 30, 55), 1.0, "b c", (0, 2)), Region(None, Box(0, 0, 10, 5), 1.0, "a", (1,))],
            id="order of first appearance",
        ),
        pytest.param(
            (word(" ", 0, 0, 0, 0.0), word("a", 20, 0, 0), word("", 90, 0, 0), word("\t", 0, 9, 1)),
            [Region(None, Box(20, 0, 30, 5), 1.0, "a", (1,))],
            id="blank words and lines are left out",
        ),
    ],
)
def test_text_lines(words: tuple[Word, ...], lines: list[Region]) -> None:
    assert text_lines(Page(Size(100, 100), "engine", words)) == lines


def test_a_tilted_line_keeps_its_spaces() -> None:
    words = (Word("号", Box(200, 400, 220, 420)), Word("12345678", Box(229, 400, 309, 420)))
    size = Size(800, 800)
    (line,) = text_lines(Page(size, "engine", words_of_picture(words, size, 10, size), turn=10))
    assert line.text == "号 12345678"
