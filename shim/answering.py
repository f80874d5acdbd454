"""One page: image reference to regions, by way of `ocr` and the project's model."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cachetools

from shim.errors import ModelNotReady
from shim.images import ImageFetcher
from shim.metrics import Metrics
from shim.pages import ReadPage, Region, parse_page, parse_regions, text_lines
from shim.serving import OCR_MODEL, Card, read_card, read_serving
from shim.torchserve import InferenceClient

logger = logging.getLogger(__name__)

_CACHED_REGIONS = 200_000
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class InService:
    """What answers for a project at one moment.

    Args:
        ocr: card of the `ocr` version that reads.
        model: card of the project's version that labels; None in cold start.
    """

    ocr: Card
    model: Card | None

    @property
    def stamp(self) -> str | None:
        """The project's version, None in cold start."""
        return self.model.version if self.model else None


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """One page's regions (its text lines in cold start), in pixels of `width` x `height`, and who made them."""

    width: int
    height: int
    regions: tuple[Region, ...]
    in_service: InService


class PageAnswerer:
    """Answers pages, remembering what it answered by (image, versions, reading mode).

    Args:
        model_dir: the model store.
        fetcher: turns references into bytes.
        client: asks TorchServe.
        metrics: where times and cache hits go.
        time_limit_s: for one page; also for one that goes on in the background.
    """

    def __init__(
        self, model_dir: Path, fetcher: ImageFetcher, client: InferenceClient, metrics: Metrics, time_limit_s: float
    ) -> None:
        """Begin with an empty memory."""
        self._model_dir = model_dir
        self._fetcher = fetcher
        self._client = client
        self._metrics = metrics
        self._time_limit_s = time_limit_s
        self._lock = threading.Lock()
        self._answers: cachetools.LRUCache[tuple[object, ...], PageAnswer] = cachetools.LRUCache(
            _CACHED_REGIONS, getsizeof=lambda answer: 1 + len(answer.regions)
        )

    def in_service(self, model: str | None) -> InService:
        """Return what answers for a model at this moment; a model that never was in service is a cold start.

        Raises:
            ModelNotReady: no `ocr` is in service, or what the store says cannot be understood.
        """
        ocr = read_serving(self._model_dir, OCR_MODEL)
        if ocr is None or ocr.current is None:
            raise ModelNotReady("model `ocr` is not in service; `python -m scripts.archive --ocr` puts it there")
        serving = read_serving(self._model_dir, model) if model else None
        card = None
        if model and serving and serving.current:
            card = read_card(self._model_dir, model, serving.current)
        return InService(read_card(self._model_dir, OCR_MODEL, ocr.current), card)

    def answer(self, model: str | None, reference: str, task_id: int | None) -> PageAnswer:
        """Return the regions of one page.

        A version that TorchServe does not hold (yet, or any more) is asked for again, as serving.json then
        says, until the time is up.

        Raises:
            LayoutLoopError: see `shim.errors`.
        """
        deadline = time.monotonic() + self._time_limit_s
        with self._metrics.seconds.labels("fetch").time():
            data = self._fetcher.fetch(reference, task_id)
        digest = hashlib.sha256(data).digest()
        while True:
            in_service = self.in_service(model)
            try:
                return self._remembered(digest, data, in_service, deadline)
            except ModelNotReady:
                if time.monotonic() + _PAUSE_S > deadline:
                    raise
                time.sleep(_PAUSE_S)

    def _remembered(self, digest: bytes, data: bytes, in_service: InService, deadline: float) -> PageAnswer:
        key = (digest, in_service.stamp, in_service.ocr.version, in_service.model and in_service.model.model)
        with self._lock:
            answer = self._answers.get(key)
        if answer is not None:
            self._metrics.cached.inc()
            return answer
        answer = self._make(data, in_service, deadline)
        with self._lock:
            self._answers[key] = answer
        return answer

    def _make(self, data: bytes, in_service: InService, deadline: float) -> PageAnswer:
        with self._metrics.seconds.labels("read").time():
            body = self._read(data, in_service, deadline)
        page = parse_page(body)
        if in_service.model is None:
            regions = tuple(text_lines(page))
        else:
            self._notice_engine(page, in_service.model)
            with self._metrics.seconds.labels("tag").time():
                regions = self._tag(body, in_service.model, deadline)
        return PageAnswer(page.width, page.height, regions, in_service)

    def _read(self, data: bytes, in_service: InService, deadline: float) -> dict[str, Any]:
        parameters = {}
        if in_service.model:
            parameters = {
                "language": in_service.model.language,
                "psm": str(in_service.model.psm),
                "thumbnail": "1" if in_service.model.uses_image else "0",
            }
        return self._client.predict(
            OCR_MODEL,
            in_service.ocr.version,
            data,
            content_type="application/octet-stream",
            parameters=parameters,
            deadline=deadline,
        )

    def _tag(self, page: dict[str, Any], model: Card, deadline: float) -> tuple[Region, ...]:
        body = self._client.predict(
            model.model,
            model.version,
            json.dumps(page).encode(),
            content_type="application/json",
            deadline=deadline,
        )
        version, regions = parse_regions(body)
        if version != model.version:
            raise ModelNotReady(f"{model.model} {model.version} answered as version {version}; archive it again")
        return regions

    def _notice_engine(self, page: ReadPage, model: Card) -> None:
        if model.engine and page.engine != model.engine:
            self._metrics.other_engine.inc()
            logger.warning(
                "%s was trained on pages of %s, this one was read by %s", model.model, model.engine, page.engine
            )
