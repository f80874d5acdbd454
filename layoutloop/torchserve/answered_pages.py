"""What TorchServe's models answer, as the handler's nouns; an answer that is none becomes an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from handler.errors import FormatUnsupported, PageInvalid
from handler.joining import text_of
from handler.page import Box, Page, Region, TaggedPage
from handler.wire import FORMAT, page_from_json, tagged_page_from_json
from layoutloop.errors import PageRejected, TorchServeUnavailable

T = TypeVar("T")


def parse_page(body: object) -> Page:
    """Read what the `ocr` model answers.

    Raises:
        PageRejected: the answer has another wire format.
        TorchServeUnavailable: the answer is not a Page.
    """
    return _parsed("ocr", body, page_from_json)


def parse_tagged_page(body: object, page: Page) -> TaggedPage:
    """Read what a project's model answers about a page.

    Raises:
        PageRejected: the answer has another wire format.
        TorchServeUnavailable: the answer is not Regions of this page.
    """
    tagged, _ = _parsed("tagging", body, lambda answer: tagged_page_from_json(answer, page))
    return tagged


def text_lines(page: Page) -> list[Region]:
    """Turn each text line into a region without a label: what is shown before a model exists.

    Lines come in the order of their first word; blank words are left out, and lines of nothing else with them.
    """
    lines: dict[int, list[int]] = {}
    for index, word in enumerate(page.words):
        if word.text.strip():
            lines.setdefault(word.line, []).append(index)
    return [_line(page, members) for members in lines.values()]


def _line(page: Page, members: list[int]) -> Region:
    words = [page.words[index] for index in members]
    return Region(
        label=None,
        box=Box.around(word.box for word in words),
        score=sum(word.confidence for word in words) / len(words),
        text=text_of(page, members),
        words=tuple(members),
    )


def _parsed(model: str, body: object, parse: Callable[[object], T]) -> T:
    try:
        return parse(body)
    except PageInvalid as error:
        found = body.get("format") if isinstance(body, dict) else None
        if isinstance(error, FormatUnsupported) and type(found) is int:
            raise PageRejected(
                error.code,
                f"the {model} model answers in wire format {found}, this shim reads format {FORMAT}; "
                "rebuild the archives in service with `python -m scripts.archive --refresh`",
            ) from error
        raise TorchServeUnavailable(f"TorchServe answered something else for the {model} model: {error}") from error
