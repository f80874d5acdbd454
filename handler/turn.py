"""Pages on their side, upside down or tilted: from the annotator's picture to the page as its text runs, and back.

A turn is in degrees, clockwise, as in `handler.page.Page`: so far the picture is turned about its middle for its text
to be level. The level page has the picture's sides, exchanged where it lies on its side; a tilt does not change them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.page import Box, Page, Size, Word

_TRANSPOSED = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}
"""By quarter turns clockwise; Pillow counts the other way round."""

_EXACT = 12  # decimals: of a quarter turn, sine and cosine are whole numbers


def split_turn(turn: float) -> tuple[int, float]:
    """Return a turn as quarter turns, 0 to 3, and the tilt that is left, in degrees from -45 to 45."""
    quarters = round(turn / 90)
    return quarters % 4, turn - 90 * quarters


def level_page(page: Page) -> Page:
    """Return the page as its text runs, which is what a model sees; an upright page as it is.

    A word's level rectangle is the one whose upright box in the annotator's picture is the word's. What reaches past
    the picture is cut off first, as the model's grid would.
    """
    if not page.turn:
        return page
    quarters, tilt = split_turn(page.turn)
    sideways = quarters % 2 == 1
    size = Size(page.size.height, page.size.width) if sideways else page.size
    middles, sides = _middles_and_sides(page.words, np.array([page.size.width, page.size.height]))
    sides = (sides[:, ::-1] if sideways else sides) @ np.linalg.inv(_spread(tilt))
    middles = _turned(middles, page.size, size, page.turn)
    return replace(page, size=size, words=_placed(page.words, middles, np.clip(sides, 0, None)), turn=0.0)


def words_of_picture(words: Sequence[Word], level: Size, turn: float, picture: Size) -> tuple[Word, ...]:
    """Return words that were read in a level image as they stand in the annotator's picture, in whole pixels.

    Args:
        words: boxes in pixels of the level image.
        level: size of that image.
        turn: by which the picture was turned about its middle to become it.
        picture: size of the picture.
    """
    if not turn:
        return tuple(words)
    middles, sides = _middles_and_sides(words)
    limit = np.array([picture.width, picture.height], dtype=np.float64)
    middles, sides = _turned(middles, level, picture, -turn), sides @ _spread(turn)
    first, last = ((middles + way * sides / 2).round().clip(0, limit) for way in (-1, 1))
    return _placed(words, (first + last) / 2, last - first)


def level_image(image: Image.Image, turn: float, *, whole: bool = False) -> Image.Image:
    """Return a picture with its text level; corners that a tilt uncovers are white.

    Args:
        image: the picture. Its `dpi` goes with it.
        turn: of the picture.
        whole: make the image larger, so that a tilt cuts no corner off.
    """
    quarters, tilt = split_turn(turn)
    if quarters:
        dpi = image.info.get("dpi")
        image = image.transpose(_TRANSPOSED[quarters])
        if dpi and quarters % 2:
            image.info = image.info | {"dpi": dpi[::-1]}
    if not tilt:
        return image
    return image.rotate(-tilt, Image.Resampling.BICUBIC, expand=whole, fillcolor="white")


def _cos_sin(turn: float) -> tuple[float, float]:
    angle = math.radians(turn)
    return round(math.cos(angle), _EXACT), round(math.sin(angle), _EXACT)


def _spread(turn: float) -> NDArray[np.float64]:
    """Return what a rectangle's width and height are multiplied by for those of the upright box around it, turned."""
    cos, sin = map(abs, _cos_sin(turn))
    return np.array([[cos, sin], [sin, cos]])


def _turned(points: NDArray[np.float64], start: Size, end: Size, turn: float) -> NDArray[np.float64]:
    """Turn (N, 2) points clockwise about the middle of one page, which becomes the middle of the other."""
    cos, sin = _cos_sin(turn)
    old, new = (np.array([size.width, size.height], dtype=np.float64) / 2 for size in (start, end))
    turned: NDArray[np.float64] = (points - old) @ np.array([[cos, sin], [-sin, cos]]) + new
    return turned


def _middles_and_sides(
    words: Sequence[Word], limit: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 2) each: x and y of the boxes' middles, and their widths and heights, inside a page's size."""
    corners = np.array([astuple(word.box) for word in words], dtype=np.float64).reshape(-1, 2, 2)
    if limit is not None:
        corners = corners.clip(0, limit)
    return corners.mean(axis=1), corners[:, 1] - corners[:, 0]


def _placed(words: Sequence[Word], middles: NDArray[np.float64], sides: NDArray[np.float64]) -> tuple[Word, ...]:
    """Return the words with other boxes."""
    edges = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
    return tuple(replace(word, box=Box(*box)) for word, box in zip(words, edges.tolist(), strict=True))
