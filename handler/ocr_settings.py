"""How a page is read: engine, language, mode. A plain value, so that settings can be checked without an engine."""

from __future__ import annotations

from dataclasses import dataclass

from handler.errors import RequestInvalid

ENGINES = ("rapidocr", "pytesseract", "tesserocr")
TASK_ENGINE = "task"
"""Engine of a page whose words came with its task: nobody read it, and no request may name it."""
DEVICES = ("cpu", "gpu")
PAGE_SEGMENTATION_MODES = (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
"""Tesseract's modes that yield words (0 and 2 do not)."""


def engine_kind(name: str) -> str:
    """Return which of ENGINES an engine's own name says, for example `rapidocr` of `rapidocr-3.10.0-eng-psm3`."""
    return name.partition("-")[0]


def engine_name(program: str, language: str, psm: int) -> str:
    """Return an engine's own name: `rapidocr-3.10.0-eng-psm3` of `rapidocr-3.10.0`, a language and a mode."""
    return f"{program}-{language}-psm{psm}"


def engine_program(name: str) -> str:
    """Undo `engine_name`: return engine and version; a mere kind, as some cards have it, stays as it is."""
    return name.rsplit("-", 2)[0]


@dataclass(frozen=True, slots=True)
class OcrSettings:
    """How a page is read.

    Args:
        engine: `rapidocr` runs PP-OCRv6 in process, `pytesseract` starts the tesseract program, `tesserocr` calls its
            library in process.
        language: Tesseract's name, several joined by `+`, for example `deu+eng`. Tesseract loads that language; to
            `rapidocr` it says which characters may come.
        psm: Tesseract's page segmentation mode. `rapidocr` finds lines itself: it takes the automatic 1 and 3 alone.
        timeout_s: time limit for one page.
        device: what `rapidocr` runs on.
    """

    engine: str = "rapidocr"
    language: str = "eng"
    psm: int = 3
    timeout_s: float = 30.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what has no meaning for any engine; these values may come from a request."""
        if self.engine not in ENGINES:
            raise RequestInvalid(f"engine is one of {', '.join(ENGINES)}, got {self.engine!r}")
        if not self.language or not all(
            part and part.replace("_", "").isalnum() and part.isascii() for part in self.language.split("+")
        ):
            raise RequestInvalid(f"language is like `eng` or `deu+eng`, got {self.language!r}")
        if self.psm not in PAGE_SEGMENTATION_MODES:
            raise RequestInvalid(f"psm is one of {PAGE_SEGMENTATION_MODES}, got {self.psm!r}")
        if self.device not in DEVICES:
            raise RequestInvalid(f"device is one of {', '.join(DEVICES)}, got {self.device!r}")
        if not 0 < self.timeout_s <= 3600:
            raise RequestInvalid(f"timeout_s is above 0 and at most an hour, got {self.timeout_s!r}")
