"""Files to pages: a PDF or a TIFF of several pages becomes one image per page, any other file is one page as it is."""

from __future__ import annotations

import argparse
import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
from PIL import Image

from handler.errors import MachineFailed
from handler.images import ImageLimits
from handler.machine import is_of_machine, machine_failed
from handler.page import Page
from handler.resolution import upright_dpi
from handler.tiff_pages import page_frames, seek_page
from layoutloop.documents.text_layer import Judgement, TextLayers
from layoutloop.errors import DocumentUnreadable, LayoutLoopError, ModelNotReady, TorchServeUnavailable

DEFAULT_DPI = 200
MAX_DPI = 2400
MAX_PAGES = 2000

_MAX_PIXELS = ImageLimits().max_pixels
_PDF = b"%PDF-"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError, pypdfium2.PdfiumError, Warning),
)
"""What reading a file, Pillow's decoders and PDFium raise on damaged data; warnings where these are errors."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One page of a file.

    Args:
        data: its encoded image.
        words: the page as the PDF's own text has it; None where OCR is to read it.
        doubt: why a PDF's text is not taken, as a part of a sentence; "" where it is, or where there is none.
    """

    data: bytes
    words: Page | None = None
    doubt: str = ""


def pages_of(path: Path, dpi: int = DEFAULT_DPI, max_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the encoded image of each page, in order; see `page_files`."""
    return (page.data for page in page_files(path, dpi, max_bytes))


def page_files(
    path: Path, dpi: int = DEFAULT_DPI, max_bytes: int | None = None, text: TextLayers | None = None
) -> Iterator[PageFile]:
    """Yield each page, in order.

    Args:
        path: an image, a TIFF of several frames, or a PDF.
        dpi: at which a PDF's pages are rendered.
        max_bytes: largest file that is passed on as it is, and so held in memory whole; None: any.
        text: judges the text of a PDF's pages, of this file alone; None: OCR reads all pages.

    Raises:
        DocumentUnreadable: it is none of these, is empty, too large, encrypted or damaged, has more than 2,000 pages
            or a page of more pixels than are read. Pages before the one at fault were yielded.
        MachineFailed, TorchServeUnavailable, ModelNotReady: a PDF's text cannot be checked now.
    """
    try:
        start = _start(path)
        if not start:
            raise DocumentUnreadable(f"{path} is empty")
        if start.startswith(_PDF):
            yield from _pdf_pages(path, dpi, text)
        elif start.startswith(_TIFF):
            yield from map(PageFile, _tiff_pages(path, max_bytes))
        else:
            yield PageFile(_whole(path, max_bytes))
    except _BROKEN as error:
        raise DocumentUnreadable(f"{path} cannot be read: {_reason(error)}") from error


def add_dpi(parser: argparse.ArgumentParser) -> None:
    """Give a command the option --dpi."""
    parser.add_argument("--dpi", type=_dpi, default=DEFAULT_DPI, help="for the pages of PDFs (default: %(default)s)")


def _dpi(text: str) -> int:
    dpi = int(text)
    if not 1 <= dpi <= MAX_DPI:
        raise argparse.ArgumentTypeError(f"between 1 and {MAX_DPI:,}, got {dpi:,}")
    return dpi


def page_count(path: Path) -> int:
    """Return how many pages a file seems to have, without decoding any; 1 for what cannot be split."""
    try:
        start = _start(path)
        if start.startswith(_PDF):
            with pypdfium2.PdfDocument(path) as document:
                pages = len(document)
        elif start.startswith(_TIFF):
            with Image.open(path, formats=["TIFF"]) as image:
                pages = len(page_frames(image))
        else:
            pages = 1
    except _BROKEN:
        return 1  # `pages_of` says what is the matter
    return pages if 1 <= pages <= MAX_PAGES else 1


def is_pdf(path: Path) -> bool:
    """Whether a file begins as a PDF; one that cannot be read does not."""
    try:
        return _start(path).startswith(_PDF)
    except OSError:
        return False


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(5)


def _pdf_pages(path: Path, dpi: int, text: TextLayers | None) -> Iterator[PageFile]:
    with pypdfium2.PdfDocument(path) as document:
        document.init_forms()  # without it the fields of a form are drawn empty
        _check_count(path, len(document))
        for number in range(1, len(document) + 1):
            page = document[number - 1]
            width, height = (math.ceil(side * dpi / 72) for side in page.get_size())
            _check_pixels(path, number, (width, height), f" at {dpi} dpi; give a smaller --dpi")
            image: Image.Image = page.render(scale=dpi / 72).to_pil().convert("RGB")
            page.close()
            judged = Judgement(None) if text is None else _judged(text, document, number - 1, image, dpi)
            yield PageFile(_png(image, dpi), judged.page, judged.reason)


def _judged(text: TextLayers, document: pypdfium2.PdfDocument, number: int, image: Image.Image, dpi: int) -> Judgement:
    """Return what a page's text is worth; text that cannot be taken apart or checked is worth nothing.

    Raises:
        MachineFailed, TorchServeUnavailable, ModelNotReady: nothing about the page; the same may go well later.
    """
    try:
        return text.judge(document, number, image, dpi / 72)
    except _BROKEN as error:
        if isinstance(error, OSError | MemoryError) and is_of_machine(error):
            raise machine_failed(error) from error
        return Judgement(None, f"its text cannot be read: {_reason(error)}")
    except (MachineFailed, TorchServeUnavailable, ModelNotReady):
        raise
    except LayoutLoopError as error:
        return Judgement(None, f"its text cannot be checked: {error}")


def _tiff_pages(path: Path, max_bytes: int | None) -> Iterator[bytes]:
    # Not opened by its name: Pillow 13 maps an uncompressed file into memory and then mixes up the rows of a page
    # that its orientation tag turns by 90 degrees.
    with open(path, "rb") as file, Image.open(file, formats=["TIFF"]) as image:
        frames = page_frames(image)
        if len(frames) == 1:
            yield _whole(path, max_bytes)
            return
        _check_count(path, len(frames))
        for number, frame in enumerate(frames, start=1):
            seek_page(image, frame)
            _check_pixels(path, number, image.size, "")
            # Re-encoded as TIFF, so that a page keeps its colour mode, depth and transparency. Pillow has turned it
            # upright and left its orientation tag out when the pixels are there.
            buffer = io.BytesIO()
            dpi = upright_dpi(image)
            image.save(buffer, format="TIFF", compression="tiff_deflate", save_all=False, dpi=dpi)
            yield buffer.getvalue()


def _whole(path: Path, max_bytes: int | None) -> bytes:
    size = path.stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise DocumentUnreadable(f"{path} has {size:,} bytes, at most {max_bytes:,} of an image are read")
    return path.read_bytes()


def _check_count(path: Path, pages: int) -> None:
    if pages < 1:
        raise DocumentUnreadable(f"{path} has no pages")
    if pages > MAX_PAGES:
        raise DocumentUnreadable(
            f"{path} has {pages:,} pages, at most {MAX_PAGES:,} are split; make several documents of it"
        )


def _check_pixels(path: Path, page: int, size: tuple[int, int], how: str) -> None:
    width, height = size
    if width * height > _MAX_PIXELS:
        raise DocumentUnreadable(
            f"page {page} of {path} has {width:,} x {height:,} pixels{how} (at most {_MAX_PIXELS:,} in all are read)"
        )


def _reason(error: BaseException) -> str:
    """Return an error's own words, and its type where these would be a bare number or nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, pypdfium2.PdfiumError) and error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
        return "it is encrypted and opens only with a password; save a copy without one"
    plain = isinstance(error, OSError | pypdfium2.PdfiumError | Image.DecompressionBombError)
    return str(error) if plain and str(error) else f"{type(error).__name__} {error}".rstrip()


def _png(image: Image.Image, dpi: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1, dpi=(dpi, dpi))
    return buffer.getvalue()
