"""One page image to its text lines, level and 48 pixels high, ready to be recognised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.rapid.blank_cuts import blank_cuts
from handler.rapid.detection import find_lines
from handler.rapid.lines import Line, cut_out
from handler.rapid.networks import Network

LONG_SIDE, SHORT_SIDE = 1280, 736
"""The detector sees a page with its longer side at most, and its shorter side at least so many pixels."""

MOST_ENLARGED = 4.0
_LONGEST_STRIP = 3.0  # a page so many times as long as wide is looked at in strips


def lines_of(image: Image.Image, page: int, detector: Network) -> list[Line]:
    """Return the text lines of an RGB page, in no order.

    Args:
        image: the page; a long and narrow one is looked at in strips, so that its print stays legible.
        page: the number that its lines get.
        detector: the network that finds them.
    """
    found: list[Line] = []
    for strip, offset in _strips(image):
        for corners in find_lines(strip, detector, _scale(strip)):
            found.append(Line(page, corners + offset, cut_out(strip, corners)))
    return found


def _strips(image: Image.Image) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield the page's parts in blue, green, red, with the place of each one's top left corner."""
    pixels = np.asarray(image)
    axis = 0 if image.height > image.width else 1
    most = max(SHORT_SIDE, round(_LONGEST_STRIP * min(image.size)))
    for start, end in blank_cuts(pixels, axis, most):
        offset = (0, start) if axis == 0 else (start, 0)
        yield (pixels[start:end] if axis == 0 else pixels[:, start:end]), np.array(offset, dtype=np.float32)


def _scale(strip: NDArray[np.uint8]) -> float:
    """Return by how much a strip is resized for the detector."""
    longer, shorter = max(strip.shape[:2]), min(strip.shape[:2])
    enlarged = min(max(1.0, SHORT_SIDE / shorter), MOST_ENLARGED)
    return min(enlarged, LONG_SIDE / longer)
