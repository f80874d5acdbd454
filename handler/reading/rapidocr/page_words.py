"""Lines and what was read along them to the words of a page, in reading order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handler.page import Box, Word
from handler.reading.rapidocr.alignment import Span
from handler.reading.rapidocr.lines import STEP, Line
from handler.reading.rapidocr.reading_order import reading_order

_MARGIN = 0.1  # of a line's height, above and below the ink


def page_words(lines: Sequence[Line], spans: Sequence[Sequence[Span]]) -> tuple[Word, ...]:
    """Return the words in reading order, their lines numbered; lines without words do not count.

    Args:
        lines: of one page, in any order.
        spans: the words of each line, in any order.
    """
    rows = [row for row, found in enumerate(spans) if found]
    order = reading_order(np.array([lines[row].corners for row in rows], dtype=np.float32).reshape(-1, 4, 2))
    return tuple(
        Word(span.text, _box(lines[rows[place]], span), span.confidence, number)
        for number, place in enumerate(order)
        for span in sorted(spans[rows[place]], key=lambda span: span.start)
    )


def _box(line: Line, span: Span) -> Box:
    """Return the upright box around a word of a line, in pixels of the page."""
    top_left, top_right, bottom_right, bottom_left = line.corners
    share = np.array([[span.start], [span.end]], dtype=np.float32) * STEP / line.width
    top, bottom = top_left + share * (top_right - top_left), bottom_left + share * (bottom_right - bottom_left)
    margin = _MARGIN * (bottom - top)
    corners = np.concatenate([top + margin, bottom - margin])
    return Box(*corners.min(axis=0).round().tolist(), *corners.max(axis=0).round().tolist())
