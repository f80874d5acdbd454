"""Words that come with a task: its data's `words`, a Page of the wire for each page or the address of a file with it.

Whoever has the words of a page, from the PDF that it was or from another OCR engine, gives them here; such a page is
not read. What stands under that name and is neither is somebody's own column: it is left alone, and said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from handler.errors import ImageTooLarge, PageInvalid
from handler.ocr_settings import TASK_ENGINE
from handler.page import Box, Page, Size, Word
from handler.turn import level_page
from handler.wire import FORMAT, MAX_WORDS, page_from_json
from layoutloop.errors import AddressRefused, ImageUnavailable, WordsInvalid
from layoutloop.plural import counted
from layoutloop.studio.label_config import LabelConfig
from layoutloop.studio.reference import read_reference
from layoutloop.studio.text_rows import number_rows

KEY = "words"
"""Of a task's data."""

MAX_BYTES = 4 * 2**20
"""Of one file of words: for 20,000 words, far more than their JSON needs."""

_FETCHED = ("studio", "cloud", "web")


@dataclass(frozen=True, slots=True)
class GivenPage:
    """The words that a task brings for one page, not yet looked at.

    Args:
        address: of a JSON file, as the task's data names it; "" where the data holds the page itself.
        content: that page, as JSON.
        problem: why neither can be used: the words of this task belong to no page for sure.
    """

    address: str = ""
    content: bytes = b""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class GivenWords:
    """The words that a task gives for its pages.

    Args:
        pages: one for each page of the task, None for a page that is to be read.
        own_column: what stands under the name instead, as a sentence; "" where there is nothing else.
    """

    pages: tuple[GivenPage | None, ...]
    own_column: str = ""


def words_of_task(task: Mapping[str, object], config: LabelConfig, pages: int) -> GivenWords:
    """Return the words that a task brings for its pages, without fetching anything.

    A list has one entry for each page, in order; null for a page that is to be read. A task of one page may name its
    words without a list.
    """
    data = task.get("data")
    found = data.get(KEY) if isinstance(data, Mapping) and KEY not in config.columns else None
    if found is None:
        return GivenWords((None,) * pages)
    entries = found if isinstance(found, list) else [found]
    given = [_entry(entry) for entry in entries]
    if not entries or any(ours is None and entry is not None for ours, entry in zip(given, entries, strict=True)):
        return GivenWords(
            (None,) * pages,
            f'"{KEY}" in the data of task {str(task.get("id"))[:40]} is {_found(found)}, neither a page of words nor '
            "the address of a .json file: it is left alone, and the page is read by OCR",
        )
    if len(entries) != pages:
        problem = (
            f'"{KEY}" in the task\'s data has words for {counted(len(entries), "page")}, and the task has {pages}; it '
            "needs one entry for each page, null for a page that is to be read"
        )
        return GivenWords((GivenPage(problem=problem),) * pages)
    return GivenWords(tuple(given))


def read_task_words(words: GivenPage, fetch: Callable[[str], bytes]) -> Page:
    """Return the page that a task brings, checked; its engine is TASK_ENGINE, and it has no thumbnail.

    What reaches past the page's edge is cut off. Where no word says its line, lines are counted by the boxes.

    Args:
        words: of one page of a task.
        fetch: returns the bytes at an address, as it does for images.

    Raises:
        WordsInvalid: what is there are no words of a page; says what was found.
        LayoutLoopError: the address is not to be had, as for an image.
    """
    if words.problem:
        raise WordsInvalid(words.problem)
    content = words.content or _fetched(words.address, fetch)
    if len(content) > MAX_BYTES:
        raise WordsInvalid(
            f"the words of the page have {len(content):,} bytes as JSON, at most {MAX_BYTES:,} are read (and "
            f"{MAX_WORDS:,} words)"
        )
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WordsInvalid(f"{_place(words)} no JSON in UTF-8 ({type(error).__name__})") from error
    if not isinstance(body, dict) or not isinstance(body.get("words"), list):
        raise WordsInvalid(f'{_place(words)} {_found(body)}, not a JSON object with a list of "words"')
    if type(body.get("format")) is not int or body["format"] != FORMAT:
        raise WordsInvalid(f"{_place(words)} a page of format {body.get('format')!r:.40}; `format` is {FORMAT}")
    try:
        page = page_from_json(body, is_request=True)
    except PageInvalid as error:
        raise WordsInvalid(f"{_place(words)} no page: {error}") from error
    given = Page(page.size, TASK_ENGINE, _on_page(page.words, page.size, words), turn=page.turn)
    if numbered := sum("line" in word for word in body["words"]):
        _check_lines(given.words, numbered, words)
        return given
    level = number_rows(level_page(given).words)
    lined = (replace(word, line=other.line) for word, other in zip(given.words, level, strict=True))
    return replace(given, words=tuple(lined))


def with_picture(page: Page, picture: Page) -> Page:
    """Return a page that came with its task with the thumbnail of its image.

    Args:
        page: what the task brings.
        picture: what `ocr` says of the image, its thumbnail level by the turn of `page`; its words do not count.

    Raises:
        WordsInvalid: they are of different sizes, so these are the words of another page, or of another copy of it.
    """
    if page.size != picture.size:
        ours, image = page.size, picture.size
        raise WordsInvalid(
            f"the words are of a page of {ours.width} x {ours.height} pixels, and the image of this page has "
            f"{image.width} x {image.height}; give width, height and boxes in pixels of the image"
        )
    return replace(page, thumbnail=picture.thumbnail)


def _entry(entry: object) -> GivenPage | None:
    """Return what one page's entry brings; None where it is no words of ours."""
    if isinstance(entry, dict) and isinstance(entry.get("words"), list):
        return GivenPage(content=json.dumps(entry, sort_keys=True).encode())
    if isinstance(entry, str):
        reference = read_reference(entry.strip())
        if reference.kind in _FETCHED and reference.file.lower().endswith(".json"):
            return GivenPage(address=entry.strip())
    return None


def _fetched(address: str, fetch: Callable[[str], bytes]) -> bytes:
    """Return the file at an address; what goes wrong is said of the words, not of the page's image."""
    try:
        return fetch(address)
    except ImageTooLarge as error:
        raise WordsInvalid(f"the file of the page's words is too large: {error}") from error
    except (ImageUnavailable, AddressRefused) as error:
        raise type(error)(f"the file of the page's words: {error}") from error


def _on_page(words: Sequence[Word], size: Size, where: GivenPage) -> tuple[Word, ...]:
    """Return words as far as they are on the page.

    Raises:
        WordsInvalid: one is wholly outside.
    """
    kept = []
    for number, word in enumerate(words):
        box = word.box
        if box.right < 0 or box.bottom < 0 or box.left > size.width or box.top > size.height:
            edges = ", ".join(f"{edge:g}" for edge in (box.left, box.top, box.right, box.bottom))
            raise WordsInvalid(
                f"{_place(where)} no words of this page: word {number} at [{edges}] is outside of the page, which has "
                f"{size.width} x {size.height} pixels"
            )
        left, top = max(0.0, box.left), max(0.0, box.top)
        kept.append(replace(word, box=Box(left, top, min(box.right, size.width), min(box.bottom, size.height))))
    return tuple(kept)


def _check_lines(words: Sequence[Word], numbered: int, where: GivenPage) -> None:
    """Refuse line numbers that cannot be those of a page's lines.

    Raises:
        WordsInvalid: some words have none, or a line goes on after another one.
    """
    if numbered < len(words):
        raise WordsInvalid(
            f"{_place(where)} {counted(numbered, 'word')} with `line` and {len(words) - numbered:,} without; give it "
            "for all of a page's words, or for none"
        )
    ended: set[int] = set()
    for number, (before, word) in enumerate(pairwise(words), start=1):
        if before.line != word.line:
            ended.add(before.line)
        if word.line in ended:
            raise WordsInvalid(
                f"{_place(where)} words whose `line` begins anew: word {number} is of line {word.line}, which ended "
                "before it; count lines over the whole page, and give the words of a line one after the other"
            )


def _place(words: GivenPage) -> str:
    return "the file of the page's words holds" if words.address else f'"{KEY}" in the task\'s data holds'


def _found(value: Any) -> str:
    """Say what stood there, without its text: messages are logged, and data of tasks is private."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    kinds = {str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return "an object" if isinstance(value, Mapping) else kinds.get(type(value), f"a {type(value).__name__}")
