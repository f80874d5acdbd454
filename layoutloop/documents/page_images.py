"""A document's pages as images that a browser shows and Label Studio takes; what it shows rightly stays as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from handler.browser_view import without_metadata
from handler.errors import HandlerError, ImageTooLarge
from handler.images import FORMATS, ImageLimits, open_page
from handler.page import Page
from layoutloop.documents.split import page_count, page_files
from layoutloop.documents.text_layer import TextLayers
from layoutloop.errors import DocumentUnreadable

MAX_FILE_BYTES = 2**29
"""Of an image file. A TIFF may be much larger than the PNG that it becomes."""

_SHOWN = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp"}
"""What browsers show and Label Studio 1.23.2 takes (SUPPORTED_EXTENSIONS in its core/settings/base.py), by the suffix
that it wants to see; TIFF, JPEG 2000 and PPM are neither. An MPO is a phone's JPEG."""

_SQUARE = 1.01
"""Longer to shorter side of a pixel, up to which it counts as square: files round their resolution."""
_CREDIBLE = 3.0
"""The same, up to which a shape is believed: faxes have 1.04 (204 x 196 dpi) to 2.1 (204 x 98)."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """One page, ready to be uploaded.

    Args:
        data: the encoded image.
        suffix: of a file with it, `.png`.
        words: the page as the PDF's own text has it; None where OCR is to read it.
        doubt: why a PDF's text is not taken, as a part of a sentence; "" where it is, or where there is none.
    """

    data: bytes
    suffix: str
    words: Page | None = None
    doubt: str = ""


def page_images(path: Path, dpi: int, max_bytes: int, text: TextLayers | None = None) -> Iterator[PageImage]:
    """Yield the pages of a document, in order; each was opened as a prediction will open it.

    Args:
        path: an image, a TIFF of several frames, or a PDF.
        dpi: at which a PDF's pages are rendered.
        max_bytes: largest page that is read later on.
        text: judges the text of a PDF's pages, of this file alone; None: OCR reads all pages.

    Raises:
        DocumentUnreadable: it cannot be split, or a page of it is damaged or too large. Pages before the one at fault
            were yielded.
    """
    for number, page in enumerate(page_files(path, dpi, MAX_FILE_BYTES, text), start=1):
        try:
            image = replace(_shown(page.data), words=page.words, doubt=page.doubt)
        except HandlerError as error:
            raise DocumentUnreadable(f"{_place(path, number)} cannot be read: {error}") from error
        if len(image.data) > max_bytes:
            raise DocumentUnreadable(
                f"{_place(path, number)} has {len(image.data):,} bytes as {image.suffix[1:].upper()}, at most "
                f"{max_bytes:,} are read; save it smaller (a PDF: with a smaller --dpi), or raise "
                "LAYOUTLOOP_MAX_IMAGE_BYTES"
            )
        yield image


def _place(path: Path, number: int) -> str:
    return f"page {number} of {path}" if page_count(path) > 1 else str(path)


def _shown(data: bytes) -> PageImage:
    """Return an image as it is where a browser shows it rightly, else as an upright PNG.

    Raises:
        HandlerError: it is no image, is damaged or too large.
    """
    limits = ImageLimits(max_bytes=MAX_FILE_BYTES)
    upright = open_page(data, limits)
    page = _with_square_pixels(upright, limits.max_pixels)
    suffix = _SHOWN.get(upright.format or "")
    if suffix is not None and page is upright:
        return PageImage(data, suffix)
    with Image.open(io.BytesIO(without_metadata(data)), formats=FORMATS) as image:
        if image.mode in ("1", "L"):
            page = page.convert("L")
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", dpi=page.info.get("dpi"))
    return PageImage(buffer.getvalue(), ".png")


def _with_square_pixels(page: Image.Image, max_pixels: int) -> Image.Image:
    """Return a page as wide and high as it was on paper, the coarser direction made finer.

    A browser shows pixels as squares, whatever the file says.

    Raises:
        ImageTooLarge: it would have more pixels than are read.
    """
    x, y = page.info.get("dpi", (1.0, 1.0))
    finest = max(x, y)
    if not _SQUARE < finest / min(x, y) <= _CREDIBLE:
        return page
    width, height = round(page.width * finest / x), round(page.height * finest / y)
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"with square pixels (it has {x:.0f} x {y:.0f} dpi) the page has {width:,} x {height:,} pixels, "
            f"at most {max_pixels:,} in all are read"
        )
    square = page.resize((width, height), Image.Resampling.BICUBIC)
    square.info["dpi"] = (finest, finest)
    return square
