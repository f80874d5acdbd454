"""One page: image reference to regions, by way of `ocr` and the project's model."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cachetools

from shim.errors import ImageUnavailable, ModelNotReady
from shim.images import ImageFetcher
from shim.metrics import Metrics
from shim.models import InService, Models
from shim.page_memory import PageMemory
from shim.pages import ReadPage, Region, Word, parse_page, parse_regions, parse_word_regions, text_lines
from shim.pool import Again
from shim.serving import Card

logger = logging.getLogger(__name__)

_REMEMBERED = 400_000
"""Words and regions in memory, of 300 bytes each: 120 MB at most, which is 800 pages of 500 words."""

_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """One page as it is answered, in pixels of `width` x `height`.

    Args:
        width: of the upright page.
        height: the same.
        regions: what the model found; text lines in cold start.
        words: all that was read, in reading order.
        word_regions: for each word the index of the model's region it belongs to; None for a word of no region.
        in_service: who made it.
    """

    width: int
    height: int
    regions: tuple[Region, ...]
    words: tuple[Word, ...]
    word_regions: tuple[int | None, ...]
    in_service: InService


class PageAnswerer:
    """Answers pages, remembering what it answered by (image, versions).

    Args:
        models: those in service.
        fetcher: turns references into bytes.
        metrics: where times and cache hits go.
        time_limit_s: for one page; also for one that goes on in the background.
    """

    def __init__(self, models: Models, fetcher: ImageFetcher, metrics: Metrics, time_limit_s: float) -> None:
        """Begin with an empty memory."""
        self.models = models
        self._fetcher = fetcher
        self._metrics = metrics
        self._time_limit_s = time_limit_s
        self._lock = threading.Lock()
        self._pages = PageMemory()
        self._answers: cachetools.LRUCache[tuple[object, ...], PageAnswer] = cachetools.LRUCache(
            _REMEMBERED, getsizeof=lambda answer: 1 + len(answer.regions) + len(answer.words)
        )

    def job(self, model: str | None, reference: str, task_id: int | None) -> Callable[[], PageAnswer]:
        """Return a job that answers one page.

        A version that TorchServe does not hold (yet, or any more) is asked for again, as serving.json then says,
        until the time is up; meanwhile the job raises `Again` and occupies no thread.

        Raises:
            LayoutLoopError: by the job, see `shim.errors`.
        """
        return _PageJob(self, model, reference, task_id)

    def fetch(self, reference: str, task_id: int | None) -> bytes:
        """Return the bytes of an image reference."""
        with self._metrics.seconds.labels("fetch").time():
            return self._fetcher.fetch(reference, task_id)

    def deadline(self) -> float:
        """Return when a page that begins now must be done, on the monotonic clock."""
        return time.monotonic() + self._time_limit_s

    def remembered(self, digest: bytes, data: bytes, in_service: InService, deadline: float) -> PageAnswer:
        """Return the answer of an image, made now or before."""
        key = (digest, in_service.versions, in_service.model and in_service.model.model)
        with self._lock:
            answer = self._answers.get(key)
        if answer is not None:
            self._metrics.cached.inc()
            return answer
        answer = self._make(digest, data, in_service, deadline)
        with self._lock:
            self._answers[key] = answer
        return answer

    def _read(
        self, digest: bytes, data: bytes, in_service: InService, deadline: float
    ) -> tuple[dict[str, Any], ReadPage]:
        """Return an image's page as the wire has it and as it is checked, read now or before."""
        key = (digest, in_service.ocr.version, *in_service.reading.values())
        known = self._pages.get(key)
        if known is not None:
            return known, parse_page(known)
        with self._metrics.seconds.labels("read").time():
            body = self.models.read(data, in_service, deadline)
        page = parse_page(body)
        self._pages.put(key, body)
        return body, page

    def _make(self, digest: bytes, data: bytes, in_service: InService, deadline: float) -> PageAnswer:
        body, page = self._read(digest, data, in_service, deadline)
        if in_service.model is None:
            nothing = (None,) * len(page.words)
            return PageAnswer(page.width, page.height, tuple(text_lines(page)), page.words, nothing, in_service)
        self._notice_engine(page, in_service.model)
        with self._metrics.seconds.labels("tag").time():
            answer = self.models.tag(body, in_service.model, deadline)
        _, regions = parse_regions(answer)
        word_regions = parse_word_regions(answer, len(page.words))
        return PageAnswer(page.width, page.height, regions, page.words, word_regions, in_service)

    def _notice_engine(self, page: ReadPage, model: Card) -> None:
        if model.engine and _reader(page.engine) != _reader(model.engine):
            self._metrics.other_engine.inc()
            logger.warning(
                "%s was trained on pages of %s, this one was read by %s", model.model, model.engine, page.engine
            )


class _PageJob:
    """One page on its way; keeps its image between tries."""

    def __init__(self, answerer: PageAnswerer, model: str | None, reference: str, task_id: int | None) -> None:
        self._answerer = answerer
        self._model = model
        self._reference = reference
        self._task_id = task_id
        self._deadline: float | None = None
        self._data = b""
        self._digest = b""

    def __call__(self) -> PageAnswer:
        if self._deadline is None:
            self._deadline = self._answerer.deadline()
            self._data = self._answerer.fetch(self._reference, self._task_id)
            if not self._data:
                raise ImageUnavailable("the image file is empty")
            self._digest = hashlib.sha256(self._data).digest()
        in_service = self._answerer.models.in_service(self._model)
        try:
            return self._answerer.remembered(self._digest, self._data, in_service, self._deadline)
        except ModelNotReady as error:
            if time.monotonic() + _PAUSE_S > self._deadline:
                raise
            raise Again(_PAUSE_S) from error


def _reader(engine: str) -> str:
    """Return engine and version of `pytesseract-5.3.0-eng-psm3`; language and mode are what the model asked for."""
    return engine.rsplit("-", 2)[0]
