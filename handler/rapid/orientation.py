"""Whether lines stand on their head: the classifier's vote of the longest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from handler.rapid.lines import Line, stack
from handler.rapid.networks import Network

_WIDTH = 192
_VOTERS = 8


def set_upright(lines: Sequence[Line], classifier: Network) -> list[Line]:
    """Return the lines of one page, turned by 180 degrees where most of the longest ones need that.

    Lines that run across the page and those that run along it vote apart: a margin may be turned and the page not.
    """
    upright: dict[int, Line] = {}
    for group in ([n for n, line in enumerate(lines) if _is_level(line) is level] for level in (True, False)):
        longest = sorted(group, key=lambda number: -lines[number].width)[:_VOTERS]
        turn = bool(longest) and _share_upside_down([lines[number] for number in longest], classifier) > 0.5
        upright |= {number: _turned(lines[number]) if turn else lines[number] for number in group}
    return [upright[number] for number in range(len(lines))]


def _share_upside_down(lines: Sequence[Line], classifier: Network) -> float:
    # The classifier looks at the start of a line: 192 pixels of 48 pixels of height.
    images = [stack([replace(line, pixels=line.pixels[:, :_WIDTH])], _WIDTH) for line in lines]
    return float(np.mean([classifier(image)[0, 1] > 0.5 for image in images]))


def _is_level(line: Line) -> bool:
    x, y = np.abs(line.corners[1] - line.corners[0])
    return bool(x >= y)


def _turned(line: Line) -> Line:
    return replace(line, corners=np.roll(line.corners, 2, axis=0), pixels=cv2.rotate(line.pixels, cv2.ROTATE_180))
