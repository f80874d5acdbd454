"""A page with its regions drawn on it: box, label and score, one colour per label."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from handler.page import Box
from training.report.drawing import draw_caption

_UNLABELLED = (120, 120, 120)


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


def _around(box: Sequence[float], margin: int, page: tuple[int, int]) -> Box:
    """Return the frame `margin` pixels outside of a box ([left, top, right, bottom]), as far as the page goes."""
    left, top, right, bottom = (float(edge) for edge in box)
    last_x, last_y = page[0] - 1, page[1] - 1
    left, top = min(max(left - margin, 0), last_x), min(max(top - margin, 0), last_y)
    return Box(left, top, max(min(right + margin, last_x), left), max(min(bottom + margin, last_y), top))


def colour_of(label: object) -> tuple[int, int, int]:
    """Return a label's colour, the same in every picture."""
    if not label:
        return _UNLABELLED
    hue = zlib.crc32(str(label).encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.75)
    return int(red * 255), int(green * 255), int(blue * 255)
