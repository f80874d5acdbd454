"""Words that come with a task: which data brings some, and what is refused of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.errors import ImageTooLarge
from handler.ocr_settings import TASK_ENGINE
from handler.page import Box, Page, Size, Word
from layoutloop.errors import AddressRefused, ImageSourceUnreachable, ImageUnavailable, LayoutLoopError, WordsInvalid
from layoutloop.studio.label_config import parse_label_config
from layoutloop.studio.task_words import MAX_BYTES, GivenPage, read_task_words, with_picture, words_of_task

ONE = parse_label_config(
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="Total"/>'
    "</RectangleLabels></View>"
)
LIST = parse_label_config(
    '<View><Image name="image" valueList="$image"/><RectangleLabels name="label" toName="image"><Label value="Total"/>'
    "</RectangleLabels></View>"
)
ADDRESS = "/data/upload/7/0a1b2c3d-page.json"
WORDS = [{"text": "Total", "box": [10, 10, 60, 20], "line": 0}, {"text": "12.50", "box": [70, 10, 99.5, 20], "line": 0}]
PAGE: dict[str, Any] = {"format": 1, "width": 100, "height": 50, "words": WORDS}


def given(words: object, pages: int = 1, is_list: bool = False) -> tuple[tuple[GivenPage | None, ...], str]:
    found = words_of_task({"id": 5, "data": {"image": "a.png", "words": words}}, LIST if is_list else ONE, pages)
    return found.pages, found.own_column


def no_fetch(address: str) -> bytes:
    raise AssertionError(address)


def read(body: object) -> Page:
    ((words,), _) = given(body)
    assert words is not None
    return read_task_words(words, no_fetch)


@pytest.mark.parametrize(
    "address",
    [
        ADDRESS,
        "/data/local-files/?d=words%5Cpage.json",
        "s3://bucket/dir/page #1.JSON",
        "/tasks/5/resolve/?fileuri=czM6Ly9iL2EuanNvbg==",
        "https://words.example/page.json?signature=x",
    ],
)
def test_an_address_of_a_json_file_brings_words(address: str) -> None:
    assert given(address) == ((GivenPage(address=address),), "")


def test_spaces_around_an_address_are_no_part_of_it() -> None:
    assert given(f"  {ADDRESS}\n") == ((GivenPage(address=ADDRESS),), "")


def test_a_page_in_the_data_brings_words_and_its_content_tells_it_from_others() -> None:
    ((words,), column) = given(PAGE)
    assert column == ""
    assert words is not None
    assert json.loads(words.content) == PAGE
    assert given(dict(reversed(PAGE.items())))[0] == (words,)
    assert given(PAGE | {"width": 101})[0] != (words,)


def test_a_document_brings_words_page_by_page() -> None:
    pages, column = given([ADDRESS, None, PAGE], 3, is_list=True)
    assert column == ""
    assert [page is not None for page in pages] == [True, False, True]


@pytest.mark.parametrize("data", [{}, {"words": None}], ids=str)
def test_a_task_without_words(data: dict[str, object]) -> None:
    assert words_of_task({"data": {"image": "a.png", **data}}, ONE, 2).pages == (None, None)


def test_a_column_of_images_may_be_called_words() -> None:
    config = parse_label_config(
        '<View><Image name="image" value="$words"/><RectangleLabels name="label" toName="image"><Label value="Total"/>'
        "</RectangleLabels></View>"
    )
    found = words_of_task({"data": {"words": ADDRESS}}, config, 1)
    assert (found.pages, found.own_column) == ((None,), "")


@pytest.mark.parametrize("shown", ['<Text name="text" value="$words"/>', '<Header value="Of: $words[0]"/>'])
def test_a_column_that_the_label_config_shows_may_be_called_words(shown: str) -> None:
    config = parse_label_config(
        f'<View>{shown}<Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
        '<Label value="Total"/></RectangleLabels></View>'
    )
    found = words_of_task({"data": {"image": "a.png", "words": ADDRESS}}, config, 1)
    assert (found.pages, found.own_column) == ((None,), "")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        pytest.param("Total 12.50", "a text", id="text"),
        pytest.param("", "a text", id="empty text"),
        pytest.param("/data/upload/7/notes.txt", "a text", id="another file"),
        pytest.param(17, "a number", id="a number"),
        pytest.param(True, "true or false", id="a switch"),
        pytest.param(["Total", "12.50"], "a list of 2", id="texts"),
        pytest.param([], "a list of 0", id="nothing"),
        pytest.param(WORDS, "a list of 2", id="words without a page"),
        pytest.param({"Total": 1}, "an object", id="counts"),
        pytest.param({"words": "Total 12.50"}, "an object", id="an object with text"),
        pytest.param([PAGE, "Total"], "a list of 2", id="a page and something else"),
    ],
)
def test_anything_else_is_somebodys_own_column(column: object, kind: str) -> None:
    pages, sentence = given(column, 2, is_list=True)
    assert pages == (None, None)
    assert sentence.startswith(f'"words" in the data of task 5 is {kind}, neither a page of words nor the address')
    assert "Total" not in sentence


def test_words_for_fewer_pages_belong_to_none_of_them() -> None:
    pages, column = given([PAGE, PAGE], 3, is_list=True)
    assert column == ""
    assert len(pages) == 3
    for page in pages:
        assert page is not None
        with pytest.raises(
            WordsInvalid, match="has words for 2 pages, and the task has 3; it needs one entry for each"
        ):
            read_task_words(page, no_fetch)


def test_a_page_is_read_with_an_engine_of_its_own() -> None:
    page = read(PAGE | {"engine": "azure-4.0", "thumbnail": "AAAA"})
    assert page == Page(
        Size(100, 50), TASK_ENGINE, (Word("Total", Box(10, 10, 60, 20)), Word("12.50", Box(70, 10, 99.5, 20)))
    )


def test_lines_are_counted_where_no_word_says_its_line() -> None:
    bare = [
        {"text": text, "box": box} for text, box in (("a", [0, 0, 9, 9]), ("b", [10, 0, 19, 9]), ("c", [0, 20, 9, 29]))
    ]
    assert [word.line for word in read(PAGE | {"words": bare}).words] == [0, 0, 1]
    given = [word | {"line": line} for word, line in zip(bare, (3, 3, 1), strict=True)]
    assert [word.line for word in read(PAGE | {"words": given}).words] == [3, 3, 1]


def test_a_page_that_lies_on_its_side_keeps_its_turn_and_lines_are_counted_as_its_text_runs() -> None:
    boxes = ([60, 0, 69, 9], [60, 10, 69, 19], [40, 0, 49, 9])
    page = read(PAGE | {"turn": 270, "words": [{"text": "a", "box": box} for box in boxes]})
    assert page.turn == 270
    assert [word.line for word in page.words] == [0, 0, 1]
    assert [word.box for word in page.words] == [Box(*box) for box in boxes]


def test_what_reaches_past_the_edge_is_cut_off() -> None:
    (word,) = read(PAGE | {"words": [{"text": "Total", "box": [-3, 40, 60, 52]}]}).words
    assert word.box == Box(0, 40, 60, 50)


def word_at(*box: float) -> dict[str, Any]:
    return PAGE | {"words": [*WORDS, {"text": "secret", "box": list(box), "line": 1}]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(
            word_at(110, 10, 130, 20), "word 2 at [110, 10, 130, 20] is outside of the page", id="right of it"
        ),
        pytest.param(word_at(-30, 10, -10, 20), "outside of the page, which has 100 x 50 pixels", id="left of it"),
        pytest.param(word_at(10, 51, 30, 60), "is outside of the page", id="below it"),
        pytest.param(PAGE | {"words": WORDS * 50_000}, "at most 4,194,304 are read (and 20,000 words)", id="100,000"),
        pytest.param(PAGE | {"words": WORDS * 10_001}, "at most 20,000 words, got 20,002", id="20,002 words"),
        pytest.param(PAGE | {"format": 2}, "a page of format 2; `format` is 1", id="another format"),
        pytest.param({"words": WORDS}, "a page of format None; `format` is 1", id="no format"),
        pytest.param(PAGE | {"width": 8.5}, "`width` is an integer number of pixels, got 8.5", id="inches"),
        pytest.param(PAGE | {"width": 0}, "at least 1 x 1 pixels, got 0 x 50", id="no width"),
        pytest.param(PAGE | {"words": ["Total"]}, "word 0 is an object, got str", id="texts"),
        pytest.param(
            PAGE | {"words": [{"text": "secret"}]}, "word 0: `box` is [left, top, right, bottom]", id="no box"
        ),
        pytest.param(PAGE | {"words": [{"text": 5, "box": [0, 0, 1, 1]}]}, "`text` is a string, got 5", id="no text"),
        pytest.param(
            PAGE | {"words": [*WORDS, {"text": "secret", "box": [0, 30, 9, 40]}]},
            "2 words with `line` and 1 without; give it for all of a page's words, or for none",
            id="a word without its line",
        ),
        pytest.param(
            PAGE | {"words": [word | {"line": line} for word, line in zip(WORDS * 2, (0, 1, 0, 1), strict=True)]},
            "`line` begins anew: word 2 is of line 0, which ended before it; count lines over the whole page",
            id="lines counted in each block",
        ),
        pytest.param(PAGE | {"turn": 30}, "`turn` is degrees in [0, 360)", id="an impossible turn"),
        pytest.param(word_at(0, 0, float("nan"), 9), "needs four finite numbers", id="not a number"),
    ],
)
def test_what_is_no_page_is_said(body: object, sentence: str) -> None:
    with pytest.raises(WordsInvalid) as caught:
        read(body)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"\x89PNG", "the file of the page's words holds no JSON in UTF-8", id="an image"),
        pytest.param(b"", "no JSON in UTF-8", id="an empty file"),
        pytest.param(b"[" * 100_000, "no JSON in UTF-8 (RecursionError)", id="brackets"),
        pytest.param(json.dumps(WORDS).encode(), "a list of 2, not a JSON object with a list", id="words alone"),
        pytest.param(b'{"pages": []}', "an object, not a JSON object with a list", id="another engine's answer"),
        pytest.param(b"null", "null, not a JSON object", id="null"),
        pytest.param(b" " * (MAX_BYTES + 1), "at most 4,194,304 are read", id="a large file"),
    ],
)
def test_a_file_that_is_no_page_is_said(content: bytes, sentence: str) -> None:
    with pytest.raises(WordsInvalid) as caught:
        read_task_words(GivenPage(address=ADDRESS), lambda _: content)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (ImageUnavailable("Label Studio answered 404"), ImageUnavailable),
        (ImageSourceUnreachable("nothing answers"), ImageSourceUnreachable),
        (AddressRefused("not on an allowed host"), AddressRefused),
        (ImageTooLarge("has more than 10 bytes"), WordsInvalid),
    ],
    ids=lambda one: getattr(one, "code", ""),
)
def test_a_file_that_is_not_to_be_had_is_told_from_the_image(error: LayoutLoopError, becomes: type[Exception]) -> None:
    def fail(_: str) -> bytes:
        raise error

    with pytest.raises(LayoutLoopError, match="the file of the page's words") as caught:
        read_task_words(GivenPage(address=ADDRESS), fail)
    assert type(caught.value) is becomes
    assert str(error) in str(caught.value)


def test_a_page_gets_the_thumbnail_of_its_image_and_must_have_its_size() -> None:
    page = read(PAGE)
    read_by_an_engine = (Word("Tota1", Box(0, 0, 9, 9)),)
    assert with_picture(page, Page(Size(100, 50), "", read_by_an_engine, b"png")) == Page(
        Size(100, 50), TASK_ENGINE, page.words, b"png"
    )
    with pytest.raises(WordsInvalid, match="a page of 100 x 50 pixels, and the image of this page has 50 x 100; give"):
        with_picture(page, Page(Size(50, 100), "", ()))
