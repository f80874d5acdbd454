"""Engine `tesserocr`: Tesseract's library, in process."""

from __future__ import annotations

from typing import Any

from PIL import Image

from handler.errors import OcrFailed, OcrTimeout
from handler.ocr_settings import OcrSettings, engine_name
from handler.page import Page, Word
from handler.reading.tesseract import (
    credible_dpi,
    grey,
    parse_tsv,
    require_languages,
    tessdata_folder,
    timeout_message,
)
from handler.reading.tesseract_page import read_page

_UNKNOWN_DPI = 96
"""Where no resolution is known: what tesserocr's own hand-over, a BMP of Pillow's, says. Tesseract's estimate, which
the program makes, covers less of DocBank (81.7 instead of 83.4 % of the words) and more of SROIE (81.3, 80.1)."""


class TesserocrEngine:
    """Tesseract's library, in process: no start, no temporary files, no OpenMP. Not for several threads."""

    def __init__(self, settings: OcrSettings) -> None:
        """Load the language data."""
        try:
            import tesserocr
        except ImportError as error:
            raise OcrFailed("engine tesserocr needs `pip install tesserocr==2.13.0`") from error
        folder = tessdata_folder()
        require_languages(settings.language, frozenset(tesserocr.get_languages(str(folder))[1]))
        self._settings = settings
        self._api: Any = tesserocr.PyTessBaseAPI(path=f"{folder}/", lang=settings.language, psm=settings.psm)
        version = tesserocr.tesseract_version().split()[1]
        self.name = engine_name(f"{settings.engine}-{version}", settings.language, settings.psm)

    def read(self, image: Image.Image) -> Page:
        """Return an RGB page with its words in reading order."""
        return read_page(image, self.name, self._settings, self._read)

    def _read(self, image: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        self._api.SetImage(grey(image))
        self._api.SetSourceResolution(credible_dpi(image) or _UNKNOWN_DPI)
        try:
            # 0 would mean no limit.
            if not self._api.Recognize(max(1, int(timeout_s * 1000))):
                raise OcrTimeout(timeout_message(self._settings))
            return parse_tsv(self._api.GetTSVText(0))
        except RuntimeError as error:
            raise OcrFailed(f"tesseract gave up on this page: {error}") from error
        finally:
            self._api.Clear()
