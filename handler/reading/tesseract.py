"""What both of Tesseract's engines need: its TSV, its languages, its limits."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from PIL import Image

from handler.errors import ImageTooLarge, OcrFailed, OcrLanguageMissing
from handler.ocr_settings import OcrSettings
from handler.page import Box, Word

_MAX_SIDE_PIXELS = 32_767
"""Tesseract's own limit; beyond it the program fails and the library only says that it did not finish."""

_CREDIBLE_DPI = (70, 2400)
"""Tesseract's own kMinCredibleResolution and kMaxCredibleResolution. From anything else it estimates the resolution by
the size of the letters, unless told by --dpi, which it takes as it is."""

_TSV_COLUMNS = 12
_WORD_LEVEL = "5"


def parse_tsv(tsv: str) -> tuple[Word, ...]:
    """Convert Tesseract's TSV (with or without its header line) to words.

    Columns, by Tesseract's documentation: level, page, block, paragraph, line, word, left, top, width,
    height, confidence (0..100, -1 where it is none), text.
    """
    words: list[Word] = []
    lines: dict[tuple[str, ...], int] = {}
    for row in csv.reader(io.StringIO(tsv), delimiter="\t", quoting=csv.QUOTE_NONE):
        if len(row) < _TSV_COLUMNS or row[0] != _WORD_LEVEL or not row[11].strip():
            continue
        left, top, width, height = (int(value) for value in row[6:10])
        line = lines.setdefault(tuple(row[1:5]), len(lines))
        confidence = min(max(float(row[10]) / 100, 0.0), 1.0)
        words.append(Word(row[11], Box(left, top, left + width, top + height), confidence, line))
    return tuple(words)


def tessdata_folder() -> Path:
    """Return the folder of Tesseract's language data: `TESSDATA_PREFIX`, or where Debian and Ubuntu put it."""
    named = os.environ.get("TESSDATA_PREFIX")
    places = [Path(named)] if named else sorted(Path("/usr/share/tesseract-ocr").glob("*/tessdata"), reverse=True)
    for place in places:
        if any(place.glob("*.traineddata")):
            return place
    raise OcrFailed(f"no *.traineddata in {[str(place) for place in places]}; set TESSDATA_PREFIX")


def require_languages(language: str, installed: frozenset[str]) -> None:
    """Raise OcrLanguageMissing where a part of `deu+eng` is not installed."""
    missing = [part for part in language.split("+") if part not in installed]
    if missing:
        raise OcrLanguageMissing(
            f"Tesseract has no language {', '.join(missing)}, only {', '.join(sorted(installed))}; "
            f"`apt-get install tesseract-ocr-{missing[0].replace('_', '-')}` and start again"
        )


def grey(image: Image.Image) -> Image.Image:
    """Return what Tesseract works on anyway; handing it over is 14 % faster than RGB."""
    if max(image.size) > _MAX_SIDE_PIXELS:
        raise ImageTooLarge(
            f"the image is {image.width} x {image.height} pixels, Tesseract reads at most {_MAX_SIDE_PIXELS:,} a side"
        )
    return image.convert("L")


def credible_dpi(image: Image.Image) -> int:
    """Return a page's dots per inch along its height, which Tesseract's layout analysis needs; 0: to be estimated."""
    dpi = round(image.info.get("dpi", (0.0, 0.0))[1])
    least, most = _CREDIBLE_DPI
    return dpi if least <= dpi <= most else 0


def timeout_message(settings: OcrSettings) -> str:
    """Return the sentence of an OcrTimeout."""
    return f"reading the page took longer than {settings.timeout_s:g} s (`timeout_s` of the ocr archive)"
