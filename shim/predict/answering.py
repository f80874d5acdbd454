"""One page: image reference to regions, by way of `ocr` and the project's model."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from handler.errors import MachineFailed
from handler.ocr_settings import TASK_ENGINE, engine_program
from handler.page import Page, Region, Size, Word
from handler.wire import FORMAT, page_to_json
from layoutloop.errors import ImageUnavailable, ModelNotReady
from layoutloop.store.manifest import VersionCard
from layoutloop.studio.image_fetcher import ImageFetcher
from layoutloop.studio.task_words import MAX_BYTES, GivenPage, read_task_words, with_picture
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
class PageSource:
    """Where one page of a task comes from.

    Args:
        image: its reference.
        words: those that the task brings; None for a page that is to be read.
    """

    image: str
    words: GivenPage | None = None


@dataclass(frozen=True, slots=True)
class PageContent:
    """What was fetched of one page.

    Args:
        image: its bytes; empty once they were given up.
        digest: of the image, and of the words that came with the task.
        words: those, as a page; None for a page that is to be read.
    """

    image: bytes
    digest: bytes
    words: Page | None


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """One page as it is answered.

    Args:
        size: of the page as the annotator sees it, like the boxes of its words.
        words: all that was read, in reading order.
        turn: of the page.
        regions: what the model found; text lines in cold start.
        in_service: who made it.
    """

    size: Size
    words: tuple[Word, ...]
    turn: float
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

    def job(self, model: str | None, source: PageSource, task_id: int | None) -> Callable[[], PageAnswer]:
        """Return a job that answers one page.

        A version that TorchServe does not hold (yet, or any more) is read from the manifest again until the time is up,
        and a machine that lacks disk or memory is tried again; meanwhile the job raises `Again` and occupies no thread.

        Raises:
            LayoutLoopError: by the job, see `layoutloop.errors`.
        """
        return _PageJob(self, model, source, task_id)

    def fetch(self, source: PageSource, task_id: int | None) -> PageContent:
        """Return the bytes of a page's image, and the words that its task brings.

        Raises:
            LayoutLoopError: one of them is not to be had, or the words are none.
        """
        words = None
        with self._metrics.seconds.labels("fetch").time():
            if source.words is not None:  # first: where they are none, the image is not needed
                words = read_task_words(source.words, lambda address: self._fetcher.fetch(address, task_id, MAX_BYTES))
            image = self._fetcher.fetch(source.image, task_id)
            if not image:
                raise ImageUnavailable("the image file is empty")
        digest = hashlib.sha256(image)
        if words is not None:
            digest.update(json.dumps(page_to_json(words)).encode())
        return PageContent(image, digest.digest(), words)

    def deadline(self) -> float:
        """Return when a page that begins now must be done, on the monotonic clock."""
        return time.monotonic() + self._time_limit_s

    def answer(
        self, content: PageContent, image: Callable[[], bytes], in_service: InService, deadline: float
    ) -> PageAnswer:
        """Return the answer of a page: as TorchServe gives it, or gave it before.

        Args:
            content: the page; its image is not looked at.
            image: returns that, where TorchServe must have it.
            in_service: what answers.
            deadline: on the monotonic clock.
        """
        page_key = (FORMAT, content.digest, in_service.ocr.version, *in_service.reading.values())
        words = content.words

        def read() -> dict[str, Any]:
            if words is None:
                return self.models.read(image(), in_service, deadline)
            return self.models.picture(image(), in_service, deadline, words.turn)

        body, page = self._ask("read", page_key, read, parse_page)
        if words is not None:
            page = with_picture(words, page)
            body = page_to_json(page)
        model = in_service.model
        if model is None:
            return PageAnswer(page.size, page.words, page.turn, tuple(text_lines(page)), in_service)
        _, tagged = self._ask(
            "tag",
            (*page_key, model.model, model.version),
            lambda: self._tag(body, page, model, deadline),
            lambda answer: parse_tagged_page(answer, page),
        )
        return PageAnswer(page.size, page.words, page.turn, tagged.regions, in_service)

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
            page.engine != TASK_ENGINE
            and model.engine
            and model.engine != model.engine_kind
            and engine_program(page.engine) != engine_program(model.engine)
        ):
            self._metrics.other_engine.inc()
            logger.warning(
                "%s was trained on pages of %s, this one was read by %s", model.model, model.engine, page.engine
            )


class _Changed(Exception):
    """A page was fetched again and is another one now: that one is answered, with the image in hand.

    Some sources give other bytes each time, so it is not fetched until it stays the same.
    """

    def __init__(self, content: PageContent, image: bytes) -> None:
        super().__init__("the page changed")
        self.content = content
        self.image = image


class _PageJob:
    """One page on its way; between tries it keeps what its image is, and not the image."""

    def __init__(self, answerer: PageAnswerer, model: str | None, source: PageSource, task_id: int | None) -> None:
        self._answerer = answerer
        self._model = model
        self._source = source
        self._task_id = task_id
        self._deadline = 0.0
        self._pause_s = _PAUSE_S
        self._content: PageContent | None = None

    def __call__(self) -> PageAnswer:
        content, image = self._content, b""
        if content is None:
            self._deadline = self._answerer.deadline()
            content, image = self._fetch()
        in_service = self._answerer.models.in_service(self._model)
        try:
            try:
                return self._answerer.answer(content, lambda: image or self._fetch_again(), in_service, self._deadline)
            except _Changed as changed:
                image = changed.image
                return self._answerer.answer(changed.content, lambda: image, in_service, self._deadline)
        except (ModelNotReady, MachineFailed) as error:
            if time.monotonic() + self._pause_s > self._deadline:
                raise
            logger.debug("a page waits %.1f s: %s", self._pause_s, error)
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        raise Again(pause_s)

    def _fetch(self) -> tuple[PageContent, bytes]:
        """Return the page without its image, which is kept, and the image, which is not."""
        fetched = self._answerer.fetch(self._source, self._task_id)
        self._content = replace(fetched, image=b"")
        return self._content, fetched.image

    def _fetch_again(self) -> bytes:
        """Return the image anew.

        Raises:
            _Changed: it, or its words, are others now.
        """
        before = self._content
        content, image = self._fetch()
        if content != before:
            raise _Changed(content, image)
        return image
