"""One page image to its text lines, level and 48 pixels high, ready to be recognised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.reading.rapidocr.blank_cuts import blank_cuts
from handler.reading.rapidocr.detection import find_lines
from handler.reading.rapidocr.lines import Line, cut_out
from handler.reading.rapidocr.networks import Network

LONG_SIDE, SHORT_SIDE = 1280, 736
"""The detector sees a page with its longer side at most, and its shorter side at least so many pixels."""

_MOST_ENLARGED = 4.0
_LONGEST_STRIP = 3  # a page more than so many times as long as wide is looked at in strips


def lines_of(image: Image.Image, detector: Network) -> list[Line]:
    """Return the text lines of an RGB page, in no order.

    A long and narrow page is looked at in strips, so that its print stays legible; they are cut between lines.
    """
    found: list[Line] = []
    for strip, offset in _strips(np.asarray(image), max(LONG_SIDE, _LONGEST_STRIP * min(image.size))):
        for corners in find_lines(strip, detector, _scale(strip)):
            found.append(Line(corners + offset, cut_out(strip, corners)))
    return found


def _strips(pixels: NDArray[np.uint8], most: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield parts of a page, none longer than `most`, with x and y of each one's top left corner."""
    axis = 0 if pixels.shape[0] > pixels.shape[1] else 1
    for start, end in blank_cuts(pixels, axis, most):
        if axis == 0:
            yield pixels[start:end], np.array([0, start], dtype=np.float32)
        else:
            yield np.ascontiguousarray(pixels[:, start:end]), np.array([start, 0], dtype=np.float32)


def _scale(strip: NDArray[np.uint8]) -> float:
    """Return by how much a strip is resized for the detector."""
    shorter, longer = sorted(int(side) for side in strip.shape[:2])
    return min(max(1.0, SHORT_SIDE / shorter), _MOST_ENLARGED, LONG_SIDE / longer)
