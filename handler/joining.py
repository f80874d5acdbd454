"""Words become text, joined as their script is written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from handler.page import Box, Page, Word
from handler.turn import level_page

_Kind = Literal["unspaced", "punctuation", "hangul", "spaced"]

_RANGES: tuple[tuple[int, int, _Kind], ...] = (
    (0x0E00, 0x0EFF, "unspaced"),  # Thai, Lao
    (0x1000, 0x109F, "unspaced"),  # Burmese
    (0x1100, 0x11FF, "hangul"),
    (0x1780, 0x17FF, "unspaced"),  # Khmer
    (0x2E80, 0x2FDF, "unspaced"),  # radicals
    (0x3000, 0x3004, "punctuation"),
    (0x3005, 0x3007, "unspaced"),  # of Han, as 々
    (0x3008, 0x3020, "punctuation"),
    (0x3021, 0x312F, "unspaced"),  # kana, bopomofo
    (0x3130, 0x318F, "hangul"),
    (0x3190, 0x9FFF, "unspaced"),  # Han
    (0xA000, 0xA4CF, "unspaced"),  # Yi
    (0xA960, 0xA97F, "hangul"),
    (0xAC00, 0xD7FF, "hangul"),
    (0xF900, 0xFAFF, "unspaced"),
    (0xFE30, 0xFE4F, "punctuation"),
    (0xFF01, 0xFF0F, "punctuation"),
    (0xFF10, 0xFF19, "unspaced"),  # full-width digits and letters
    (0xFF1A, 0xFF20, "punctuation"),
    (0xFF21, 0xFF3A, "unspaced"),
    (0xFF3B, 0xFF40, "punctuation"),
    (0xFF41, 0xFF5A, "unspaced"),
    (0xFF5B, 0xFF65, "punctuation"),
    (0xFF66, 0xFF9F, "unspaced"),  # half-width kana
    (0xFFA0, 0xFFDC, "hangul"),
    (0x20000, 0x3FFFF, "unspaced"),  # rarer Han
)
_CLOSING = frozenset(")]}:;,.!?%")
_OPENING = frozenset("([{")
_SPACE, _SPACE_OF_DIGITS = 0.15, 0.3
"""Of the letters' size: what is so far apart was written with a space. Digits have more blank around them, and more
often stand beside Han or Hangul without one (`benchmarks.ocr_scripts`)."""

_PRECOMPOSED = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
"""Thai's and Lao's vowel `am`, which Tesseract reads as two words, and a keyboard writes as one character."""


def text_of(page: Page, words: Iterable[int]) -> str:
    """Return the text of some words of a page, as `join_words` joins them.

    How far apart they stand is measured along the text: the upright boxes of tilted words reach into the space between.

    Args:
        page: its boxes are where the annotator sees them.
        words: indices into `Page.words`, in reading order.
    """
    chosen = tuple(page.words[index] for index in words)
    return join_words(level_page(replace(page, words=chosen)).words if page.turn else chosen)


def join_words(words: Iterable[Word]) -> str:
    """Return the text of words in reading order, blank ones left out.

    Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces, other scripts, Korean among them, with
    one between words. Where the two meet, as in a date or an amount, there is a space if there is one on the page, or
    if a new line begins. Boxes are those of a level page (`text_of`). Right-to-left text needs nothing: engines give
    its words and letters in reading order.
    """
    text = ""
    before: Word | None = None
    for word in words:
        if not word.text.strip():
            continue
        text += (" " if before and _is_spaced(before, word) else "") + word.text.strip()
        before = word
    for parts, whole in _PRECOMPOSED.items():
        text = text.replace(parts, whole)
    return text


def is_same_text(one: str, other: str) -> bool:
    """Return whether two texts say the same, spaces and the ways in which Unicode writes one letter aside."""
    return _bare(one) == _bare(other)


def _bare(text: str) -> str:
    bare = "".join(text.split())
    for parts, whole in _PRECOMPOSED.items():
        bare = bare.replace(parts, whole)
    return unicodedata.normalize("NFC", bare)


def _is_spaced(before: Word, after: Word) -> bool:
    last, first = _last_letter(before.text.strip()), after.text.strip()[0]
    kinds = {_kind(last), _kind(first)}
    if "punctuation" in kinds or kinds == {"unspaced"}:
        return False
    if len(kinds) == 1:
        return True
    if "unspaced" in kinds and (first in _CLOSING or last in _OPENING):
        return False
    share = _SPACE_OF_DIGITS if last.isdecimal() or first.isdecimal() else _SPACE
    return before.line != after.line or _gap(before.box, after.box) >= share * max(_size(before.box), _size(after.box))


def _kind(character: str) -> _Kind:
    code = ord(character)
    return next((kind for first, last, kind in _RANGES if first <= code <= last), "spaced")


def _last_letter(text: str) -> str:
    """Return the last character that stands by itself: no accent, no selector of a variant."""
    return next((one for one in reversed(text) if not unicodedata.category(one).startswith("M")), text[-1])


def _gap(one: Box, other: Box) -> float:
    """Return how far apart two boxes are in the direction in which they are farther apart; below 0, they overlap."""
    across = max(one.left, other.left) - min(one.right, other.right)
    return max(across, max(one.top, other.top) - min(one.bottom, other.bottom))


def _size(box: Box) -> float:
    """Return about how large the letters are: words are longer than high, and the text may run up or down."""
    return min(box.right - box.left, box.bottom - box.top)
