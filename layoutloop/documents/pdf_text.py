"""The text that a PDF's page holds, as words where its picture shows them; whether it shows them is `text_layer`'s."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from numpy.typing import NDArray

from handler.page import Box, Size
from handler.scripts import begins_word

MAX_CHARACTERS = 200_000
"""Of a page. A newspaper's has 50,000."""

_FINE = 64
"""PDFium gives places on a bitmap in whole pixels: those of one so many times as large are fine enough."""
_LIGATURES = {
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
    **{0x02: "-", 0xAD: "-", 0xA0: " ", 0x200B: "", 0xFEFF: ""},
}
"""What PDFium gives -> what is seen: 2 and 0xad are the hyphens of words that go on in the next line."""
_FONT_BYTES = 128
_LEADERS = frozenset(".\u2026\u00b7\u2024_")
_WIDEST_GAP = 1.0
"""Heights of a line: what is further away is no part of the same word, even where there is no space."""

Pixels = NDArray[np.uint8]
"""(height, width) greys of a page's picture."""


@dataclass(frozen=True, slots=True)
class Character:
    """A character of a page's text, by what `LayerWord` says of a word."""

    text: str
    box: Box
    space: Box
    font: str
    is_legible: bool


@dataclass(frozen=True, slots=True)
class LayerWord:
    """A word of a page's text.

    Args:
        text: without spaces.
        box: around its ink, in pixels of the picture.
        space: as high as its line, whichever characters it has: dashes and dots are compared by that.
        font: the name of its first character's font, as the file has it.
        is_legible: whether each of its characters stands for a known one.
        characters: these, in order.
    """

    text: str
    box: Box
    space: Box
    font: str
    is_legible: bool
    characters: tuple[Character, ...]

    @classmethod
    def of(cls, characters: Sequence[Character]) -> LayerWord:
        """Make a word of its characters, at least one."""
        return cls(
            "".join(character.text for character in characters),
            Box.around(character.box for character in characters),
            Box.around(character.space for character in characters),
            characters[0].font,
            all(character.is_legible for character in characters),
            tuple(characters),
        )


def words_of(page: pypdfium2.PdfPage, size: Size) -> list[LayerWord]:
    """Return the words of a page in the file's own order, those off the page among them.

    Args:
        page: flattened, where the values of its form are wanted.
        size: of its picture; CropBox and Rotate are minded, as in the picture.

    Raises:
        ValueError: more characters than are read.
    """
    textpage = page.get_textpage()
    try:
        count = textpage.count_chars()
        if count > MAX_CHARACTERS:
            raise ValueError(f"the page holds {count:,} characters, at most {MAX_CHARACTERS:,} are read")
        to_pixels = _pixels_of(page, size)
        words = list(_grouped(_characters(textpage, count, to_pixels)))
    finally:
        textpage.close()
    return [LayerWord.of(word) for word in words]


def without_text(page: pypdfium2.PdfPage, scale: float) -> Pixels:
    """Return the page's picture without its text; the page then stays without."""
    for found in page.get_objects(max_depth=15):
        if found.type == pdfium.FPDF_PAGEOBJ_TEXT:
            pdfium.FPDFPageObj_SetIsActive(found, False)
    return np.array(page.render(scale=scale).to_pil().convert("L"))


def flattened(document: pypdfium2.PdfDocument, number: int) -> pypdfium2.PdfPage:
    """Return a page on which the values of form fields, and notes, are text like any other; only in memory."""
    page = document[number]
    pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
    page.close()
    return document[number]


def _pixels_of(page: pypdfium2.PdfPage, size: Size) -> NDArray[np.float64]:
    """Return the (3, 2) matrix from [x, y, 1] of the page to pixels of its picture."""

    def pixel(x: float, y: float) -> list[float]:
        across, down = ctypes.c_int(), ctypes.c_int()
        width, height = size.width * _FINE, size.height * _FINE
        pdfium.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, across, down)
        return [across.value / _FINE, down.value / _FINE]

    span = 1000.0
    origin, right, up = (np.array(pixel(*point)) for point in ((0.0, 0.0), (span, 0.0), (0.0, span)))
    return np.array([(right - origin) / span, (up - origin) / span, origin])


def _characters(textpage: Any, count: int, to_pixels: NDArray[np.float64]) -> Iterator[Character | None]:
    """Yield the characters in the file's order; None for what parts words."""
    edges = [ctypes.c_double() for _ in range(4)]
    left, right, bottom, top = edges
    line = pdfium.FS_RECTF()
    name, flags = ctypes.create_string_buffer(_FONT_BYTES), ctypes.c_int()
    for index in range(count):
        code = pdfium.FPDFText_GetUnicode(textpage, index)
        text = _LIGATURES.get(code, chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd")
        if not text:
            continue
        if text.isspace() or (pdfium.FPDFText_IsGenerated(textpage, index) == 1 and text != "-"):
            yield None
            continue
        pdfium.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
        ink = _box(to_pixels, left.value, bottom.value, right.value, top.value)
        pdfium.FPDFText_GetLooseCharBox(textpage, index, line)
        space = Box.around((ink, _box(to_pixels, line.left, line.bottom, line.right, line.top)))
        name.value = b""
        pdfium.FPDFText_GetFontInfo(textpage, index, name, _FONT_BYTES, flags)
        unknown = pdfium.FPDFText_HasUnicodeMapError(textpage, index) == 1 or not text.isprintable()
        private = len(text) == 1 and (text == "\ufffd" or 0xE000 <= ord(text) <= 0xF8FF)
        yield Character(text, ink, space, name.value.decode("utf-8", "replace"), not (unknown or private))


def _box(to_pixels: NDArray[np.float64], left: float, bottom: float, right: float, top: float) -> Box:
    first, last = np.array([[left, bottom, 1.0], [right, top, 1.0]]) @ to_pixels
    return Box.from_corners(*first.tolist(), *last.tolist())


def _grouped(characters: Iterable[Character | None]) -> Iterator[list[Character]]:
    """Yield the characters of each word. Dots that lead to a page number are one word, with spaces or without."""
    word: list[Character] = []
    is_parted = False
    for character in characters:
        if character is None:
            is_parted = True
            continue
        if word and (is_parted or _begins(word[-1], character)) and not _leads_on(word[-1], character):
            yield word
            word = []
        word.append(character)
        is_parted = False
    if word:
        yield word


def _begins(before: Character, character: Character) -> bool:
    """Whether a character begins a word that no space parts from the one before."""
    return begins_word(before.text[-1], character.text[0]) or _is_apart(before.space, character.space)


def _leads_on(before: Character, character: Character) -> bool:
    return before.text == character.text and before.text in _LEADERS and not _is_apart(before.space, character.space)


def _is_apart(before: Box, box: Box) -> bool:
    """Whether a character stands too far from the one before it to be of the same word, along the line or across."""
    size = max(before.bottom - before.top, box.bottom - box.top, before.right - before.left, box.right - box.left, 1.0)
    across = max(box.left - before.right, before.left - box.right)
    down = max(box.top - before.bottom, before.top - box.bottom)
    return max(across, down) > _WIDEST_GAP * size
