"""Text lines as the recogniser takes them: cut out, made level, 48 pixels high, in batches of like width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT = 48
STEP = 8
"""The recogniser says one thing for each so many pixels of width."""

LONGEST = 2432
"""Of one look at a line, in pixels; the recogniser's work grows with the square, and it has learnt shorter ones."""

_STEPS = ((32, 192), (64, 640), (128, LONGEST))  # multiples of the first for widths up to the second
_GREY = 127  # what the networks' padding was in training: the middle between black and white


@dataclass(frozen=True, slots=True)
class Line:
    """A text line of a page.

    Args:
        corners: (4, 2) in pixels of the page, from the text's top left clockwise.
        pixels: (48, width, 3), RGB, level.
    """

    corners: NDArray[np.float32]
    pixels: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Return the width in pixels at a height of 48."""
        return int(self.pixels.shape[1])


def cut_out(image: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the part of an image inside four corners, made level and 48 pixels high: (48, width, 3)."""
    tops, bottoms, lefts, rights = (corners[a] - corners[b] for a, b in ((0, 1), (2, 3), (0, 3), (1, 2)))
    width = max(1, round(max(math.hypot(*tops), math.hypot(*bottoms))))
    height = max(1, round(max(math.hypot(*lefts), math.hypot(*rights))))
    level = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    warp = cv2.getPerspectiveTransform(np.ascontiguousarray(corners), level)
    part = cv2.warpPerspective(image, warp, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(part, (max(STEP, -(-HEIGHT * width // height)), HEIGHT)), dtype=np.uint8)


def batches_of(widths: Sequence[int], most_pixels: int) -> Iterator[tuple[list[int], int]]:
    """Yield numbers of pieces in batches of like width, narrow ones first, and each batch's width.

    Args:
        widths: of a page's pieces.
        most_pixels: of width that a batch has in all, padding included; a single piece may have more.
    """
    batch: list[int] = []
    width = 0
    for number in sorted(range(len(widths)), key=lambda number: widths[number]):
        wider = round_up(widths[number])
        if batch and wider * (len(batch) + 1) > most_pixels:
            yield batch, width
            batch = []
        batch.append(number)
        width = wider
    if batch:
        yield batch, width


def round_up(width: int) -> int:
    """Return a width that few others share: the runtime keeps kernels for each shape that it computes."""
    step = next(step for step, most in _STEPS if width <= most)
    return -(-width // step) * step


def stack(pieces: Sequence[NDArray[np.uint8]], width: int) -> NDArray[np.uint8]:
    """Return pieces of lines, each (48, width of its own, 3), in one array (N, 48, width, 3), grey at their ends."""
    images = np.full((len(pieces), HEIGHT, width, 3), _GREY, dtype=np.uint8)
    for image, piece in zip(images, pieces, strict=True):
        image[:, : piece.shape[1]] = piece
    return images
