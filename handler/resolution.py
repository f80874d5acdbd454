"""The resolution that an image file states, as the tesseract program takes it from there; of a JPEG also EXIF's."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

from handler.browser_view import SIDEWAYS, orientation

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_CENTIMETRE = 3
_JFIF_UNITS = (1, 2)
"""Inch and centimetre; 0 is a shape of pixels, no resolution."""
_NOBODYS = 72.0
"""What phones write into EXIF, and Pillow reports where EXIF has no resolution."""


def upright_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return dots per inch along width and height as the annotator sees them; None where the file states none.

    Of an image that is opened and not loaded. Nonsense (1 dpi, 9,999) is passed on: Tesseract has rules for it.
    """
    x, y = _stated(image)
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        return None
    return (y, x) if orientation(image) in SIDEWAYS else (x, y)


def _stated(image: Image.Image) -> tuple[float, float]:
    if image.format == "TIFF":
        # Pillow's own value may be that of another frame.
        tags = image.tag_v2  # type: ignore[attr-defined]
        scale = 2.54 if tags.get(_RESOLUTION_UNIT) == _CENTIMETRE else 1.0
        return scale * _number(tags.get(_X_RESOLUTION)), scale * _number(tags.get(_Y_RESOLUTION))
    x, y = (_number(value) for value in image.info.get("dpi", (0.0, 0.0)))
    if image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in _JFIF_UNITS and x == _NOBODYS:
        return 0.0, 0.0
    return x, y


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
