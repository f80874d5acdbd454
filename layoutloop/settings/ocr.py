"""How the `ocr` model reads pages: its settings, read from the environment. All begin with LAYOUTLOOP_OCR_."""

from __future__ import annotations

from collections.abc import Mapping

from handler.errors import RequestInvalid
from handler.ocr_settings import ENGINES, OcrSettings
from layoutloop.errors import SettingsInvalid

_MAX_TIMEOUT_S = 35.0
"""Of one page's OCR. The archive's responseTimeout is 40 s, after which TorchServe ends the worker."""


def ocr_settings(environ: Mapping[str, str]) -> OcrSettings:
    """Read how `ocr` reads: `LAYOUTLOOP_OCR_ENGINE`, `_LANGUAGE`, `_PSM`, `_TIMEOUT_S`, `_DEVICE`.

    Raises:
        SettingsInvalid: a value that cannot be used.
    """
    default = OcrSettings()
    try:
        settings = OcrSettings(
            engine=environ.get("LAYOUTLOOP_OCR_ENGINE") or default.engine,
            language=environ.get("LAYOUTLOOP_OCR_LANGUAGE") or default.language,
            psm=int(environ.get("LAYOUTLOOP_OCR_PSM") or default.psm),
            timeout_s=float(environ.get("LAYOUTLOOP_OCR_TIMEOUT_S") or default.timeout_s),
            device=environ.get("LAYOUTLOOP_OCR_DEVICE") or default.device,
        )
    except (ValueError, RequestInvalid) as error:
        raise SettingsInvalid(f"LAYOUTLOOP_OCR_*: {error} (engines: {', '.join(ENGINES)})") from error
    if settings.timeout_s > _MAX_TIMEOUT_S:
        raise SettingsInvalid(
            f"LAYOUTLOOP_OCR_TIMEOUT_S is at most {_MAX_TIMEOUT_S:g}, got {settings.timeout_s:g}: "
            "after 40 s TorchServe ends the worker, and every page it holds is lost"
        )
    return settings
