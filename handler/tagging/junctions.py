"""What stands between two neighbouring words: a space or a line break, how wide, between words of which form."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from handler.page import Page, Word
from handler.turn import level_page

FORMS = ("amount", "date", "time", "number", "code", "currency", "caption", "capitals", "letters", "sign")
_PLACES = ("always", "same line", "beside", "next line", "farther")
_GAPS = ("gap over 0.7", "gap over 1.5", "gap over 3", "aligned", "other height")
FEATURES = (
    *_PLACES,
    *_GAPS,
    *(f"{side} {form}, {where}" for where in ("in line", "at break") for side in ("after", "before") for form in FORMS),
)
"""Names of the columns of `junctions`; they travel with what was learned, so that a change here is noticed."""

_AMOUNT = re.compile(r"\D{0,3}\d[\d,.' ]*[.,]\d\d\D?")
_DATE = re.compile(r"\d[-/.]\w+[-/.]\d")
_TIME = re.compile(r"\d:\d\d")
_LONGEST_CURRENCY = 3
_GAP_EDGES = (0.7, 1.5, 3.0)
_OTHER_HEIGHT = 1.3


def junctions(page: Page, pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Return (pairs, features) of 0 and 1: what stands between a word and the next one.

    Args:
        page: with boxes and lines; lengths count in heights of its words. One on its side, upside down or tilted is
            looked at as its text runs, so that it says what the same page upright says.
        pairs: indices into `Page.words`.
    """
    page = level_page(page)
    lefts: dict[int, float] = {}
    for word in page.words:
        lefts[word.line] = min(lefts.get(word.line, word.box.left), word.box.left)
    forms = {index: form_of(page.words[index].text) for pair in pairs for index in pair}
    rows = np.zeros((len(pairs), len(FEATURES)))
    for row, (one, other) in enumerate(pairs):
        before, after = page.words[one], page.words[other]
        aligned = abs(lefts[before.line] - lefts[after.line])
        rows[row, _columns(before, after, forms[one], forms[other], aligned)] = 1.0
    return rows


@lru_cache(maxsize=16_384)
def form_of(text: str) -> int:
    """Return the position in FORMS of what a word looks like, in any language."""
    text = text.strip()
    if text[-1:] in (":", "=", "\N{FULLWIDTH COLON}"):
        return FORMS.index("caption")
    if any(character.isdigit() for character in text):
        for name, pattern in (("amount", _AMOUNT.fullmatch), ("date", _DATE.search), ("time", _TIME.search)):
            if pattern(text):
                return FORMS.index(name)
        return FORMS.index("number" if text.isdigit() else "code")
    if not any(character.isalpha() for character in text):
        is_currency = any(unicodedata.category(character) == "Sc" for character in text)
        return FORMS.index("currency" if is_currency else "sign")
    if not text.isupper():
        return FORMS.index("letters")
    return FORMS.index("currency" if len(text) <= _LONGEST_CURRENCY else "capitals")


def _columns(before: Word, after: Word, form: int, next_form: int, aligned: float) -> list[int]:
    """Return the columns that are 1."""
    heights = [max(word.box.bottom - word.box.top, 1.0) for word in (before, after)]
    height = sum(heights) / 2
    in_line = before.line == after.line
    shared = min(before.box.bottom, after.box.bottom) - max(before.box.top, after.box.top)
    if in_line:
        place = 1
    elif shared > min(heights) / 2:
        place = 2
    else:
        place = 3 if -height < after.box.top - before.box.bottom < height else 4
    columns = [0, place]
    first = len(_PLACES)
    if place <= 2:
        gap = (after.box.left - before.box.right) / height
        columns += [first + index for index, edge in enumerate(_GAP_EDGES) if gap > edge]
    elif aligned < height:
        columns.append(first + 3)
    if max(heights) > _OTHER_HEIGHT * min(heights):
        columns.append(first + 4)
    start = first + len(_GAPS) + (0 if in_line else 2 * len(FORMS))
    return [*columns, start + form, start + len(FORMS) + next_form]
