"""What the recogniser says of a line, column by column, to words and where along the line they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.reading.rapidocr.languages import BLANK, is_wide

_WIDE_GAP = 2.0  # character widths between two neighbours of one word that no space separates, and still are two words


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
    half = _character_width(texts, centres) / 2
    spans: list[Span] = []
    for first, last in _groups(texts, centres, 2 * half):
        left, right = max(0.0, centres[first] - half), min(used, centres[last] + half)
        confidence = min(1.0, float(confidences[first : last + 1].mean()))
        spans.append(Span("".join(texts[first : last + 1]), min(left, right), right, confidence))
    return spans


def _run_ends(best: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each start the last column of its run of one character."""
    changes = np.append(np.flatnonzero(np.diff(best)), len(best) - 1)
    ends: NDArray[np.intp] = changes[np.searchsorted(changes, starts)]
    return ends


def _character_width(texts: Sequence[str], centres: NDArray[np.float64]) -> float:
    """Return the usual distance between neighbours, in columns."""
    steps = [
        b - a
        for a, b, left, right in zip(centres, centres[1:], texts, texts[1:], strict=False)
        if not (left.isspace() or right.isspace())
    ]
    return float(np.median(steps)) if steps else 2.0


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
