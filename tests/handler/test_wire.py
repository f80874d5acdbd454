from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from handler.errors import FormatUnsupported, HandlerError, ImageTooLarge, OutOfMemory, PageInvalid
from handler.page import Box, Page, Region, Size, TaggedPage, Word
from handler.wire import (
    FORMAT,
    MAX_TEXT_CHARACTERS,
    MAX_THUMBNAIL_BYTES,
    MAX_WORDS,
    error_to_json,
    page_from_json,
    page_to_json,
    tagged_page_from_json,
    tagged_page_to_json,
)
from tests.handler.samples import noisy_thumbnail

WORD = {"text": "Total", "box": [10, 20, 30, 40], "confidence": 0.96, "line": 12}
BODY = {"format": FORMAT, "width": 100, "height": 200, "engine": "pytesseract-5.3.0-eng-psm3", "words": [WORD]}
REGION = {"label": "total", "box": [10, 20, 60.5, 40], "score": 0.98, "text": "Total 12.50", "words": [1, 2]}
REGIONS = {"format": FORMAT, "model_version": "20261122T083000Z", "windows": 2, "regions": [REGION]}
LABELLED = Page(Size(100, 200), "e", (Word("Total", Box(0, 0, 1, 1)),) * 6)

either_way = pytest.mark.parametrize("is_request", [pytest.param(False, id="answer"), pytest.param(True, id="request")])


@either_way
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(Page(Size(100, 200), "e", (Word("Total", Box(10, 20, 30, 40), 0.96, 12),)), id="one word"),
        pytest.param(Page(Size(1, 1), "", ()), id="P10 no words"),
        pytest.param(Page(Size(9, 9), "e", (Word("a", Box(0.25, 0, 0.5, 1), 1.0, 0),)), id="fractions of a pixel"),
        pytest.param(Page(Size(9, 9), "e", (Word("a", Box(-5, -9, 1e6, 12), 0.0, 0),)), id="P2 past the page"),
        pytest.param(Page(Size(9, 9), "e", (Word("a", Box(3, 3, 3, 3), 1.0, 0),)), id="P3 zero area"),
        pytest.param(Page(Size(9, 9), "e", (Word("", Box(0, 0, 1, 1)), Word(" ", Box(0, 0, 1, 1)))), id="P9 blank"),
        pytest.param(Page(Size(9, 9), "e", (Word("5 High\u2028€😀", Box(0, 0, 1, 1)),)), id="P9 any characters"),
        pytest.param(Page(Size(9, 9), "e", (Word("a", Box(0, 0, 1, 1)),) * 3), id="P11 the same word thrice"),
        pytest.param(Page(Size(9, 9), "e", (), noisy_thumbnail()), id="with the thumbnail"),
        pytest.param(Page(Size(9, 9), "e", (Word("a", Box(0, 0, 1, 1)),), turn=90.0), id="on its side"),
        pytest.param(Page(Size(9, 9), "e", (), turn=357.6), id="tilted"),
    ],
)
def test_a_page_survives_the_wire(page: Page, is_request: bool) -> None:
    assert page_from_json(over_the_wire(page_to_json(page)), is_request=is_request) == page


def over_the_wire(body: dict[str, Any]) -> Any:
    return json.loads(json.dumps(body, allow_nan=False))


def test_whatever_is_written_is_read_again() -> None:
    """Pages and regions of any shape, with as many decimals as the wire carries."""
    chance = random.Random(0)

    def box() -> Box:
        corners = (chance.choice((chance.randrange(-50, 5000), chance.uniform(-50, 5000))) for _ in range(4))
        return Box.from_corners(*corners)

    def text() -> str:
        return "".join(chance.choices("aÄ 5€\t😀\u2028", k=chance.randrange(12)))

    for count in range(60):
        words = tuple(Word(text(), box(), round(chance.random(), 4), chance.randrange(99)) for _ in range(count))
        thumbnail = chance.choice((None, chance.randbytes(count)))
        page = Page(Size(chance.randrange(1, 5000), chance.randrange(1, 5000)), text(), words, thumbnail)
        regions = tuple(
            Region(text(), box(), round(chance.random(), 6), text(), tuple(sorted(chance.sample(range(count), size))))
            for size in range(count)
        )
        tagged = TaggedPage(regions, chance.randrange(9))
        assert page_from_json(over_the_wire(page_to_json(page))) == page
        assert tagged_page_from_json(over_the_wire(tagged_page_to_json(tagged, "v")), page) == (tagged, "v")


def test_the_wire_form_is_the_one_that_was_agreed() -> None:
    page = Page(Size(100, 200), "pytesseract-5.3.0-eng-psm3", (Word("Total", Box(10.0, 20.0, 30.0, 40.0), 0.96, 12),))
    assert page_to_json(page) == BODY


def test_corners_come_in_any_order() -> None:
    """P2. In a request: a person may have written it."""
    for box in ([10, 20, 30, 40], [30, 40, 10, 20], [30, 20, 10, 40], [10, 40, 30, 20]):
        body = BODY | {"words": [WORD | {"box": box}]}
        assert page_from_json(body, is_request=True).words[0].box == Box(10, 20, 30, 40)


def test_what_may_be_left_out() -> None:
    body = {"format": 1, "width": 9, "height": 9, "words": [{"text": "a", "box": [0, 0, 1, 1]}]}
    assert page_from_json(body, is_request=True) == Page(Size(9, 9), "", (Word("a", Box(0, 0, 1, 1), 1.0, 0),))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            BODY | {"words": [WORD, WORD | {"box": [5, 2, 3, 4]}]},
            r"word 1: a box runs from top left to bottom right, got Box\(left=5.0, top=2.0, right=3.0, bottom=4.0",
            id="left after right",
        ),
        pytest.param(
            BODY | {"words": [WORD | {"box": [3, 5, 3, 4]}]}, "word 0: a box runs from", id="top after bottom"
        ),
        pytest.param(
            {key: value for key, value in BODY.items() if key != "engine"},
            "`engine` is a string, got None",
            id="engine",
        ),
        pytest.param(
            BODY | {"words": [{"text": "a", "box": [0, 0, 1, 1], "line": 0}]}, "word 0: `confidence`", id="confidence"
        ),
        pytest.param(
            BODY | {"words": [{"text": "a", "box": [0, 0, 1, 1], "confidence": 1}]}, "word 0: `line`", id="line"
        ),
    ],
)
def test_an_answer_says_everything_in_order(body: Any, message: str) -> None:
    with pytest.raises(PageInvalid, match=message):
        page_from_json(body)


def test_what_the_model_said_is_read() -> None:
    tagged, version = tagged_page_from_json(REGIONS, LABELLED)
    assert version == "20261122T083000Z"
    assert tagged == TaggedPage((Region("total", Box(10, 20, 60.5, 40), 0.98, "Total 12.50", (1, 2)),), 2)


def test_empty_answers() -> None:
    assert page_from_json(BODY | {"words": []}).words == ()
    assert tagged_page_from_json(REGIONS | {"regions": []}, LABELLED) == (TaggedPage((), 2), "20261122T083000Z")


@pytest.mark.parametrize(("score", "kept"), [(1.0000001, 1.0), (-1e-9, 0.0), (1, 1.0), (0, 0.0)])
def test_scores_are_clipped_to_0_1(score: float, kept: float) -> None:
    tagged, _ = tagged_page_from_json(REGIONS | {"regions": [REGION | {"score": score}]}, LABELLED)
    assert tagged.regions[0].score == kept
    assert page_from_json(BODY | {"words": [WORD | {"confidence": score}]}).words[0].confidence == kept


def field(name: str, value: Any) -> dict[str, Any]:
    return BODY | {name: value}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in BODY.items() if key != name}


def word(name: str, value: Any) -> dict[str, Any]:
    return BODY | {"words": [WORD, WORD | {name: value}]}


@either_way
@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param([BODY], "a Page is a JSON object, got list", id="a list"),
        pytest.param("page", "a Page is a JSON object, got str", id="a string"),
        pytest.param(None, "a Page is a JSON object, got NoneType", id="null"),
        pytest.param(without("width"), "`width` is an integer number of pixels, got None", id="no width"),
        pytest.param(field("width", "100"), "`width` is an integer", id="width a string"),
        pytest.param(field("width", 100.5), "`width` is an integer .* got 100.5", id="width a fraction"),
        pytest.param(field("width", math.nan), "`width` is an integer .* got nan", id="width NaN"),
        pytest.param(field("height", True), "`height` is an integer", id="height true"),
        pytest.param(field("height", 0), "at least 1 x 1 pixels, got 100 x 0", id="height 0"),
        pytest.param(field("height", -200), "at least 1 x 1 pixels", id="height negative"),
        pytest.param(field("height", 10**400), "`height` is an integer", id="height beyond all numbers"),
        pytest.param(field("width", 0), "at least 1 x 1 pixels, got 0 x 200", id="width 0"),
        pytest.param(field("height", 9.5), "`height` is an integer .* got 9.5", id="height a fraction"),
        pytest.param(field("engine", 5), "`engine` is a string, got 5", id="engine a number"),
        pytest.param(field("engine", None), "`engine` is a string, got None", id="engine null"),
        pytest.param(field("engine", "e\udfff"), "`engine` holds half a surrogate", id="engine no characters"),
        pytest.param(without("words"), "`words` is a list, got NoneType", id="no words"),
        pytest.param(field("words", "Total"), "`words` is a list, got str", id="words a string"),
        pytest.param(field("words", {"0": WORD}), "`words` is a list, got dict", id="words an object"),
        pytest.param(field("words", ["Total"]), "word 0 is an object, got str$", id="word a string"),
        pytest.param(field("words", [None]), "word 0 is an object, got None", id="word null"),
        pytest.param(word("text", None), "word 1: `text` is a string, got None", id="text null"),
        pytest.param(word("text", 5), "word 1: `text` is a string, got 5", id="text a number"),
        pytest.param(word("text", "a\ud800"), "word 1: `text` holds half a surrogate", id="text no characters"),
        pytest.param(word("text", "\udfff"), "word 1: `text` holds half a surrogate", id="text the other half"),
        pytest.param(word("box", None), "word 1: `box` is .* got None$", id="box null"),
        pytest.param(word("box", [1, 2, 3]), "word 1: `box` is .* got a list of 3: int, int, int$", id="box of three"),
        pytest.param(word("box", [1, 2, 3, 4, 5]), "word 1: `box` is", id="box of five"),
        pytest.param(word("box", "1234"), "word 1: `box` is", id="box a string"),
        pytest.param(word("box", {"x": 1}), "word 1: `box` is", id="box an object"),
        pytest.param(word("box", [1, 2, 3, "4"]), "word 1: `box` is .*: int, int, int, str$", id="edge a string"),
        pytest.param(word("box", [1, 2, 3, True]), "word 1: `box` is", id="edge true"),
        pytest.param(word("box", [1, 2, 3, None]), "word 1: `box` is", id="edge null"),
        pytest.param(word("box", [1, 2, 3, math.nan]), "word 1: a box needs four finite numbers", id="edge NaN"),
        pytest.param(word("box", [math.nan, 2, 3, 4]), "word 1: a box needs four finite", id="first edge NaN"),
        pytest.param(word("box", [1, 2, 3, math.inf]), "word 1: a box needs four finite", id="edge Infinity"),
        pytest.param(word("box", [1, 2, 3, 10**400]), "word 1: int too large", id="edge beyond all numbers"),
        pytest.param(word("confidence", None), "word 1: `confidence` is a number in", id="confidence null"),
        pytest.param(word("confidence", "high"), "word 1: `confidence` is .* got str$", id="confidence a string"),
        pytest.param(word("confidence", 96), r"word 1: `confidence` is .* \[0, 1\], got 96", id="confidence percent"),
        pytest.param(word("confidence", -0.1), "word 1: `confidence` is", id="confidence negative"),
        pytest.param(word("confidence", math.nan), "word 1: `confidence` is", id="confidence NaN"),
        pytest.param(word("confidence", math.inf), "word 1: `confidence` is", id="confidence Infinity"),
        pytest.param(word("confidence", 10**400), "word 1: `confidence` is", id="confidence beyond all numbers"),
        pytest.param(word("confidence", True), "word 1: `confidence` is .* got True$", id="confidence true"),
        pytest.param(word("line", -1), "word 1: `line` is at least 0, got -1", id="line negative"),
        pytest.param(word("line", 1.5), "word 1: `line` is an integer, got 1.5", id="line a fraction"),
        pytest.param(word("line", None), "word 1: `line` is an integer", id="line null"),
        pytest.param(word("line", False), "word 1: `line` is an integer", id="line false"),
        pytest.param(field("turn", "90"), "`turn` is a number of degrees, got str", id="turn a string"),
        pytest.param(field("turn", None), "`turn` is a number of degrees, got None", id="turn null"),
        pytest.param(field("turn", True), "`turn` is a number of degrees, got True", id="turn a boolean"),
        pytest.param(field("turn", -90), r"`turn` is degrees in \[0, 360\), .* got -90.0", id="turn negative"),
        pytest.param(field("turn", 360), r"`turn` is degrees in \[0, 360\), .* got 360.0", id="a whole turn"),
        pytest.param(field("turn", 45), "at most 15 from a multiple of 90, got 45.0", id="turn between two sides"),
        pytest.param(field("turn", math.nan), "`turn` is degrees in .* got nan", id="turn not a number"),
        pytest.param(field("turn", 10**400), "too large", id="turn huge"),
        pytest.param(field("thumbnail", 5), "`thumbnail` is the base64 of", id="thumbnail a number"),
        pytest.param(field("thumbnail", "@@@@"), "`thumbnail` is no base64", id="thumbnail no base64"),
        pytest.param(field("thumbnail", "größe"), "`thumbnail` is no base64", id="thumbnail not ASCII"),
        pytest.param(field("thumbnail", "abc"), "`thumbnail` is no base64", id="thumbnail cut"),
        pytest.param(field("thumbnail", "A" * (MAX_THUMBNAIL_BYTES + 4)), "`thumbnail` is", id="thumbnail too long"),
        pytest.param(field("words", [WORD] * (MAX_WORDS + 1)), "at most 20,000 words, got 20,001", id="words too many"),
        pytest.param(
            word("text", "x" * MAX_TEXT_CHARACTERS), "at most 1,000,000 characters, got 1,000,005", id="text too long"
        ),
    ],
)
def test_a_bad_field_is_named(body: Any, message: str, is_request: bool) -> None:
    with pytest.raises(PageInvalid, match=message) as raised:
        page_from_json(body, is_request=is_request)
    assert raised.value.status == 422
    assert len(str(raised.value)) < 300, "a message never repeats a whole body"


def region(name: str, value: Any) -> dict[str, Any]:
    return REGIONS | {"regions": [REGION, REGION | {name: value}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param([REGIONS], "a Regions is a JSON object, got list", id="a list"),
        pytest.param("<html>", "a Regions is a JSON object, got str", id="a page of a proxy"),
        pytest.param(REGIONS | {"model_version": None}, "`model_version` is a string, got None", id="no version"),
        pytest.param(REGIONS | {"windows": None}, "`windows` is an integer, got None", id="no windows"),
        pytest.param(REGIONS | {"windows": -1}, "`windows` is at least 0, got -1", id="windows negative"),
        pytest.param(REGIONS | {"regions": None}, "`regions` is a list, got NoneType", id="no regions"),
        pytest.param(REGIONS | {"regions": [[]]}, "region 0 is an object, got a list of 0", id="a list for a region"),
        pytest.param(region("label", None), "region 1: `label` is a string, got None", id="no label"),
        pytest.param(region("label", "a\ud800"), "region 1: `label` holds half a surrogate", id="label no characters"),
        pytest.param(region("score", math.nan), r"region 1: `score` is a number in \[0, 1\], got nan", id="score NaN"),
        pytest.param(region("score", 98), r"region 1: `score` is a number in \[0, 1\], got 98", id="score percent"),
        pytest.param(region("text", None), "region 1: `text` is a string, got None", id="no text"),
        pytest.param(region("box", [1, 2, 3]), "region 1: `box` is", id="box of three"),
        pytest.param(region("box", [5, 2, 3, 4]), "region 1: a box runs from top left", id="box backwards"),
        pytest.param(region("box", [1, 2, math.nan, 4]), "region 1: a box needs four finite", id="edge NaN"),
        pytest.param(region("words", None), "region 1: `words` are indices of words, got None", id="no words"),
        pytest.param(region("words", "01"), "region 1: `words` are indices of words, got str$", id="words a string"),
        pytest.param(region("words", [True]), "region 1: `words` are indices", id="a word true"),
        pytest.param(region("words", [1.0]), "region 1: `words` are indices", id="a word a fraction"),
        pytest.param(
            region("words", [6]), r"region 1: `words` are ascending indices below 6, got \[6\]", id="not there"
        ),
        pytest.param(region("words", [-1]), "region 1: `words` are ascending", id="a word negative"),
        pytest.param(region("words", [2, 1]), "region 1: `words` are ascending", id="words descending"),
        pytest.param(region("words", [1, 1]), "region 1: `words` are ascending", id="a word twice"),
        pytest.param(
            region("words", list(range(999))), "region 1: `words` are ascending", id="many that are not there"
        ),
    ],
)
def test_a_bad_field_of_what_the_model_says_is_named(body: Any, message: str) -> None:
    with pytest.raises(PageInvalid, match=message) as raised:
        tagged_page_from_json(body, LABELLED)
    assert len(str(raised.value)) < 300


@either_way
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(field("words", "Mustermann"), id="words"),
        pytest.param(field("words", ["Mustermann"]), id="a word that is none"),
        pytest.param(field("words", [["Mustermann"]]), id="a list for a word"),
        pytest.param(field("words", [{"txt": "Mustermann", "box": [0, 0, 1, 1]}]), id="another name for the text"),
        pytest.param(word("text", ["Mustermann"]), id="text"),
        pytest.param(word("box", "Mustermann"), id="box"),
        pytest.param(word("box", ["Mustermann"] * 4), id="edges"),
        pytest.param(word("confidence", "Mustermann"), id="confidence"),
        pytest.param(word("line", "Mustermann"), id="line"),
        pytest.param(word("text", "Mustermann \ud800"), id="half a character"),
        pytest.param(field("engine", ["Mustermann"]), id="engine"),
        pytest.param(field("width", "Mustermann"), id="width"),
        pytest.param(field("format", "Mustermann"), id="format"),
        pytest.param(field("thumbnail", "Mustermann"), id="thumbnail"),
    ],
)
def test_a_message_never_repeats_a_pages_words(body: Any, is_request: bool) -> None:
    """Messages are logged."""
    with pytest.raises(PageInvalid) as raised:
        page_from_json(body, is_request=is_request)
    assert "Muster" not in str(raised.value)
    assert "txt" not in str(raised.value)


@either_way
@pytest.mark.parametrize("number", [0, 2, 17, "1", None, 1.5, 1.0, True, [1]], ids=repr)
def test_another_format_says_what_to_do(number: Any, is_request: bool) -> None:
    with pytest.raises(FormatUnsupported, match=r"reads Page format 1, got .*`python -m scripts.archive --refresh`"):
        page_from_json(BODY | {"format": number}, is_request=is_request)
    with pytest.raises(FormatUnsupported, match=r"reads Regions format 1, got .*`python -m scripts.archive --refresh`"):
        tagged_page_from_json(REGIONS | {"format": number}, LABELLED)


def test_no_format_is_another_format() -> None:
    with pytest.raises(FormatUnsupported, match="got None"):
        page_from_json(without("format"))


def test_what_the_model_says() -> None:
    region = Region("total", Box(10, 20.5, 30, 40), 0.98765432, "Total 12.50", (41, 42))
    body = tagged_page_to_json(TaggedPage((region,), 2), "20261122T083000Z")
    assert json.loads(json.dumps(body, allow_nan=False)) == {
        "format": 1,
        "model_version": "20261122T083000Z",
        "windows": 2,
        "regions": [
            {"label": "total", "box": [10, 20.5, 30, 40], "score": 0.987654, "text": "Total 12.50", "words": [41, 42]}
        ],
    }


def test_what_the_model_says_about_an_empty_page() -> None:
    """P10."""
    assert tagged_page_to_json(TaggedPage((), 0), "v")["regions"] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(HandlerError("x"), "internal_error", id="any"),
        pytest.param(ImageTooLarge("x"), "image_too_large", id="image"),
        pytest.param(OutOfMemory("x"), "out_of_memory", id="memory"),
        pytest.param(FormatUnsupported("x"), "format_unsupported", id="format"),
    ],
)
def test_error_to_json(error: HandlerError, code: str) -> None:
    assert error_to_json(error) == {"error": {"code": code, "message": "x"}}


def test_only_a_turned_page_says_so() -> None:
    """An upright page is what it was before there was a turn."""
    page = Page(Size(9, 9), "e", ())
    assert "turn" not in page_to_json(page)
    assert page_to_json(Page(Size(9, 9), "e", (), turn=90.0))["turn"] == 90
