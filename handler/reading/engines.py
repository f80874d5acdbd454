"""What an OCR engine is, and which one some settings mean."""

from __future__ import annotations

from typing import Protocol

from PIL import Image

from handler.errors import OcrFailed
from handler.ocr_settings import OcrSettings
from handler.page import Page
from handler.reading.pytesseract_engine import PytesseractEngine
from handler.reading.rapidocr.languages import check_rapidocr
from handler.reading.rapidocr.model_files import INSTALL
from handler.reading.tesserocr_engine import TesserocrEngine


class OcrEngine(Protocol):
    """Reads pages with one fixed setting."""

    @property
    def name(self) -> str:
        """Engine, version, language and mode, for example `rapidocr-3.10.0-eng-psm3`."""

    def read(self, image: Image.Image) -> Page:
        """Return an RGB page, its turn found, with its words in reading order; blank ones are left out.

        Raises:
            ImageTooLarge: a side is longer than Tesseract reads.
            OcrTimeout: the page took longer than its time limit.
            OcrFailed: the engine gave up.
        """


def make_engine(settings: OcrSettings) -> OcrEngine:
    """Return the engine of these settings, its language checked.

    Raises:
        OcrLanguageMissing: the engine does not read this language, or it is not installed.
        RequestInvalid: the engine has no such mode.
        OcrFailed: the engine is not installed.
    """
    if settings.engine == "pytesseract":
        return PytesseractEngine(settings)
    return TesserocrEngine(settings) if settings.engine == "tesserocr" else _rapidocr(settings)


def check_settings(settings: OcrSettings) -> None:
    """Refuse a language or mode that its engine has nowhere; what Tesseract has installed is not looked at.

    Raises:
        OcrLanguageMissing, RequestInvalid: with what to set instead.
    """
    if settings.engine == "rapidocr":
        check_rapidocr(settings.language, settings.psm)


def _rapidocr(settings: OcrSettings) -> OcrEngine:
    try:
        from handler.reading.rapidocr.engine import RapidOcrEngine  # 50 MiB that Tesseract's engines do without
    except ImportError as error:
        raise OcrFailed(f"engine rapidocr needs `{INSTALL}` and opencv-python-headless ({error})") from error
    return RapidOcrEngine(settings)
