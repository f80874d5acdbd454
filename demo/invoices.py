"""Synthetic invoice pages with gold labels, to try the loop on without anybody's real papers.

`python -m demo.invoices --count 20 --seed 0 --layouts 0,1,2,3 --out DIR` writes NAME.png and NAME.json per page.
Fonts come from the system: another set of installed fonts gives other pages for the same seed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from demo import layouts
from demo.contents import make_bill
from demo.sheet import Colour, GoldRegion, GoldWord, Sheet
from handler.page import Box
from layoutloop.named_files import named_file
from layoutloop.plural import counted
from layoutloop.processes.command import as_command

__all__ = ["LABELS", "LAYOUTS", "GoldRegion", "GoldWord", "Invoice", "invoice_to_json", "make_invoice"]

LABELS = ("vendor", "customer", "invoice_number", "date", "due_date", "subtotal", "tax", "total")
LAYOUTS = len(layouts.ALL)
MAX_SKEW = 1.5  # degrees
DPI = 150


@dataclass(frozen=True, slots=True)
class Invoice:
    """One page.

    Args:
        name: file name without its ending, unique per seed and layout.
        layout: index of the layout, 0 to LAYOUTS - 1.
        image: RGB, about A4 at 150 dpi, with scan noise and a slight skew.
        words: in drawing order: block by block, each from top to bottom.
        regions: one per label, as the page was drawn; boxes follow the skew and are upright.
    """

    name: str
    layout: int
    image: Image.Image
    words: tuple[GoldWord, ...]
    regions: tuple[GoldRegion, ...]


def make_invoice(seed: int, layout: int | None = None) -> Invoice:
    """Make one invoice; the same arguments (and fonts) give the same page.

    Args:
        seed: any integer; decides the contents, the noise and the skew.
        layout: 0 to LAYOUTS - 1; drawn from the seed when None.

    Raises:
        ValueError: there is no such layout.
        FontsMissing: fewer than three font families are installed.
    """
    if layout is not None and not 0 <= layout < LAYOUTS:
        raise ValueError(f"layout is 0 to {LAYOUTS - 1}, got {layout}")
    rng = random.Random(seed)
    drawn = rng.randrange(LAYOUTS)
    layout = drawn if layout is None else layout
    look = layouts.ALL[layout]
    shade = rng.randint(244, 255)
    paper: Colour = (shade, shade, shade - rng.randint(0, 8))
    sheet = Sheet(look.family, look.size, look.accent, paper)
    look.draw(sheet, make_bill(rng, look.date_format, look.money))
    skew = rng.uniform(-MAX_SKEW, MAX_SKEW)
    image = scan(sheet.image.rotate(skew, Image.Resampling.BICUBIC, fillcolor=paper), rng)
    words = tuple(GoldWord(word.text, rotate_box(word.box, skew, image.size)) for word in sheet.words)
    regions = tuple(rotate_region(region, skew, sheet, words) for region in sheet.regions)
    return Invoice(f"invoice-{layout:02d}-{seed:06d}", layout, image, words, regions)


def rotate_region(region: GoldRegion, degrees: float, sheet: Sheet, rotated: tuple[GoldWord, ...]) -> GoldRegion:
    """Return the region with the box around its rotated words, which is tighter than its own box rotated."""
    inside = [
        new.box
        for old, new in zip(sheet.words, rotated, strict=True)
        if region.box.left <= old.box.left
        and old.box.right <= region.box.right
        and region.box.top <= old.box.top
        and old.box.bottom <= region.box.bottom
    ]
    box = Box.around(inside) if inside else rotate_box(region.box, degrees, sheet.image.size)
    return GoldRegion(region.label, box, region.text)


def rotate_box(box: Box, degrees: float, size: tuple[int, int]) -> Box:
    """Rotate a box counter-clockwise about the middle of the page, as `Image.rotate` does.

    Args:
        box: pixels before the rotation.
        degrees: the angle.
        size: width and height of the page in pixels.

    Returns:
        The upright box around the rotated corners, clipped to the page.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = size
    xs, ys = [], []
    for x, y in ((box.left, box.top), (box.right, box.top), (box.left, box.bottom), (box.right, box.bottom)):
        dx, dy = x - width / 2, y - height / 2
        xs.append(min(max(width / 2 + dx * cos + dy * sin, 0.0), width))
        ys.append(min(max(height / 2 - dx * sin + dy * cos, 0.0), height))
    return Box(round(min(xs), 1), round(min(ys), 1), round(max(xs), 1), round(max(ys), 1))


def scan(image: Image.Image, rng: random.Random) -> Image.Image:
    """Make a clean page look scanned: soft focus, uneven light, grain and a few specks."""
    if rng.random() < 0.7:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6)))
    grain = np.random.default_rng(rng.getrandbits(32))
    pixels = np.asarray(image, dtype=np.float32)
    height, width, _ = pixels.shape
    light = np.linspace(rng.uniform(-10, 0), 0, width, dtype=np.float32)[None, :, None]
    noise = grain.normal(0, rng.uniform(2, 7), (height, width, 1)).astype(np.float32)
    pixels = pixels + light + noise
    for _ in range(rng.randint(0, 25)):
        x, y, side = rng.randrange(width - 3), rng.randrange(height - 3), rng.randint(1, 2)
        pixels[y : y + side, x : x + side] = rng.randint(60, 160)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def invoice_to_json(invoice: Invoice) -> dict[str, Any]:
    """Return the gold of a page as JSON: size and boxes ([left, top, right, bottom]) in pixels."""
    return {
        "width": invoice.image.width,
        "height": invoice.image.height,
        "layout": invoice.layout,
        "words": [{"text": word.text, "box": list(astuple(word.box))} for word in invoice.words],
        "regions": [
            {"label": region.label, "box": list(astuple(region.box)), "text": region.text} for region in invoice.regions
        ],
    }


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write pages as NAME.png and NAME.json."""
    parser = argparse.ArgumentParser(prog="python -m demo.invoices", description=main.__doc__)
    parser.add_argument("--count", type=int, default=20, help="pages to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first page; page i has seed + i")
    parser.add_argument("--layouts", help=f"comma-separated, each 0 to {LAYOUTS - 1}, taken in turn; all by default")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if missing")
    options = parser.parse_args(arguments)
    chosen = [int(part) for part in options.layouts.split(",")] if options.layouts else list(range(LAYOUTS))
    with named_file(f"--out {options.out}", "it is a folder where you may write", "written"):
        options.out.mkdir(parents=True, exist_ok=True)
    for index in range(options.count):
        invoice = make_invoice(options.seed + index, chosen[index % len(chosen)])
        invoice.image.save(options.out / f"{invoice.name}.png", dpi=(DPI, DPI))
        (options.out / f"{invoice.name}.json").write_text(json.dumps(invoice_to_json(invoice), ensure_ascii=False))
    print(f"{counted(options.count, 'page')} in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
