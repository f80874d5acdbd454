"""Words without line numbers -> words with them, by where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handler.page import Box, Word

_WIDEST_GAP = 1.5
"""Heights of the letters: what is further away is another column, and a line of its own, as OCR engines have it."""
_LOW = 0.5
"""Of the taller of two boxes: what is lower may be a dash, a comma or a quotation mark, with its box around its ink."""
_BEYOND = 0.25
"""Of the taller box: so far above or below it the middle of such a mark may be."""


def number_rows(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return words in the same order, lines counted from 0: a word that does not follow the one before begins one."""
    numbered: list[Word] = []
    line, letters = 0, 0.0
    for before, word in zip((None, *words), words, strict=False):
        height = word.box.bottom - word.box.top
        letters = max(letters, height)
        if before is not None and not follows(before.box, word.box, letters):
            line, letters = line + 1, height
        numbered.append(replace(word, line=line))
    return tuple(numbered)


def follows(before: Box, box: Box, letters: float) -> bool:
    """Whether a word stands beside the one before it, in either direction of writing, on the same line.

    Args:
        before: of the word before.
        box: of the word.
        letters: height of the tallest letters of both and of the line so far; a dash says little of it.
    """
    lower, taller = sorted((before, box), key=lambda one: one.bottom - one.top)
    height = taller.bottom - taller.top
    beyond = _BEYOND * height if lower.bottom - lower.top < _LOW * height else 0.0
    is_beside = taller.top - beyond <= (lower.top + lower.bottom) / 2 <= taller.bottom + beyond
    gap = max(box.left - before.right, before.left - box.right)
    return is_beside and -letters <= gap <= _WIDEST_GAP * max(letters, 1.0)
