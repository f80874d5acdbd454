from __future__ import annotations

import math
import re
from typing import Any

import pytest

from layoutloop.errors import PageRejected, TorchServeUnavailable
from layoutloop.torchserve.answered_pages import Box, ReadPage, Region, Word, parse_page, parse_regions, text_lines

WORD = {"text": "Total", "box": [10, 20, 60.5, 40], "confidence": 0.96, "line": 12}
PAGE = {"format": 1, "width": 1654, "height": 2339, "engine": "pytesseract-5.3.0-eng-psm3", "words": [WORD]}
REGION = {"label": "total", "box": [10, 20, 60.5, 40], "score": 0.98, "text": "Total 12.50", "words": [41, 42]}
REGIONS = {"format": 1, "model_version": "20261122T083000Z", "windows": 2, "regions": [REGION]}


def word(text: str, left: float, top: float, line: int, confidence: float = 1.0) -> Word:
    return Word(text, Box(left, top, left + 10, top + 5), confidence, line)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="words only"),
        pytest.param({"thumbnail": "iVBORw0KGgo="}, id="with the thumbnail"),
    ],
)
def test_parse_page(extra: dict[str, Any]) -> None:
    assert parse_page({**PAGE, **extra}) == ReadPage(
        1654, 2339, "pytesseract-5.3.0-eng-psm3", (Word("Total", Box(10, 20, 60.5, 40), 0.96, 12),)
    )


def test_parse_regions() -> None:
    version, regions = parse_regions(REGIONS)
    assert version == "20261122T083000Z"
    assert regions == (Region("total", Box(10, 20, 60.5, 40), 0.98, "Total 12.50"),)


def test_empty_answers() -> None:
    assert parse_page({**PAGE, "words": []}).words == ()
    assert parse_regions({**REGIONS, "regions": []}) == ("20261122T083000Z", ())


@pytest.mark.parametrize(("score", "kept"), [(1.0000001, 1.0), (-1e-9, 0.0), (1, 1.0), (0, 0.0)])
def test_scores_are_clipped_to_0_1(score: float, kept: float) -> None:
    _, (region,) = parse_regions({**REGIONS, "regions": [{**REGION, "score": score}]})
    assert region.score == kept


@pytest.mark.parametrize("parse", [parse_page, parse_regions])
@pytest.mark.parametrize("number", [0, 2, 17])
def test_another_format_names_the_command_that_helps(parse: Any, number: int) -> None:
    body = {**PAGE, **REGIONS, "format": number}
    with pytest.raises(PageRejected, match=r"python -m scripts\.archive --refresh") as rejected:
        parse(body)
    assert rejected.value.code == "format_unsupported"
    assert f"format {number}" in str(rejected.value)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(None, "should be an object, got None", id="null"),
        pytest.param([], "should be an object, got []", id="a list"),
        pytest.param("<html>", "should be an object, got a str", id="a page of a proxy"),
        pytest.param({}, "`format` of the answer of the ocr model should be an integer", id="no format"),
        pytest.param({**PAGE, "format": True}, "`format`", id="format is true"),
        pytest.param({**PAGE, "format": "1"}, "`format`", id="format is a string"),
        pytest.param({**PAGE, "width": 0}, "`width` of the page should be an integer of at least 1, got 0", id="width"),
        pytest.param({**PAGE, "height": 9.5}, "`height`", id="height is a fraction"),
        pytest.param({**PAGE, "engine": None}, "`engine` of the page should be a string", id="engine"),
        pytest.param({**PAGE, "words": {}}, "`words` of the page should be a list", id="words"),
        pytest.param({**PAGE, "words": ["Total"]}, "a word should be an object, got a str", id="a bare word"),
    ],
)
def test_malformed_pages(body: object, sentence: str) -> None:
    with pytest.raises(TorchServeUnavailable, match=re.escape(sentence)):
        parse_page(body)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"text": 5}, "`text` of a word should be a string, got 5", id="text"),
        pytest.param({"box": None}, "`box` of a word should be a list, got None", id="no box"),
        pytest.param({"box": [1, 2, 3]}, "four numbers [left, top, right, bottom], got [1, 2, 3]", id="three edges"),
        pytest.param({"box": [1, 2, "3", 4]}, "`box` of a word should be a number", id="an edge is a string"),
        pytest.param({"box": [1, 2, True, 4]}, "`box` of a word should be a number", id="an edge is true"),
        pytest.param({"box": [1, 2, math.nan, 4]}, "should be a finite number, got nan", id="an edge is NaN"),
        pytest.param({"box": [1, 2, 10**400, 4]}, "should be a finite number", id="an edge is beyond float"),
        pytest.param({"box": [5, 2, 3, 4]}, "left <= right and top <= bottom, got [5, 2, 3, 4]", id="backwards"),
        pytest.param({"confidence": math.inf}, "`confidence` of a word should be a finite number", id="confidence"),
        pytest.param({"line": -1}, "`line` of a word should be an integer of at least 0, got -1", id="line"),
        pytest.param({"line": None}, "`line` of a word", id="no line"),
    ],
)
def test_malformed_words(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(TorchServeUnavailable, match=re.escape(sentence)):
        parse_page({**PAGE, "words": [WORD, {**WORD, **change}]})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param({**REGIONS, "model_version": None}, "`model_version` of the answer", id="no version"),
        pytest.param({**REGIONS, "regions": None}, "`regions` of the answer should be a list", id="no regions"),
        pytest.param({**REGIONS, "regions": [[]]}, "a region should be an object", id="a list for a region"),
        pytest.param({**REGIONS, "regions": [{**REGION, "label": None}]}, "`label` of a region", id="no label"),
        pytest.param({**REGIONS, "regions": [{**REGION, "score": math.nan}]}, "`score` of a region", id="NaN"),
        pytest.param({**REGIONS, "regions": [{**REGION, "text": None}]}, "`text` of a region", id="no text"),
    ],
)
def test_malformed_regions(body: object, sentence: str) -> None:
    with pytest.raises(TorchServeUnavailable, match=re.escape(sentence)):
        parse_regions(body)


def test_messages_hold_no_words_of_the_page() -> None:
    with pytest.raises(TorchServeUnavailable) as refused:
        parse_page({**PAGE, "words": "account number 123"})
    assert "account" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param((), [], id="an empty page"),
        pytest.param((word("a", 0, 0, 3),), [Region(None, Box(0, 0, 10, 5), 1.0, "a")], id="one word"),
        pytest.param(
            (word("Total", 0, 2, 0, 0.5), word("12.50", 40, 0, 0, 1.0)),
            [Region(None, Box(0, 0, 50, 7), 0.75, "Total 12.50")],
            id="one line",
        ),
        pytest.param(
            (word("b", 0, 50, 9), word("a", 0, 0, 1), word("c", 20, 50, 9)),
            [Region(None, Box(0, 50, 30, 55), 1.0, "b c"), Region(None, Box(0, 0, 10, 5), 1.0, "a")],
            id="order of first appearance",
        ),
        pytest.param(
            (word(" ", 0, 0, 0, 0.0), word("a", 20, 0, 0), word("", 90, 0, 0), word("\t", 0, 9, 1)),
            [Region(None, Box(20, 0, 30, 5), 1.0, "a")],
            id="blank words and lines are left out",
        ),
    ],
)
def test_text_lines(words: tuple[Word, ...], lines: list[Region]) -> None:
    assert text_lines(ReadPage(100, 100, "engine", words)) == lines
