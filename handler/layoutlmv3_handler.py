"""TorchServe entry of the models `project-<id>`: Page JSON in, Regions JSON out; image bytes are read first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handler.errors import HandlerError, PageInvalid, RequestInvalid
from handler.images import ImageLimits
from handler.items import Item, each, items_of, respond
from handler.ocr_settings import OcrSettings
from handler.page import Page, TaggedPage
from handler.reading.reader import Reader
from handler.tagging.tagger import Tagger, TaggerSettings
from handler.wire import page_from_json, tagged_page_to_json


class LayoutLMv3Handler:
    """Labels pages."""

    def initialize(self, context: Any) -> None:
        """Load the checkpoint beside this file onto the device that TorchServe assigned."""
        self._config = (context.model_yaml_config or {}).get("handler", {})
        settings = dict(self._config.get("tagger", {}))
        gpu = context.system_properties.get("gpu_id")
        if settings.get("device", "auto") == "auto" and gpu is not None:
            settings["device"] = f"cuda:{gpu}"
        folder = Path(context.system_properties["model_dir"])
        self._version: str = context.manifest["model"]["modelVersion"]
        self._tagger = Tagger.load(folder / "checkpoint", TaggerSettings(**settings))
        self._reader: Reader | None = None

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer every request of the batch with Regions JSON, or with an error of its own."""
        from ts.metrics.metric_type_enum import MetricTypes  # only a worker of TorchServe has it, imported already

        pages = each(self._page, items_of(data, context))
        tagged = self._tag(pages)
        context.metrics.add_metric("BatchPages", len(tagged), "Count", metric_type=MetricTypes.HISTOGRAM)
        context.metrics.add_counter("PagesTagged", len(tagged))
        context.metrics.add_counter("Windows", sum(one.windows for one in tagged if isinstance(one, TaggedPage)))
        return respond(context, each(lambda one: tagged_page_to_json(one, self._version), tagged))

    def _tag(self, pages: Sequence[Page | HandlerError]) -> list[TaggedPage | HandlerError]:
        good = [page for page in pages if isinstance(page, Page)]
        answers = iter(self._tag_together(good))
        return [next(answers) if isinstance(page, Page) else page for page in pages]

    def _tag_together(self, pages: Sequence[Page]) -> Sequence[TaggedPage | HandlerError]:
        """Tag a batch; if a fault that was not foreseen stops it, page by page, so that only its cause suffers."""
        together = each(self._tagger.tag, [pages])[0]
        if not isinstance(together, HandlerError):
            return together
        return each(self._tag_alone, pages)

    def _tag_alone(self, page: Page) -> TaggedPage:
        answer = self._tagger.tag([page])[0]
        if isinstance(answer, HandlerError):
            raise answer
        return answer

    def _page(self, item: Item) -> Page:
        body = item.body
        if isinstance(body, bytes) and body.lstrip()[:1] == b"{":
            body = _decode(body)
        if isinstance(body, dict):
            page = page_from_json(body, is_request=True)
            if self._tagger.encoder.uses_image and page.words and page.thumbnail is None:
                raise PageInvalid("this model looks at the page image; send `ocr` the header X-LayoutLoop-Thumbnail: 1")
            return page
        if isinstance(body, bytes) and body:
            return self._read(body)
        raise RequestInvalid("send Page JSON (as model `ocr` answers it) or the bytes of one page image")

    def _read(self, data: bytes) -> Page:
        if self._reader is None:
            self._reader = Reader(
                OcrSettings(**self._config.get("ocr", {})),
                ImageLimits(**self._config.get("limits", {})),
                None,
            )
        return self._reader.read(data, thumbnail=self._tagger.encoder.uses_image)


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise RequestInvalid(f"the body begins like JSON but is none: {error}") from error
