"""Languages by Tesseract's names and its modes: which are read, and which of the recogniser's characters they need."""

from __future__ import annotations

from collections.abc import Sequence

from handler.errors import OcrLanguageMissing, RequestInvalid
from handler.scripts import is_wide

_LATIN_NAMES = """
afr aze bos cat ces cym dan deu eng epo est eus fin fra gle glg hrv hun ind isl ita lat lav lit ltz mlt mri msa nld nor
oci pol por que ron slk slv spa sqi srp_latn swa swe tgl tur uzb
"""
LATIN = frozenset(_LATIN_NAMES.split())
"""Written with Latin letters that the recogniser has learnt. Of Vietnamese it lacks most."""

EAST_ASIAN = frozenset(("chi_sim", "chi_tra", "jpn"))
"""Any of these is read with all characters."""

MODES = (1, 3)
"""Tesseract's automatic modes. This engine finds lines and their direction itself, always in the same way."""

BLANK = 0
"""The recogniser's first output column: no character here. The last one is the space."""


def check_rapidocr(language: str, psm: int) -> None:
    """Refuse languages (several are joined by `+`) that this engine cannot read, and modes that only Tesseract has.

    Raises:
        OcrLanguageMissing: with what can.
        RequestInvalid: of a mode, with what to set instead.
    """
    unknown = [part for part in language.split("+") if part not in LATIN | EAST_ASIAN]
    if unknown:
        raise OcrLanguageMissing(
            f"engine rapidocr does not read {', '.join(unknown)}; set engine pytesseract, "
            f"which reads what `apt-get install tesseract-ocr-{unknown[0].replace('_', '-')}` brings. "
            f"rapidocr reads {', '.join(sorted(LATIN | EAST_ASIAN))}"
        )
    if psm not in MODES:
        raise RequestInvalid(
            f"psm {psm} is a mode of Tesseract; engine rapidocr finds the lines of a page itself: "
            "set psm 3, or engine pytesseract"
        )


def needs_wide(language: str) -> bool:
    """Return whether one of the languages is written with Han or kana."""
    return not EAST_ASIAN.isdisjoint(language.split("+"))


def needed_columns(wide: bool, characters: Sequence[str]) -> list[int]:
    """Return which output columns languages need, ascending: the blank, their characters and the space.

    Latin letters need neither Han nor kana, which are 16,500 of 18,700 columns and a fifth of the recogniser's work.

    Args:
        wide: whether Han and kana may come, see `needs_wide`.
        characters: the recogniser's, in the order of its columns 1, 2, ...; the space is the column after them.
    """
    columns = range(len(characters) + 2)
    if wide:
        return list(columns)
    kept = [number for number, character in enumerate(characters, start=1) if not is_wide(character)]
    return [BLANK, *kept, columns[-1]]
