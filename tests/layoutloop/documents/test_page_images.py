from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.reading.engines import make_engine
from layoutloop.documents.page_images import page_images
from layoutloop.errors import DocumentUnreadable
from tests.handler.image_files import CASES

MAX_BYTES = 2**25


def imported(path: Path) -> Image.Image:
    """The only page of a file, as a prediction opens what was uploaded of it."""
    (page,) = page_images(path, 200, MAX_BYTES)
    return open_page(page.data, ImageLimits())


@pytest.mark.parametrize("engine", ["pytesseract", "tesserocr"])
def test_a_ruled_table_of_a_pdf_is_read(engine: str) -> None:
    read = make_engine(OcrSettings(engine=engine)).read(imported(CASES / "pdf" / "table.pdf")).words
    assert len(read) == 147


@pytest.mark.parametrize("name", ["frame/no_eoi.jpg", "frame/xmp6_only.jpg", "frame/rawprofile6.png", "files/anim.gif"])
def test_what_a_browser_shows_stays_as_it_is(name: str) -> None:
    (page,) = page_images(CASES / name, 200, MAX_BYTES)
    assert page.data == (CASES / name).read_bytes()


def test_a_scan_with_a_thumbnail_is_one_page() -> None:
    assert imported(CASES / "files" / "scan_with_thumb.tif").size == (1240, 900)


@pytest.mark.parametrize(
    ("name", "dpi", "size", "square"),
    [
        pytest.param("fax.tif", (204, 98), (200, 208), 204, id="a coarse fax"),
        pytest.param("fax.tif", (204, 196), (200, 104), 204, id="a fine fax"),
        pytest.param("fax.tif", (204, 391), (383, 100), 391, id="a very fine fax"),
        pytest.param("fax.png", (204, 98), (200, 208), 204, id="a browser would show it flat"),
        pytest.param("fax.jpg", (98, 204), (416, 100), 204, id="high pixels"),
        pytest.param("scan.tif", (200, 200), (200, 100), 200, id="square"),
        pytest.param("scan.png", (300, 299), (200, 100), 300, id="square but for rounding"),
        pytest.param("scan.png", (300, 1), (200, 100), 300, id="nobody meant that"),
    ],
)
def test_pixels_become_square(
    tmp_path: Path, name: str, dpi: tuple[int, int], size: tuple[int, int], square: int
) -> None:
    scan = Image.new("L", (200, 100), "white")
    ImageDraw.Draw(scan).rectangle((100, 50, 150, 75), fill="black")
    scan.save(tmp_path / name, dpi=dpi)
    page = imported(tmp_path / name)
    assert page.size == size
    assert page.info["dpi"][0] == pytest.approx(square, abs=0.5)
    black = page.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    assert black == pytest.approx(
        [part * side for part, side in zip((0.5, 0.5, 0.755, 0.76), size * 2, strict=True)], abs=2
    )


def test_a_page_that_would_be_too_large_with_square_pixels(tmp_path: Path) -> None:
    path = tmp_path / "plan.tif"
    Image.new("1", (9000, 9000)).save(path, dpi=(200, 100), compression="group4")
    with pytest.raises(
        DocumentUnreadable, match=r"200 x 100 dpi\) the page has 9,000 x 18,000 pixels, at most 90,000,000"
    ):
        imported(path)
