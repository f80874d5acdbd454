"""Page and Regions to and from the JSON on the wire; the only place that knows its field names."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from handler.errors import FormatUnsupported, HandlerError, PageInvalid
from handler.page import Box, Page, Region, Size, TaggedPage, Word

FORMAT = 1
MAX_WORDS = 20_000
MAX_TEXT_CHARACTERS = 1_000_000
MAX_SIDE_PIXELS = 2**31 - 1
MAX_THUMBNAIL_BYTES = 2**20


def page_to_json(page: Page) -> dict[str, Any]:
    """Return the wire form of a page."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "width": page.size.width,
        "height": page.size.height,
        "engine": page.engine,
        "words": [
            {
                "text": word.text,
                "box": _box_to_json(word.box),
                "confidence": round(word.confidence, 4),
                "line": word.line,
            }
            for word in page.words
        ],
    }
    if page.thumbnail is not None:
        body["thumbnail"] = base64.b64encode(page.thumbnail).decode()
    return body


def page_from_json(body: Any) -> Page:
    """Return the page of a wire message.

    Corners may come in any order; boxes may reach past the page (the model's grid clips them).

    Raises:
        FormatUnsupported: another format number.
        PageInvalid: names the field, what was found and what is expected.
    """
    if not isinstance(body, Mapping):
        raise PageInvalid(f"a Page is a JSON object, got {type(body).__name__}")
    if body.get("format") != FORMAT:
        raise FormatUnsupported(
            f"this archive reads Page format {FORMAT}, got {_found(body.get('format'))}; "
            "`python -m scripts.archive --refresh` rebuilds every archive in service with today's handler"
        )
    try:
        size = Size(_side(body, "width"), _side(body, "height"))
    except ValueError as error:
        raise PageInvalid(str(error)) from error
    entries = body.get("words")
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise PageInvalid(f"`words` is a list, got {type(entries).__name__}")
    if len(entries) > MAX_WORDS:
        raise PageInvalid(f"a page has at most {MAX_WORDS:,} words, got {len(entries):,}")
    words = tuple(_word_from_json(entry, index) for index, entry in enumerate(entries))
    characters = sum(len(word.text) for word in words)
    if characters > MAX_TEXT_CHARACTERS:
        raise PageInvalid(f"a page has at most {MAX_TEXT_CHARACTERS:,} characters, got {characters:,}")
    engine = body.get("engine", "")
    if not isinstance(engine, str):
        raise PageInvalid(f"`engine` is a string, got {_found(engine)}")
    return Page(size, engine, words, _thumbnail(body.get("thumbnail")))


def tagged_page_to_json(tagged: TaggedPage, model_version: str) -> dict[str, Any]:
    """Return the wire form of what the model says about one page."""
    return {
        "format": FORMAT,
        "model_version": model_version,
        "windows": tagged.windows,
        "regions": [_region_to_json(region) for region in tagged.regions],
    }


def error_to_json(error: HandlerError) -> dict[str, Any]:
    """Return the wire form of an item's error."""
    return {"error": {"code": error.code, "message": str(error)}}


def _region_to_json(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "box": _box_to_json(region.box),
        "score": round(region.score, 6),
        "text": region.text,
        "words": list(region.words),
    }


def _box_to_json(box: Box) -> list[float]:
    return [int(edge) if edge == int(edge) else edge for edge in (box.left, box.top, box.right, box.bottom)]


def _word_from_json(entry: Any, index: int) -> Word:
    if not isinstance(entry, Mapping):
        raise PageInvalid(f"word {index} is an object, got {_found(entry)}")
    if not isinstance(entry.get("text"), str):
        raise PageInvalid(f"word {index}: `text` is a string, got {_found(entry.get('text'))}")
    if any("\ud800" <= character <= "\udfff" for character in entry["text"]):
        raise PageInvalid(f"word {index}: `text` holds half a surrogate pair, which is no character")
    edges = entry.get("box")
    if not isinstance(edges, Sequence) or len(edges) != 4 or not all(_is_number(edge) for edge in edges):
        raise PageInvalid(f"word {index}: `box` is [left, top, right, bottom] in pixels, got {_found(edges)}")
    confidence, line = entry.get("confidence", 1.0), entry.get("line", 0)
    if not _is_number(confidence) or not 0 <= confidence <= 1:
        raise PageInvalid(f"word {index}: `confidence` is a number in [0, 1], got {_found(confidence)}")
    if not isinstance(line, int) or isinstance(line, bool):
        raise PageInvalid(f"word {index}: `line` is an integer, got {_found(line)}")
    try:
        box = Box.from_corners(*(float(edge) for edge in edges))
    except (ValueError, OverflowError) as error:
        raise PageInvalid(f"word {index}: {error}") from error
    return Word(entry["text"], box, float(confidence), line)


def _thumbnail(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_THUMBNAIL_BYTES:
        raise PageInvalid("`thumbnail` is the base64 of a 224 x 224 PNG")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PageInvalid(f"`thumbnail` is no base64: {error}") from error


def _side(body: Mapping[str, Any], field: str) -> int:
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value > MAX_SIDE_PIXELS:
        raise PageInvalid(f"`{field}` is an integer number of pixels, got {_found(value)}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _found(value: Any) -> str:
    """Say what stood in a field, without its text: messages are logged, and the words of a page are private."""
    if value is None or isinstance(value, int | float):
        return f"{value!r:.80}"
    if isinstance(value, list):
        return f"a list of {len(value)}: {', '.join(type(one).__name__ for one in value[:4])}".rstrip(": ")
    return type(value).__name__
