"""How often Tesseract looks at a page, and when it takes the page to be turned; its words are made up here."""

from __future__ import annotations

import pytest
from PIL import Image

from handler.errors import OcrTimeout
from handler.ocr_settings import OcrSettings
from handler.page import Box, Word
from handler.reading.tesseract_page import read_page

TEXT = ["Several", "lines", "of", "text", "which"]
Lines = list[tuple[str, float]]


def words_of(lines: Lines, *, down: bool = False, from_right: bool = False) -> tuple[Word, ...]:
    """Return lines of words of some confidence, below one another, or beside one another where text runs down."""
    words = []
    for number, (text, confidence) in enumerate(lines):
        for place, part in enumerate(text.split()):
            along, across = (300 - 50 * place if from_right else 10 + 50 * place), 20 + 30 * number
            box = Box(across, along, across + 12, along + 40) if down else Box(along, across, along + 40, across + 12)
            words.append(Word(part, box, confidence, number))
    return tuple(words)


SURE: Lines = [(" ".join(TEXT), 0.96)] * 4
UNSURE: Lines = [(" ".join(TEXT), 0.3)] * 4
ARABIC: Lines = [("فاتورة رقم من الشركة", 0.96)] * 4


class Engine:
    """Says for each look, by the size of the image, what it reads."""

    def __init__(self, *looks: tuple[Word, ...]) -> None:
        self.looks = list(looks)
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, image: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        assert timeout_s > 0
        self.sizes.append(image.size)
        return self.looks.pop(0)


@pytest.mark.parametrize(
    ("looks", "turn"),
    [
        pytest.param([words_of(SURE)], 0, id="upright: one look"),
        pytest.param([words_of(ARABIC, from_right=True)], 0, id="upright, from right to left"),
        pytest.param([words_of(UNSURE), words_of(SURE)], 180, id="upside down"),
        pytest.param([words_of(UNSURE), words_of(UNSURE)], 0, id="a bad scan, but upright"),
        pytest.param([words_of(SURE, down=True), words_of(SURE)], 270, id="text runs down"),
        pytest.param([words_of(UNSURE, down=True), words_of(UNSURE), words_of(SURE)], 90, id="text runs up"),
        pytest.param([words_of(SURE, down=True), words_of(UNSURE)], 0, id="no sense once it is turned"),
        pytest.param([(), ()], 0, id="nothing to read"),
        pytest.param([(), words_of(SURE)], 90, id="lines are found on the side alone"),
        pytest.param([words_of([("Hi", 0.3)]), words_of([("iH", 0.99)])], 0, id="too little text to tell by"),
    ],
)
def test_looks(looks: list[tuple[Word, ...]], turn: float) -> None:
    engine = Engine(*looks)
    page = read_page(Image.new("RGB", (400, 300), "white"), "e", OcrSettings("pytesseract"), engine)
    assert (page.turn, engine.looks) == (turn, [])


@pytest.mark.parametrize(
    ("pixels", "seen"),
    [
        pytest.param((400, 300), (800, 600), id="a small picture is enlarged"),
        pytest.param((2400, 1800), (2400, 1800), id="a large one is not"),
    ],
)
def test_a_tilted_picture_is_made_level(pixels: tuple[int, int], seen: tuple[int, int]) -> None:
    tilted = tuple(
        Word(word.text, Box(word.box.left, down, word.box.right, down + 12), word.confidence, word.line)
        for word in words_of(SURE)
        for down in [word.box.top + 0.05 * word.box.left]
    )
    engine = Engine(tilted, words_of(SURE))
    image = Image.new("RGB", pixels, "white")
    image.info = {"dpi": (150, 150)}
    page = read_page(image, "e", OcrSettings("pytesseract"), engine)
    assert page.turn == pytest.approx(360 - 2.9, abs=0.05)
    assert engine.sizes[0] == pixels
    assert all(0 <= level - side < 0.1 * side for level, side in zip(engine.sizes[1], seen, strict=True))


@pytest.mark.parametrize("psm", [5, 7, 8, 13])
def test_a_mode_that_says_what_the_image_is_turns_nothing(psm: int) -> None:
    engine = Engine(words_of(SURE, down=True))
    page = read_page(Image.new("RGB", (400, 300)), "e", OcrSettings("pytesseract", psm=psm), engine)
    assert (page.turn, page.words) == (0, words_of(SURE, down=True))


def test_all_looks_share_the_time() -> None:
    left: list[float] = []

    def read(_: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        left.append(timeout_s)
        return words_of(UNSURE)

    read_page(Image.new("RGB", (400, 300)), "e", OcrSettings("pytesseract", timeout_s=30), read)
    assert 30 >= left[0] > left[1] > 0


@pytest.mark.parametrize(
    ("looks", "turn"),
    [
        pytest.param([words_of(UNSURE)], 0, id="the other way up"),
        pytest.param([words_of(SURE, down=True)], 0, id="on its side"),
        pytest.param([words_of(UNSURE, down=True), words_of(UNSURE)], 270, id="on its side, the other way up"),
        pytest.param([words_of([("Hi", 0.3)])], 0, id="for lines on the side"),
    ],
)
def test_a_further_look_that_runs_out_of_time_keeps_what_was_read(looks: list[tuple[Word, ...]], turn: float) -> None:
    left = list(looks)

    def read(_: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        if not left:
            raise OcrTimeout("more than 30 s")
        return left.pop(0)

    page = read_page(Image.new("RGB", (400, 300)), "e", OcrSettings("pytesseract"), read)
    assert (page.turn, len(left)) == (turn, 0)
    assert [word.text for word in page.words] == [word.text for word in looks[0]]


def test_the_first_look_has_to_end_in_time() -> None:
    def read(_: Image.Image, timeout_s: float) -> tuple[Word, ...]:
        raise OcrTimeout("more than 30 s")

    with pytest.raises(OcrTimeout):
        read_page(Image.new("RGB", (400, 300)), "e", OcrSettings("pytesseract"), read)
