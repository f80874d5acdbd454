"""What the recogniser says of a line, column by column, to words and where along the line they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from handler.reading.rapidocr.languages import BLANK
from handler.scripts import is_wide

_WIDE_GAP = 2.0  # character widths between two neighbours of one word that no space separates, and still are two words
_NARROW = 2.0  # columns that a letter takes, where nothing tells
_SPACE = 2.0  # columns that a space takes beside Han or kana, at least: what joins words looks for it


@dataclass(frozen=True, slots=True)
class Span:
    """One word of a line.

    Args:
        text: without spaces.
        start: left edge along the line in columns of the recogniser.
        end: right edge.
        confidence: mean probability of its characters.
    """

    text: str
    start: float
    end: float
    confidence: float

    def moved(self, columns: float) -> Span:
        """Return the word so many columns farther along the line."""
        return Span(self.text, self.start + columns, self.end + columns, self.confidence)


def words_of(scores: NDArray[np.float32], characters: Sequence[str], used: float) -> list[Span]:
    """Return the words of one line.

    Args:
        scores: (columns, characters), probabilities.
        characters: of the columns of `scores`; the first is the blank.
        used: how many columns the line's own pixels take; the rest is padding.
    """
    best = scores.argmax(axis=1)
    starts = np.flatnonzero((best != BLANK) & (np.diff(best, prepend=BLANK) != 0))
    if not len(starts):
        return []
    ends = _run_ends(best, starts)
    texts = [characters[best[start]] for start in starts]
    confidences = scores[starts, best[starts]]
    centres = (starts + ends) / 2
    narrow, wide = _character_widths(texts, centres)
    halves = [(wide if is_wide(text) else narrow) / 2 for text in texts]
    groups = _groups(texts, centres, narrow)
    lefts = [max(0.0, centres[first] - halves[first]) for first, _ in groups]
    rights = [min(used, centres[last] + halves[last]) for _, last in groups]
    for number, ((_, last), (first, _)) in enumerate(pairwise(groups)):
        missing = _SPACE - (lefts[number + 1] - rights[number])
        if first > last + 1 and missing > 0 and (is_wide(texts[last]) or is_wide(texts[first])):
            rights[number] -= missing / 2
            lefts[number + 1] += missing / 2
    return [
        Span(
            "".join(texts[first : last + 1]),
            min(left, right),
            right,
            min(1.0, float(confidences[first : last + 1].mean())),
        )
        for (first, last), left, right in zip(groups, lefts, rights, strict=True)
    ]


def _run_ends(best: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each start the last column of its run of one character."""
    changes = np.append(np.flatnonzero(np.diff(best)), len(best) - 1)
    ends: NDArray[np.intp] = changes[np.searchsorted(changes, starts)]
    return ends


def _character_widths(texts: Sequence[str], centres: NDArray[np.float64]) -> tuple[float, float]:
    """Return the usual distance between neighbours, in columns: of letters, and of Han or kana."""
    steps: dict[bool, list[float]] = {False: [], True: []}
    for a, b, left, right in zip(centres, centres[1:], texts, texts[1:], strict=False):
        if is_wide(left) == is_wide(right) and not (left.isspace() or right.isspace()):
            steps[is_wide(left)].append(b - a)
    narrow, wide = (float(np.median(of_kind)) if of_kind else 0.0 for of_kind in (steps[False], steps[True]))
    narrow = narrow or wide / 2 or _NARROW
    return narrow, wide or 2 * narrow


def _groups(texts: Sequence[str], centres: NDArray[np.float64], width: float) -> list[tuple[int, int]]:
    """Return first and last character of each word: parted by spaces, wide gaps, and around each wide character."""
    groups: list[tuple[int, int]] = []
    open_word = False
    for number, text in enumerate(texts):
        if text.isspace():
            open_word = False
        elif open_word and not is_wide(text) and centres[number] - centres[number - 1] <= _WIDE_GAP * width:
            groups[-1] = (groups[-1][0], number)
        else:
            groups.append((number, number))
            open_word = True
        if is_wide(text):
            open_word = False
    return groups
