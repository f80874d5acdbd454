"""Whether lines stand on their head: the recogniser is surer of the text the right way up.

The package has a classifier for this. It is often wrong about a single line, and its vote turned 4 of 148 scanned
forms that stand upright (FUNSD); the recogniser's mean confidence is above 0.9 upright and below 0.8 upside down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from handler.reading.rapidocr.alignment import Span
from handler.reading.rapidocr.lines import Line

Spans = list[list[Span]]
ReadLines = Callable[[Sequence[Line]], Spans]
"""Lines to the words of each."""

_SURE = 0.8
_TRIED = 7


def read_upright(lines: Sequence[Line], read: ReadLines) -> tuple[list[Line], Spans]:
    """Return the lines of a page and their words, turned by 180 degrees where they say more that way.

    Lines that run across the page and those that run along it are judged apart: a margin may be turned and the page
    not. Only where the reading is unsure, the longest lines are read the other way up too, and all if that is better.
    """
    upright, spans = list(lines), read(lines)
    for level in (True, False):
        group = [number for number, line in enumerate(lines) if _is_level(line) is level]
        if not group or _confidence([spans[number] for number in group]) >= _SURE:
            continue
        tried = sorted(group, key=lambda number: -lines[number].width)[:_TRIED]
        turned = read([_turned(lines[number]) for number in tried])
        if _confidence(turned) <= _confidence([spans[number] for number in tried]):
            continue
        for number in group:
            upright[number] = _turned(lines[number])
        for number, found in zip(group, read([upright[number] for number in group]), strict=True):
            spans[number] = found
    return upright, spans


def _confidence(spans: Sequence[Sequence[Span]]) -> float:
    """Return the mean over lines; a line without words counts as none."""
    return float(np.mean([np.mean([span.confidence for span in found]) if found else 0.0 for found in spans]))


def _is_level(line: Line) -> bool:
    x, y = np.abs(line.corners[1] - line.corners[0])
    return bool(x >= y)


def _turned(line: Line) -> Line:
    return Line(np.roll(line.corners, 2, axis=0), np.asarray(cv2.rotate(line.pixels, cv2.ROTATE_180), dtype=np.uint8))
