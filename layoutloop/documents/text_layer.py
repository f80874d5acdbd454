"""Whether the text that a PDF's page holds is what the eye sees there; only then its words are taken.

A page's text may be invisible (a scan that some OCR engine read), covered, off the page, shown in glyphs that mean
other characters, or only a part of what the page shows. So, in this order:

1. A character counts where the picture changes when the page's text is left out of it: what nobody sees is left out.
2. What is left of the picture without the text must hold no text of its own: where there is more than lines and fills,
   it is read by OCR.
3. The words must read as they look: of each font some lines are cut out of the picture, pasted onto one sheet and read
   by OCR. A font that read well is taken on the document's next pages, but for a check now and then.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pypdfium2
from numpy.typing import NDArray
from PIL import Image

from handler.ocr_settings import TASK_ENGINE
from handler.page import Box, Page, Size, Word
from handler.wire import MAX_WORDS
from layoutloop.documents.page_ink import seen_part, writing_in
from layoutloop.documents.pdf_text import LayerWord, Pixels, flattened, without_text, words_of
from layoutloop.documents.text_sample import count_shared, lines_of, plain, runs_level, sample_of, sheet_of

_MOST_ILLEGIBLE = 0.02
"""Share of words with a character that stands for none."""
_MOST_BESIDES = 0.05
"""Words that OCR reads where the page has no text, as a share of those that it has as text: a logo, a stamp."""
_FEW = 3
_LEAST_CONFIDENCE = 0.7
_LIKENESS = 0.8
"""Of the characters of a sheet: OCR reads print of a known font better than that, and mixed-up characters far worse."""
_FONT_LIKENESS = 0.5
_PROVEN_CHARACTERS = 40
_CHECKED_AGAIN = 10
"""Pages after which all fonts are looked at once more."""

Read = Callable[[bytes], Page]
"""Reads an encoded image by OCR."""
Order = Callable[[NDArray[np.float32]], list[int]]
"""Returns the numbers of lines, (N, 4, 2) corners from top left clockwise, as a person reads them."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of one page's text.

    Args:
        page: its words, with engine TASK_ENGINE; None where the page is to be read by OCR.
        reason: why, as a part of a sentence; "" where its words are taken, or where it has no text at all.
    """

    page: Page | None
    reason: str = ""


@dataclass(slots=True)
class TextLayers:
    """Judges the pages of one PDF after the other; keeps which of its fonts and pictures were looked at.

    Args:
        read: reads the samples.
        order: of lines.
    """

    read: Read
    order: Order
    _proven: Counter[str] = field(default_factory=Counter, init=False)
    _since: int = field(default=0, init=False)
    _pictures: dict[bytes, int] = field(default_factory=dict, init=False)

    def judge(self, document: pypdfium2.PdfDocument, number: int, picture: Image.Image, scale: float) -> Judgement:
        """Return whether the text of a page is what its picture shows.

        Args:
            document: the file.
            number: of the page, from 0. It is changed in memory.
            picture: of the page, as it will be shown.
            scale: pixels of the picture to a point.

        Raises:
            LayoutLoopError: a sample cannot be read.
        """
        page = flattened(document, number)
        try:
            words = words_of(page, Size(*picture.size))
            if not words:
                return Judgement(None)
            bare, whole = without_text(page, scale), np.array(picture.convert("L"))
        finally:
            page.close()
        if bare.shape != whole.shape:
            return Judgement(None, "its picture is of another size without its text")
        seen = [part for word in words if (part := seen_part(word, whole, bare)) is not None]
        reason = self._doubt(seen, whole, bare)
        if reason:
            return Judgement(None, reason)
        return Judgement(Page(Size(*picture.size), TASK_ENGINE, self._in_lines(seen)))

    def _doubt(self, seen: Sequence[LayerWord], whole: Pixels, bare: Pixels) -> str:
        """Return why the words that are seen are not the page's; "" where they are."""
        if not seen:
            return "none of its text is visible"
        if not runs_level(seen):
            return "its text is turned"
        if len(seen) > MAX_WORDS:
            return f"it has {len(seen):,} words, at most {MAX_WORDS:,} are read"
        illegible = sum(not word.is_legible for word in seen)
        if illegible > _MOST_ILLEGIBLE * len(seen):
            return f"{illegible:,} of its {len(seen):,} words have characters that stand for no known ones"
        besides = self._written_besides(bare)
        if besides > max(_FEW, _MOST_BESIDES * len(seen)):
            return f"{besides:,} words are in pictures on it, beside {len(seen):,} that are text"
        return self._misreading(seen, whole)

    def _written_besides(self, bare: Pixels) -> int:
        """Return how many words OCR reads in the picture without its text."""
        part = writing_in(bare)
        if part is None:
            return 0
        key = hashlib.sha256(part.tobytes()).digest()
        if key not in self._pictures:
            words = self.read(_png(Image.fromarray(part))).words
            read = sum(word.confidence >= _LEAST_CONFIDENCE and len(plain(word.text)) > 1 for word in words)
            self._pictures[key] = read
        return self._pictures[key]

    def _misreading(self, seen: Sequence[LayerWord], whole: Pixels) -> str:
        """Return how the text differs from what is seen, by a sample; "" where it does not."""
        if self._since >= _CHECKED_AGAIN:
            self._proven.clear()
        self._since = self._since + 1 if self._proven else 0
        by_font = Counter[str]()
        for word in seen:
            by_font[word.font] += len(plain(word.text))
        unproven = {font for font, count in by_font.items() if count and self._proven[font] < _PROVEN_CHARACTERS}
        if sum(by_font[font] for font in unproven) <= _MOST_ILLEGIBLE * by_font.total():
            return ""
        sample = sample_of([line for line in lines_of(seen) if line[0].font in unproven])
        if not sample:
            return "its text runs in directions that cannot be checked"
        return self._compare(sample, whole)

    def _compare(self, sample: Sequence[Sequence[LayerWord]], whole: Pixels) -> str:
        sheet, tops = sheet_of([Box.around(word.box for word in line) for line in sample], whole)
        found = [""] * len(sample)
        for word in self.read(_png(sheet)).words:
            middle = (word.box.top + word.box.bottom) / 2
            found[max(0, int(np.searchsorted(tops, middle, side="right")) - 1)] += word.text
        alike, characters = Counter[str](), Counter[str]()
        for line, read in zip(sample, found, strict=True):
            text = plain("".join(word.text for word in line))
            alike[line[0].font] += count_shared(text, plain(read))
            characters[line[0].font] += len(text)
        likeness = alike.total() / max(1, characters.total())
        wrong = [
            font
            for font, count in characters.items()
            if count >= _PROVEN_CHARACTERS / 4 and alike[font] < _FONT_LIKENESS * count
        ]
        if likeness < _LIKENESS or wrong:
            return f"its text is not what is seen: {likeness:.0%} of the characters of {len(sample)} lines are alike"
        self._proven += characters
        return ""

    def _in_lines(self, seen: Sequence[LayerWord]) -> tuple[Word, ...]:
        """Return words in reading order, with the numbers of their lines."""
        lines = lines_of(seen)
        boxes = [Box.around(word.space for word in line) for line in lines]
        corners = [
            ((box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom))
            for box in boxes
        ]
        order = self.order(np.array(corners, dtype=np.float32).reshape(-1, 4, 2))
        return tuple(
            Word(word.text, _whole(word.box), 1.0, number) for number, line in enumerate(order) for word in lines[line]
        )


def _whole(box: Box) -> Box:
    """Return a box in whole pixels, on the page's side of zero, as OCR engines give them."""
    left, top = max(0, int(box.left)), max(0, int(box.top))
    return Box(left, top, max(left, round(box.right + 0.5)), max(top, round(box.bottom + 0.5)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
