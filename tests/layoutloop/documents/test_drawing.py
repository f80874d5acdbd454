from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layoutloop.documents.drawing import colour_of, draw_regions

SIZE = (900, 600)
WHITE = (255, 255, 255)
GREY = (120, 120, 120)
AROUND = (295, 195, 406, 266)  # what is drawn for (300, 200, 400, 260): three pixels stay free, the frame has two


def region(box: tuple[float, float, float, float], label: str | None = "Total") -> dict[str, Any]:
    return {"label": label, "box": list(box), "score": 0.5, "text": "12.50"}


def drawn(*regions: dict[str, Any], size: tuple[int, int] = SIZE) -> Image.Image:
    return draw_regions(Image.new("RGB", size, "white"), regions)


def changed(page: Image.Image) -> tuple[int, int, int, int] | None:
    """The smallest box around everything that was drawn on a white page."""
    different = np.any(np.asarray(page) != 255, axis=2)
    return Image.fromarray(different).getbbox()


def caption(page: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Where the caption's ground is: the label's colour almost opaque, which the box has nowhere."""
    ground = np.round(np.array(colour) * 230 / 255 + 255 * 25 / 255)
    box = Image.fromarray(np.all(abs(np.asarray(page) - ground) <= 5, axis=2)).getbbox()
    assert box is not None
    return box


def test_a_frame_is_drawn_around_its_box() -> None:
    page = drawn(region((300, 200, 400, 260), label=None))
    assert changed(page) == AROUND
    assert page.getpixel((295, 195)) == page.getpixel((405, 265)) == GREY
    inside = page.getpixel((350, 230))
    assert isinstance(inside, tuple)
    assert all(GREY[0] < channel < 255 for channel in inside), "what stands there can still be read"
    assert page.getpixel((294, 230)) == page.getpixel((406, 230)) == WHITE


@pytest.mark.parametrize("width", [400, 900, 1654, 4000], ids=str)
def test_a_frame_touches_no_letter(width: int) -> None:
    page = np.asarray(drawn(region((200, 200, 300, 260), label=None), size=(width, 600)))
    frame = Image.fromarray(~np.all(page == GREY, axis=2))
    gap = 3
    assert np.all(np.asarray(frame)[200 - gap : 261 + gap, 200 - gap : 301 + gap]), "three pixels stay free all around"
    assert not np.all(np.asarray(frame)[200 - gap : 261 + gap, 170:331]), "and the frame is near"


@pytest.mark.parametrize(
    ("box", "frame"),
    [
        pytest.param((0, 0, 899, 599), (0, 0, 900, 600), id="the whole page"),
        pytest.param((2, 300, 100, 310), (0, 295, 106, 316), id="near the left edge"),
        pytest.param((800, 597, 897, 599), (795, 592, 900, 600), id="in the lower right corner"),
        pytest.param((-50, -50, 20, 20), (0, 0, 26, 26), id="past the upper left"),
    ],
)
def test_a_frame_stays_on_the_page(box: tuple[float, float, float, float], frame: tuple[int, int, int, int]) -> None:
    page = drawn(region(box, label=None))
    assert changed(page) == frame
    assert page.getpixel(frame[:2]) == page.getpixel((frame[2] - 1, frame[3] - 1)) == GREY


def test_what_is_drawn_changes_no_box() -> None:
    regions = [region((300, 200, 400, 260)), region((10, 10, 60, 40), label=None)]
    before = copy.deepcopy(regions)
    drawn(*regions)
    assert regions == before


@pytest.mark.parametrize("label", [None, ""], ids=repr)
def test_a_text_line_has_no_caption(label: str | None) -> None:
    assert changed(drawn(region((300, 200, 400, 260), label))) == AROUND


def test_a_caption_stands_on_the_right_of_its_box() -> None:
    page = drawn(region((300, 200, 400, 260)))
    left, top, right, bottom = caption(page, colour_of("Total"))
    assert left == 409
    assert right < SIZE[0]
    assert (top + bottom) / 2 == pytest.approx(230, abs=2), "at the middle of the box"
    assert page.getpixel((295, 195)) == colour_of("Total")
    white = np.all(np.asarray(page)[top:bottom, left:right] > 240, axis=2)
    assert white.any(), "the label is written on it"


def test_a_caption_without_room_stands_on_the_left() -> None:
    left, _, right, _ = caption(drawn(region((700, 200, 880, 260))), colour_of("Total"))
    assert 0 < left < right <= 692


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0, 0, 899, 599), id="the whole page"),
        pytest.param((100, 0, 200, 3), id="at the upper edge"),
        pytest.param((100, 597, 200, 599), id="at the lower edge"),
        pytest.param((0, 300, 880, 310), id="as wide as the page"),
        pytest.param((-50, -50, 20, 20), id="past the upper left"),
        pytest.param((850, 580, 1200, 900), id="past the lower right"),
        pytest.param((2000, 2000, 2100, 2100), id="off the page"),
        pytest.param((450, 300, 450, 300), id="without area"),
        pytest.param((100.25, 100.75, 200.5, 120.5), id="fractions of a pixel"),
    ],
)
def test_a_caption_is_whole_wherever_its_box_is(box: tuple[float, float, float, float]) -> None:
    usual = caption(drawn(region((300, 200, 400, 260))), colour_of("Total"))
    found = caption(drawn(region(box)), colour_of("Total"))
    assert found[2] - found[0] == pytest.approx(usual[2] - usual[0], abs=2)
    assert found[3] - found[1] == pytest.approx(usual[3] - usual[1], abs=2)


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (400, 8)], ids=str)
def test_a_page_smaller_than_a_caption(size: tuple[int, int]) -> None:
    assert drawn(region((0, 0, size[0], size[1])), size=size).size == size


def test_the_page_itself_is_left_alone() -> None:
    page = Image.new("RGB", SIZE, "white")
    draw_regions(page, [region((300, 200, 400, 260))])
    assert changed(page) is None


def test_a_label_has_one_colour_everywhere() -> None:
    first, second = drawn(region((300, 200, 400, 260))), drawn(region((10, 10, 60, 40)), region((5, 500, 9, 510), "B"))
    assert first.getpixel((295, 195)) == second.getpixel((5, 5)) == colour_of("Total")
    assert colour_of("Total") != colour_of("Date")
    assert colour_of(None) == colour_of("") == GREY


def test_no_regions_no_marks() -> None:
    assert changed(drawn()) is None
