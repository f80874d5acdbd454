"""A page with its regions drawn on it: box, label and score, one colour per label."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from handler.page import Box
from training.drawing import draw_caption

_UNLABELLED = (120, 120, 120)


def draw_regions(image: Image.Image, regions: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Return a copy of an upright RGB page with the regions of a Regions JSON drawn on it."""
    page = image.convert("RGB")
    draw = ImageDraw.Draw(page, "RGBA")
    size = max(12, page.width // 75)
    font = ImageFont.load_default(size)
    for region in regions:
        colour = colour_of(region.get("label"))
        box = Box(*(float(edge) for edge in region["box"]))
        edges = (box.left, box.top, box.right, box.bottom)
        draw.rectangle(edges, outline=colour, width=max(2, size // 8), fill=(*colour, 40))
        if not region.get("label"):
            continue  # the text is there to read; a caption on every line would cover it
        draw_caption(draw, font, page.size, box, f"{region['label']} {float(region['score']):.2f}", colour)
    return page


def colour_of(label: object) -> tuple[int, int, int]:
    """Return a label's colour, the same in every picture."""
    if not label:
        return _UNLABELLED
    hue = zlib.crc32(str(label).encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.75)
    return int(red * 255), int(green * 255), int(blue * 255)
