"""Pictures of a page with its text and without: where the text is seen, and what else is written there."""

from __future__ import annotations

import cv2
import numpy as np

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
    ink = (cv2.absdiff(bare, np.full_like(bare, int(np.median(bare)))) >= _DARK).astype(np.uint8)
    if not ink.any():
        return None
    for shape in ((1, _RULE), (_RULE, 1)):
        ink &= 1 - _runs(ink, shape)
    if np.count_nonzero(ink) < _LEAST_INK:
        return None
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    top, left = max(0, int(rows[0]) - _AROUND), max(0, int(columns[0]) - _AROUND)
    return np.ascontiguousarray(bare[top : int(rows[-1]) + _AROUND, left : int(columns[-1]) + _AROUND])


def _runs(ink: Pixels, shape: tuple[int, int]) -> Pixels:
    """Return the pixels (0 or 1) of all places where a bar of some rows and columns is ink: what "opening" leaves."""
    bar = np.ones(shape, np.uint8)
    middle = (shape[1] // 2, shape[0] // 2)
    other = (shape[1] - 1 - middle[0], shape[0] - 1 - middle[1])  # a bar of even length has no middle pixel
    starts = cv2.erode(ink, bar, anchor=middle, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(cv2.dilate(starts, bar, anchor=other, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)
