"""TorchServe entry of model `ocr`: the bytes of one page image in, Page JSON out. CPU, no weights.

Headers, each optional: `X-LayoutLoop-Engine`, `X-LayoutLoop-Language` and `X-LayoutLoop-Psm` (as the pages were read
that the model was trained with), `X-LayoutLoop-Thumbnail: 1` for the 224 x 224 image that LayoutLMv3's image branch
looks at, and `X-LayoutLoop-Words: 0` for a page without words: its size, and perhaps its thumbnail, where the words
are known. Such a page is turned by the degrees of `X-LayoutLoop-Turn`, if by any.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from handler.errors import RequestInvalid
from handler.images import ImageLimits
from handler.items import Item, each, integer_parameter, items_of, respond
from handler.ocr_settings import OcrSettings
from handler.page import Page, Size
from handler.reading.cache import FileCache
from handler.reading.free_memory import return_free_memory
from handler.reading.reader import Reader
from handler.wire import page_to_json

_CACHE_BYTES = 2 * 2**30


class OcrHandler:
    """Reads pages."""

    def initialize(self, context: Any) -> None:
        """Make the engine from the archive's model-config.yaml; the cache's place comes from the environment."""
        config = (context.model_yaml_config or {}).get("handler", {})
        folder = os.environ.get("LAYOUTLOOP_CACHE_DIR")
        size = int(os.environ.get("LAYOUTLOOP_CACHE_BYTES") or _CACHE_BYTES)
        self._reader = Reader(
            OcrSettings(**config.get("ocr", {})),
            ImageLimits(**config.get("limits", {})),
            FileCache(Path(folder), size) if folder else None,
        )

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer every request of the batch with Page JSON, or with an error of its own."""
        from ts.metrics.metric_type_enum import MetricTypes  # only a worker of TorchServe has it, imported already

        started = time.perf_counter()
        answers = each(self._read, items_of(data, context))
        context.metrics.add_counter("PagesRead", len(answers))
        seconds = time.perf_counter() - started
        context.metrics.add_metric("OcrSeconds", seconds, "Seconds", metric_type=MetricTypes.HISTOGRAM)
        bodies = respond(context, answers)
        return_free_memory()
        return bodies

    def _read(self, item: Item) -> dict[str, Any]:
        if not isinstance(item.body, bytes) or not item.body:
            raise RequestInvalid("send the bytes of one page image as the body (`curl -T page.png`)")
        return page_to_json(
            self._reader.read(
                item.body,
                engine=item.parameters.get("engine"),
                language=item.parameters.get("language"),
                psm=integer_parameter(item, "psm"),
                thumbnail=item.parameters.get("thumbnail", "0") in ("1", "true"),
                known_turn=_known_turn(item),
            )
        )


def _known_turn(item: Item) -> float | None:
    """Return the turn of a page whose words are known; None where they are wanted."""
    if item.parameters.get("words", "1") not in ("0", "false"):
        return None
    value = item.parameters.get("turn", "0")
    try:
        return Page(Size(1, 1), "", (), turn=float(value)).turn  # a Page takes no turn that means nothing
    except ValueError as error:
        raise RequestInvalid(f"turn is a number of degrees, got {value!r:.80}: {error}") from error
