"""Engine `rapidocr`: PP-OCRv6 finds the text lines of pages and reads them, lines of several pages in one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import cast

import numpy as np
from PIL import Image

from handler.errors import HandlerError, OcrFailed, OcrTimeout, RequestInvalid
from handler.ocr_settings import OcrSettings
from handler.page import Word
from handler.reading.rapidocr import model_files
from handler.reading.rapidocr.alignment import Span, words_of
from handler.reading.rapidocr.blank_cuts import blank_cuts
from handler.reading.rapidocr.languages import check_language, needed_columns, needs_wide
from handler.reading.rapidocr.lines import LONGEST, STEP, Line, batches_of, stack
from handler.reading.rapidocr.networks import Device, Network, open_network
from handler.reading.rapidocr.orientation import set_upright
from handler.reading.rapidocr.page_lines import lines_of
from handler.reading.rapidocr.page_words import page_words

MODES = (1, 3)
"""Tesseract's automatic modes. This engine finds lines and their direction itself, always in the same way."""

_BATCH_PIXELS: dict[Device, int] = {"cpu": 1, "gpu": 64 * 640}
"""Width of all lines of a batch. A CPU gains nothing by batches, and each shape costs memory: one line a batch."""

_THREADS = 1  # there are as many workers as cores
_LEAST_CONFIDENCE = 0.5  # of a piece of a line; what is below is mostly no text


@dataclass(slots=True)
class _Sheet:
    """What is known of one page of a call: its lines, and the words of each."""

    spent_s: float = 0.0
    error: HandlerError | None = None
    lines: list[Line] = field(default_factory=list)
    spans: list[list[Span]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What the recogniser looks at in one go: a line, or part of a very long one; start and end in its pixels."""

    sheet: _Sheet
    row: int
    start: int
    end: int


@cache
def _network(name: str, device: Device) -> Network:
    """Return a network that takes images in few shapes; all engines of a process share it, whatever their language."""
    return open_network(model_files.read_model(name), device, _THREADS, fixed=True)


@cache
def _recogniser(device: Device, is_wide: bool) -> Network:
    """Return the recogniser with the output columns that the languages need, likewise shared."""
    model = model_files.read_model(model_files.RECOGNISER)
    return open_network(model, device, _THREADS, partial(needed_columns, is_wide))


class RapidOcrEngine:
    """Reads pages in process; not for several threads, of whichever settings."""

    def __init__(self, settings: OcrSettings) -> None:
        """Check the settings and load the networks, which takes about a second and is done once in a process.

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
        self.name = f"rapidocr-{model_files.VERSION}-{settings.language}-psm{settings.psm}"
        self._timeout_s = settings.timeout_s
        device = cast(Device, settings.device)
        self._batch_pixels = _BATCH_PIXELS[device]
        self._detector = _network(model_files.DETECTOR, device)
        self._classifier = _network(model_files.CLASSIFIER, device)
        is_wide = needs_wide(settings.language)
        self._recogniser = _recogniser(device, is_wide)
        named = ["", *self._recogniser.characters, " "]
        self._characters = [named[column] for column in needed_columns(is_wide, self._recogniser.characters)]

    def read(self, image: Image.Image) -> tuple[Word, ...]:
        """Return the words of an RGB page in reading order."""
        (answer,) = self.read_many([image])
        if isinstance(answer, HandlerError):
            raise answer
        return answer

    def read_many(self, images: Sequence[Image.Image]) -> list[tuple[Word, ...] | HandlerError]:
        """Return the words of each RGB page, or what went wrong with it.

        Lines of all pages are recognised together. A page's time limit counts what its own lines take, so that a slow
        page costs no other one its words.
        """
        sheets = [_Sheet() for _ in images]
        for image, sheet in zip(images, sheets, strict=True):
            self._timed([sheet], partial(self._find_lines, image, sheet))
        pieces = [piece for sheet in sheets for piece in _pieces(sheet)]
        for batch, width in batches_of([piece.end - piece.start for piece in pieces], self._batch_pixels):
            self._read_batch([pieces[number] for number in batch if pieces[number].sheet.error is None], width)
        return [sheet.error or page_words(sheet.lines, sheet.spans) for sheet in sheets]

    def _find_lines(self, image: Image.Image, sheet: _Sheet) -> None:
        sheet.lines = set_upright(lines_of(image, self._detector), self._classifier)
        sheet.spans = [[] for _ in sheet.lines]

    def _read_batch(self, pieces: Sequence[_Piece], width: int) -> None:
        """Recognise some pieces; where the batch fails as a whole, those of each page alone."""
        if not pieces:
            return
        if self._timed([piece.sheet for piece in pieces], partial(self._recognise, pieces, width)):
            return
        for sheet in {id(piece.sheet): piece.sheet for piece in pieces}.values():
            own = [piece for piece in pieces if piece.sheet is sheet]
            if len(own) < len(pieces):
                sheet.error = None
                self._read_batch(own, width)

    def _recognise(self, pieces: Sequence[_Piece], width: int) -> None:
        pixels = [piece.sheet.lines[piece.row].pixels[:, piece.start : piece.end] for piece in pieces]
        scores = self._recogniser(stack(pixels, width))
        for piece, of_piece in zip(pieces, scores, strict=True):
            spans = words_of(of_piece, self._characters, (piece.end - piece.start) / STEP)
            if spans and float(np.mean([span.confidence for span in spans])) >= _LEAST_CONFIDENCE:
                piece.sheet.spans[piece.row] += [span.moved(piece.start / STEP) for span in spans]

    def _timed(self, sheets: Sequence[_Sheet], work: Callable[[], None]) -> bool:
        """Do a step and return whether it succeeded; its time counts for the pages in equal shares, its error for all.

        Args:
            sheets: whose step it is, a page as often as it has a part in it.
            work: the step.
        """
        started = time.perf_counter()
        error: HandlerError | None = None
        try:
            work()
        except (RuntimeError, MemoryError) as cause:
            error = OcrFailed(f"engine rapidocr gave up on this page: {cause}")
        spent = time.perf_counter() - started
        for sheet in sheets:
            sheet.error = sheet.error or error
            sheet.spent_s += spent / len(sheets)
            if sheet.spent_s > self._timeout_s:
                sheet.error = OcrTimeout(
                    f"reading the page took longer than {self._timeout_s:g} s (`timeout_s` of the ocr archive)"
                )
        return error is None


def _pieces(sheet: _Sheet) -> list[_Piece]:
    return [
        _Piece(sheet, row, start, end)
        for row, line in enumerate(sheet.lines)
        for start, end in blank_cuts(line.pixels, 1, LONGEST)
    ]
