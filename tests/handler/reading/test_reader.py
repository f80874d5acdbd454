from __future__ import annotations

import io
import json
import re
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.errors import ImageTruncated, OcrLanguageMissing, RequestInvalid
from handler.images import ImageLimits, make_thumbnail, open_page
from handler.ocr_settings import ENGINES, OcrSettings
from handler.page import Page, Size
from handler.reading.cache import FileCache
from handler.reading.reader import Reader
from handler.turn import level_image, level_page
from handler.wire import FORMAT, page_to_json
from tests.handler.samples import INVOICE_LINES, encoded, rendered_page

PAGE = encoded(rendered_page())
WORDS = tuple(" ".join(INVOICE_LINES).split())
FAST = OcrSettings(engine="tesserocr")


def texts(page: Page) -> tuple[str, ...]:
    return tuple(word.text for word in page.words)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_page_is_read(engine: str) -> None:
    page = Reader(OcrSettings(engine=engine), ImageLimits(), None).read(PAGE)
    assert (page.size, texts(page), page.thumbnail) == (Size(*rendered_page().size), WORDS, None)
    assert re.fullmatch(rf"{engine}-\d+\.\d+\.\d+-eng-psm3", page.engine)


def test_a_blank_page_has_no_words() -> None:
    """P10: the page is still there, with its size."""
    page = Reader(FAST, ImageLimits(), None).read(encoded(Image.new("L", (300, 200), 255)), thumbnail=True)
    assert (page.size, page.words) == (Size(300, 200), ())
    assert page.thumbnail is not None


@pytest.mark.parametrize("orientation", [1, 3, 6, 8], ids=lambda value: f"P1 P21 orientation {value}")
def test_words_and_size_are_those_of_the_upright_page(orientation: int) -> None:
    turned = {1: 0, 3: 180, 6: 90, 8: 270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(rendered_page().rotate(turned, expand=True), exif=exif)
    reader = Reader(FAST, ImageLimits(), None)
    assert reader.read(stored) == reader.read(PAGE)


def test_the_thumbnail_is_of_the_upright_page() -> None:
    page = Reader(FAST, ImageLimits(), None).read(PAGE, thumbnail=True)
    assert page.thumbnail == make_thumbnail(open_page(PAGE, ImageLimits()))
    with Image.open(io.BytesIO(page.thumbnail)) as thumbnail:
        assert (thumbnail.format, thumbnail.mode, thumbnail.size) == ("PNG", "RGB", (224, 224))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_is_read_level(engine: str, turn: int, tmp_path: Path) -> None:
    """Words, their order and the thumbnail are those of the upright page, boxes those of the picture."""
    picture = encoded(rendered_page().rotate(turn, expand=True))
    reader = Reader(OcrSettings(engine=engine), ImageLimits(), FileCache(tmp_path, 2**20))
    page, upright = reader.read(picture, thumbnail=True), reader.read(PAGE, thumbnail=True)
    assert (page.turn, upright.turn) == (turn, 0)
    assert page.size == Size(*Image.open(io.BytesIO(picture)).size)
    assert page.words != upright.words
    assert level_page(page) == upright
    assert reader.read(picture, thumbnail=True) == page, "from the cache"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("turn", [5, 357, 94, 176])
def test_a_tilted_page_is_read_level(engine: str, turn: int) -> None:
    picture = level_image(rendered_page(), 360 - turn, whole=True)
    page = Reader(OcrSettings(engine=engine), ImageLimits(), None).read(encoded(picture))
    assert texts(page) == WORDS
    assert [word.line for word in page.words] == [0] * 3 + [1] * 4 + [2] * 4 + [3] * 4
    assert abs(page.turn - turn) <= 0.8
    ink = np.asarray(picture.convert("L")) < 128
    boxes = [tuple(map(round, astuple(word.box))) for word in page.words]
    assert all(ink[top:bottom, left:right].mean() > 0.05 for left, top, right, bottom in boxes)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tilt", [1, 359])
def test_a_page_that_is_hardly_tilted_counts_as_upright(engine: str, tilt: int) -> None:
    picture = encoded(level_image(rendered_page(), 360 - tilt, whole=True))
    page = Reader(OcrSettings(engine=engine), ImageLimits(), None).read(picture)
    assert (page.turn, texts(page)) == (0, WORDS)


def test_a_page_read_before_needs_no_engine_and_no_image(tmp_path: Path) -> None:
    """The limit of a millisecond would stop any reading: the second answer can only come out of the cache."""
    first = Reader(FAST, ImageLimits(), FileCache(tmp_path, 2**20)).read(PAGE, thumbnail=True)
    hurried = OcrSettings(engine="tesserocr", timeout_s=0.001)
    second = Reader(hurried, ImageLimits(max_pixels=1), FileCache(tmp_path, 2**20)).read(PAGE, thumbnail=True)
    assert second == first


def test_each_engine_mode_and_thumbnail_has_its_own_entry(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 2**20)
    reader = Reader(FAST, ImageLimits(), cache)
    for count, options in enumerate(({}, {"psm": 6}, {"language": "eng+osd"}, {"thumbnail": True}), start=1):
        reader.read(PAGE, **options)
        assert len(entries(tmp_path)) == count
    Reader(OcrSettings(engine="pytesseract"), ImageLimits(), cache).read(PAGE, thumbnail=True)
    assert len(entries(tmp_path)) == 5, "another engine reads anew; the thumbnail does not depend on it"
    reader.read(PAGE + b"\0", thumbnail=True)
    assert len(entries(tmp_path)) == 7, "other bytes are another page"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half JSON"),
        pytest.param(b"\xff\xfe\0", id="not text"),
        pytest.param(b'{"format": 1, "width": 9}', id="not a page"),
    ],
)
def test_a_damaged_entry_is_read_anew(tmp_path: Path, content: bytes) -> None:
    reader = Reader(FAST, ImageLimits(), FileCache(tmp_path, 2**20))
    first = reader.read(PAGE, thumbnail=True)
    for entry in entries(tmp_path):
        entry.write_bytes(content)
    assert reader.read(PAGE, thumbnail=True) == first
    assert all(entry.read_bytes() != content for entry in entries(tmp_path))


def test_a_cache_that_cannot_be_written_costs_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("not a folder")
    reader = Reader(FAST, ImageLimits(), FileCache(tmp_path / "file" / "cache", 2**20))
    assert texts(reader.read(PAGE, thumbnail=True)) == WORDS
    assert "the page cache cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"psm": 0}, RequestInvalid, "psm is one of", id="psm 0 is not the default"),
        pytest.param({"psm": 99}, RequestInvalid, "psm is one of", id="psm"),
        pytest.param({"language": ""}, RequestInvalid, "language is like", id="empty language"),
        pytest.param({"language": "../x"}, RequestInvalid, "language is like", id="path for a language"),
        pytest.param({"language": "tlh"}, OcrLanguageMissing, "no language tlh", id="language not installed"),
    ],
)
def test_bad_parameters(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Reader(FAST, ImageLimits(), None).read(PAGE, **options)


def test_a_language_that_is_missing_is_found_at_start() -> None:
    with pytest.raises(OcrLanguageMissing):
        Reader(OcrSettings(engine="tesserocr", language="tlh"), ImageLimits(), None)


def test_many_modes_are_served_one_after_the_other() -> None:
    """More settings than engines are kept."""
    reader = Reader(FAST, ImageLimits(), None)
    for psm in (1, 3, 4, 6, 11, 12, 1, 5, 7, 8, 13, 3):
        assert reader.read(encoded(Image.new("L", (60, 40), 255)), psm=psm).engine.endswith(f"psm{psm}")
    assert texts(reader.read(PAGE)) == WORDS


def test_a_page_of_the_cache_of_an_earlier_release_is_read_anew(tmp_path: Path) -> None:
    """Its key was `<engine> <format of the wire>`, and its words those of another picture or resolution."""
    cache = FileCache(tmp_path, 2**20)
    reader = Reader(FAST, ImageLimits(), cache)
    fresh = reader.read(PAGE)
    earlier = page_to_json(replace(fresh, words=()))
    cache.put(FileCache.key(f"{fresh.engine} {FORMAT}".encode(), PAGE), json.dumps(earlier).encode())
    cache.put(FileCache.key(b"thumbnail", PAGE), b"another picture")
    again = Reader(FAST, ImageLimits(), cache).read(PAGE, thumbnail=True)
    assert again.words == fresh.words
    assert again.thumbnail == make_thumbnail(open_page(PAGE, ImageLimits()))


def test_a_failed_page_is_not_kept(tmp_path: Path) -> None:
    """P22: a file that arrived cut is refused again, and its whole form is read."""
    reader = Reader(FAST, ImageLimits(), FileCache(tmp_path, 2**20))
    for _ in range(2):
        with pytest.raises(ImageTruncated):
            reader.read(PAGE[: len(PAGE) // 2])
    assert entries(tmp_path) == []
    assert texts(reader.read(PAGE)) == WORDS


def test_without_words_no_engine_reads_the_page(tmp_path: Path) -> None:
    """The limit of a millisecond would stop any reading."""
    hurried = Reader(OcrSettings(engine="tesserocr", timeout_s=0.001), ImageLimits(), FileCache(tmp_path, 2**20))
    page = hurried.read(PAGE, thumbnail=True, known_turn=0.0)
    assert (page.size, page.engine, page.words) == (Size(*rendered_page().size), "", ())
    assert page.thumbnail == make_thumbnail(open_page(PAGE, ImageLimits()))
    turned = hurried.read(PAGE, thumbnail=True, known_turn=90.0)
    assert (turned.size, turned.turn) == (page.size, 90.0)
    sideways = open_page(PAGE, ImageLimits()).transpose(Image.Transpose.ROTATE_270)
    assert turned.thumbnail == make_thumbnail(sideways)
    assert texts(Reader(FAST, ImageLimits(), FileCache(tmp_path, 2**20)).read(PAGE)) == WORDS


def test_pages_of_two_turns_are_two_however_little_they_differ(tmp_path: Path) -> None:
    reader = Reader(FAST, ImageLimits(), FileCache(tmp_path, 2**20))
    turns = [4.0, 4.0000001, 359.99999]
    assert [reader.read(PAGE, known_turn=turn).turn for turn in turns] == turns
