"""Engine `pytesseract`: the tesseract program, one process a page."""

from __future__ import annotations

import os
from functools import cache

import pytesseract
from PIL import Image

from handler.errors import OcrFailed, OcrTimeout
from handler.ocr_settings import OcrSettings, engine_name
from handler.page import Page, Word
from handler.reading.tesseract import credible_dpi, grey, parse_tsv, require_languages, timeout_message
from handler.reading.tesseract_page import read_page


class PytesseractEngine:
    """The tesseract program, one process a page."""

    def __init__(self, settings: OcrSettings) -> None:
        """Check the language and keep Tesseract to one thread."""
        self._settings = settings
        # One thread takes a third of the CPU of Tesseract's default (benchmarks/README.md). Only child processes see
        # it: a torch that is imported already has read the variable, and must not be slowed down by it.
        os.environ.setdefault("OMP_THREAD_LIMIT", "1")
        require_languages(settings.language, _program_languages())
        program = f"{settings.engine}-{pytesseract.get_tesseract_version()}"
        self.name = engine_name(program, settings.language, settings.psm)

    def read(self, image: Image.Image) -> Page:
        """Return an RGB page with its words in reading order."""
        return read_page(image, self.name, self._settings, self._read)

    def _read(self, image: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        page, dpi = grey(image), credible_dpi(image)
        # pytesseract writes a file of this format for the program. Pillow's TIFF is not compressed; PNG, which it would
        # choose, is packed only to be unpacked, and Leptonica reads PGM byte by byte.
        page.format = "TIFF"
        page.info.clear()  # the scan's own compression is among it, and Pillow would use that again
        try:
            tsv: str = pytesseract.image_to_data(
                page,
                lang=self._settings.language,
                config=f"--psm {self._settings.psm}" + (f" --dpi {dpi}" if dpi else ""),
                timeout=timeout_s,
            )
        except pytesseract.TesseractError as error:
            raise OcrFailed(f"tesseract gave up on this page: {error.message}") from error
        except RuntimeError as error:
            raise OcrTimeout(timeout_message(self._settings)) from error
        return parse_tsv(tsv)


@cache
def _program_languages() -> frozenset[str]:
    try:
        return frozenset(pytesseract.get_languages())
    except pytesseract.TesseractNotFoundError as error:
        raise OcrFailed("the tesseract program is not on PATH; `apt-get install tesseract-ocr`") from error
