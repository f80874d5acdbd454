"""A page to its words with Tesseract, turned as a person would turn it.

Tesseract finds lines that run down a page as well as those that run across it, whatever they say, and takes all text to
run right or down. So one look tells how a page lies; that it stands on its head shows only in how little Tesseract is
sure of. Its own detection of orientation (mode 1) is wrong about a page too often, and does not know of tilt.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from handler.ocr_settings import OcrSettings
from handler.page import Box, Page, Size, Word
from handler.reading.direction import turn_of
from handler.reading.further_looks import in_time
from handler.turn import level_image, split_turn, words_of_picture

ReadWords = Callable[[Image.Image, float], tuple[Word, ...]]
"""An image, and seconds that this may take, to its words in reading order."""

_WHOLE_PAGES = (1, 3, 4, 6, 11, 12)
"""Modes that look for lines; the others are told that the image is one word, or one line as it should stand."""

_SURE = 0.9
_LEAST_SURE, _LEAST_CHARACTERS = 0.07, 12
"""Share and number of characters in words that Tesseract is sure of. Of 118 forms and
receipts, on their head or side the surest has a share of 0.06; upright, half have more than 0.4."""
_CLEARLY = 2.0  # times as sure is a page that is turned upside down for it
_STILL = 0.5  # of that share must be left when a page is turned

_ENLARGED, _SMALL_PIXELS = 2, 4_000_000
"""A small picture is enlarged to be made level: of letters of few pixels, new pixels in between leave too little."""

_LEAST_S = 1e-3  # no time at all would mean no limit


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read of a page, in pixels of the annotator's picture, and the turn at which."""

    words: tuple[Word, ...]
    turn: float

    @property
    def characters(self) -> int:
        """Return how many there are."""
        return sum(len(word.text) for word in self.words)

    @property
    def sure(self) -> float:
        """Return the share of the characters in words that Tesseract is sure of; 0 where these are few."""
        sure = sum(len(word.text) for word in self.words if word.confidence >= _SURE)
        return sure / self.characters if sure >= _LEAST_CHARACTERS else 0.0


def read_page(image: Image.Image, engine: str, settings: OcrSettings, read: ReadWords) -> Page:
    """Return an RGB page with its words in reading order; one that is read surely where it lies is looked at once.

    Args:
        image: the annotator's picture.
        engine: name of what reads.
        settings: the mode, and the time that all looks have together.
        read: reads an image as it is.
    """
    ends = time.perf_counter() + settings.timeout_s
    size = Size(*image.size)

    @cache
    def look(turn: float) -> _Look:
        factor = _ENLARGED if split_turn(turn)[1] and image.width * image.height <= _SMALL_PIXELS else 1
        level = level_image(_enlarged(image, factor), turn, whole=True)
        words = read(level, max(_LEAST_S, ends - time.perf_counter()))
        there = words_of_picture(words, Size(*level.size), turn, Size(factor * size.width, factor * size.height))
        return _Look(tuple(replace(word, box=_reduced(word.box, factor)) for word in there), turn)

    found = _best_look(look) if settings.psm in _WHOLE_PAGES else look(0.0)
    return Page(size, engine, found.words, turn=found.turn)


def _enlarged(image: Image.Image, factor: int) -> Image.Image:
    if factor == 1:
        return image
    larger = ImageOps.scale(image, factor)
    if "dpi" in image.info:
        larger.info = image.info | {"dpi": tuple(factor * dpi for dpi in image.info["dpi"])}
    return larger


def _reduced(box: Box, factor: int) -> Box:
    return Box(*(edge / factor for edge in astuple(box))) if factor > 1 else box


def _best_look(look: Callable[[float], _Look]) -> _Look:
    """Return what is read of a page at the turn that makes most sense; to look twice at one turn costs nothing.

    A look after the first that runs out of time is no better than what is known.
    """
    first = look(0.0)
    # Where Tesseract finds hardly a line, it may find them on the side; they tell how the page lies.
    found = first if first.characters >= _LEAST_CHARACTERS else in_time(partial(look, 90.0), first)
    turn = turn_of(_runs(found.words))
    best, turned = first, in_time(partial(look, turn), first)
    if turned.sure >= (_STILL * first.sure if found is first else _LEAST_SURE):
        best = turned
    if found.characters < _LEAST_CHARACTERS or best.sure >= _LEAST_SURE:
        return best
    other = in_time(partial(look, round((turn + 180) % 360, 1)), best)
    return other if other.sure >= max(_LEAST_SURE, _CLEARLY * best.sure) else best


def _runs(words: Sequence[Word]) -> NDArray[np.float64]:
    """Return (lines, 2): how far each line runs to the right and down, from the middle of its first word to the last's.

    Lines of Arabic or Hebrew count from their end.
    """
    lines: dict[int, list[Word]] = {}
    for word in words:
        lines.setdefault(word.line, []).append(word)
    ends = [(line[-1], line[0]) if _runs_left(line) else (line[0], line[-1]) for line in lines.values()]
    middles = [[_middle(word) for word in pair] for pair in ends]
    return np.diff(np.array(middles, dtype=np.float64).reshape(-1, 2, 2), axis=1)[:, 0]


def _middle(word: Word) -> tuple[float, float]:
    return (word.box.left + word.box.right) / 2, (word.box.top + word.box.bottom) / 2


def _runs_left(line: Sequence[Word]) -> bool:
    kinds = [unicodedata.bidirectional(character) for word in line for character in word.text]
    return kinds.count("R") + kinds.count("AL") > kinds.count("L")
