from __future__ import annotations

import numpy as np
import pytest
from transformers.models.layoutlmv3.image_processing_pil_layoutlmv3 import normalize_box

from handler.geometry import boxes_to_grid, grid_to_pixels, pixels_to_grid
from handler.page import Box, Size


@pytest.mark.parametrize(
    ("box", "page", "grid"),
    [
        pytest.param(Box(0, 0, 200, 400), Size(200, 400), (0, 0, 1000, 1000), id="P1 whole page"),
        pytest.param(Box(50, 100, 100, 300), Size(200, 400), (250, 250, 500, 750), id="P1 x by width, y by height"),
        pytest.param(Box(-5, 0, 210, 401), Size(200, 400), (0, 0, 1000, 1000), id="P2 outside is clipped"),
        pytest.param(Box(-9, -9, -5, -5), Size(200, 400), (0, 0, 0, 0), id="P2 left of and above the page"),
        pytest.param(Box(900, 900, 950, 950), Size(200, 400), (1000,) * 4, id="P2 right of and below the page"),
        pytest.param(Box(1e308, 0, 1e308, 9), Size(1, 9), (1000, 0, 1000, 1000), id="P2 huge"),
        pytest.param(Box(-1e308, -1e308, 1e308, 1e308), Size(1, 1), (0, 0, 1000, 1000), id="P2 huge both ways"),
        pytest.param(Box(204.7, 0, 204.9, 1), Size(200, 1), (1000, 0, 1000, 1000), id="P2 1001..1023 is clipped too"),
        pytest.param(Box(7, 7, 7, 7), Size(10, 10), (700, 700, 700, 700), id="P3 a point"),
        pytest.param(Box(3, 0, 3, 10), Size(10, 10), (300, 0, 300, 1000), id="P3 no width"),
        pytest.param(Box(0.5, 0.25, 0.75, 1), Size(1, 1), (500, 250, 750, 1000), id="fractions of a pixel"),
        pytest.param(Box(999, 0, 999.999, 1), Size(1000, 1), (999, 0, 999, 1000), id="rounds towards zero"),
    ],
)
def test_pixels_to_grid(box: Box, page: Size, grid: tuple[int, int, int, int]) -> None:
    assert pixels_to_grid(box, page) == grid


@pytest.mark.parametrize("page", [Size(1, 1), Size(3, 7), Size(224, 224), Size(1654, 2339), Size(4961, 7016)], ids=str)
def test_inside_the_page_every_box_is_hugging_faces(page: Size) -> None:
    """P1: the same rounding, int(1000 * (x / width)), as the processor that LayoutLMv3 was published with."""
    xs = np.linspace(0, page.width, 211).tolist() + [float(x) for x in range(min(page.width, 700) + 1)]
    boxes = [Box(x / 3, x / page.width * page.height / 3, x, x / page.width * page.height) for x in xs]
    expected = [normalize_box((box.left, box.top, box.right, box.bottom), page.width, page.height) for box in boxes]
    assert boxes_to_grid(boxes, page).tolist() == expected


def test_no_boxes() -> None:
    assert boxes_to_grid([], Size(10, 10)).shape == (0, 4)


@pytest.mark.parametrize(
    ("grid", "pixels"),
    [
        pytest.param((0, 0, 1000, 1000), Box(0, 0, 200, 400), id="whole page"),
        pytest.param((250, 250, 500, 750), Box(50, 100, 100, 300), id="x by width, y by height"),
        pytest.param((500, 750, 250, 250), Box(50, 100, 100, 300), id="corners reversed"),
        pytest.param((5, 5, 5, 5), Box(1, 2, 1, 2), id="a point"),
    ],
)
def test_grid_to_pixels(grid: tuple[int, int, int, int], pixels: Box) -> None:
    assert grid_to_pixels(grid, Size(200, 400)) == pixels


def test_the_grid_survives_the_way_through_pixels() -> None:
    """A dataset's grid boxes come back within the one unit that rounding towards zero may cost."""
    page = Size(1654, 2339)
    grid = [(x, x, 1000, 1000) for x in range(1001)]
    back = boxes_to_grid([grid_to_pixels(box, page) for box in grid], page)
    assert np.abs(back - np.array(grid)).max() <= 1
