"""Files to pages: a PDF or a TIFF of several pages becomes one image per page, any other file is one page as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pypdfium2
from PIL import Image, UnidentifiedImageError

DEFAULT_DPI = 200
MAX_PAGES = 2000


class DocumentUnreadable(Exception):
    """The file is no document that can be split; the message says why."""


def pages_of(path: Path, dpi: int = DEFAULT_DPI) -> Iterator[bytes]:
    """Yield the encoded image of each page, in order.

    Args:
        path: an image, a TIFF of several frames, or a PDF.
        dpi: at which a PDF's pages are rendered.

    Raises:
        DocumentUnreadable: it is none of these, is damaged, or has more than 2,000 pages.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(5)
        if start == b"%PDF-":
            yield from _pdf_pages(path, dpi)
        elif start[:4] in (b"II*\0", b"MM\0*"):
            yield from _tiff_pages(path)
        else:
            yield path.read_bytes()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, pypdfium2.PdfiumError) as error:
        raise DocumentUnreadable(f"{path}: {error}") from error


def _pdf_pages(path: Path, dpi: int) -> Iterator[bytes]:
    with pypdfium2.PdfDocument(path) as document:
        _check_count(path, len(document))
        for page in document:
            image: Image.Image = page.render(scale=dpi / 72).to_pil().convert("RGB")
            yield _png(image, dpi)


def _tiff_pages(path: Path) -> Iterator[bytes]:
    with Image.open(path, formats=["TIFF"]) as image:
        frames = int(getattr(image, "n_frames", 1))
        if frames == 1:
            yield path.read_bytes()
            return
        _check_count(path, frames)
        for frame in range(frames):
            image.seek(frame)
            # Re-encoded as TIFF, so that a page keeps its colour mode, orientation and transparency.
            buffer = io.BytesIO()
            image.save(buffer, format="TIFF", compression="tiff_deflate", save_all=False)
            yield buffer.getvalue()


def _check_count(path: Path, pages: int) -> None:
    if pages > MAX_PAGES:
        raise DocumentUnreadable(f"{path} has {pages:,} pages, at most {MAX_PAGES:,} are split")


def _png(image: Image.Image, dpi: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1, dpi=(dpi, dpi))
    return buffer.getvalue()
