"""OCR engines on annotated pages: what they read of what people drew and wrote, and which one is named the best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.reading.reader import Reader
from layoutloop.errors import ImageUnavailable
from tests.handler.samples import INVOICE_LINES, encoded, rendered_page
from training.data.annotations import AnnotatedPage
from training.measure.engines import EngineFigures, engine_table, measure_engine

HEIGHT = 120 + 90 * len(INVOICE_LINES)
IMAGES = {"page": encoded(rendered_page()), "blank": encoded(Image.new("RGB", (900, HEIGHT), "white")), "torn": b"GIF8"}


def box(line: int, text: str = "", origin: str = "manual") -> tuple[dict[str, Any], ...]:
    """A rectangle around one of the page's lines, with a transcription or without."""
    value = {"x": 4, "y": 100 * (50 + 90 * line) / HEIGHT, "width": 92, "height": 100 * 70 / HEIGHT, "rotation": 0}
    drawn = {"id": str(line), "type": "rectanglelabels", "value": value | {"rectanglelabels": ["line"]}}
    return (drawn, {"id": str(line), "type": "textarea", "origin": origin, "value": value | {"text": [text]}})


BOXES = (
    box(0, INVOICE_LINES[0]),
    box(1, "Delivery  dateNovember 22"),  # spaces do not count
    box(2, "Total amount 125 Dollar", "prediction-changed"),
    box(3, "what another engine read", "prediction"),
)


def annotated(image: str, drawn: Sequence[tuple[dict[str, Any], ...]] = BOXES) -> AnnotatedPage:
    return AnnotatedPage(1, 0, image, "1", "", tuple(drawn))


def image_of(page: AnnotatedPage) -> bytes:
    return IMAGES[page.reference]


def no_matter(done: int, total: int) -> None:
    """Take no notice of the progress."""


@pytest.fixture(scope="module", params=["rapidocr", "pytesseract"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return Reader(OcrSettings(request.param), ImageLimits(), None)


@pytest.mark.parametrize(
    ("images", "read", "failed", "boxes", "with_word", "texts", "exact"),
    [
        pytest.param(["page"], 1, 0, 4, 4, 3, 2, id="a page"),
        pytest.param(["blank"], 1, 0, 4, 0, 3, 0, id="a page without words"),
        pytest.param(["torn"], 0, 1, 4, 0, 3, 0, id="a page that is given up on counts all the same"),
        pytest.param(["page", "torn", "page"], 2, 1, 12, 8, 9, 4, id="the others go on"),
        pytest.param([], 0, 0, 0, 0, 0, 0, id="no page"),
    ],
)
def test_what_an_engine_reads_of_boxes_and_texts(
    reader: Reader, images: list[str], read: int, failed: int, boxes: int, with_word: int, texts: int, exact: int
) -> None:
    told: list[tuple[int, int]] = []
    kind = reader.settings.engine
    pages = [annotated(image) for image in images]
    found = measure_engine(kind, pages, image_of, reader.read, lambda *both: told.append(both))
    assert replace(found, engine="", seconds=0.0) == EngineFigures(
        "", read, failed, boxes, with_word, texts, exact, 0.0
    )
    assert found.engine.startswith(f"{kind}-") if read else found.engine == kind
    assert found.seconds > 0 or not images
    assert told == [(done, len(images)) for done in range(1, len(images) + 1)]


def test_boxes_are_counted_alike_whether_the_page_is_read_or_not(reader: Reader) -> None:
    value = {"x": 10, "y": 10, "width": 20, "height": 10, "rotation": 30, "rectanglelabels": ["line"]}
    shapes = [value, value | {"width": 0.01}, value | {"x": 400}, value | {"width": "wide"}]
    drawn = [({"id": "a", "type": "rectanglelabels", "value": shape},) for shape in shapes]
    both = [
        measure_engine("", [annotated(image, drawn)], image_of, reader.read, no_matter) for image in ("page", "torn")
    ]
    assert [one.boxes for one in both] == [1, 1], "tilted; too small; off the page; no number"


def slow(page: AnnotatedPage) -> bytes:
    time.sleep(0.3)
    return image_of(page)


def test_the_download_is_no_time_of_the_engine(reader: Reader) -> None:
    assert measure_engine("", [annotated("torn")], slow, reader.read, no_matter).seconds < 0.2


def test_an_image_that_is_not_to_be_had_ends_the_comparison(reader: Reader) -> None:
    def gone(page: AnnotatedPage) -> bytes:
        raise ImageUnavailable("it is gone")

    with pytest.raises(ImageUnavailable, match="it is gone"):
        measure_engine("", [annotated("page")], gone, reader.read, no_matter)


def figures(engine: str, with_word: int = 8, exact: int = 3, seconds: float = 4.0, failed: int = 0) -> EngineFigures:
    return EngineFigures(f"{engine}-1.0-eng-psm3", 4 - failed, failed, 10, with_word, 5, exact, seconds)


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        pytest.param(figures("rapidocr", with_word=9), figures("pytesseract", exact=5), "rapidocr", id="words first"),
        pytest.param(figures("rapidocr"), figures("pytesseract", exact=4), "pytesseract", id="then texts"),
        pytest.param(figures("rapidocr", seconds=5), figures("pytesseract"), "pytesseract", id="then time"),
        pytest.param(figures("rapidocr"), figures("pytesseract"), "rapidocr", id="alike: the first"),
    ],
)
def test_the_table_names_the_better_engine(first: EngineFigures, second: EngineFigures, best: str) -> None:
    assert f"LAYOUTLOOP_OCR_ENGINE={best} reads these pages best" in engine_table([first, second])


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        pytest.param(figures("rapidocr"), r"8 of 10 (80.0%)", id="boxes"),
        pytest.param(figures("rapidocr"), r"3 of 5 (60.0%)", id="texts"),
        pytest.param(figures("rapidocr"), "1.00", id="seconds a page"),
        pytest.param(figures("rapidocr", failed=1), "rapidocr-1.0-eng-psm3 gave up on 1 page", id="failed"),
        pytest.param(EngineFigures("rapidocr", 0, 0, 0, 0, 0, 0, 0.0), "none", id="nothing"),
        pytest.param(EngineFigures("rapidocr", 4, 0, 9, 9, 0, 0, 4.0), "  no texts to read  ", id="boxes alone"),
    ],
)
def test_what_the_table_shows(shown: EngineFigures, line: str) -> None:
    assert line in engine_table([shown])
