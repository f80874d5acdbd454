from __future__ import annotations

import pytest

from handler.browser_view import without_metadata
from handler.images import ImageLimits, open_page
from tests.handler.image_files import BLUE, CASES, GREEN, RED, SHOWN_WHOLE, SIZE, TURNED_AS, chunk, png
from tests.handler.samples import encoded, rendered_page

CORNERS = {
    1: (RED, BLUE, GREEN),
    2: (BLUE, RED, None),
    3: (None, GREEN, BLUE),
    4: (GREEN, None, RED),
    5: (RED, GREEN, BLUE),
    6: (GREEN, RED, None),
    7: (None, BLUE, GREEN),
    8: (BLUE, None, RED),
}
"""Orientation to the colours at the top left, top right and bottom left of the page; None is white."""


def corners(data: bytes) -> tuple[object, ...]:
    """The size of a page and what stands in three of its corners."""
    page = open_page(data, ImageLimits())
    right, bottom = page.width - 5, page.height - 5
    found = (page.getpixel(place) for place in ((4, 4), (right, 4), (4, bottom)))
    named = (next((c for c in (RED, BLUE, GREEN) if pytest.approx(c, abs=60) == pixel), None) for pixel in found)
    return page.size, *named


@pytest.mark.parametrize("name", TURNED_AS)
def test_a_page_is_turned_as_in_chromium(name: str) -> None:
    data, orientation = TURNED_AS[name]
    size = SIZE if orientation < 5 else SIZE[::-1]
    assert corners(data) == (size, *CORNERS[orientation])


@pytest.mark.parametrize("name", SHOWN_WHOLE)
def test_what_chromium_shows_whole_is_read(name: str) -> None:
    assert corners(SHOWN_WHOLE[name]) == (SIZE, RED, BLUE, GREEN)


@pytest.mark.parametrize("name", ["xmp6_only.jpg", "rawprofile6.png", "no_eoi.jpg"])
def test_the_frame_of_the_cases(name: str) -> None:
    assert open_page((CASES / "frame" / name).read_bytes(), ImageLimits()).size == (900, 1240)


def test_the_first_picture_of_a_gif() -> None:
    assert open_page((CASES / "files" / "anim.gif").read_bytes(), ImageLimits()).size == (1240, 900)


def test_only_pngs_lose_their_metadata() -> None:
    whole = png(chunk(b"pHYs", bytes(9)))
    assert without_metadata(png(chunk(b"pHYs", bytes(9)), chunk(b"tEXt", b"a\0b"))) == whole
    assert without_metadata(whole) is whole, "it may have half a gigabyte"
    for format in ("JPEG", "GIF", "TIFF"):
        data = encoded(rendered_page(), format)
        assert without_metadata(data) is data


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_png_that_was_cut_loses_no_more(length: int) -> None:
    whole = png()
    assert without_metadata(whole[:length]) == whole[:length]
