"""Which way up a page stands: on its side by the shape of its lines, on its head by what the recogniser says of them.

The package has a classifier for this. It is often wrong about a single line, and its vote turned 4 of 148 scanned
forms that stand upright (FUNSD); the recogniser's mean confidence is above 0.9 upright and below 0.8 upside down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.page import Size
from handler.reading.direction import turn_of
from handler.reading.further_looks import in_time
from handler.reading.rapidocr.alignment import Span
from handler.reading.rapidocr.lines import Line
from handler.turn import level_image, split_turn

Spans = list[list[Span]]
FindLines = Callable[[Image.Image], list[Line]]
ReadLines = Callable[[Sequence[Line]], Spans]
"""Lines to the words of each."""

_SURE = 0.8
_CLEARLY = 0.1
_TRIED = 7


@dataclass(frozen=True, slots=True)
class ReadPage:
    """The lines of a page and what they say.

    Args:
        lines: in pixels of the level image, in no order.
        spans: the words of each.
        size: of the level image, which no corner is cut off.
        turn: by which the page was turned for it, see `handler.page.Page`.
    """

    lines: list[Line]
    spans: Spans
    size: Size
    turn: float


def read_upright(image: Image.Image, find: FindLines, read: ReadLines) -> ReadPage:
    """Read a page as a person would turn it.

    One whose lines are tilted is turned, for the lines of a level image are found better; one whose lines run along it
    is too, and stays so if its text then makes sense. Only where the reading is unsure, some lines are read the other
    way up, and the page if that is better; so an upright page is looked at and read once. Columns of Japanese or
    Chinese become rows. What is read after the first reading and runs out of time is no better than that one.
    """
    lines = find(image)
    turn = turn_of(_runs(lines))
    as_it_is = partial(_read, image, 0.0, lines, find, read)
    if not turn:
        return as_it_is()
    page = _read(image, turn, None, find, read)
    if split_turn(turn)[0] == 0 or _confidence(_level(page.lines, page.spans)[1]) >= _SURE:
        return page
    return in_time(as_it_is, page)


def turn_margins(lines: Sequence[Line], spans: Spans, read: ReadLines) -> tuple[list[Line], Spans]:
    """Return lines and words with those lines turned by 180 degrees that run along the page and say more that way."""
    along = [number for number, line in enumerate(lines) if not _is_level(line)]
    if not _is_upside_down([lines[number] for number in along], [spans[number] for number in along], read):
        return list(lines), spans
    upright, words = list(lines), list(spans)
    for number in along:
        upright[number] = _turned(lines[number])
    for number, found in zip(along, read([upright[number] for number in along]), strict=True):
        words[number] = found
    return upright, words


def _read(image: Image.Image, turn: float, lines: list[Line] | None, find: FindLines, read: ReadLines) -> ReadPage:
    """Read a page at some turn, or at the opposite one if that is better."""
    page = _read_at(image, turn, lines, find, read)
    page = in_time(partial(_right_way_up, page, image, find, read), page)
    return in_time(partial(_with_margins, page, read), page)


def _read_at(image: Image.Image, turn: float, lines: list[Line] | None, find: FindLines, read: ReadLines) -> ReadPage:
    level = level_image(image, turn, whole=True)
    lines = find(level) if lines is None else lines
    return ReadPage(lines, read(lines), Size(*level.size), turn)


def _right_way_up(page: ReadPage, image: Image.Image, find: FindLines, read: ReadLines) -> ReadPage:
    if not _is_upside_down(*_level(page.lines, page.spans), read):
        return page
    return _read_at(image, round((page.turn + 180) % 360, 1), None, find, read)


def _with_margins(page: ReadPage, read: ReadLines) -> ReadPage:
    lines, spans = turn_margins(page.lines, page.spans, read)
    return replace(page, lines=lines, spans=spans)


def _is_upside_down(lines: Sequence[Line], spans: Sequence[Sequence[Span]], read: ReadLines) -> bool:
    """Return whether lines were read on their head: where the reading is unsure, the longest say clearly more so."""
    if not lines or _confidence(spans) >= _SURE:
        return False
    tried = sorted(range(len(lines)), key=lambda number: -lines[number].width)[:_TRIED]
    turned = read([_turned(lines[number]) for number in tried])
    return _confidence(turned) > _confidence([spans[number] for number in tried]) + _CLEARLY


def _confidence(spans: Sequence[Sequence[Span]]) -> float:
    """Return the mean over lines; a line without words counts as none."""
    means = [float(np.mean([span.confidence for span in found])) if found else 0.0 for found in spans]
    return float(np.mean(means)) if means else 0.0


def _level(lines: Sequence[Line], spans: Spans) -> tuple[list[Line], Spans]:
    """Return the lines that run across the page, and the words of each."""
    level = [number for number, line in enumerate(lines) if _is_level(line)]
    return [lines[number] for number in level], [spans[number] for number in level]


def _is_level(line: Line) -> bool:
    x, y = np.abs(line.corners[1] - line.corners[0])
    return bool(x >= y)


def _runs(lines: Sequence[Line]) -> NDArray[np.float64]:
    """Return (N, 2): how far each line runs to the right and down."""
    return np.array([line.corners[1] - line.corners[0] for line in lines], dtype=np.float64).reshape(-1, 2)


def _turned(line: Line) -> Line:
    return Line(np.roll(line.corners, 2, axis=0), np.asarray(cv2.rotate(line.pixels, cv2.ROTATE_180), dtype=np.uint8))
