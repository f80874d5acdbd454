"""Words and places of a page, written as on paper but without a picture: what `ocr` would have read of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from handler.page import Box, Page, Size, Word
from training.data.examples import Entity, Example

Align = Literal["left", "centre", "right"]
Piece = tuple[str, str | None]
"""A run of words, and the label that they make an entity of; None for words that nobody would mark."""
ENGINE = "generated"
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[]1/ "), frozenset("mwMWGOQD@%&")
_ALIKE = {"O": "0", "0": "O", "1": "l", "l": "1", "5": "S", "S": "5", "8": "B", "B": "8", "e": "c", ".": ",", "I": "1"}


@dataclass(frozen=True, slots=True)
class Segment:
    """What stands together on one text line: boxes of its words and, for each, which piece it is of."""

    words: tuple[tuple[str, Box], ...]
    pieces: tuple[int, ...]
    labels: tuple[str | None, ...]

    @property
    def box(self) -> Box:
        """The box around it."""
        return Box.around(box for _, box in self.words)


class Placed(Protocol):
    """What has a place on a page."""

    @property
    def box(self) -> Box:
        """The box around it."""


P = TypeVar("P", bound=Placed)


class Paper:
    """A page to write on; y is where the next line goes.

    Args:
        rng: all chance comes from it.
        width: pixels.
        size: height of the letters in pixels.
        margin: pixels on the left and on the right.
    """

    def __init__(self, rng: random.Random, width: float, size: float, margin: float) -> None:
        """Choose a print: how wide its letters are, how far apart its lines."""
        self.rng, self.width, self.size = rng, width, size
        self.left, self.right = margin, width - margin
        self.y = margin * rng.uniform(0.5, 1.5)
        self.is_capital = rng.random() < 0.25
        self._is_mono = rng.random() < 0.35
        self._letter = rng.uniform(0.46, 0.62)
        self._spacing = rng.uniform(1.25, 1.9)
        self._segments: list[Segment] = []

    def write(
        self, x: float, *pieces: Piece, align: Align = "left", scale: float = 1.0, y: float | None = None
    ) -> float:
        """Write pieces after each other, as one segment of a text line, and return where it ends (pixels).

        Args:
            x: left edge, middle or right edge in pixels, as `align` says.
            pieces: at least one word in all.
            align: what `x` means.
            scale: of the letters.
            y: top in pixels; `self.y` where None.
        """
        size, top = self.size * scale, self.y if y is None else y
        said = [(word, index) for index, (text, _) in enumerate(pieces) for word in self._said(text).split()]
        space = 0.5 * size * self.rng.uniform(0.8, 1.2)
        lengths = [self._length(word, size) for word, _ in said]
        whole = sum(lengths) + space * (len(said) - 1)
        at = x - {"left": 0.0, "centre": whole / 2, "right": whole}[align]
        words = []
        for (word, _), length in zip(said, lengths, strict=True):
            words.append((word, Box(at, top, at + length, top + size)))
            at += length + space
        self._segments.append(
            Segment(tuple(words), tuple(index for _, index in said), tuple(label for _, label in pieces))
        )
        return at - space

    def next_line(self, lines: float = 1.0, scale: float = 1.0) -> None:
        """Go down so many lines."""
        self.y += self.size * scale * self._spacing * lines

    def length(self, text: str, scale: float = 1.0) -> float:
        """Return about how many pixels a text takes."""
        return self._length(text, self.size * scale)

    def wrapped(self, text: str, width: float) -> list[str]:
        """Return a text as lines of at most so many pixels, each of at least one word."""
        lines: list[str] = []
        for word in text.split():
            if lines and self.length(f"{lines[-1]} {word}") <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def example(self, number: int, height: float | None = None) -> Example:
        """Return the page with its entities, one for each labelled piece of a segment; `height` cuts it off there."""
        height = height or self.y + self.size * self.rng.uniform(1, 6)
        page_box = Box(0.0, 0.0, self.width, height)
        kept = [one for one in self._segments if one.box.right <= self.width * 1.02 and one.box.bottom <= height]
        words: list[Word] = []
        entities: list[Entity] = []
        has_line_boxes = self.rng.random() < 0.5
        for line, segment in enumerate(in_rows(kept)):
            first = len(words)
            whole = _inside(segment.box, page_box)
            words += [
                Word(self._misread(text), whole if has_line_boxes else _inside(box, page_box), line=line)
                for text, box in segment.words
            ]
            for piece, label in enumerate(segment.labels):
                held = tuple(first + at for at, one in enumerate(segment.pieces) if one == piece)
                if label is not None and held:
                    entities.append(Entity(label, Box.around(words[index].box for index in held), held))
        page = Page(Size(round(self.width) + 1, round(height) + 1), ENGINE, tuple(words))
        return Example(number, 0, page, tuple(entities))

    def _said(self, text: str) -> str:
        return text.upper() if self.is_capital else text

    def _length(self, text: str, size: float) -> float:
        if self._is_mono:
            return len(text) * self._letter * size
        return sum(0.55 if char in _NARROW else 1.4 if char in _WIDE else 1.0 for char in text) * self._letter * size

    def _misread(self, text: str) -> str:
        """Return a word as an engine reads it: now and then one character is another."""
        if self.rng.random() < 0.97:
            return text
        at = self.rng.randrange(len(text))
        return text[:at] + _ALIKE.get(text[at], text[at]) + text[at + 1 :]


def _inside(box: Box, page: Box) -> Box:
    return replace(box, left=max(box.left, 0.0), right=min(box.right, page.right), bottom=min(box.bottom, page.bottom))


def in_rows(placed: Iterable[P]) -> list[P]:
    """Sort what stands on a page into rows from the top, each row from the left, as engines read."""
    rows: list[list[P]] = []
    for one in sorted(placed, key=lambda one: one.box.top + one.box.bottom):
        middle = (one.box.top + one.box.bottom) / 2
        if rows and middle < rows[-1][0].box.bottom:
            rows[-1].append(one)
        else:
            rows.append([one])
    return [one for row in rows for one in sorted(row, key=lambda one: one.box.left)]
