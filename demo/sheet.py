"""A sheet of paper that remembers what was written where: the gold of a page comes from here, never from OCR."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from demo.errors import FontsMissing
from handler.page import Box

WIDTH, HEIGHT = 1240, 1754  # pixels: A4 at 150 dpi
FONT_ROOT = Path("/usr/share/fonts")
FONT_PACKAGES = "fonts-dejavu-core fonts-liberation fonts-freefont-ttf"
FAMILIES = {
    "DejaVu Sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "DejaVu Serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "DejaVu Sans Mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    "Liberation Sans": ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    "Liberation Serif": ("LiberationSerif-Regular.ttf", "LiberationSerif-Bold.ttf"),
    "Liberation Mono": ("LiberationMono-Regular.ttf", "LiberationMono-Bold.ttf"),
    "FreeSans": ("FreeSans.ttf", "FreeSansBold.ttf"),
    "FreeSerif": ("FreeSerif.ttf", "FreeSerifBold.ttf"),
}

Colour = tuple[int, int, int]
Align = Literal["left", "right", "centre"]
INK: Colour = (25, 25, 30)
GREY: Colour = (95, 95, 100)


@dataclass(frozen=True, slots=True)
class GoldWord:
    """One drawn word: its characters without blanks, and its box in pixels of the upright page."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class GoldRegion:
    """One labelled stretch of drawn words: label without B-/I-, the box around the words in pixels, their text."""

    label: str
    box: Box
    text: str


@cache
def installed_families(root: Path = FONT_ROOT) -> dict[str, tuple[Path, Path]]:
    """Find the known font families below `root`.

    Returns:
        Family name -> (regular file, bold file), in the order of FAMILIES.

    Raises:
        FontsMissing: fewer than three of them are there.
    """
    files = {path.name: path for path in root.rglob("*.ttf")}
    found = {name: (files[r], files[b]) for name, (r, b) in FAMILIES.items() if r in files and b in files}
    if len(found) < 3:
        raise FontsMissing(
            f"invoices need at least 3 font families below {root}, found {len(found)} ({', '.join(found) or 'none'}); "
            f"install them with: apt-get install {FONT_PACKAGES}"
        )
    return found


@cache
def font_file(family: str, bold: bool, size: int) -> ImageFont.FreeTypeFont:
    """Load a font of `size` pixels; a family that is not installed is replaced by one that is, always the same one."""
    families = installed_families()
    stand_in = list(families)[sorted(FAMILIES).index(family) % len(families)]
    regular, heavy = families.get(family, families[stand_in])
    return ImageFont.truetype(heavy if bold else regular, size)


class Sheet:
    """A blank page to draw on; `words` and `regions` collect the gold in drawing order.

    Args:
        family: a key of FAMILIES.
        size: height of body text in pixels.
        accent: colour of headings, bars and rules.
        paper: colour of the page.
    """

    def __init__(self, family: str, size: int = 21, accent: Colour = INK, paper: Colour = (255, 255, 255)) -> None:
        self.family, self.size, self.accent, self.paper = family, size, accent, paper
        self.image = Image.new("RGB", (WIDTH, HEIGHT), paper)
        self.words: list[GoldWord] = []
        self.regions: list[GoldRegion] = []
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int | None = None,
        bold: bool = False,
        colour: Colour = INK,
        align: Align = "left",
        label: str | None = None,
        width: float | None = None,
    ) -> Box:
        """Write one line and remember its words.

        Args:
            x: left edge, right edge or centre in pixels, as `align` says.
            y: top of the ascenders in pixels.
            text: at least one word.
            size: pixels; body size when None.
            bold: heavy face.
            colour: of the ink.
            align: what `x` means.
            label: name of the gold region these words make, if any.
            width: at most this many pixels; the font shrinks until the line fits, down to 13 pixels.

        Returns:
            The box around the words, in pixels.
        """
        pixels = size or self.size
        while width is not None and pixels > 13 and self.measure(text, pixels, bold) > width:
            pixels -= 1
        length = self.measure(text, pixels, bold)
        left = x - {"left": 0.0, "centre": length / 2, "right": length}[align]
        words = self._write(left, y, text, font_file(self.family, bold, pixels), colour)
        box = Box.around(word.box for word in words)
        if label is not None:
            self.regions.append(GoldRegion(label, box, " ".join(word.text for word in words)))
        return box

    def measure(self, text: str, size: int | None = None, bold: bool = False) -> float:
        """Return how many pixels wide `text` would be."""
        return font_file(self.family, bold, size or self.size).getlength(text)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: int = 2, colour: Colour | None = None) -> None:
        """Draw a straight rule; accent colour when none is given."""
        self._draw.line((x0, y0, x1, y1), fill=colour or self.accent, width=width)

    def fill(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | None = None) -> None:
        """Fill a rectangle; accent colour when none is given. Draw it before the text on it."""
        self._draw.rectangle((x0, y0, x1, y1), fill=colour or self.accent)

    def frame(self, x0: float, y0: float, x1: float, y1: float, width: int = 2, colour: Colour | None = None) -> None:
        """Draw the outline of a rectangle."""
        self._draw.rectangle((x0, y0, x1, y1), outline=colour or self.accent, width=width)

    def disc(self, x: float, y: float, radius: float, colour: Colour | None = None) -> None:
        """Draw a filled circle, the heart of most made-up logos."""
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour or self.accent)

    def tint(self, strength: float = 0.15) -> Colour:
        """Return a light shade of the accent colour; 0 is the paper, 1 the accent."""
        r, g, b = (round(p + (a - p) * strength) for p, a in zip(self.paper, self.accent, strict=True))
        return (r, g, b)

    def _write(self, left: float, y: float, text: str, font: ImageFont.FreeTypeFont, colour: Colour) -> list[GoldWord]:
        words = []
        for word in text.split():
            self._draw.text((left, y), word, font=font, fill=colour)
            words.append(GoldWord(word, Box(*self._draw.textbbox((left, y), word, font=font))))
            left += font.getlength(word + " ")
        self.words.extend(words)
        return words
