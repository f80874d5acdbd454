"""Where the text lines of an image stand: the detector's map of text to rectangles that may be turned.

As PaddleOCR's DBPostProcess does it, in closed form: a rectangle grows by the same distance on each side.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from handler.reading.rapidocr.networks import Network

Corners = NDArray[np.float32]
"""(4, 2): x and y of top left, top right, bottom right, bottom left as the text runs."""

_SIDES = (640, 768, 960, 1280)
"""Heights and widths of what the detector is given, multiples of 32: the fewer, the less often it is compiled."""

_NEARLY = 0.94

_IS_TEXT, _MIN_SCORE = 0.3, 0.35
_GROWTH = 1.8  # the map shows the core of a line: area / perimeter times this is missing on each side
_MIN_CORE, _MIN_SIDE = 3, 5  # pixels of the map
_TALL = 1.5  # a rectangle so many times as high as wide holds a line that was turned


def find_lines(image: NDArray[np.uint8], detector: Network, scale: float) -> list[Corners]:
    """Return the corners of the text lines in pixels of the image, in no order.

    Args:
        image: (height, width, 3), RGB.
        detector: its network.
        scale: by which the image is resized for it, at most; a few per cent less where that fits a smaller canvas.
    """
    height, width = image.shape[:2]
    canvas, scale = choose_canvas(height, width, scale)
    size = tuple(min(most, max(1, round(side * scale))) for side, most in ((width, canvas[1]), (height, canvas[0])))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small = cv2.copyMakeBorder(small, 0, canvas[0] - size[1], 0, canvas[1] - size[0], cv2.BORDER_REPLICATE)
    text_map = detector(np.asarray(small, dtype=np.uint8)[None])[0, 0]
    mask = cv2.dilate((text_map > _IS_TEXT).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    back = np.array([width / size[0], height / size[1]], dtype=np.float32)
    limit = np.array([width - 1, height - 1], dtype=np.float32)
    grown = (_grow(np.asarray(contour, dtype=np.int32), text_map) for contour in contours)
    found = (np.clip(corners * back, 0, limit) for corners in grown if corners is not None)
    return _along_the_text([corners for corners in map(_clockwise, found) if min(_sides(corners)) > 3])


def choose_canvas(height: int, width: int, scale: float) -> tuple[tuple[int, int], float]:
    """Return height and width of the smallest canvas that shows an image nearly at a scale, and the scale on it."""
    reached = {(high, wide): min(scale, high / height, wide / width) for high in _SIDES for wide in _SIDES}
    enough = _NEARLY * max(reached.values())
    canvas = min((sides for sides in reached if reached[sides] >= enough), key=lambda sides: sides[0] * sides[1])
    return canvas, reached[canvas]


def _grow(contour: NDArray[np.int32], text_map: NDArray[np.float32]) -> Corners | None:
    """Return the corners of a contour's whole line, or None for what is no text."""
    centre, (width, height), angle = cv2.minAreaRect(contour)
    if min(width, height) < _MIN_CORE or _score(_corners(centre, width, height, angle), text_map) < _MIN_SCORE:
        return None
    distance = _GROWTH * width * height / (2 * (width + height))
    width, height = width + 2 * distance, height + 2 * distance
    if min(width, height) < _MIN_SIDE:
        return None
    return _corners(centre, width, height, angle)


def _corners(centre: Sequence[float], width: float, height: float, angle: float) -> Corners:
    return np.asarray(cv2.boxPoints((centre, (width, height), angle)), dtype=np.float32)


def _score(corners: Corners, text_map: NDArray[np.float32]) -> float:
    """Return the mean of the map inside a rectangle."""
    height, width = text_map.shape
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, [width - 1, height - 1]).astype(int)
    inside = np.zeros((bottom - top + 1, right - left + 1), dtype=np.uint8)
    cv2.fillPoly(inside, [(corners - [left, top]).astype(np.int32)], (1,))
    return float(cv2.mean(text_map[top : bottom + 1, left : right + 1], inside)[0])


def _clockwise(corners: Corners) -> Corners:
    """Order corners from the top left clockwise."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    return np.array([left[0], right[0], right[1], left[1]], dtype=np.float32)


def _along_the_text(lines: list[Corners]) -> list[Corners]:
    """Turn the corners of tall lines, whose text runs up or down; a single narrow character is no such line."""
    print_height = float(np.median([min(_sides(corners)) for corners in lines])) if lines else 0.0
    turned = []
    for corners in lines:
        width, height = _sides(corners)
        is_tall = height >= _TALL * width and height >= _TALL * print_height
        turned.append(np.roll(corners, -1, axis=0) if is_tall else corners)
    return turned


def _sides(corners: Corners) -> tuple[float, float]:
    """Return width and height of ordered corners."""
    return float(np.linalg.norm(corners[0] - corners[1])), float(np.linalg.norm(corners[0] - corners[3]))
