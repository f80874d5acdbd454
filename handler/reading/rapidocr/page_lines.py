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
"""The detector sees an image with its longer side at most, and its shorter side at least so many pixels."""

_MOST_ENLARGED = 4.0
_LONGEST_STRIP = 3  # a page more than so many times as long as wide is looked at in strips
_SMALL_PRINT = 16.0  # pixels of a line's height, margins included, as the detector sees it: below, it misses some
_REDUCED = 0.8  # a page that the detector saw hardly smaller than it is, is not looked at again
_CLOSER = 2.5  # times as large is the second look at small print
_LEAST_CONTRAST = 16  # of 255, between the darkest and the lightest pixel of what may hold print
_LARGE_PAGE = 2 * LONG_SIDE  # one without a line may have small print


def lines_of(image: Image.Image, detector: Network) -> list[Line]:
    """Return the text lines of an RGB page, in no order.

    A long and narrow page is looked at in strips, so that its print stays legible; they are cut between lines. One
    whose print turns out small is looked at again, in tiles.
    """
    pixels = np.asarray(image)
    shorter, longer = sorted(image.size)
    longest = min(longer, max(LONG_SIDE, _LONGEST_STRIP * shorter))
    lines = _look(pixels, detector, longest, shorter)
    scale = _scale(longest, shorter)
    is_small = _print_height(lines) * scale < _SMALL_PRINT if lines else longest > _LARGE_PAGE
    if is_small and scale < _REDUCED:
        tile = round(LONG_SIDE / min(1.0, scale * _CLOSER))
        return _look(pixels, detector, tile, tile)
    return lines


def _look(pixels: NDArray[np.uint8], detector: Network, longest: int, widest: int) -> list[Line]:
    """Return the lines of an image in parts that are at most so long, and so wide across that."""
    found: list[Line] = []
    axis = 0 if pixels.shape[0] > pixels.shape[1] else 1
    for strip, strip_offset in _parts(pixels, axis, longest):
        for part, offset in _parts(strip, 1 - axis, widest):
            if _is_blank(part):
                continue
            for corners in find_lines(part, detector, _scale(*part.shape[:2])):
                found.append(Line(corners + offset + strip_offset, cut_out(part, corners)))
    return found


def _parts(pixels: NDArray[np.uint8], axis: int, most: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield parts of an image along an axis, none longer than `most`, with x and y of each one's top left corner."""
    for start, end in blank_cuts(pixels, axis, most):
        if axis == 0:
            yield pixels[start:end], np.array([0, start], dtype=np.float32)
        else:
            yield np.ascontiguousarray(pixels[:, start:end]), np.array([start, 0], dtype=np.float32)


def _is_blank(image: NDArray[np.uint8]) -> bool:
    return int(image.max()) - int(image.min()) < _LEAST_CONTRAST


def _print_height(lines: list[Line]) -> float:
    """Return the usual height of the lines in pixels of the page, 0 where there are none."""
    heights = [float(np.linalg.norm(line.corners[0] - line.corners[3])) for line in lines]
    return float(np.median(heights)) if heights else 0.0


def _scale(one_side: int, other_side: int) -> float:
    """Return by how much an image is resized for the detector."""
    shorter, longer = sorted((one_side, other_side))
    return min(max(1.0, SHORT_SIDE / shorter), _MOST_ENLARGED, LONG_SIDE / longer)
