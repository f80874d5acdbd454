"""Image bytes to a Page: OCR and, on request, the thumbnail; both kept in the page cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from handler.images import ImageLimits, make_thumbnail, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Page, Size
from handler.reading.cache import FileCache
from handler.reading.engines import OcrEngine, make_engine
from handler.turn import level_image
from handler.wire import FORMAT, page_from_json, page_to_json

_MAX_ENGINES = 8
_READING = 3
"""Raised when the same bytes become other words or another picture, by `handler.images` or by what an engine is told:
pages that the cache kept before are read anew."""


@dataclass(frozen=True, slots=True)
class _NoEngine:
    """In an engine's place for pages whose words are known, and so the page's turn."""

    turn: float

    @property
    def name(self) -> str:
        return repr(self.turn)

    def read(self, image: Image.Image) -> Page:
        return Page(Size(*image.size), "", (), turn=self.turn)


class Reader:
    """Reads page images; engines are made once for each engine, language and mode of a request.

    Args:
        settings: what a request that names nothing gets.
        limits: how much image one request may be.
        cache: pages read before, or None for no cache.
    """

    def __init__(self, settings: OcrSettings, limits: ImageLimits, cache: FileCache | None) -> None:
        """Make the default engine, so that a missing language is found at start and not at the first page."""
        self.settings = settings
        self._limits = limits
        self._cache = cache
        self._engines: dict[OcrSettings, OcrEngine] = {settings: make_engine(settings)}

    def read(
        self,
        data: bytes,
        *,
        engine: str | None = None,
        language: str | None = None,
        psm: int | None = None,
        thumbnail: bool = False,
        known_turn: float | None = None,
    ) -> Page:
        """Return the page in `data`.

        Args:
            data: of one image.
            engine: one of ENGINES; None, here and below, for what the settings say.
            language: Tesseract's name.
            psm: Tesseract's page segmentation mode.
            thumbnail: whether a model will look at the image.
            known_turn: of a page whose words are known. No engine reads it, and its engine is "".

        Raises:
            HandlerError: the image's or the engine's fault, see `handler.errors`.
        """
        decoded: list[Image.Image] = []

        def image() -> Image.Image:
            if not decoded:
                decoded.append(open_page(data, self._limits))
            return decoded[0]

        reads = self._engine_for(engine, language, psm) if known_turn is None else _NoEngine(known_turn)
        page = self._cached_page(data, reads, image)
        if not thumbnail:
            return page
        kind = f"thumbnail {_READING} {page.turn}".encode()
        made = self._cached(kind, data, lambda: make_thumbnail(level_image(image(), page.turn)))
        return replace(page, thumbnail=made)

    def _engine_for(self, engine: str | None, language: str | None, psm: int | None) -> OcrEngine:
        settings = replace(
            self.settings,
            engine=self.settings.engine if engine is None else engine,
            language=self.settings.language if language is None else language,
            psm=self.settings.psm if psm is None else psm,
        )
        if settings not in self._engines:
            if len(self._engines) >= _MAX_ENGINES:
                oldest = next(key for key in self._engines if key != self.settings)
                del self._engines[oldest]
            self._engines[settings] = make_engine(settings)
        return self._engines[settings]

    def _cached_page(self, data: bytes, engine: OcrEngine, image: Callable[[], Image.Image]) -> Page:
        def recognise() -> bytes:
            return json.dumps(page_to_json(engine.read(image())), ensure_ascii=False).encode()

        kind = f"{engine.name} {FORMAT} {_READING}".encode()
        return page_from_json(json.loads(self._cached(kind, data, recognise)))

    def _cached(self, kind: bytes, data: bytes, make: Callable[[], bytes]) -> bytes:
        if self._cache is None:
            return make()
        key = FileCache.key(kind, data)
        found = self._cache.get(key)
        if found is None:
            found = make()
            self._cache.put(key, found)
        return found
