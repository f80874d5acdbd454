"""What `scripts.import_documents` and `scripts.predict` share: PDFs' text, checked by the OCR that there is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from handler.errors import HandlerError
from handler.images import ImageLimits
from handler.reading.rapidocr.reading_order import reading_order
from handler.reading.reader import Reader
from layoutloop.documents.text_layer import TextLayers
from layoutloop.settings.ocr import ocr_settings
from layoutloop.settings.serving import Settings
from layoutloop.torchserve.answered_pages import parse_page

_SAMPLE_S = 60.0


def text_layers(
    settings: Settings, read: Callable[[bytes, float], dict[str, Any]] | None = None
) -> Callable[[], TextLayers | None]:
    """Return what makes a judge of each PDF's text; it makes none where no OCR is there to check samples by.

    Args:
        settings: where everything is.
        read: an image, by the `ocr` in service, until a deadline; None: it is read in this process, as `ocr` would.
    """

    @cache
    def reader() -> Reader | None:
        try:
            return Reader(ocr_settings(os.environ), ImageLimits(max_bytes=settings.max_image_bytes), None)
        except HandlerError as error:
            print(f"the text of PDFs cannot be checked, so their pages are left to OCR: {error}", file=sys.stderr)
            return None

    def make() -> TextLayers | None:
        if read is not None:
            return TextLayers(lambda data: parse_page(read(data, time.monotonic() + _SAMPLE_S)), reading_order)
        here = reader()
        return None if here is None else TextLayers(here.read, reading_order)

    return make
