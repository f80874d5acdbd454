"""OCR engines: an RGB page image to words. Two of them, one result: Tesseract's TSV, parsed in one place."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytesseract
from PIL import Image

from handler.errors import ImageTooLarge, OcrFailed, OcrLanguageMissing, OcrTimeout, RequestInvalid
from handler.page import Box, Word

ENGINES = ("pytesseract", "tesserocr")
PAGE_SEGMENTATION_MODES = (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
"""Tesseract's modes that yield words (0 and 2 do not)."""

_MAX_SIDE_PIXELS = 32_767
"""Tesseract's own limit; beyond it the program fails and the library only says that it did not finish."""

_TSV_COLUMNS = 12
_WORD_LEVEL = "5"


@dataclass(frozen=True, slots=True)
class OcrSettings:
    """How a page is read.

    Args:
        engine: `pytesseract` starts the tesseract program, `tesserocr` calls its library in process.
        language: Tesseract's name, several joined by `+`, for example `deu+eng`.
        psm: Tesseract's page segmentation mode.
        timeout_s: time limit for one page.
    """

    engine: str = "pytesseract"
    language: str = "eng"
    psm: int = 3
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what Tesseract has no meaning for; these values may come from a request."""
        if self.engine not in ENGINES:
            raise RequestInvalid(f"engine is one of {', '.join(ENGINES)}, got {self.engine!r}")
        if not self.language or not all(
            part and part.replace("_", "").isalnum() and part.isascii() for part in self.language.split("+")
        ):
            raise RequestInvalid(f"language is like `eng` or `deu+eng`, got {self.language!r}")
        if self.psm not in PAGE_SEGMENTATION_MODES:
            raise RequestInvalid(f"psm is one of {PAGE_SEGMENTATION_MODES}, got {self.psm!r}")
        if not 0 < self.timeout_s <= 3600:
            raise RequestInvalid(f"timeout_s is above 0 and at most an hour, got {self.timeout_s!r}")


class OcrEngine(Protocol):
    """Reads pages with one fixed setting."""

    @property
    def name(self) -> str:
        """Engine, version, language and mode, for example `pytesseract-5.3.0-eng-psm3`."""

    def read(self, image: Image.Image) -> tuple[Word, ...]:
        """Return the words of an RGB page in reading order; blank ones are left out.

        Raises:
            ImageTooLarge: a side is longer than Tesseract reads.
            OcrTimeout: the page took longer than its time limit.
            OcrFailed: Tesseract gave up.
        """


def make_engine(settings: OcrSettings) -> OcrEngine:
    """Return the engine of these settings, its language checked.

    Raises:
        OcrLanguageMissing: Tesseract has no such language installed.
        OcrFailed: the engine is not installed.
    """
    return PytesseractEngine(settings) if settings.engine == "pytesseract" else TesserocrEngine(settings)


class PytesseractEngine:
    """The tesseract program, one process a page."""

    def __init__(self, settings: OcrSettings) -> None:
        """Check the language and keep Tesseract to one thread."""
        self._settings = settings
        # One thread takes a third of the CPU of Tesseract's default (benchmarks/README.md). Only child processes see
        # it: a torch that is imported already has read the variable, and must not be slowed down by it.
        os.environ.setdefault("OMP_THREAD_LIMIT", "1")
        _require_languages(settings.language, _program_languages())
        self.name = _engine_name(settings, str(pytesseract.get_tesseract_version()))

    def read(self, image: Image.Image) -> tuple[Word, ...]:
        """Return the words of an RGB page in reading order."""
        grey = _grey(image)
        # pytesseract writes a file of this format for the program. Pillow's TIFF is not compressed; PNG, which it would
        # choose, is packed only to be unpacked, and Leptonica reads PGM byte by byte.
        grey.format = "TIFF"
        grey.info.clear()  # the scan's own compression is among it, and Pillow would use that again
        try:
            tsv: str = pytesseract.image_to_data(
                grey,
                lang=self._settings.language,
                config=f"--psm {self._settings.psm}",
                timeout=self._settings.timeout_s,
            )
        except pytesseract.TesseractError as error:
            raise OcrFailed(f"tesseract gave up on this page: {error.message}") from error
        except RuntimeError as error:
            raise OcrTimeout(_timeout_message(self._settings)) from error
        return parse_tsv(tsv)


class TesserocrEngine:
    """Tesseract's library, in process: no start, no temporary files, no OpenMP. Not for several threads."""

    def __init__(self, settings: OcrSettings) -> None:
        """Load the language data."""
        try:
            import tesserocr
        except ImportError as error:
            raise OcrFailed("engine tesserocr needs `pip install tesserocr==2.13.0`") from error
        folder = tessdata_folder()
        _require_languages(settings.language, frozenset(tesserocr.get_languages(str(folder))[1]))
        self._settings = settings
        self._api: Any = tesserocr.PyTessBaseAPI(path=f"{folder}/", lang=settings.language, psm=settings.psm)
        version = tesserocr.tesseract_version().split()[1]
        self.name = _engine_name(settings, version)

    def read(self, image: Image.Image) -> tuple[Word, ...]:
        """Return the words of an RGB page in reading order."""
        self._api.SetImage(_grey(image))
        try:
            # 0 would mean no limit.
            if not self._api.Recognize(max(1, int(self._settings.timeout_s * 1000))):
                raise OcrTimeout(_timeout_message(self._settings))
            return parse_tsv(self._api.GetTSVText(0))
        except RuntimeError as error:
            raise OcrFailed(f"tesseract gave up on this page: {error}") from error
        finally:
            self._api.Clear()


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


@cache
def _program_languages() -> frozenset[str]:
    try:
        return frozenset(pytesseract.get_languages())
    except pytesseract.TesseractNotFoundError as error:
        raise OcrFailed("the tesseract program is not on PATH; `apt-get install tesseract-ocr`") from error


def _require_languages(language: str, installed: frozenset[str]) -> None:
    missing = [part for part in language.split("+") if part not in installed]
    if missing:
        raise OcrLanguageMissing(
            f"Tesseract has no language {', '.join(missing)}, only {', '.join(sorted(installed))}; "
            f"`apt-get install tesseract-ocr-{missing[0].replace('_', '-')}` and start again"
        )


def _grey(image: Image.Image) -> Image.Image:
    """Return what Tesseract works on anyway; handing it over is 14 % faster than RGB."""
    if max(image.size) > _MAX_SIDE_PIXELS:
        raise ImageTooLarge(
            f"the image is {image.width} x {image.height} pixels, Tesseract reads at most {_MAX_SIDE_PIXELS:,} a side"
        )
    return image.convert("L")


def _engine_name(settings: OcrSettings, version: str) -> str:
    return f"{settings.engine}-{version}-{settings.language}-psm{settings.psm}"


def _timeout_message(settings: OcrSettings) -> str:
    return f"reading the page took longer than {settings.timeout_s:g} s (`timeout_s` of the ocr archive)"
