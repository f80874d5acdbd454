from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.reading.engines import make_engine
from layoutloop.documents.split import MAX_PAGES, page_count, pages_of
from layoutloop.errors import DocumentUnreadable
from tests.handler.image_files import CASES

UPRIGHT, TURNED_RIGHT, UPSIDE_DOWN = 1, 6, 3


def marked(mode: str = "L", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """A dark image with a light square in the corner at the top left."""
    image = Image.new("L", size, 0)
    image.paste(255, (0, 0, 10, 10))
    return image.convert(mode)


def light(data: bytes) -> tuple[tuple[int, int], tuple[int, int, int, int] | None]:
    """The size of a page as the handler sees it, and where it is light."""
    page = open_page(data, ImageLimits())
    return page.size, page.convert("L").point(lambda value: 255 * (value > 128)).getbbox()


def tiff(path: Path, frames: Sequence[tuple[Image.Image, int]], compression: str | None = None) -> Path:
    """Write a TIFF whose frames have an orientation each."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as writer:
        for image, orientation in frames:
            image.save(writer, format="TIFF", tiffinfo={274: orientation}, compression=compression)
            writer.newFrame()
    return path


def bomb() -> Image.Image:
    """400 million pixels, which group 4 packs into 11 KB and more."""
    return Image.new("1", (20_000, 20_000), 1)


def pdf(path: Path) -> Path:
    frames = [marked("RGB"), marked("RGB")]
    frames[0].save(path, "PDF", save_all=True, append_images=frames[1:], resolution=72)
    return path


def drawn_pdf(path: Path, box: str, trailer: str = "", pages: int = 1) -> Path:
    """Write a PDF of one empty page, shown several times, by hand; PDFium finds the objects without their table."""
    path.write_text(
        "%PDF-1.4\n1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj\n"
        f"2 0 obj <</Type /Pages /Kids [{'3 0 R ' * pages}] /Count {pages}>> endobj\n"
        f"3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [{box}]>> endobj\n"
        f"trailer <</Root 1 0 R {trailer}>>\n%%EOF\n"
    )
    return path


def encrypted_pdf(path: Path) -> Path:
    secret = f"<{'5a' * 32}>"
    encrypt = f"/Encrypt <</Filter /Standard /V 1 /R 2 /O {secret} /U {secret} /P -4>> /ID [{secret} {secret}]"
    return drawn_pdf(path, "0 0 72 72", encrypt)


def test_an_image_is_one_page_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    marked().save(path)
    assert list(pages_of(path)) == [path.read_bytes()]
    assert page_count(path) == 1


def test_a_tiff_of_one_frame_is_passed_on_as_it_is(tmp_path: Path) -> None:
    path = tiff(tmp_path / "page.tiff", [(marked(), TURNED_RIGHT)])
    assert list(pages_of(path)) == [path.read_bytes()]
    assert light(path.read_bytes()) == ((40, 60), (30, 0, 40, 10))


def test_the_pages_of_a_pdf(tmp_path: Path) -> None:
    path = pdf(tmp_path / "two.pdf")
    assert page_count(path) == 2
    pages = list(pages_of(path, dpi=144))
    assert [light(page)[0] for page in pages] == [(120, 80)] * 2
    left, top, right, bottom = light(pages[1])[1] or (0, 0, 0, 0)
    assert (left, top) == (0, 0)
    assert (right, bottom) == (pytest.approx(20, abs=2), pytest.approx(20, abs=2))


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        pytest.param("L", None, id="not compressed"),
        pytest.param("L", "tiff_lzw", id="LZW"),
        pytest.param("RGB", "jpeg", id="JPEG"),
        pytest.param("1", "group4", id="fax"),
    ],
)
def test_every_frame_keeps_its_orientation(tmp_path: Path, mode: str, compression: str | None) -> None:
    turns = (UPRIGHT, TURNED_RIGHT, UPSIDE_DOWN)
    path = tiff(tmp_path / "turned.tiff", [(marked(mode), turn) for turn in turns], compression)
    assert page_count(path) == 3
    near = [(size, tuple(round(edge, -1) for edge in box or ())) for size, box in map(light, pages_of(path))]
    assert near == [((60, 40), (0, 0, 10, 10)), ((40, 60), (30, 0, 40, 10)), ((60, 40), (50, 30, 60, 40))]


def test_a_thumbnail_is_no_page() -> None:
    path = CASES / "files" / "scan_with_thumb.tif"
    assert page_count(path) == 1
    assert [light(page)[0] for page in pages_of(path)] == [(1240, 900)]


def test_two_pages_with_a_thumbnail_each(tmp_path: Path) -> None:
    path = tmp_path / "scans.tiff"
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as writer:
        for size, kind in (((60, 40), 2), ((6, 4), 1), ((80, 50), 2), ((8, 5), 3)):
            marked(size=size).save(writer, format="TIFF", tiffinfo={254: kind})
            writer.newFrame()
    assert page_count(path) == 2
    assert [light(page)[0] for page in pages_of(path)] == [(60, 40), (80, 50)]


def test_every_frame_keeps_its_resolution(tmp_path: Path) -> None:
    path = tmp_path / "scans.tiff"
    tags = [{282: 204.0, 283: 98.0, 296: 2}, {}, {282: 204.0, 283: 98.0, 296: 2, 274: TURNED_RIGHT}]
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as writer:
        for one in tags:
            marked().save(writer, format="TIFF", tiffinfo=one)
            writer.newFrame()
    found = [open_page(page, ImageLimits()).info.get("dpi") for page in pages_of(path)]
    assert found == [(204, 98), None, (98, 204)]


def test_the_values_of_a_form_are_on_its_page() -> None:
    (data,) = pages_of(CASES / "pdf" / "form.pdf")
    words = make_engine(OcrSettings(engine="tesserocr")).read(open_page(data, ImageLimits())).words
    assert {"Margaret", "Thornton", "1250.00"} <= {word.text for word in words}


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    samples = (27 * np.arange(2400, dtype=np.uint16)).reshape(40, 60)
    frames = [Image.fromarray(samples), Image.fromarray(samples[::-1].copy())]
    frames[0].save(tmp_path / "deep.tiff", save_all=True, append_images=frames[1:])
    pages = [Image.open(io.BytesIO(page)) for page in pages_of(tmp_path / "deep.tiff")]
    assert [page.mode for page in pages] == ["I;16", "I;16"]
    for page, frame in zip(pages, frames, strict=True):
        assert np.array_equal(np.asarray(page), np.asarray(frame))


def save_bomb(path: Path) -> Path:
    bomb().save(path, "TIFF", compression="group4")
    assert path.stat().st_size < 30_000
    return path


def save_late_bomb(path: Path) -> Path:
    marked("1").save(path, "TIFF", compression="group4", save_all=True, append_images=[bomb()])
    return path


def save_cut_tiff(path: Path) -> Path:
    tiff(path, [(marked(size=(400, 300)), UPRIGHT)] * 2, "tiff_adobe_deflate")
    path.write_bytes(path.read_bytes().replace(b"x\x9c", b"\0\0"))  # what deflated data begins with
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def half_a_pdf(path: Path) -> Path:
    path.write_bytes(pdf(path).read_bytes()[:200])
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        pytest.param(lambda path: path, "No such file", id="not there"),
        pytest.param(folder, "Is a directory", id="a folder"),
        pytest.param(written(b""), "is empty", id="empty"),
        pytest.param(save_bomb, "400000000 pixels", id="a TIFF of too many pixels"),
        pytest.param(save_late_bomb, "page 2 of .* has 20,000 x 20,000 pixels", id="one frame of too many pixels"),
        pytest.param(save_cut_tiff, "cannot be read", id="a TIFF whose frames are damaged"),
        pytest.param(written(b"II*\0\xff\xff\xff\x7f"), "cannot be read", id="a TIFF without frames"),
        pytest.param(half_a_pdf, "cannot be read: Failed to load document", id="half a PDF"),
        pytest.param(written(b"%PDF-1.7\n"), "cannot be read: Failed to load document", id="a PDF of nothing"),
        pytest.param(
            encrypted_pdf,
            "cannot be read: it is encrypted and opens only with a password; save a copy without one",
            id="an encrypted PDF",
        ),
        pytest.param(
            lambda path: drawn_pdf(path, "0 0 72 72", pages=MAX_PAGES + 1),
            "has 2,001 pages, at most 2,000 are split; make several documents of it",
            id="a PDF of too many pages",
        ),
        pytest.param(
            lambda path: drawn_pdf(path, "0 0 14400 14400"),
            r"page 1 of .* has 40,000 x 40,000 pixels at 200 dpi; give a smaller --dpi \(at most 90,000,000",
            id="a PDF page of too many pixels",
        ),
        pytest.param(
            lambda path: tiff(path, [(Image.new("1", (1, 1)), UPRIGHT)] * (MAX_PAGES + 1)),
            "has 2,001 pages, at most 2,000 are split",
            id="too many pages",
        ),
    ],
)
def test_what_cannot_be_split_is_one_error(tmp_path: Path, write: Callable[[Path], Path], sentence: str) -> None:
    path = write(tmp_path / "document")
    with pytest.raises(DocumentUnreadable, match=sentence) as raised:
        list(pages_of(path))
    assert str(path) in str(raised.value)
    assert page_count(path) in (1, 2)


def test_pages_before_the_one_at_fault_are_yielded(tmp_path: Path) -> None:
    pages = pages_of(save_late_bomb(tmp_path / "late.tiff"))
    assert light(next(pages))[0] == (60, 40)
    with pytest.raises(DocumentUnreadable, match="page 2"):
        next(pages)


def test_a_large_pdf_page_is_read_at_a_smaller_dpi(tmp_path: Path) -> None:
    path = drawn_pdf(tmp_path / "plan.pdf", "0 0 14400 7200")
    assert [light(page)[0] for page in pages_of(path, dpi=10)] == [(2000, 1000)]
