"""What TorchServe answers: pages that were read, regions that were found. Pixels of the upright page, origin top left.

The two parsers undo what the handler writes (`Page` and `Regions` in ARCHITECTURE.md, "The wire"). They check
everything they take, because a number that is not finite or a box that runs backwards would reach the annotator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from layoutloop.errors import PageRejected, TorchServeUnavailable

WIRE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels; left <= right and top <= bottom. Zero area is legal."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        """Refuse what could not be drawn."""
        if not all(math.isfinite(edge) for edge in (self.left, self.top, self.right, self.bottom)):
            raise ValueError(f"a box needs four finite numbers, got {self}")
        if self.left > self.right or self.top > self.bottom:
            raise ValueError(f"a box runs from top left to bottom right, got {self}")

    @classmethod
    def around(cls, boxes: Iterable[Box]) -> Box:
        """Return the smallest box that contains all of `boxes` (at least one)."""
        several = tuple(boxes)
        return cls(
            min(box.left for box in several),
            min(box.top for box in several),
            max(box.right for box in several),
            max(box.bottom for box in several),
        )


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the OCR engine saw it.

    Args:
        text: its characters; may be blank.
        box: where it stands.
        confidence: the engine's, in [0, 1].
        line: number of the text line it belongs to.
    """

    text: str
    box: Box
    confidence: float
    line: int


@dataclass(frozen=True, slots=True)
class ReadPage:
    """One page after OCR.

    Args:
        width: of the upright page, in pixels, at least 1.
        height: the same.
        engine: what read it, for example `pytesseract-5.3.0-eng-psm3`.
        words: in reading order.
    """

    width: int
    height: int
    engine: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """One area of a page.

    Args:
        label: the model's class name; None for a text line that no model has seen (cold start).
        box: smallest box around its words.
        score: mean probability (or OCR confidence) of its words, in [0, 1].
        text: its words joined by spaces.
    """

    label: str | None
    box: Box
    score: float
    text: str


def parse_page(body: object) -> ReadPage:
    """Read what the `ocr` model answers.

    Raises:
        PageRejected: the answer has another wire format.
        TorchServeUnavailable: the answer is not a Page.
    """
    page = _body(body, "ocr")
    width, height = (_integer(page, key, "the page", least=1) for key in ("width", "height"))
    words = (_mapping(word, "a word") for word in _list(page, "words", "the page"))
    return ReadPage(width, height, _string(page, "engine", "the page"), tuple(_word(word) for word in words))


def parse_regions(body: object) -> tuple[str, tuple[Region, ...]]:
    """Read what a project's model answers: its version, and the regions in its order.

    Raises:
        PageRejected: the answer has another wire format.
        TorchServeUnavailable: the answer is not a list of Regions.
    """
    answer = _body(body, "tagging")
    regions = (_mapping(region, "a region") for region in _list(answer, "regions", "the answer"))
    return _string(answer, "model_version", "the answer"), tuple(_region(region) for region in regions)


def parse_word_regions(body: object, words: int) -> tuple[int | None, ...]:
    """Read from the same answer which region each of the page's `words` words belongs to, by index; None for none.

    Raises:
        PageRejected: the answer has another wire format.
        TorchServeUnavailable: a region names a word that the page has not.
    """
    regions = _list(_body(body, "tagging"), "regions", "the answer")
    owners: list[int | None] = [None] * words
    for number, region in enumerate(regions):
        for word in _list(_mapping(region, "a region"), "words", "a region"):
            if isinstance(word, bool) or not isinstance(word, int) or not 0 <= word < words:
                raise _malformed("a region", "words", f"indices below {words}", word)
            owners[word] = number
    return tuple(owners)


def text_lines(page: ReadPage) -> list[Region]:
    """Turn each text line into a region without a label: what is shown before a model exists.

    Lines come in the order of their first word; blank words are left out, and lines of nothing else with them.
    """
    lines: dict[int, list[Word]] = {}
    for word in page.words:
        if word.text.strip():
            lines.setdefault(word.line, []).append(word)
    return [
        Region(
            label=None,
            box=Box.around(word.box for word in words),
            score=sum(word.confidence for word in words) / len(words),
            text=" ".join(word.text.strip() for word in words),
        )
        for words in lines.values()
    ]


def _word(word: Mapping[str, object]) -> Word:
    return Word(
        text=_string(word, "text", "a word"),
        box=_box(word, "a word"),
        confidence=_share(word, "confidence", "a word"),
        line=_integer(word, "line", "a word", least=0),
    )


def _region(region: Mapping[str, object]) -> Region:
    return Region(
        label=_string(region, "label", "a region"),
        box=_box(region, "a region"),
        score=_share(region, "score", "a region"),
        text=_string(region, "text", "a region"),
    )


def _body(body: object, model: str) -> Mapping[str, object]:
    """Return the body if it is an object in today's wire format."""
    answer = _mapping(body, f"the answer of the {model} model")
    found = _integer(answer, "format", f"the answer of the {model} model", least=0)
    if found != WIRE_FORMAT:
        raise PageRejected(
            "format_unsupported",
            f"the {model} model answers in wire format {found}, this shim reads format {WIRE_FORMAT}; "
            "rebuild the archives in service with `python -m scripts.archive --refresh`",
        )
    return answer


def _box(body: Mapping[str, object], owner: str) -> Box:
    edges = _list(body, "box", owner)
    numbers = [_finite(edge, "box", owner) for edge in edges]
    if len(numbers) != 4:
        raise _malformed(owner, "box", "four numbers [left, top, right, bottom]", edges)
    try:
        return Box(*numbers)
    except ValueError as error:
        raise _malformed(owner, "box", "left <= right and top <= bottom", edges) from error


def _share(body: Mapping[str, object], key: str, owner: str) -> float:
    """Return a finite number, clipped to [0, 1]: a mean of float32 probabilities may be 1.0000001."""
    return min(1.0, max(0.0, _finite(body.get(key), key, owner)))


def _finite(value: object, key: str, owner: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _malformed(owner, key, "a number", value)
    try:
        number = float(value)
    except OverflowError as error:
        raise _malformed(owner, key, "a finite number", value) from error
    if not math.isfinite(number):
        raise _malformed(owner, key, "a finite number", value)
    return number


def _integer(body: Mapping[str, object], key: str, owner: str, least: int) -> int:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _malformed(owner, key, f"an integer of at least {least}", value)
    return value


def _string(body: Mapping[str, object], key: str, owner: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise _malformed(owner, key, "a string", value)
    return value


def _list(body: Mapping[str, object], key: str, owner: str) -> list[object]:
    value = body.get(key)
    if not isinstance(value, list):
        raise _malformed(owner, key, "a list", value)
    return value


def _mapping(value: object, owner: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TorchServeUnavailable(
            f"TorchServe answered something else: {owner} should be an object, got {_shown(value)}"
        )
    return value


def _malformed(owner: str, key: str, expected: str, value: object) -> TorchServeUnavailable:
    return TorchServeUnavailable(
        f"TorchServe answered something else: `{key}` of {owner} should be {expected}, got {_shown(value)}"
    )


def _shown(value: object) -> str:
    """Return the start of a value, short enough for a log line; numbers and kinds only, never words of a page."""
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**12):
        return repr(value)
    if isinstance(value, list) and len(value) <= 4 and all(isinstance(entry, float | int) for entry in value):
        return "[" + ", ".join(_shown(entry) for entry in value) + "]"
    return f"a {type(value).__name__}"
