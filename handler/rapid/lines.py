"""Text lines as the recogniser takes them: cut out, made level, 48 pixels high, in batches of like width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT = 48
STEP = 8
"""The recogniser says one thing for each so many pixels of width."""

_STEPS = ((32, 320), (64, 960), (128, 1 << 30))  # multiples of the first for widths up to the second
_GREY = 127  # what the networks' padding was in training: the middle between black and white


@dataclass(frozen=True, slots=True)
class Line:
    """A text line of a page.

    Args:
        page: its number in the call.
        corners: (4, 2) in pixels of the page, from the text's top left clockwise.
        pixels: (48, width, 3), level.
    """

    page: int
    corners: NDArray[np.float32]
    pixels: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Return the width in pixels at a height of 48."""
        return self.pixels.shape[1]


def cut_out(image: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the part of an image inside four corners, made level and 48 pixels high: (48, width, 3)."""
    width = max(1, round(max(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[2] - corners[3]))))
    height = max(1, round(max(np.linalg.norm(corners[0] - corners[3]), np.linalg.norm(corners[1] - corners[2]))))
    level = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    warp = cv2.getPerspectiveTransform(np.ascontiguousarray(corners), level)
    part = cv2.warpPerspective(image, warp, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(part, (max(STEP, -(-HEIGHT * width // height)), HEIGHT))


def batches_of(lines: Sequence[Line], most_pixels: int) -> Iterator[tuple[list[int], int]]:
    """Yield the lines' numbers in batches of like width, and each batch's width: that of its widest line, rounded up.

    Args:
        lines: of one page or of several.
        most_pixels: of width that a batch has in all, padding included; a single line may have more.
    """
    batch: list[int] = []
    width = 0
    for number in sorted(range(len(lines)), key=lambda number: lines[number].width):
        wider = round_up(lines[number].width)
        if batch and wider * (len(batch) + 1) > most_pixels:
            yield batch, width
            batch = []
        batch.append(number)
        width = wider
    if batch:
        yield batch, width


def round_up(width: int) -> int:
    """Return a width that few others share: the runtime keeps kernels for each shape that it meets."""
    step = next(step for step, most in _STEPS if width <= most)
    return -(-width // step) * step


def stack(lines: Sequence[Line], width: int) -> NDArray[np.uint8]:
    """Return the lines' pixels side by side in one array, (N, 48, width, 3), grey where a line is shorter."""
    images = np.full((len(lines), HEIGHT, width, 3), _GREY, dtype=np.uint8)
    for image, line in zip(images, lines, strict=True):
        image[:, : line.width] = line.pixels
    return images
