"""Long pictures into pieces, cut where there is least ink: a page into strips, a line into parts."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SEARCHED = 0.25  # share of a piece, at its end, in which the blankest place is looked for


def blank_cuts(image: NDArray[np.uint8], axis: int, most: int) -> list[tuple[int, int]]:
    """Return start and end of pieces along an axis, each at most `most` pixels long; they join without overlap.

    Args:
        image: (height, width, 3).
        axis: 0 cuts between rows, 1 between columns.
        most: pixels of the longest piece.
    """
    length = image.shape[axis]
    if length <= most:
        return [(0, length)]
    ink = _ink(image, axis)
    cuts = [0]
    while length - cuts[-1] > most:
        first = cuts[-1] + round(most * (1 - _SEARCHED))
        cuts.append(first + _widest_blank(ink[first : cuts[-1] + most]))
    return list(zip(cuts, [*cuts[1:], length], strict=True))


def _widest_blank(ink: NDArray[np.float32]) -> int:
    """Return the middle of the longest run of least ink: a gap between words, not one between letters."""
    edges = np.flatnonzero(np.diff(ink <= ink.min(), prepend=False, append=False))
    starts, ends = edges[0::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return max(1, int(starts[longest] + ends[longest]) // 2)


def _ink(image: NDArray[np.uint8], axis: int) -> NDArray[np.float32]:
    """Return how far the darkest and the lightest pixel of each row (axis 0) or column (axis 1) lie apart."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    lightest, darkest = grey.max(axis=1 - axis), grey.min(axis=1 - axis)
    return np.asarray(lightest, dtype=np.float32) - np.asarray(darkest, dtype=np.float32)
