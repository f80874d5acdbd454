"""Whether lines stand on their head: the classifier's vote of the longest ones."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from handler.reading.rapidocr.lines import Line, stack
from handler.reading.rapidocr.networks import Network

_WIDTH = 192
_VOTERS = 7


def set_upright(lines: Sequence[Line], classifier: Network) -> list[Line]:
    """Return the lines of one page, turned by 180 degrees where most of the longest ones need that.

    Lines that run across the page and those that run along it vote apart: a margin may be turned and the page not.
    """
    upright = list(lines)
    for level in (True, False):
        group = [number for number, line in enumerate(lines) if _is_level(line) is level]
        voters = sorted(group, key=lambda number: -lines[number].width)[:_VOTERS]
        if 2 * sum(_is_upside_down(lines[number], classifier) for number in voters) > len(voters):
            for number in group:
                upright[number] = _turned(lines[number])
    return upright


def _is_upside_down(line: Line, classifier: Network) -> bool:
    # It looks at 192 pixels: the start of a long line, which says enough.
    return bool(classifier(stack([line.pixels[:, :_WIDTH]], _WIDTH))[0, 1] > 0.5)


def _is_level(line: Line) -> bool:
    x, y = np.abs(line.corners[1] - line.corners[0])
    return bool(x >= y)


def _turned(line: Line) -> Line:
    return Line(np.roll(line.corners, 2, axis=0), np.asarray(cv2.rotate(line.pixels, cv2.ROTATE_180), dtype=np.uint8))
