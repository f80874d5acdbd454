"""Engine `rapidocr`: PP-OCRv6 finds the text lines of a page and reads them, on a GPU several in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

import cv2
import numpy as np
from PIL import Image

from handler.errors import OcrFailed, OcrTimeout
from handler.machine import machine_failed
from handler.ocr_settings import OcrSettings, engine_name
from handler.page import Page, Size
from handler.reading.rapidocr import model_files
from handler.reading.rapidocr.alignment import Span, words_of
from handler.reading.rapidocr.blank_cuts import blank_cuts
from handler.reading.rapidocr.languages import check_rapidocr, needed_columns, needs_wide
from handler.reading.rapidocr.lines import LONGEST, STEP, Line, batches_of, stack
from handler.reading.rapidocr.networks import Device, Network, open_network
from handler.reading.rapidocr.orientation import read_upright
from handler.reading.rapidocr.page_lines import lines_of
from handler.reading.rapidocr.page_words import page_words
from handler.reading.tesseract import timeout_message
from handler.turn import words_of_picture

_BATCH_PIXELS: dict[Device, int] = {"cpu": 1, "gpu": 64 * 640}
"""Width of all lines of a batch. A CPU gains nothing by batches, and each shape costs memory: one line a batch."""

_THREADS = 1  # there are as many workers as cores
_LEAST_CONFIDENCE = 0.5  # of a piece of a line; what is below is mostly no text
_SHORT_OF_MEMORY = ("memory", "alloc")
"""What OpenCV and the networks' runtimes say of it, each in its words."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What the recogniser looks at in one go: a line, or part of a very long one; start and end in its pixels."""

    row: int
    line: Line
    start: int
    end: int


@cache
def _detector(device: Device) -> Network:
    """Return what finds lines; all engines of a process share it, whatever their language."""
    return open_network(model_files.read_model(model_files.DETECTOR), device, _THREADS, fixed=True)


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
        check_rapidocr(settings.language, settings.psm)
        self.name = engine_name(f"{settings.engine}-{model_files.VERSION}", settings.language, settings.psm)
        self._settings = settings
        device = cast(Device, settings.device)
        self._batch_pixels = _BATCH_PIXELS[device]
        self._detector = _detector(device)
        is_wide = needs_wide(settings.language)
        self._recogniser = _recogniser(device, is_wide)
        named = ["", *self._recogniser.characters, " "]
        self._characters = [named[column] for column in needed_columns(is_wide, self._recogniser.characters)]

    def read(self, image: Image.Image) -> Page:
        """Return an RGB page with its words in reading order.

        Raises:
            OcrTimeout: the page took longer than its time limit.
            OcrFailed: a network, or OpenCV, gave up on it.
            MachineFailed: there is not enough memory for it.
        """
        ends = time.perf_counter() + self._settings.timeout_s
        try:
            read = read_upright(image, partial(lines_of, detector=self._detector), partial(self._read_lines, ends=ends))
        except (RuntimeError, MemoryError, cv2.error) as error:
            cause = str(error).strip()  # Pillow's MemoryError says nothing
            if isinstance(error, MemoryError) or any(word in cause.lower() for word in _SHORT_OF_MEMORY):
                raise machine_failed(MemoryError(cause)) from error
            raise OcrFailed(f"engine rapidocr gave up on this page: {cause}") from error
        size = Size(*image.size)
        words = words_of_picture(page_words(read.lines, read.spans), read.size, read.turn, size)
        return Page(size, self.name, words, turn=read.turn)

    def _read_lines(self, lines: Sequence[Line], ends: float) -> list[list[Span]]:
        """Return the words of each line, as long as there is time."""
        spans: list[list[Span]] = [[] for _ in lines]
        pieces = _pieces(lines)
        seen: set[int] = set()
        for batch, width in batches_of([piece.end - piece.start for piece in pieces], self._batch_pixels):
            if time.perf_counter() > ends:
                raise OcrTimeout(
                    f"{timeout_message(self._settings)}: of its {len(lines):,} lines of text {len(seen):,} were read; "
                    "split or crop the page, or set LAYOUTLOOP_OCR_TIMEOUT_S"
                )
            self._recognise([pieces[number] for number in batch], width, spans)
            seen.update(pieces[number].row for number in batch)
        return spans

    def _recognise(self, pieces: Sequence[_Piece], width: int, spans: Sequence[list[Span]]) -> None:
        """Read a batch and add what was found to each line's words."""
        scores = self._recogniser(stack([piece.line.pixels[:, piece.start : piece.end] for piece in pieces], width))
        for piece, of_piece in zip(pieces, scores, strict=True):
            found = words_of(of_piece, self._characters, (piece.end - piece.start) / STEP)
            if found and float(np.mean([span.confidence for span in found])) >= _LEAST_CONFIDENCE:
                spans[piece.row].extend(span.moved(piece.start / STEP) for span in found)


def _pieces(lines: Sequence[Line]) -> list[_Piece]:
    return [
        _Piece(row, line, start, end)
        for row, line in enumerate(lines)
        for start, end in blank_cuts(line.pixels, 1, LONGEST)
    ]
