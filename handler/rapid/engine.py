"""Engine `rapidocr`: PP-OCRv6 finds the text lines of pages and reads them, several pages in one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.errors import HandlerError, OcrFailed, OcrTimeout, RequestInvalid
from handler.ocr import OcrSettings
from handler.page import Box, Word
from handler.rapid import model_files
from handler.rapid.alignment import Span, words_of
from handler.rapid.languages import check_language, needed_columns
from handler.rapid.lines import HEIGHT, STEP, Line, batches_of, stack
from handler.rapid.networks import Device, open_network
from handler.rapid.orientation import set_upright
from handler.rapid.page_lines import lines_of
from handler.rapid.reading_order import reading_order

MODES = (1, 3)
"""Tesseract's automatic modes. This engine finds lines and their direction itself, always in the same way."""

_MOST_PIXELS = 1
_MARGIN = 0.1  # of a line's height, above and below the ink
_LEAST_CONFIDENCE = 0.5  # of a whole line; what is below is mostly no text


@dataclass(slots=True)
class _Sheet:
    """What is known of one page of a call."""

    spent_s: float = 0.0
    error: HandlerError | None = None
    lines: list[Line] = field(default_factory=list)
    spans: list[list[Span]] = field(default_factory=list)


class RapidOcrEngine:
    """Reads pages in process; not for several threads."""

    def __init__(self, settings: OcrSettings, device: Device = "cpu", threads: int = 1) -> None:
        """Check the settings and load the networks, about a second.

        Raises:
            OcrLanguageMissing: a language that this engine does not read.
            RequestInvalid: a mode that only Tesseract has.
            OcrFailed: something is not installed, or a network's file is damaged.
        """
        check_language(settings.language)
        if settings.psm not in MODES:
            raise RequestInvalid(
                f"psm {settings.psm} is a mode of Tesseract; engine rapidocr finds the lines of a page itself: "
                "set psm 3, or engine pytesseract"
            )
        self._settings = settings
        self.name = f"rapidocr-{model_files.VERSION}-{settings.language}-psm{settings.psm}"
        choose = partial(needed_columns, settings.language)
        self._detector = open_network(model_files.read_model(model_files.DETECTOR), device, threads, fixed=True)
        self._classifier = open_network(model_files.read_model(model_files.CLASSIFIER), device, threads, fixed=True)
        self._recogniser = open_network(model_files.read_model(model_files.RECOGNISER), device, threads, choose)
        named = ["", *self._recogniser.characters, " "]
        self._characters = [named[column] for column in choose(self._recogniser.characters)]

    def read(self, image: Image.Image) -> tuple[Word, ...]:
        """Return the words of an RGB page in reading order."""
        (answer,) = self.read_many([image])
        if isinstance(answer, HandlerError):
            raise answer
        return answer

    def read_many(self, images: Sequence[Image.Image]) -> list[tuple[Word, ...] | HandlerError]:
        """Return the words of each RGB page, or what went wrong with it; lines of all are recognised together.

        A page's time limit counts what its own lines take, so that a slow page costs no other one its words.
        """
        sheets = [_Sheet() for _ in images]
        for number, (image, sheet) in enumerate(zip(images, sheets, strict=True)):
            self._timed([sheet], [1.0], partial(self._find_lines, image, number, sheet))
        self._recognise(sheets)
        return [sheet.error or _words(sheet) for sheet in sheets]

    def _find_lines(self, image: Image.Image, number: int, sheet: _Sheet) -> None:
        sheet.lines = set_upright(lines_of(image, number, self._detector), self._classifier)
        sheet.spans = [[] for _ in sheet.lines]

    def _recognise(self, sheets: Sequence[_Sheet]) -> None:
        places = [(sheet, row) for sheet in sheets for row in range(len(sheet.lines))]
        lines = [sheet.lines[row] for sheet, row in places]
        for batch, width in batches_of(lines, _MOST_PIXELS):
            chosen = [places[number] for number in batch if places[number][0].error is None]
            owners = [sheet for sheet, _ in chosen]
            if chosen:
                self._timed(owners, [1 / len(chosen)] * len(chosen), partial(self._read_batch, chosen, width))

    def _read_batch(self, places: Sequence[tuple[_Sheet, int]], width: int) -> None:
        lines = [sheet.lines[row] for sheet, row in places]
        scores = self._recogniser(stack(lines, width))
        for (sheet, row), line, of_line in zip(places, lines, scores, strict=True):
            spans = words_of(of_line, self._characters, line.width / STEP)
            if spans and float(np.mean([span.confidence for span in spans])) >= _LEAST_CONFIDENCE:
                sheet.spans[row] = spans

    def _timed(self, sheets: Sequence[_Sheet], shares: Sequence[float], work: Callable[[], None]) -> None:
        """Do a step for some pages: their shares of its time count against their limits, and its error is theirs."""
        started = time.perf_counter()
        try:
            work()
        except RuntimeError as error:
            for sheet in sheets:
                sheet.error = OcrFailed(f"engine rapidocr gave up on this page: {error}")
        spent = time.perf_counter() - started
        for sheet, share in zip(sheets, shares, strict=True):
            sheet.spent_s += spent * share
            if sheet.spent_s > self._settings.timeout_s:
                sheet.error = sheet.error or OcrTimeout(
                    f"reading the page took longer than {self._settings.timeout_s:g} s (`timeout_s` of the ocr archive)"
                )


def _words(sheet: _Sheet) -> tuple[Word, ...]:
    """Return a page's words in reading order, their lines numbered."""
    rows = [row for row, spans in enumerate(sheet.spans) if spans]
    order = reading_order(np.array([sheet.lines[row].corners for row in rows], dtype=np.float32).reshape(-1, 4, 2))
    return tuple(
        Word(span.text, _box(sheet.lines[rows[place]], span), span.confidence, number)
        for number, place in enumerate(order)
        for span in sheet.spans[rows[place]]
    )


def _box(line: Line, span: Span) -> Box:
    """Return the upright box around a word of a line, in pixels of the page."""
    top_left, top_right, bottom_right, bottom_left = line.corners
    share = np.array([[span.start], [span.end]], dtype=np.float32) * STEP / line.width
    top, bottom = top_left + share * (top_right - top_left), bottom_left + share * (bottom_right - bottom_left)
    margin = _MARGIN * (bottom - top)
    corners: NDArray[np.float32] = np.concatenate([top + margin, bottom - margin])
    return Box(*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
