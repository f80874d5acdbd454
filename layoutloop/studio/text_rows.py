"""Words without line numbers -> words with them, by where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handler.page import Box, Word

_SHARED = 0.5
"""Of the lower of two boxes' heights: words that overlap by so much stand beside each other."""
_WIDEST_GAP = 1.5
"""Heights of a word: what is further away is another column, and a line of its own, as OCR engines have it."""


def number_rows(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return words in the same order, lines counted from 0: a word that does not follow the one before begins one."""
    numbered: list[Word] = []
    line = 0
    for before, word in zip((None, *words), words, strict=False):
        if before is not None and not follows(before.box, word.box):
            line += 1
        numbered.append(replace(word, line=line))
    return tuple(numbered)


def follows(before: Box, box: Box) -> bool:
    """Whether a word stands beside the one before it, in either direction of writing, on the same line."""
    height = min(before.bottom - before.top, box.bottom - box.top)
    shared = min(before.bottom, box.bottom) - max(before.top, box.top)
    gap = max(box.left - before.right, before.left - box.right)
    return shared >= _SHARED * height and -height <= gap <= _WIDEST_GAP * max(height, 1.0)
