"""A page with its regions drawn on it: box, label and score, one colour per label."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from handler.page import Box

Colour = tuple[int, int, int]
Side = Literal["beside", "above", "below"]

_UNLABELLED: Colour = (120, 120, 120)
_MAX_CAPTION_CHARACTERS = 40


def draw_regions(image: Image.Image, regions: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Return a copy of an upright RGB page with the regions of a Regions JSON drawn on it.

    A frame stands a few pixels outside of its box, so that it touches no letter.
    """
    page = image.convert("RGB")
    draw = ImageDraw.Draw(page, "RGBA")
    size = max(12, page.width // 75)
    font = ImageFont.load_default(size)
    width = max(2, size // 8)
    for region in regions:
        colour = colour_of(region.get("label"))
        box = _around(region["box"], width + max(3, size // 4), page.size)
        draw.rectangle((box.left, box.top, box.right, box.bottom), outline=colour, width=width, fill=(*colour, 40))
        if not region.get("label"):
            continue  # the text is there to read; a caption on every line would cover it
        draw_caption(draw, font, page.size, box, f"{region['label']} {float(region['score']):.2f}", colour)
    return page


def draw_caption(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    page: tuple[int, int],
    box: Box,
    text: str,
    colour: Colour,
    side: Side = "beside",
) -> None:
    """Write a caption in white on a colour at a box; it is moved onto the page where it would not fit.

    Beside is on the right where there is room, else on the left: no line above or below is covered.
    """
    text = " ".join(text.split())[:_MAX_CAPTION_CHARACTERS]  # Pillow measures no text of several lines
    width, size = draw.textlength(text, font=font) + 6, font.size if isinstance(font, ImageFont.FreeTypeFont) else 12
    if side == "beside":
        x = box.right + 4 if box.right + 4 + width <= page[0] else box.left - 4 - width
        y = (box.top + box.bottom - size) / 2 - 3
    else:
        x, y = box.left, box.bottom + 1 if side == "below" else box.top - size - 7
    x, y = _inside(x, width, page[0]), _inside(y, size + 6, page[1])
    draw.rectangle((x, y, x + width, y + size + 6), fill=(*colour, 230))
    draw.text((x + 3, y + 1), text, fill="white", font=font)


def _around(box: Sequence[float], margin: int, page: tuple[int, int]) -> Box:
    """Return the frame `margin` pixels outside of a box ([left, top, right, bottom]), as far as the page goes."""
    left, top, right, bottom = (float(edge) for edge in box)
    last_x, last_y = page[0] - 1, page[1] - 1
    left, top = min(max(left - margin, 0), last_x), min(max(top - margin, 0), last_y)
    return Box(left, top, max(min(right + margin, last_x), left), max(min(bottom + margin, last_y), top))


def colour_of(label: object) -> Colour:
    """Return a label's colour, the same in every picture."""
    if not label:
        return _UNLABELLED
    hue = zlib.crc32(str(label).encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.75)
    return int(red * 255), int(green * 255), int(blue * 255)


def _inside(start: float, length: float, page: int) -> float:
    """Return where a stretch begins once it is moved onto the page; its beginning shows where it is longer."""
    return max(0.0, min(start, page - 1 - length))
