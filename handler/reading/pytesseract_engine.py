"""Engine `pytesseract`: the tesseract program, one process a page."""

from __future__ import annotations

import io
import os
import subprocess
from functools import cache

import pytesseract
from PIL import Image

from handler.errors import OcrFailed, OcrTimeout
from handler.ocr_settings import OcrSettings, engine_name
from handler.page import Page, Word
from handler.reading.tesseract import credible_dpi, grey, parse_tsv, require_languages, timeout_message
from handler.reading.tesseract_page import read_page

_NOT_INSTALLED = "the tesseract program is not on PATH; `apt-get install tesseract-ocr`"


class PytesseractEngine:
    """The tesseract program, one process a page."""

    def __init__(self, settings: OcrSettings) -> None:
        """Check the language and keep Tesseract to one thread."""
        self._settings = settings
        # One thread takes a third of the CPU of Tesseract's default (benchmarks/README.md). Only child processes see
        # it: a torch that is imported already has read the variable, and must not be slowed down by it.
        os.environ.setdefault("OMP_THREAD_LIMIT", "1")
        require_languages(settings.language, _program_languages())
        program = f"{settings.engine}-{pytesseract.get_tesseract_version()}"
        self.name = engine_name(program, settings.language, settings.psm)

    def read(self, image: Image.Image) -> Page:
        """Return an RGB page with its words in reading order."""
        return read_page(image, self.name, self._settings, self._read)

    def _read(self, image: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        dpi = credible_dpi(image)
        settings = self._settings
        command = ["tesseract", "stdin", "stdout", "-l", settings.language, "--psm", str(settings.psm)]
        resolution = ["--dpi", str(dpi)] if dpi else []
        try:
            # By pipes, not through pytesseract's temporary files: a disk that is full stops no page.
            done = subprocess.run(
                [*command, *resolution, "tsv"],
                input=_tiff(grey(image)),
                capture_output=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise OcrTimeout(timeout_message(settings)) from error
        except FileNotFoundError as error:
            raise OcrFailed(_NOT_INSTALLED) from error
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise OcrFailed(f"tesseract gave up on this page: {said or f'status {done.returncode}'}")
        return parse_tsv(done.stdout.decode(errors="replace"))


def _tiff(page: Image.Image) -> bytes:
    """Return a page as Tesseract takes it fastest: PNG is packed only to be unpacked, PGM read byte by byte."""
    page.info.clear()  # the scan's own compression is among it, and Pillow would use that again
    stream = io.BytesIO()
    page.save(stream, format="TIFF")
    return stream.getvalue()


@cache
def _program_languages() -> frozenset[str]:
    try:
        return frozenset(pytesseract.get_languages())
    except pytesseract.TesseractNotFoundError as error:
        raise OcrFailed(_NOT_INSTALLED) from error
