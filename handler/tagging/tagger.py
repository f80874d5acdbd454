"""Tagger: pages to regions, in batches. The whole model side in one call, without TorchServe."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from handler.errors import AnswerInvalid, CheckpointInvalid, HandlerError, OutOfMemory
from handler.page import BoxLevel, Page, TaggedPage
from handler.tagging.box_prior import BoxPrior
from handler.tagging.calibration import Calibration
from handler.tagging.decoding import decode
from handler.tagging.encoding import LENGTH_STEP, Batch, Encoder, Encoding, Window, collate
from handler.tagging.layoutlm import LayoutLM, as_invalid, load

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaggerSettings:
    """How a checkpoint is run.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:<n>`.
        dtype: `auto`, `float32`, `bfloat16`.
        batch_windows: windows that go through the model together.
        max_tokens: length of a window, special tokens included.
        stride: tokens that neighbouring windows share.
        box_level: boxes of words or of lines, as in training.
        threads: CPU threads of torch, 0 for torch's own choice.
    """

    device: str = "auto"
    dtype: str = "auto"
    batch_windows: int = 8
    max_tokens: int = 512
    stride: int = 128
    box_level: BoxLevel = "words"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class WindowJob:
    """One window: of which page (a position in `Prepared.pages`), and that page's pixel values."""

    page: int
    window: Window
    pixels: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Some pages made ready for the model.

    Args:
        pages: in order.
        encodings: of each page.
        batches: their windows, sorted by length.
    """

    pages: Sequence[Page]
    encodings: Sequence[Encoding]
    batches: Sequence[Sequence[WindowJob]]


class Tagger:
    """Labels pages with one loaded checkpoint."""

    def __init__(
        self,
        model: LayoutLM,
        settings: TaggerSettings,
        prior: BoxPrior | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Take a loaded model and run it once, so that the first page does not pay for the warm-up.

        With `prior`, boxes begin and end as in the annotations that it was learned from; with `calibration`, a score is
        the probability that its box is right.
        """
        self.model = model
        self.prior = prior
        self.calibration = calibration
        self.labels = model.labels
        if settings.max_tokens > model.max_tokens:
            raise CheckpointInvalid(
                f"the checkpoint has positions for {model.max_tokens} tokens, max_tokens is {settings.max_tokens}"
            )
        self._batch_windows = max(1, settings.batch_windows)
        self.encoder = Encoder(
            model.tokenizer,
            model.pad_id,
            max_tokens=settings.max_tokens,
            stride=settings.stride,
            box_level=settings.box_level,
            uses_image=model.uses_image,
        )
        if settings.threads > 0:
            torch.set_num_threads(settings.threads)
        self._warm_up(settings.max_tokens)

    @classmethod
    def load(cls, folder: Path | str, settings: TaggerSettings | None = None) -> Tagger:
        """Load a checkpoint folder, with what was learned about the project's boxes and their scores where it has that.

        Raises:
            CheckpointInvalid: see `handler.tagging.layoutlm.load`, `BoxPrior.find` and `Calibration.find`.
        """
        settings = settings or TaggerSettings()
        model = load(folder, settings.device, settings.dtype)
        prior = BoxPrior.find(Path(folder), model.labels.names)
        calibration = Calibration.find(Path(folder))
        with as_invalid(f"{folder} cannot be run"):
            return cls(model.accelerated(), settings, prior, calibration)

    def tag(self, pages: Sequence[Page]) -> list[TaggedPage | HandlerError]:
        """Label every page, in order.

        A page longer than a window takes several; a page without words takes none and has no regions. A page
        one of whose windows does not fit the device even alone gets an OutOfMemory in its place, one with
        NaN or infinity among its logits an AnswerInvalid.

        Raises:
            PageInvalid: the model looks at the image and a page has no thumbnail.
        """
        return [
            logits if isinstance(logits, HandlerError) else self._tagged(page, encoding, logits)
            for prepared in self.prepare(pages)
            for page, encoding, logits in zip(
                prepared.pages, prepared.encodings, self._word_logits(prepared), strict=True
            )
        ]

    def word_logits(self, pages: Sequence[Page]) -> list[NDArray[np.float32] | HandlerError]:
        """Return for each page (words, tags) float32: logits of each word's first token, NaN where it has none."""
        return [logits for prepared in self.prepare(pages) for logits in self._word_logits(prepared)]

    def prepare(self, pages: Sequence[Page]) -> Iterator[Prepared]:
        """Yield the pages in order, some batches at a time; the next ones are made while the caller has these.

        The first group is small, so that even a request of TorchServe's overlaps, and a call with any number of pages
        holds the pixels of a few batches.
        """
        edges = [0, *range(self._batch_windows, len(pages), 2 * self._batch_windows), len(pages)]
        groups = [pages[start:end] for start, end in pairwise(edges)]
        if len(groups) < 2:
            yield from map(self._prepare, groups)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="prepare") as ahead:
            coming = ahead.submit(self._prepare, groups[0])
            for group in groups[1:]:
                prepared, coming = coming.result(), ahead.submit(self._prepare, group)
                yield prepared
            yield coming.result()

    def _prepare(self, pages: Sequence[Page]) -> Prepared:
        encodings = [self.encoder.encode(page) for page in pages]
        jobs = [
            WindowJob(index, window, encoding.pixels)
            for index, encoding in enumerate(encodings)
            for window in encoding.windows
        ]
        # Windows of like length share a batch, so that little of it is padding.
        jobs.sort(key=lambda job: len(job.window.input_ids))
        groups = [jobs[start : start + self._batch_windows] for start in range(0, len(jobs), self._batch_windows)]
        return Prepared(pages, encodings, groups)

    def collate(self, jobs: Sequence[WindowJob]) -> Batch:
        """Return what the model gets for some windows."""
        return collate([(job.window, job.pixels) for job in jobs], self.model.pad_id, LENGTH_STEP)

    def _tagged(self, page: Page, encoding: Encoding, logits: NDArray[np.float32]) -> TaggedPage:
        return TaggedPage(decode(page, logits, self.labels, self.prior, self.calibration), len(encoding.windows))

    def _word_logits(self, prepared: Prepared) -> list[NDArray[np.float32] | HandlerError]:
        answers: list[NDArray[np.float32] | HandlerError] = [
            np.full((len(page.words), len(self.labels.tags)), np.nan, dtype=np.float32) for page in prepared.pages
        ]
        for jobs in prepared.batches:
            for job, logits in self._forward(jobs):
                answer = answers[job.page]
                if isinstance(logits, HandlerError):
                    answers[job.page] = logits
                elif not isinstance(answer, HandlerError):
                    answer[job.window.words] = logits[job.window.positions]
                    if not np.isfinite(answer[job.window.words]).all():
                        answers[job.page] = AnswerInvalid(f"the model's logits are not finite in {self.model.dtype}")
        return answers

    def _forward(self, jobs: Sequence[WindowJob]) -> Iterator[tuple[WindowJob, NDArray[np.float32] | HandlerError]]:
        """Run one batch; one that does not fit is halved until it does."""
        batch = self.collate(jobs)
        try:
            logits = self.model.logits(batch)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            message = str(error)
        else:
            yield from zip(jobs, logits, strict=True)
            return
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(jobs) == 1:
            tokens = len(jobs[0].window.input_ids)
            yield (
                jobs[0],
                OutOfMemory(f"one window of {tokens} tokens does not fit {self.model.device}: {message}"),
            )
            return
        logger.warning("%d windows do not fit %s, trying half of them", len(jobs), self.model.device)
        middle = len(jobs) // 2
        for half in (jobs[:middle], jobs[middle:]):
            yield from self._forward(half)

    def _warm_up(self, max_tokens: int) -> None:
        """Run once what costs time only once; a GPU sees its largest batch, so that memory is found early."""
        on_gpu = self.model.device.type == "cuda"
        length, rows = (max_tokens, self._batch_windows) if on_gpu else (16, 1)
        ids = np.full(length, 0 if self.model.pad_id else 1, dtype=np.int64)  # any token but padding
        nothing = np.zeros(0, dtype=np.int64)
        window = Window(ids, np.zeros((length, 4), dtype=np.int64), nothing, nothing)
        pixels = np.zeros((3, 224, 224), dtype=np.float32) if self.model.uses_image else None
        for _ in self._forward([WindowJob(0, window, pixels)] * rows):
            pass


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator has no exception class of its own (c10/core/impl/alloc_cpu.cpp).
    return "not enough memory" in str(error) or "can't allocate memory" in str(error)
