"""The only unit conversions: pixels of a page, level for a model, to its 0..1000 grid, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handler.page import Box, Size

GRID = 1000
"""LayoutLMv3 has 1024 coordinate embeddings and was pre-trained on 0..1000 (Hugging Face `normalize_box`)."""


def pixels_to_grid(box: Box, page: Size) -> tuple[int, int, int, int]:
    """Convert pixels to the model's 0..1000 integer grid, clipped to the page."""
    left, top, right, bottom = boxes_to_grid([box], page)[0].tolist()
    return left, top, right, bottom


def boxes_to_grid(boxes: Sequence[Box], page: Size) -> NDArray[np.int64]:
    """Convert pixels to the model's grid: (N, 4) integers in 0..1000, order left, top, right, bottom.

    Rounds towards zero like Hugging Face's `normalize_box`, which does not clip: values of 1024 and more
    would then raise inside the model and take the whole batch with them.
    """
    pixels = np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], dtype=np.float64)
    pixels = pixels.reshape(-1, 4)
    sides = np.array([page.width, page.height, page.width, page.height], dtype=np.float64)
    grid: NDArray[np.int64] = (GRID * np.clip(pixels / sides, 0, 1)).astype(np.int64)
    return grid


def grid_to_pixels(box: tuple[float, float, float, float], page: Size) -> Box:
    """Convert a box on the 0..1000 grid (data sets such as DocBank store these) to pixels."""
    left, top, right, bottom = box
    return Box.from_corners(
        left * page.width / GRID,
        top * page.height / GRID,
        right * page.width / GRID,
        bottom * page.height / GRID,
    )
