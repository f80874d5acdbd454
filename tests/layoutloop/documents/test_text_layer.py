"""Which PDFs' text is taken: what the eye sees, and nothing else. OCR is the real one."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from handler.errors import MachineFailed, OcrFailed
from handler.images import ImageLimits
from handler.ocr_settings import TASK_ENGINE, OcrSettings
from handler.page import Page
from handler.reading.rapidocr.reading_order import reading_order
from handler.reading.reader import Reader
from layoutloop.documents.split import page_files
from layoutloop.documents.text_layer import Judgement, TextLayers
from layoutloop.errors import ModelNotReady, TorchServeUnavailable
from tests.handler.image_files import CASES
from tests.layoutloop.documents.pdf_files import HEIGHT, INVOICE, WIDTH, lines, mixed_up_pdf, text_pdf

DPI = 144
ALL = [word for line in INVOICE for word in line.split()]


class CountedReader:
    """The OCR engine, and how often it read."""

    def __init__(self) -> None:
        self.reader = Reader(OcrSettings(), ImageLimits(), None)
        self.reads = 0

    def __call__(self, data: bytes) -> Page:
        self.reads += 1
        return self.reader.read(data)


@pytest.fixture(scope="module")
def read() -> CountedReader:
    return CountedReader()


def judge(path: Path, read: Callable[[bytes], Page]) -> tuple[Judgement, Image.Image]:
    """Judge the first page of a file as `page_files` does."""
    with pypdfium2.PdfDocument(path) as document:
        document.init_forms()
        picture = document[0].render(scale=DPI / 72).to_pil().convert("RGB")
        return TextLayers(read, reading_order).judge(document, 0, picture, DPI / 72), picture


def scan(texts: tuple[str, ...] = INVOICE) -> bytes:
    """A picture of a page, as a scanner makes it."""
    image = Image.new("RGB", (WIDTH * 2, HEIGHT * 2), "white")
    draw = ImageDraw.Draw(image)
    for row, text in enumerate(texts):
        draw.text((80, 70 + 80 * row), text, fill="black", font=ImageFont.load_default(32))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


UNSEEN = "none of its text is visible"
WHOLE_PAGE = f"q {WIDTH} 0 0 {HEIGHT} 0 0 cm /P Do Q\n"


def test_the_words_of_a_page_are_taken_where_its_picture_shows_them(tmp_path: Path, read: CountedReader) -> None:
    judged, picture = judge(text_pdf(tmp_path / "a.pdf", [lines(INVOICE)]), read)
    assert judged.reason == ""
    assert judged.page is not None
    assert (judged.page.engine, judged.page.size.width, judged.page.size.height) == (TASK_ENGINE, *picture.size)
    assert [word.text for word in judged.page.words] == ALL
    assert [word.line for word in judged.page.words] == [n for n, line in enumerate(INVOICE) for _ in line.split()]
    assert_around_ink(judged.page, picture)


@pytest.mark.parametrize("extra", ["", "4 Tc", "3 Tw"], ids=["as the font has it", "letters apart", "words apart"])
def test_marks_are_part_of_their_lines(tmp_path: Path, read: CountedReader, extra: str) -> None:
    """Ink of dashes, dots and commas is low; that of each line's neighbours says nothing of the line's height."""
    shown = ("Flight 12 May - 13 May 2024", "Call No . 5 , or now", "\225 Net - 12.00 . . . EUR", "Chapter ...... 5")
    judged, _ = judge(text_pdf(tmp_path / "a.pdf", [lines(shown, extra=extra)]), read)
    assert judged.page is not None, judged.reason
    found = [[word.text for word in judged.page.words if word.line == line] for line in range(4)]
    dots = [line.replace(". . .", "...").replace("\225", "\u2022").split() for line in shown]
    assert found == dots
    assert len(judged.page.words) == sum(map(len, dots))


def test_the_cells_of_a_row_come_from_left_to_right(tmp_path: Path, read: CountedReader) -> None:
    cells = "".join(
        f"1 0 0 1 {x} 120 Tm ({text}) Tj\n" for x, text in ((320, "Total"), (250, "-"), (170, ","), (40, "Net"))
    )
    judged, _ = judge(text_pdf(tmp_path / "a.pdf", [lines(INVOICE[:3]) + f"BT /F1 16 Tf {cells} ET"]), read)
    assert judged.page is not None, judged.reason
    assert [(word.text, word.line) for word in judged.page.words][-4:] == [("Net", 3), (",", 4), ("-", 5), ("Total", 6)]


def assert_around_ink(page: Page, picture: Image.Image) -> None:
    """Every word's box is the box of ink, and all ink is in one."""
    ink = np.array(picture.convert("L")) < 128
    for word in page.words:
        box = word.box
        inside = ink[int(box.top) : int(box.bottom) + 1, int(box.left) : int(box.right) + 1]
        assert inside.mean() > 0.1, word
        ink[max(0, int(box.top) - 2) : int(box.bottom) + 3, max(0, int(box.left) - 2) : int(box.right) + 3] = False
    assert ink.sum() == 0


@pytest.mark.parametrize(
    ("entries", "content", "words"),
    [
        pytest.param("/Rotate 0 /CropBox [20 150 400 290]", lines(INVOICE), ALL[:-3], id="cropped"),
        pytest.param("/MediaBox [-100 -50 320 250]", lines(INVOICE, x=-60, top=200), ALL, id="an origin of its own"),
        pytest.param("/MediaBox [0 0 300 420] /Rotate 90", f"q 0 1 -1 0 300 0 cm {lines(INVOICE)} Q", ALL, id="turned"),
        pytest.param("/MediaBox [0 0 300 420] /Rotate 270", f"q 0 -1 1 0 0 420 cm {lines(INVOICE)} Q", ALL, id="270"),
        pytest.param("/Rotate 180", f"q -1 0 0 -1 {WIDTH} {HEIGHT} cm {lines(INVOICE)} Q", ALL, id="180"),
    ],
)
def test_boxes_are_in_the_frame_of_the_picture(
    tmp_path: Path, read: CountedReader, entries: str, content: str, words: list[str]
) -> None:
    judged, picture = judge(text_pdf(tmp_path / "a.pdf", [content], page=entries), read)
    assert judged.page is not None, judged.reason
    assert [word.text for word in judged.page.words] == words
    assert_around_ink(judged.page, picture)


def test_a_filled_form_has_the_words_of_its_fields(read: CountedReader) -> None:
    judged, _ = judge(CASES / "pdf" / "form.pdf", read)
    assert judged.page is not None, judged.reason
    text = " ".join(word.text for word in judged.page.words)
    assert text == "Claim form 2024 Name of applicant: Margaret Thornton Amount claimed: 1250.00 pounds"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(lines(INVOICE, extra="3 Tr"), UNSEEN, id="invisible"),
        pytest.param(lines(INVOICE, extra="1 1 1 rg"), UNSEEN, id="white on white"),
        pytest.param(lines(INVOICE, x=900), UNSEEN, id="off the page"),
        pytest.param(lines(INVOICE) + f"0.9 g 0 0 {WIDTH} {HEIGHT} re f", UNSEEN, id="under a fill"),
        pytest.param(lines(INVOICE) + WHOLE_PAGE, UNSEEN, id="under a scan"),
        pytest.param(WHOLE_PAGE + lines(INVOICE, extra="3 Tr"), UNSEEN, id="a scan that was read"),
        pytest.param(
            WHOLE_PAGE + lines(("Received", "on Monday"), x=250, top=40),
            "words are in pictures on it",
            id="a stamped scan",
        ),
        pytest.param(f"q 0 1 -1 0 300 -100 cm {lines(INVOICE, x=110)} Q", "its text is turned", id="on its side"),
        pytest.param("0 0 10 10 re f", "", id="no text"),
    ],
)
def test_text_that_is_not_what_is_seen_is_left(tmp_path: Path, read: CountedReader, content: str, reason: str) -> None:
    judged, _ = judge(text_pdf(tmp_path / "a.pdf", [content], picture=scan()), read)
    assert judged.page is None
    assert reason in judged.reason
    assert bool(reason) == bool(judged.reason)


def test_text_whose_characters_stand_for_others_is_left(tmp_path: Path, read: CountedReader) -> None:
    judged, _ = judge(mixed_up_pdf(tmp_path / "a.pdf"), read)
    assert judged.page is None
    assert judged.reason.startswith("its text is not what is seen: ")


def test_text_whose_characters_stand_for_none_is_left(tmp_path: Path, read: CountedReader) -> None:
    cmap = (
        "begincmap 1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfrange <21> <7E> <E021> endbfrange endcmap"
    )
    stream = f"<</Length {len(cmap)}>> stream\n{cmap}\nendstream"
    judged, _ = judge(text_pdf(tmp_path / "a.pdf", [lines(INVOICE)], font="/ToUnicode 90 0 R", more=[stream]), read)
    assert judged.page is None
    assert "words have characters that stand for no known ones" in judged.reason


def test_words_that_nobody_sees_are_left_out_of_a_page(tmp_path: Path, read: CountedReader) -> None:
    content = lines(INVOICE) + lines(("secret keywords",), top=20, extra="3 Tr")
    judged, _ = judge(text_pdf(tmp_path / "a.pdf", [content]), read)
    assert judged.page is not None, judged.reason
    assert [word.text for word in judged.page.words] == ALL


def test_what_is_covered_of_a_word_is_left_out(tmp_path: Path, read: CountedReader) -> None:
    """White over the last three of six digits, which are 8.9 points wide each."""
    start = 40 + pdf_width(INVOICE[0][:-3])
    content = lines(INVOICE) + f"1 g {start + 0.2:.2f} 240 60 30 re f"
    judged, picture = judge(text_pdf(tmp_path / "a.pdf", [content]), read)
    assert judged.page is not None, judged.reason
    assert [word.text for word in judged.page.words] == ["950" if word == "950658" else word for word in ALL]
    assert_around_ink(judged.page, picture)


def pdf_width(text: str) -> float:
    """Points that a text takes in Helvetica of 16 points, by the widths that the font's metrics have."""
    widths = {"I": 278, "N": 722, "V": 667, "O": 778, "C": 722, "E": 667, " ": 278, "m": 833, "r": 333}
    return sum(widths.get(character, 556) for character in text) * 16 / 1000


def test_a_font_is_read_once_in_a_document_and_again_now_and_then(tmp_path: Path, read: CountedReader) -> None:
    path = text_pdf(tmp_path / "many.pdf", [lines((*INVOICE[:3], f"Page {number}")) for number in range(24)])
    read.reads = 0
    pages = list(page_files(path, DPI, text=TextLayers(read, reading_order)))
    assert all(page.words is not None for page in pages)
    assert 2 <= read.reads <= 4
    last = pages[-1].words
    assert last is not None
    assert [word.text for word in last.words][-2:] == ["Page", "23"]


def test_one_pages_text_hurts_no_other(tmp_path: Path, read: CountedReader) -> None:
    contents = [lines(INVOICE), lines(INVOICE, extra="3 Tr"), lines(INVOICE)]
    pages = list(page_files(text_pdf(tmp_path / "a.pdf", contents), DPI, text=TextLayers(read, reading_order)))
    assert [page.doubt for page in pages] == ["", "none of its text is visible", ""]
    assert [page.words is not None for page in pages] == [True, False, True]


def test_text_that_cannot_be_checked_is_left(tmp_path: Path) -> None:
    def fail(_: bytes) -> Page:
        raise OcrFailed("the engine gave up")

    (page,) = page_files(text_pdf(tmp_path / "a.pdf", [lines(INVOICE)]), DPI, text=TextLayers(fail, reading_order))
    assert (page.words, page.doubt) == (None, "its text cannot be checked: the engine gave up")


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), MachineFailed),
        (MemoryError(), MachineFailed),
        (MachineFailed("no memory"), MachineFailed),
        (TorchServeUnavailable("it is down"), TorchServeUnavailable),
        (ModelNotReady("no `ocr` is in service"), ModelNotReady),
    ],
    ids=["a full disk", "no memory", "of a worker", "TorchServe is down", "no ocr"],
)
def test_what_a_machine_lacks_decides_nothing_about_a_page(
    tmp_path: Path, raised: Exception, becomes: type[Exception]
) -> None:
    def fail(_: bytes) -> Page:
        raise raised

    path = text_pdf(tmp_path / "a.pdf", [lines(INVOICE)])
    with pytest.raises(becomes):
        list(page_files(path, DPI, text=TextLayers(fail, reading_order)))


def test_without_a_judge_no_text_is_looked_at(tmp_path: Path) -> None:
    (page,) = page_files(text_pdf(tmp_path / "a.pdf", [lines(INVOICE)]), DPI)
    assert (page.words, page.doubt) == (None, "")
