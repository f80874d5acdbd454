"""A document's pages as images that a browser shows and Label Studio takes; what it shows already stays as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from handler.errors import HandlerError, ImageHasSeveralPages
from handler.images import FORMATS, ImageLimits, open_page
from layoutloop.documents.split import page_count, pages_of
from layoutloop.errors import DocumentUnreadable

MAX_FILE_BYTES = 2**29
"""Of an image file. A TIFF may be much larger than the PNG that it becomes."""

_SHOWN = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp"}
"""What browsers show and Label Studio 1.23.2 takes (SUPPORTED_EXTENSIONS in its core/settings/base.py), by the suffix
that it wants to see; TIFF, JPEG 2000 and PPM are neither. An MPO is a phone's JPEG."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """One page, ready to be uploaded.

    Args:
        data: the encoded image.
        suffix: of a file with it, `.png`.
    """

    data: bytes
    suffix: str


def page_images(path: Path, dpi: int, max_bytes: int) -> Iterator[PageImage]:
    """Yield the pages of a document, in order; each was opened as a prediction will open it.

    Args:
        path: an image, a TIFF of several frames, or a PDF.
        dpi: at which a PDF's pages are rendered.
        max_bytes: largest page that is read later on.

    Raises:
        DocumentUnreadable: it cannot be split, or a page of it is damaged or too large. Pages before the one at fault
            were yielded.
    """
    for number, data in enumerate(pages_of(path, dpi, MAX_FILE_BYTES), start=1):
        try:
            image = _shown(data)
        except ImageHasSeveralPages as error:
            raise DocumentUnreadable(
                f"{path} holds several images in a format that is not split into pages (only PDF and TIFF are)"
            ) from error
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
    """Return an image as it is where a browser shows it, else as an upright PNG.

    Raises:
        HandlerError: it is no image, is damaged or too large.
    """
    upright = open_page(data, ImageLimits(max_bytes=MAX_FILE_BYTES))
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        suffix = _SHOWN.get(image.format or "")
        is_grey = image.mode in ("1", "L")
    if suffix is not None:
        return PageImage(data, suffix)
    buffer = io.BytesIO()
    (upright.convert("L") if is_grey else upright).save(buffer, format="PNG")
    return PageImage(buffer.getvalue(), ".png")
