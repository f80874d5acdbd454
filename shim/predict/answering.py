"""One page: image reference to regions, by way of `ocr` and the project's model."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from handler.errors import MachineFailed
from handler.ocr_settings import engine_program
from handler.page import Page, Region, Size, Word
from handler.wire import FORMAT
from layoutloop.errors import ImageUnavailable, ModelNotReady
from layoutloop.store.manifest import VersionCard
from layoutloop.studio.image_fetcher import ImageFetcher
from layoutloop.torchserve.answered_pages import parse_page, parse_tagged_page, text_lines
from layoutloop.torchserve.in_service import InService, InServiceModels
from shim.predict.answer_cache import AnswerCache
from shim.predict.metrics import Metrics
from shim.predict.pool import Again

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 4.0


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """One page as it is answered.

    Args:
        size: of the upright page.
        words: all that was read, in reading order.
        regions: what the model found; text lines in cold start.
        in_service: who made it.
    """

    size: Size
    words: tuple[Word, ...]
    regions: tuple[Region, ...]
    in_service: InService


class PageAnswerer:
    """Answers pages, and caches what TorchServe answered.

    Args:
        models: those in service.
        fetcher: turns references into bytes.
        metrics: where times and cache hits go.
        memory: the cache of what TorchServe answered.
        time_limit_s: for one page; also for one that goes on in the background.
    """

    def __init__(
        self, models: InServiceModels, fetcher: ImageFetcher, metrics: Metrics, memory: AnswerCache, time_limit_s: float
    ) -> None:
        """Send nothing yet."""
        self.models = models
        self._fetcher = fetcher
        self._metrics = metrics
        self._time_limit_s = time_limit_s
        self._memory = memory

    def job(self, model: str | None, reference: str, task_id: int | None) -> Callable[[], PageAnswer]:
        """Return a job that answers one page.

        A version that TorchServe does not hold (yet, or any more) is read from the manifest again until the time is up,
        and a machine that lacks disk or memory is tried again; meanwhile the job raises `Again` and occupies no thread.

        Raises:
            LayoutLoopError: by the job, see `layoutloop.errors`.
        """
        return _PageJob(self, model, reference, task_id)

    def fetch(self, reference: str, task_id: int | None) -> bytes:
        """Return the bytes of an image reference."""
        with self._metrics.seconds.labels("fetch").time():
            return self._fetcher.fetch(reference, task_id)

    def deadline(self) -> float:
        """Return when a page that begins now must be done, on the monotonic clock."""
        return time.monotonic() + self._time_limit_s

    def answer(self, digest: bytes, fetch: Callable[[], bytes], in_service: InService, deadline: float) -> PageAnswer:
        """Return the answer of an image: as TorchServe gives it, or gave it before; then it is not fetched.

        Args:
            digest: of the image.
            fetch: returns the image.
            in_service: what answers.
            deadline: on the monotonic clock.
        """
        page_key = (FORMAT, digest, in_service.ocr.version, *in_service.reading.values())
        body, page = self._ask("read", page_key, lambda: self.models.read(fetch(), in_service, deadline), parse_page)
        model = in_service.model
        if model is None:
            return PageAnswer(page.size, page.words, tuple(text_lines(page)), in_service)
        _, tagged = self._ask(
            "tag",
            (*page_key, model.model, model.version),
            lambda: self._tag(body, page, model, deadline),
            lambda answer: parse_tagged_page(answer, page),
        )
        return PageAnswer(page.size, page.words, tagged.regions, in_service)

    def _ask(
        self,
        stage: str,
        key: tuple[object, ...],
        ask: Callable[[], dict[str, Any]],
        parse: Callable[[dict[str, Any]], T],
    ) -> tuple[dict[str, Any], T]:
        """Return a body and its content, cached or requested; one that cannot be parsed is not cached."""
        known = self._memory.get(key)
        if known is not None:
            self._metrics.cached.labels(stage).inc()
            return known, parse(known)
        with self._metrics.seconds.labels(stage).time():
            body = ask()
        parsed = parse(body)
        self._memory.put(key, body)
        return body, parsed

    def _tag(self, body: dict[str, Any], page: Page, model: VersionCard, deadline: float) -> dict[str, Any]:
        self._notice_engine(page, model)
        return self.models.tag(body, model, deadline)

    def _notice_engine(self, page: Page, model: VersionCard) -> None:
        if (
            model.engine
            and model.engine != model.engine_kind
            and engine_program(page.engine) != engine_program(model.engine)
        ):
            self._metrics.other_engine.inc()
            logger.warning(
                "%s was trained on pages of %s, this one was read by %s", model.model, model.engine, page.engine
            )


class _PageJob:
    """One page on its way; between tries it keeps what its image is, and not the image."""

    def __init__(self, answerer: PageAnswerer, model: str | None, reference: str, task_id: int | None) -> None:
        self._answerer = answerer
        self._model = model
        self._reference = reference
        self._task_id = task_id
        self._deadline: float | None = None
        self._pause_s = _PAUSE_S
        self._digest = b""

    def __call__(self) -> PageAnswer:
        if self._deadline is None:
            self._deadline = self._answerer.deadline()
        data = b"" if self._digest else self._fetch()
        in_service = self._answerer.models.in_service(self._model)
        try:
            return self._answerer.answer(self._digest, lambda: data or self._fetch_again(), in_service, self._deadline)
        except (ModelNotReady, MachineFailed) as error:
            if time.monotonic() + self._pause_s > self._deadline:
                raise
            pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
            again = Again(pause_s)
            logger.debug("a page waits %.1f s: %s", pause_s, error)
        raise again

    def _fetch(self) -> bytes:
        data = self._answerer.fetch(self._reference, self._task_id)
        if not data:
            raise ImageUnavailable("the image file is empty")
        self._digest = hashlib.sha256(data).digest()
        return data

    def _fetch_again(self) -> bytes:
        """Return the image anew; one that changed meanwhile begins as another page does."""
        before, data = self._digest, self._fetch()
        if self._digest != before:
            raise Again(0.0)
        return data
