"""The pages of one task: handed to the pool together, waited for, all of one version."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet

from layoutloop.errors import DeadlineExceeded, LayoutLoopError, StillRunning
from layoutloop.torchserve.in_service import InService
from shim.predict.answering import PageAnswer, PageAnswerer, PageSource
from shim.predict.pool import PagePool

_VERSION_TRIES = 3
_OF_THE_PAGE = frozenset(
    {
        *("image_unreadable", "image_truncated", "image_has_several_pages", "image_too_large"),  # of the handler
        *("image_unavailable", "words_invalid"),
    }
)
"""Codes of what is wrong with one page for good. What time or a setting may change is not among them."""


class TaskPages:
    """The pages of one task on their way.

    Args:
        answerer: answers single pages.
        pool: runs them.
        model: of the project; None where the request names none.
        in_service: what answers for it now.
        task: Label Studio's id, if it is one.
        sources: of the pages: every one of the task, or the one drawn on where the request is interactive.
        turn: in the pool.

    Raises:
        LayoutLoopError: a page could not be handed over.
    """

    def __init__(
        self,
        answerer: PageAnswerer,
        pool: PagePool[PageAnswer],
        model: str | None,
        in_service: InService,
        task: object,
        sources: tuple[PageSource, ...],
        turn: int,
    ) -> None:
        self._answerer = answerer
        self._pool = pool
        self._model = model
        self._task_id = task if isinstance(task, int) else None
        self._sources = sources
        self._futures = [self._submit(source, turn, in_service) for source in sources]

    def __len__(self) -> int:
        """How many pages."""
        return len(self._futures)

    def wait(self, deadline: float) -> list[PageAnswer | LayoutLoopError]:
        """Return the pages; all of one version, so those from before a promotion are sent again.

        A page that can never be read is its error here, and costs the others nothing.

        Raises:
            LayoutLoopError: no page can ever be read, or one cannot be now.
        """
        pages = [_outcome(future, deadline) for future in self._futures]
        tries = 0
        while len({page.in_service.versions for page in pages if isinstance(page, PageAnswer)}) > 1:
            tries += 1
            if tries > _VERSION_TRIES:
                raise DeadlineExceeded("versions changed again and again while its pages were read; try again")
            current = self._answerer.models.in_service(self._model)
            for index, page in enumerate(pages):
                if isinstance(page, PageAnswer) and page.in_service.versions != current.versions:
                    pages[index] = _outcome(self._submit(self._sources[index], index, current), deadline)
        if all(isinstance(page, LayoutLoopError) for page in pages):
            raise next(page for page in pages if isinstance(page, LayoutLoopError))
        return pages

    def _submit(self, source: PageSource, turn: int, in_service: InService) -> Future[PageAnswer]:
        # With the version in the key, nothing is answered from a version that was gone before it was sent.
        key = (self._model, in_service.versions, source, _needs_task(source) and self._task_id)
        return self._pool.submit(key, turn, self._answerer.job(self._model, source, self._task_id))


def _outcome(future: Future[PageAnswer], deadline: float) -> PageAnswer | LayoutLoopError:
    """Return a page, or what is wrong with it for good; every other error is raised."""
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except (NotYet, CancelledError) as error:
        raise StillRunning("not done in time; it goes on in the background, try again") from error
    except LayoutLoopError as error:
        if error.code not in _OF_THE_PAGE:
            raise
        return error


def _needs_task(source: PageSource) -> bool:
    """Whether image or words are fetched by way of their task: cloud storage is resolved for a task."""
    references = (source.image, source.words.address if source.words else "/")
    return not all(one.startswith(("/", "http://", "https://", "data:")) for one in references if one)
