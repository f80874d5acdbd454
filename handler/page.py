"""The nouns: Size, Box, Word, Page, Region.

All coordinates are pixels of the page as the annotator's browser shows it, origin top left. A page that was scanned on
its side or tilted has a `turn`; `handler.turn` converts between that picture and the page as its text runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

BoxLevel = Literal["words", "lines"]
"""Whose box a model is given for each word: its own, or that of its whole text line."""
BOX_LEVELS: tuple[BoxLevel, ...] = ("words", "lines")

MAX_TILT = 15.0
"""Degrees by which a page's turn differs from a quarter turn, at most. Beyond, an upright box says little of a word."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of the page in pixels, both at least 1."""

    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse an empty page."""
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a page is at least 1 x 1 pixels, got {self.width} x {self.height}")


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels; left <= right and top <= bottom.

    Zero area is legal: DocBank's sample has 6,589 of them in 61,162.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        """Refuse what no conversion could give a meaning to."""
        if -math.inf < self.left <= self.right < math.inf and -math.inf < self.top <= self.bottom < math.inf:
            return
        if not all(math.isfinite(edge) for edge in (self.left, self.top, self.right, self.bottom)):
            raise ValueError(f"a box needs four finite numbers, got {self}")
        raise ValueError(f"a box runs from top left to bottom right, got {self}; use Box.from_corners")

    @classmethod
    def from_corners(cls, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Make a box from two opposite corners in any order."""
        (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))  # min and max would lose a NaN
        return cls(left, top, right, bottom)

    @classmethod
    def around(cls, boxes: Iterable[Box]) -> Box:
        """Return the smallest box that contains all of `boxes` (at least one)."""
        several = list(boxes)
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
        text: its characters; may be blank or hold a space, both happen in real data.
        box: where it stands.
        confidence: the engine's, in [0, 1].
        line: number of the text line it belongs to, counted over the page from 0 in reading order.
    """

    text: str
    box: Box
    confidence: float = 1.0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page: the unit of the cache, of the wire and of training.

    Args:
        size: of the page as the annotator sees it, like the boxes of its words.
        engine: what read it, for example `pytesseract-5.3.0-eng-psm3`.
        words: in reading order.
        thumbnail: PNG bytes, 224 x 224 RGB, for models that look at the image, turned so that text is level; None where
            none was requested.
        turn: degrees, clockwise, by which the page has to be turned for its text to be level, in [0, 360) and at most
            MAX_TILT from a multiple of 90; 0 for an upright page.
    """

    size: Size
    engine: str
    words: tuple[Word, ...]
    thumbnail: bytes | None = None
    turn: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a turn that says nothing of where words stand."""
        tilt = (self.turn + 45) % 90 - 45 if 0 <= self.turn < 360 else math.inf  # NaN is in no range
        if abs(tilt) > MAX_TILT:
            raise ValueError(
                f"`turn` is degrees in [0, 360), at most {MAX_TILT:g} from a multiple of 90, got {self.turn!r:.80}"
            )


@dataclass(frozen=True, slots=True)
class Region:
    """One area of a page.

    Args:
        label: class name without the B-/I- prefix; None for a text line that no model has seen.
        box: smallest box around its words.
        score: with how much probability it is right, or the mean probability (or OCR confidence) of its words where
            that was not calibrated (`handler.tagging.calibration`), in [0, 1].
        text: its words, joined as their script is written (`handler.joining`).
        words: indices into `Page.words`, ascending.
    """

    label: str | None
    box: Box
    score: float
    text: str
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TaggedPage:
    """What the model says about one page: its regions, and how many windows it took to read it."""

    regions: tuple[Region, ...]
    windows: int
