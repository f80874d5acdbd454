"""Pictures of a page with its text and without: where the text is seen, and what else is written there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handler.page import Box
from layoutloop.documents.pdf_text import LayerWord, Pixels

_SEEN = 48
"""Of 255, by which a pixel must change for the text on it to be seen."""
_SEEN_SHARE = 0.02
"""Of a word's box: a full stop covers more of its own."""
_RULE = 40
"""Pixels: what runs on for so long, across or down, is a line or a fill and no text."""
_DARK = 96
"""Of 255, by which ink differs from the page's usual grey."""
_AROUND = 12
_LEAST_INK = 40
"""Pixels that are left of a picture, below which nothing is written there."""


def seen_part(word: LayerWord, whole: Pixels, bare: Pixels) -> LayerWord | None:
    """Return a word as far as it is seen, None where nothing of it is: a part may be covered, or off the page.

    Args:
        word: of the page's text.
        whole: the page's picture.
        bare: the same without its text.
    """
    if not is_seen(word.box, whole, bare):
        return None
    seen = [one for one in word.characters if is_seen(one.box, whole, bare)]
    return word if len(seen) == len(word.characters) else LayerWord.of(seen) if seen else None


def is_seen(box: Box, whole: Pixels, bare: Pixels) -> bool:
    """Whether a page's picture changes within a box when its text is left out."""
    rows = slice(max(0, int(box.top)), max(0, int(box.bottom) + 1))
    columns = slice(max(0, int(box.left)), max(0, int(box.right) + 1))
    there, without = whole[rows, columns].astype(np.int16), bare[rows, columns].astype(np.int16)
    if there.size == 0:
        return False
    return bool((np.abs(there - without) >= _SEEN).mean() >= _SEEN_SHARE)


def writing_in(bare: Pixels) -> Pixels | None:
    """Return the part of a picture that has more than an even ground, long lines and fills; None where there is none.

    One that repeats on the next page, a letterhead for example, is the same part there.
    """
    ink = np.abs(bare.astype(np.int16) - int(np.median(bare))) >= _DARK
    if not ink.any():
        return None
    for axis in (0, 1):
        ink &= ~_runs(ink, axis)
    if int(ink.sum()) < _LEAST_INK:
        return None
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    top, left = max(0, int(rows[0]) - _AROUND), max(0, int(columns[0]) - _AROUND)
    return np.ascontiguousarray(bare[top : int(rows[-1]) + _AROUND, left : int(columns[-1]) + _AROUND])


def _runs(ink: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Return the pixels that are part of a run of at least _RULE along an axis."""
    if ink.shape[axis] < _RULE:
        return np.zeros_like(ink)
    summed = np.cumsum(np.concatenate([np.zeros_like(ink.take([0], axis)), ink], axis=axis), axis=axis, dtype=np.int32)
    length = ink.shape[axis]
    starts = summed.take(range(_RULE, length + 1), axis) - summed.take(range(length + 1 - _RULE), axis) == _RULE
    covered = np.zeros_like(ink)
    edge = np.zeros_like(starts.take([0], axis), dtype=np.int32)
    counted = np.concatenate([edge, np.cumsum(starts, axis=axis, dtype=np.int32)], axis=axis)
    last = counted.shape[axis] - 1
    ends = np.minimum(np.arange(length) + 1, last)
    begins = np.clip(np.arange(length) - _RULE + 1, 0, last)
    covered |= counted.take(ends, axis) > counted.take(begins, axis)
    return covered
