"""Page and Regions to and from the JSON on the wire, in two pairs that undo each other.

The only place that knows its field names. Everything taken is checked, for whoever takes it: a number that is not
finite, or a box that runs backwards, would reach the model or the annotator.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from handler.errors import FormatUnsupported, HandlerError, PageInvalid
from handler.page import Box, Page, Region, Size, TaggedPage, Word

FORMAT = 1
MAX_WORDS = 20_000
MAX_TEXT_CHARACTERS = 1_000_000
MAX_INTEGER = 2**31 - 1
MAX_THUMBNAIL_BYTES = 2**20

_NUMBERS, _INTEGERS = frozenset((int, float)), frozenset((int,))  # as JSON has them: True is no number
_ROUNDING = 1e-4
"""A mean of float32 probabilities may be 1.0000001: what is this little outside of [0, 1] is clipped."""
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_LEFT_OUT = {"confidence": 1.0, "line": 0}
"""What a request need not say of a word."""

T = TypeVar("T")


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
    if page.turn:
        body["turn"] = page.turn
    if page.thumbnail is not None:
        body["thumbnail"] = base64.b64encode(page.thumbnail).decode()
    return body


def page_from_json(body: Any, *, is_request: bool = False) -> Page:
    """Return the page of a wire message. Boxes may reach past the page: the model's grid clips them.

    Args:
        body: the message, decoded.
        is_request: a person may have written it. Corners may then come in any order, and a word's confidence and line
            and the page's engine be left out.

    Raises:
        FormatUnsupported: another format number.
        PageInvalid: names the field, what was found and what is expected.
    """
    _require_format(body, "Page")
    try:
        return _page(body, is_request)
    except (ValueError, OverflowError) as error:
        raise PageInvalid(str(error)) from error


def tagged_page_to_json(tagged: TaggedPage, model_version: str) -> dict[str, Any]:
    """Return the wire form of what the model says about one page."""
    return {
        "format": FORMAT,
        "model_version": model_version,
        "windows": tagged.windows,
        "regions": [_region_to_json(region) for region in tagged.regions],
    }


def tagged_page_from_json(body: Any, page: Page) -> tuple[TaggedPage, str]:
    """Return what a model says about a page, and the model's version.

    Args:
        body: the message, decoded.
        page: the one that was labelled; regions name its words.

    Raises:
        FormatUnsupported: another format number.
        PageInvalid: names the field, what was found and what is expected.
    """
    _require_format(body, "Regions")
    try:
        regions = _each(body, "region", partial(_region, words=len(page.words)))
        return TaggedPage(regions, _count(body, "windows")), _text(body, "model_version")
    except (ValueError, OverflowError) as error:
        raise PageInvalid(str(error)) from error


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


def _require_format(body: Any, kind: str) -> None:
    if type(body) is not dict:
        raise PageInvalid(f"a {kind} is a JSON object, got {type(body).__name__}")
    found = body.get("format")
    if type(found) is not int or found != FORMAT:
        raise FormatUnsupported(
            f"`format`: this version reads {kind} format {FORMAT}, got {_found(found)}; "
            "`python -m scripts.archive --refresh` rebuilds every archive in service with today's handler"
        )


def _page(body: dict[str, Any], is_request: bool) -> Page:
    size = Size(_integer(body, "width", " number of pixels"), _integer(body, "height", " number of pixels"))
    words = _each(body, "word", partial(_word, is_request=is_request), MAX_WORDS)
    characters = sum(len(word.text) for word in words)
    if characters > MAX_TEXT_CHARACTERS:
        raise ValueError(f"a page has at most {MAX_TEXT_CHARACTERS:,} characters, got {characters:,}")
    engine = "" if is_request and "engine" not in body else _text(body, "engine")
    return Page(size, engine, words, _thumbnail(body.get("thumbnail")), _turn(body.get("turn", 0)))


def _word(entry: dict[str, Any], is_request: bool) -> Word:
    if is_request:
        entry = _LEFT_OUT | entry
    box = _box(entry, Box.from_corners if is_request else Box)
    return Word(_text(entry, "text"), box, _share(entry, "confidence"), _count(entry, "line"))


def _region(entry: dict[str, Any], words: int) -> Region:
    members = entry.get("words")
    if type(members) is not list or not _INTEGERS.issuperset(map(type, members)):
        raise ValueError(f"`words` are indices of words, got {_found(members)}")
    if members != sorted(set(members)) or (members and not 0 <= members[0] <= members[-1] < words):
        raise ValueError(f"`words` are ascending indices below {words}, got {members!r:.80}")
    label, text = _text(entry, "label"), _text(entry, "text")
    return Region(label, _box(entry, Box), _share(entry, "score"), text, tuple(members))


def _each(
    body: dict[str, Any], kind: str, parse: Callable[[dict[str, Any]], T], most: int = MAX_INTEGER
) -> tuple[T, ...]:
    """Return what each entry of a list says; an error names the entry by its number."""
    entries = body.get(f"{kind}s")
    if type(entries) is not list:
        raise ValueError(f"`{kind}s` is a list, got {type(entries).__name__}")
    if len(entries) > most:
        raise ValueError(f"a page has at most {most:,} {kind}s, got {len(entries):,}")
    parsed = []
    for index, entry in enumerate(entries):
        if type(entry) is not dict:
            raise ValueError(f"{kind} {index} is an object, got {_found(entry)}")
        try:
            parsed.append(parse(entry))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{kind} {index}: {error}") from error
    return tuple(parsed)


def _box(entry: dict[str, Any], make: Callable[[float, float, float, float], Box]) -> Box:
    edges = entry.get("box")
    if type(edges) is not list or len(edges) != 4 or not _NUMBERS.issuperset(map(type, edges)):
        raise ValueError(f"`box` is [left, top, right, bottom] in pixels, got {_found(edges)}")
    return make(*map(float, edges))


def _text(entry: dict[str, Any], field: str) -> str:
    value = entry.get(field)
    if type(value) is not str:
        raise ValueError(f"`{field}` is a string, got {_found(value)}")
    if not value.isascii() and _HALF_CHARACTER.search(value):
        raise ValueError(f"`{field}` holds half a surrogate pair, which is no character")
    return value


def _share(entry: dict[str, Any], field: str) -> float:
    value: Any = entry.get(field)
    if type(value) not in _NUMBERS or not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise ValueError(f"`{field}` is a number in [0, 1], got {_found(value)}")
    return min(1.0, max(0.0, float(value)))


def _integer(entry: dict[str, Any], field: str, unit: str = "") -> int:
    value = entry.get(field)
    if type(value) is not int or value > MAX_INTEGER:
        raise ValueError(f"`{field}` is an integer{unit}, got {_found(value)}")
    return value


def _count(entry: dict[str, Any], field: str) -> int:
    value = _integer(entry, field)
    if value < 0:
        raise ValueError(f"`{field}` is at least 0, got {value}")
    return value


def _turn(value: Any) -> float:
    if type(value) not in _NUMBERS:
        raise ValueError(f"`turn` is a number of degrees, got {_found(value)}")
    return float(value)


def _thumbnail(value: Any) -> bytes | None:
    if value is None:
        return None
    if type(value) is not str or len(value) > MAX_THUMBNAIL_BYTES:
        raise ValueError("`thumbnail` is the base64 of a 224 x 224 PNG")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise ValueError(f"`thumbnail` is no base64: {error}") from error


def _found(value: Any) -> str:
    """Say what stood in a field, without its text: messages are logged, and the words of a page are private."""
    if value is None or isinstance(value, int | float):
        return f"{value!r:.80}"
    if isinstance(value, list):
        return f"a list of {len(value)}: {', '.join(type(one).__name__ for one in value[:4])}".rstrip(": ")
    return type(value).__name__
