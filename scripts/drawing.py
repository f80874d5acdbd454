"""A page with its regions drawn on it: box, label and score, one colour per label."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_UNLABELLED = (120, 120, 120)


def draw_regions(image: Image.Image, regions: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Return a copy of an upright RGB page with the regions of a Regions JSON drawn on it."""
    page = image.convert("RGB")
    draw = ImageDraw.Draw(page, "RGBA")
    size = max(12, page.width // 75)
    font = ImageFont.load_default(size)
    for region in regions:
        colour = colour_of(region.get("label"))
        left, top, right, bottom = (float(edge) for edge in region["box"])
        draw.rectangle((left, top, right, bottom), outline=colour, width=max(2, size // 8), fill=(*colour, 40))
        if not region.get("label"):
            continue  # the text is there to read; a caption on every line would cover it
        caption = f"{region['label']} {float(region['score']):.2f}"
        width = draw.textlength(caption, font=font) + 6
        # Beside the box, so that no line above or below is covered: on the right where there is room.
        x = right + 4 if right + 4 + width <= page.width else left - 4 - width
        x = _inside(x, width, page.width)
        y = _inside((top + bottom - size) / 2 - 3, size + 6, page.height)
        draw.rectangle((x, y, x + width, y + size + 6), fill=(*colour, 230))
        draw.text((x + 3, y + 1), caption, fill="white", font=font)
    return page


def _inside(start: float, length: float, page: int) -> float:
    """Return where a stretch begins once it is moved onto the page; its beginning shows where it is longer."""
    return max(0.0, min(start, page - 1 - length))


def colour_of(label: object) -> tuple[int, int, int]:
    """Return a label's colour, the same in every picture."""
    if not label:
        return _UNLABELLED
    hue = zlib.crc32(str(label).encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.75)
    return int(red * 255), int(green * 255), int(blue * 255)
