"""The words that PDFs hold as text: what they are worth against OCR, and how often the decision to take them is right.

`python -m benchmarks.pdf_words DIR --documents 20 --pages 1 --varied 5` looks at the first pages of the PDFs in a
folder. Each is judged as `scripts.import_documents` does, and read by OCR whole; both are compared as bags of bare
words.

Whether to take a page's text is known by how it was made: the text of born-digital pages is visible, and its words
are those of OCR; text laid invisibly over a scan is not visible. Of the pages whose text was taken, variants are made
that must not be taken any more, and two that must.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from benchmarks.timing import Clock, machine
from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.page import Page
from handler.reading.rapidocr.reading_order import reading_order
from handler.reading.reader import Reader
from layoutloop.documents.split import DEFAULT_DPI
from layoutloop.documents.text_layer import Judgement, TextLayers

SCALE = DEFAULT_DPI / 72
SHIFT_PT = 15.0
TIMEOUT_S = 300.0  # a busy machine must not look like one that cannot read
SAME = 0.8
"""Share of OCR's words that are in a page's text from which on it counts as the page's."""
MIXED_UP = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
2 beginbfrange <21> <6F> <0029> <70> <7E> <0021> endbfrange endcmap end end"""
"""A ToUnicode map by which every character is another one."""


@dataclass(slots=True)
class Tally:
    """Sums over pages."""

    pages: int = 0
    taken: int = 0
    right: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, judged: Judgement, *, should: bool) -> None:
        """Count one decision; keep the name of a wrong one."""
        taken = judged.page is not None
        self.pages, self.taken, self.right = self.pages + 1, self.taken + taken, self.right + (taken == should)
        self.reasons[re.sub(r"[0-9][0-9,.]*", "N", judged.reason) or ("taken" if taken else "no text")] += 1
        if taken != should:
            self.wrong.append(f"{name}: {judged.reason or 'taken'}")


@dataclass(slots=True)
class Words:
    """How the text's words and OCR's compare, over the pages whose text was taken; CPU times in seconds."""

    text: int = 0
    ocr: int = 0
    both: int = 0
    in_order: float = 0.0
    pages: int = 0
    judging_s: float = 0.0
    reading_s: float = 0.0


class Bench:
    """Everything that is measured."""

    def __init__(self, varied: int) -> None:
        """Load the OCR engine; make variants of a page of so many documents."""
        self.varied = varied
        self.reader = Reader(OcrSettings(timeout_s=TIMEOUT_S), ImageLimits(), None)
        self.originals = Tally()
        self.variants: dict[str, Tally] = {}
        self.words = Words()

    def document(self, path: Path, pages: int) -> None:
        """Judge a document's first pages, and variants of the first one whose text is taken."""
        layers, last = TextLayers(self.reader.read, reading_order), self.varied
        with pypdfium2.PdfDocument(path) as document:
            document.init_forms()
            for number in range(min(pages, len(document))):
                picture = document[number].render(scale=SCALE).to_pil().convert("RGB")
                clock = Clock()
                judged = layers.judge(document, number, picture, SCALE)
                judging_s, clock = clock.spent().cpu_s, Clock()
                read = self.reader.read(encoded(picture))
                reading_s = clock.spent().cpu_s
                visible = visible_words(path, number)
                should = bool(visible) and shared(read, visible) >= SAME * max(1, len(bag(read)))
                self.originals.add(f"{path.name} page {number + 1}", judged, should=should)
                if judged.page is not None:
                    self.compare(judged.page, read, judging_s, reading_s)
                    if self.varied == last > 0:
                        self.varied -= 1
                        self.vary(path, number, picture)

    def compare(self, text: Page, read: Page, judging_s: float, reading_s: float) -> None:
        """Add a page whose text was taken."""
        ours, theirs = bag(text), bag(read)
        sums = self.words
        sums.pages += 1
        sums.text, sums.ocr = sums.text + len(ours), sums.ocr + len(theirs)
        sums.both += (Counter(ours) & Counter(theirs)).total()
        sums.in_order += difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio()
        sums.judging_s, sums.reading_s = sums.judging_s + judging_s, sums.reading_s + reading_s

    def vary(self, path: Path, number: int, picture: Image.Image) -> None:
        """Judge variants of one page."""
        for name, (should, make) in VARIANTS.items():
            data = make(path, number, picture)
            with pypdfium2.PdfDocument(data) as document:
                shown = document[0].render(scale=SCALE).to_pil().convert("RGB")
                judged = TextLayers(self.reader.read, reading_order).judge(document, 0, shown, SCALE)
            self.variants.setdefault(name, Tally()).add(f"{path.name} page {number + 1}", judged, should=should)


def alone(path: Path, number: int) -> pypdfium2.PdfDocument:
    """Return a new document of one page."""
    new = pypdfium2.PdfDocument.new()
    with pypdfium2.PdfDocument(path) as document:
        new.import_pages(document, [number])
    return new


def texts_of(page: pypdfium2.PdfPage) -> Iterator[pypdfium2.PdfObject]:
    """Yield the text objects of a page, not those inside of its forms."""
    return (one for one in page.get_objects(max_depth=1) if one.type == pdfium.FPDF_PAGEOBJ_TEXT)


def lay_over(
    document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, picture: Image.Image, share: float = 1.0
) -> None:
    """Lay a picture over the lower `share` of a page."""
    width, height = page.get_size()
    part = picture.crop((0, round(picture.height * (1 - share)), picture.width, picture.height))
    image = pypdfium2.PdfImage.new(document)
    image.set_bitmap(pypdfium2.PdfBitmap.from_pil(part))
    image.set_matrix(pypdfium2.PdfMatrix().scale(width, height * share))
    page.insert_obj(image)


def saved(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage) -> bytes:
    """Return a changed document's file."""
    page.gen_content()
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def hidden(path: Path, number: int, picture: Image.Image, shift: float = 0.0) -> bytes:
    """Make a scan of a page with its text laid over it invisibly, as OCR programs do."""
    document = alone(path, number)
    page = document[0]
    for text in texts_of(page):
        pdfium.FPDFTextObj_SetTextRenderMode(text, pdfium.FPDF_TEXTRENDERMODE_INVISIBLE)
        pdfium.FPDFPageObj_Transform(text, 1, 0, 0, 1, shift, -shift)
    lay_over(document, page, picture)
    return saved(document, page)


def shifted(path: Path, number: int, picture: Image.Image) -> bytes:
    """Make the same with the text beside its place."""
    return hidden(path, number, picture, SHIFT_PT)


def other_text(path: Path, number: int, picture: Image.Image) -> bytes:
    """Make a page whose picture is another than its invisible text: turned on its head."""
    return hidden(path, number, picture.rotate(180))


def covered(path: Path, number: int, picture: Image.Image) -> bytes:
    """Lay the picture of another page over all of the text."""
    document = alone(path, number)
    page = document[0]
    lay_over(document, page, picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).rotate(180))
    return saved(document, page)


def half_covered(path: Path, number: int, picture: Image.Image) -> bytes:
    """Lay a scan over the lower half."""
    document = alone(path, number)
    page = document[0]
    lay_over(document, page, picture, 0.5)
    return saved(document, page)


def off_page(path: Path, number: int, picture: Image.Image) -> bytes:
    """Move the text off the page, and show a scan instead."""
    return hidden(path, number, picture, 5000.0)


def mixed_up(path: Path, number: int, picture: Image.Image) -> bytes:  # noqa: ARG001 - as the others
    """Give all fonts a ToUnicode map by which each character is another one."""
    document = alone(path, number)
    data = saved(document, document[0])
    data = re.sub(rb"/ToUnicode \d+ 0 R", b"", data[: data.rindex(b"xref", 0, data.rindex(b"trailer"))])
    data = re.sub(rb"/Type/Font(?=[ >/\r\n])", b"/Type/Font/ToUnicode 99999 0 R ", data)
    stream = b"99999 0 obj <</Length %d>> stream\n%s\nendstream endobj\n" % (len(MIXED_UP), MIXED_UP)
    return data + stream + b"trailer <</Root 1 0 R>>\n%%EOF\n"


def turned(path: Path, number: int, picture: Image.Image) -> bytes:  # noqa: ARG001
    """Say that the page is to be shown turned, and undo it by how its content lies: a viewer shows it upright."""
    document = alone(path, number)
    page = document[0]
    left, bottom, right, top = page.get_mediabox()
    for one in page.get_objects(max_depth=1):
        pdfium.FPDFPageObj_Transform(one, 0, 1, -1, 0, top + left, bottom - left)
    page.set_mediabox(left, bottom, left + top - bottom, bottom + right - left)
    page.set_rotation((page.get_rotation() + 90) % 360)
    return saved(document, page)


def cropped(path: Path, number: int, picture: Image.Image) -> bytes:  # noqa: ARG001
    """Show only the upper two thirds of the page."""
    document = alone(path, number)
    page = document[0]
    left, bottom, right, top = page.get_mediabox()
    page.set_cropbox(left, bottom + (top - bottom) / 3, right, top)
    return saved(document, page)


Make = Callable[[Path, int, Image.Image], bytes]
VARIANTS: dict[str, tuple[bool, Make]] = {
    "right text, invisible over a scan": (False, hidden),
    "the same, shifted by 15 pt": (False, shifted),
    "another picture than the invisible text": (False, other_text),
    "text off the page": (False, off_page),
    "a picture over all text": (False, covered),
    "a picture over half of the text": (False, half_covered),
    "mixed-up ToUnicode": (False, mixed_up),
    "turned by /Rotate": (True, turned),
    "cropped by /CropBox": (True, cropped),
}


def visible_words(path: Path, number: int) -> list[str]:
    """Return the bare words of text objects that are drawn at all, by the file's own word."""
    with pypdfium2.PdfDocument(path) as document:
        page = document[number]
        modes = {
            pdfium.FPDFTextObj_GetTextRenderMode(one)
            for one in page.get_objects(max_depth=15)
            if one.type == pdfium.FPDF_PAGEOBJ_TEXT
        }
        text = page.get_textpage().get_text_bounded()
    return [] if modes <= {pdfium.FPDF_TEXTRENDERMODE_INVISIBLE} else bare(text.split())


def bare(words: Sequence[str]) -> list[str]:
    """Return words without case and punctuation, those that have anything else."""
    return [found for word in words if (found := "".join(one for one in word.casefold() if one.isalnum()))]


def bag(page: Page) -> list[str]:
    """Return a page's bare words, in order."""
    return bare([word.text for word in page.words])


def shared(read: Page, words: Sequence[str]) -> int:
    """Return how many words OCR read that are among others."""
    return (Counter(bag(read)) & Counter(words)).total()


def encoded(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="with PDFs")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--pages", type=int, default=2, help="of each document")
    parser.add_argument("--varied", type=int, default=40, help="documents of which variants of one page are made")
    options = parser.parse_args()
    print(machine())
    bench = Bench(options.varied)
    with contextlib.suppress(KeyboardInterrupt):  # what was measured by then is printed
        for path in sorted(options.folder.glob("*.pdf"))[: options.documents]:
            bench.document(path, options.pages)
            print(f"{path.name}: {bench.originals.taken} of {bench.originals.pages} pages", file=sys.stderr, flush=True)
    words, pages = bench.words, max(1, bench.words.pages)
    print(f"\n{pages} pages with their own words: {words.text:,}, OCR reads {words.ocr:,}, {words.both:,} alike")
    print(f"OCR reads {words.both / max(1, words.text):.1%} of the text's words")
    print(f"the text has {words.both / max(1, words.ocr):.1%} of OCR's; both in order: {words.in_order / pages:.2f}")
    print(f"judging {words.judging_s / pages:.2f} CPU s a page, OCR {words.reading_s / pages:.2f}")
    print("\n| pages | looked at | taken | decided rightly |\n|---|---|---|---|")
    for name, tally in {"as they are": bench.originals, **bench.variants}.items():
        print(f"| {name} | {tally.pages} | {tally.taken} | {tally.right} |")
    for name, tally in {"as they are": bench.originals, **bench.variants}.items():
        reasons = "; ".join(f"{count} x {reason}" for reason, count in tally.reasons.most_common())
        print(f"\n{name}: {reasons}")
        print("\n".join(f"  wrong: {one}" for one in tally.wrong))


if __name__ == "__main__":
    main()
