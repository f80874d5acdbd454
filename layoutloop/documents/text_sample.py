"""A sample of a page's text: some of its lines, cut out of the picture and put on one sheet for OCR to read."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image

from handler.page import Box
from layoutloop.documents.pdf_text import LayerWord, Pixels
from layoutloop.studio.text_rows import follows

_TELLING = 4
"""Letters of a word that is wider than high wherever it stands level."""
_LETTERS = 0.6
"""Of a line's height, that of its capitals: what lines are parted by elsewhere, where boxes are around ink."""
_MOST_TURNED = 0.2
_LINES_OF_A_FONT, _LINES_OF_A_SHEET, _LONGEST_LINE = 3, 12, 32


def lines_of(words: Sequence[LayerWord]) -> list[list[LayerWord]]:
    """Return stretches of words that stand beside each other, in the file's order."""
    lines: list[list[LayerWord]] = []
    for word in words:
        if lines and follows(lines[-1][-1].space, word.space, _letters(lines[-1][-1], word)):
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _letters(*words: LayerWord) -> float:
    """Return the height of the letters of two neighbours."""
    return _LETTERS * max(word.space.bottom - word.space.top for word in words)


def runs_level(words: Sequence[LayerWord]) -> bool:
    """Whether all but a few words are wider than high; only those with letters enough to tell count."""
    long = [word.box for word in words if len(plain(word.text)) >= _TELLING]
    turned = sum(box.bottom - box.top > box.right - box.left for box in long)
    return turned <= _MOST_TURNED * len(long)


def sample_of(lines: Sequence[Sequence[LayerWord]]) -> list[Sequence[LayerWord]]:
    """Return some lines of each font, spread over the page; level ones, for OCR reads no others."""
    chosen: list[Sequence[LayerWord]] = []
    by_font: dict[str, list[Sequence[LayerWord]]] = {}
    for line in lines:
        short: list[LayerWord] = []
        for word in line:
            if sum(len(one.text) for one in short) < _LONGEST_LINE and word.font == line[0].font:
                short.append(word)
        box = Box.around(word.box for word in short)
        letters = plain("".join(word.text for word in short))
        if len(letters) > 1 and box.right - box.left >= 0.4 * len(letters) * 0.5 * (box.bottom - box.top):
            by_font.setdefault(line[0].font, []).append(short)
    each = max(_LINES_OF_A_FONT, _LINES_OF_A_SHEET // max(1, len(by_font)))
    for found in by_font.values():
        longest = sorted(found, key=lambda line: -sum(len(word.text) for word in line))[: 4 * each]
        chosen += longest[:: max(1, len(longest) // each)][:each]
    return chosen[: 4 * _LINES_OF_A_SHEET]


def sheet_of(boxes: Sequence[Box], whole: Pixels) -> tuple[Image.Image, list[float]]:
    """Return the boxes' parts of a picture below each other on one sheet, and where each one's part of it begins."""
    margin = 3
    parts = [
        whole[
            max(0, int(box.top) - margin) : int(box.bottom) + margin + 1,
            max(0, int(box.left) - margin) : int(box.right) + margin + 1,
        ]
        for box in boxes
    ]
    gap = max(12, int(np.median([part.shape[0] for part in parts])))
    width = max(part.shape[1] for part in parts) + 4 * gap
    sheet = Image.new("L", (width, sum(part.shape[0] + gap for part in parts) + gap), 255)
    tops, top = [], gap
    for part in parts:
        sheet.paste(Image.fromarray(part), (2 * gap, top))
        tops.append(top - gap / 2)
        top += part.shape[0] + gap
    return sheet, tops


def plain(text: str) -> str:
    """Return what of a text OCR is expected to read: letters and digits, in one case and one form."""
    return "".join(one for one in unicodedata.normalize("NFKC", text).casefold() if one.isalnum())


def count_shared(text: str, read: str) -> int:
    """Return how many characters of a text were read, in order."""
    return sum(block.size for block in difflib.SequenceMatcher(None, text, read, autojunk=False).get_matching_blocks())
