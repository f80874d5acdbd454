from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from transformers import LayoutLMv3ImageProcessorPil

from handler.errors import (
    HandlerError,
    ImageHasSeveralPages,
    ImageTooLarge,
    ImageTruncated,
    ImageUnreadable,
    RequestInvalid,
)
from handler.images import FORMATS, ImageLimits, make_thumbnail, open_page
from handler.page import Box, Page, Size, Word
from handler.tagging.encoding import Encoder
from tests.checkpoints import byte_level_bpe
from tests.handler.image_files import exif, xmp
from tests.handler.samples import encoded, rendered_page

LIMITS = ImageLimits()
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8))


def plain(mode: str, colour: int | float | tuple[int, ...]) -> Image.Image:
    return Image.new(mode, (8, 6), colour)


def palette(mode: str = "P", alpha: int | None = None) -> Image.Image:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    if mode == "PA":
        image = image.convert("PA")
        image.putalpha(alpha)
    return image


def grey16(value: int) -> Image.Image:
    return Image.fromarray(np.full((6, 8), value, dtype=np.uint16))


def exif_dpi(dpi: int) -> Image.Exif:
    exif = Image.Exif()
    exif[282] = exif[283] = float(dpi)
    exif[296] = 2
    return exif


def samples(*values: float) -> Image.Image:
    return Image.fromarray(np.resize(np.array(values, dtype=np.float32), (6, 8)))


@pytest.mark.parametrize(
    ("data", "pixel"),
    [
        pytest.param(encoded(plain("1", 1)), WHITE, id="P21 1 white"),
        pytest.param(encoded(plain("1", 0)), BLACK, id="P21 1 black"),
        pytest.param(encoded(plain("L", 100)), (100, 100, 100), id="P21 L"),
        pytest.param(encoded(plain("L", 100), transparency=100), WHITE, id="P21 L with a transparent grey"),
        pytest.param(encoded(plain("LA", (0, 0))), WHITE, id="P21 LA transparent"),
        pytest.param(encoded(plain("LA", (100, 255))), (100, 100, 100), id="P21 LA opaque"),
        pytest.param(encoded(palette()), (10, 20, 30), id="P21 P"),
        pytest.param(encoded(palette(), transparency=1), WHITE, id="P21 P with a transparent colour"),
        pytest.param(encoded(palette(), transparency=bytes([0, 128])), (132, 137, 142), id="P21 P with alpha bytes"),
        pytest.param(encoded(palette(), "GIF", transparency=1), WHITE, id="P21 P in a GIF with a transparent colour"),
        pytest.param(encoded(palette("PA", 0), "TIFF"), WHITE, id="P21 PA transparent"),
        pytest.param(encoded(palette("PA", 255), "TIFF"), (10, 20, 30), id="P21 PA opaque"),
        pytest.param(encoded(plain("RGB", (1, 2, 3))), (1, 2, 3), id="P21 RGB"),
        pytest.param(encoded(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3)), WHITE, id="P21 RGB transparent colour"),
        pytest.param(encoded(plain("RGBA", (0, 0, 0, 0))), WHITE, id="P21 RGBA transparent is white, not black"),
        pytest.param(encoded(plain("RGBA", (0, 0, 0, 128))), (127, 127, 127), id="P21 RGBA half over white"),
        pytest.param(encoded(plain("RGBA", (9, 8, 7, 255))), (9, 8, 7), id="P21 RGBA opaque"),
        pytest.param(encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG"), (255, 0, 0), id="P21 CMYK JPEG"),
        pytest.param(encoded(plain("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0), id="P21 CMYK TIFF"),
        pytest.param(encoded(grey16(32768)), (128, 128, 128), id="P21 I;16 PNG is scaled, not cut"),
        pytest.param(encoded(grey16(32768), "TIFF"), (128, 128, 128), id="P21 I;16 TIFF"),
        pytest.param(encoded(grey16(65535)), WHITE, id="P21 I;16 white"),
        pytest.param(encoded(grey16(200)), (1, 1, 1), id="P21 I;16 dark stays dark"),
        pytest.param(encoded(plain("I", 32768), "TIFF"), (128, 128, 128), id="P21 I of 16 bits"),
        pytest.param(encoded(plain("I", 100), "TIFF"), (100, 100, 100), id="P21 I of 8 bits"),
        pytest.param(encoded(plain("I", -300), "TIFF"), BLACK, id="P21 I negative"),
        pytest.param(encoded(samples(0.5, 1.0), "TIFF"), (128, 128, 128), id="P21 F in 0..1"),
        pytest.param(encoded(samples(100, 255), "TIFF"), (100, 100, 100), id="P21 F in 0..255"),
        pytest.param(encoded(samples(-5, 1.0), "TIFF"), BLACK, id="P21 F negative"),
        pytest.param(encoded(samples(np.nan, 1.0), "TIFF"), BLACK, id="P21 F not a number"),
        pytest.param(encoded(samples(np.inf, 1.0), "TIFF"), WHITE, id="P21 F infinite"),
        pytest.param(encoded(samples(np.nan), "TIFF"), BLACK, id="P21 F nothing but not a number"),
    ],
)
def test_every_colour_mode_becomes_rgb(data: bytes, pixel: tuple[int, int, int]) -> None:
    page = open_page(data, LIMITS)
    assert (page.mode, page.size) == ("RGB", (8, 6))
    assert page.getpixel((0, 0)) == pytest.approx(pixel, abs=1)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_opened(format: str) -> None:
    assert open_page(encoded(plain("RGB", (0, 0, 0)), format), LIMITS).getpixel((0, 0)) == BLACK


# The EXIF specification: which corner of the upright page the stored first pixel is, and the last one of that row.
@pytest.mark.parametrize(
    ("orientation", "first", "end_of_row"),
    [
        pytest.param(1, "top left", "top right", id="P21 1"),
        pytest.param(2, "top right", "top left", id="P21 2"),
        pytest.param(3, "bottom right", "bottom left", id="P21 3"),
        pytest.param(4, "bottom left", "bottom right", id="P21 4"),
        pytest.param(5, "top left", "bottom left", id="P21 5"),
        pytest.param(6, "top right", "bottom right", id="P21 6"),
        pytest.param(7, "bottom right", "top right", id="P21 7"),
        pytest.param(8, "bottom left", "top left", id="P21 8"),
        pytest.param(9, "top left", "top right", id="P21 9 means nothing"),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation(orientation: int, first: str, end_of_row: str, format: str) -> None:
    stored = Image.new("RGB", (64, 32), "white")
    stored.paste((255, 0, 0), (0, 0, 16, 16))
    stored.paste((0, 0, 255), (48, 0, 64, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    page = open_page(encoded(stored, format, exif=exif), LIMITS)
    assert page.size == ((32, 64) if orientation in (5, 6, 7, 8) else (64, 32))
    x = {"left": 4, "right": page.width - 4}
    y = {"top": 4, "bottom": page.height - 4}
    for corner, colour in ((first, (255, 0, 0)), (end_of_row, (0, 0, 255))):
        vertical, horizontal = corner.split()
        assert page.getpixel((x[horizontal], y[vertical])) == pytest.approx(colour, abs=60), corner


def test_damaged_exif_is_no_obstacle() -> None:
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    data = encoded(plain("RGB", BLACK), "JPEG")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        assert open_page(data, LIMITS).size == (8, 6)


def test_a_phones_mpo_is_one_page() -> None:
    left, right = plain("RGB", (200, 0, 0)), plain("RGB", (0, 0, 200))
    data = encoded(left, "MPO", save_all=True, append_images=[right])
    assert open_page(data, LIMITS).getpixel((0, 0)) == pytest.approx((200, 0, 0), abs=3)


def tiff_frames(*frames: tuple[int, dict[int, int]]) -> bytes:
    """A TIFF of frames with a grey and tags each."""
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for grey, tags in frames:
            plain("L", grey).save(writer, format="TIFF", tiffinfo=tags)
            writer.newFrame()
    return buffer.getvalue()


THUMBNAIL, MASK, OLD_THUMBNAIL, PAGE_OF_SEVERAL = {254: 1}, {254: 4}, {255: 2}, {254: 2}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tiff_frames((9, {}), (5, THUMBNAIL)), id="a thumbnail behind it"),
        pytest.param(tiff_frames((5, THUMBNAIL), (9, {})), id="a thumbnail before it"),
        pytest.param(tiff_frames((9, {}), (5, OLD_THUMBNAIL)), id="a thumbnail of old"),
        pytest.param(tiff_frames((9, {}), (5, MASK), (5, {254: 5})), id="masks"),
        pytest.param(tiff_frames((9, PAGE_OF_SEVERAL), (5, {254: 3})), id="a page's thumbnail"),
        pytest.param(tiff_frames((9, THUMBNAIL)), id="all that there is says it is a thumbnail"),
    ],
)
def test_thumbnails_and_masks_are_no_pages(data: bytes) -> None:
    assert open_page(data, LIMITS).getpixel((0, 0)) == (9, 9, 9)


def test_two_pages_and_a_thumbnail() -> None:
    with pytest.raises(ImageHasSeveralPages, match="TIFF file has 2 pages"):
        open_page(tiff_frames((9, PAGE_OF_SEVERAL), (5, THUMBNAIL), (8, PAGE_OF_SEVERAL)), LIMITS)


def test_an_orientation_in_the_xmp_of_a_tiff_turns_nothing() -> None:
    data = encoded(plain("L", 9), "TIFF", tiffinfo={700: xmp(6)})
    assert open_page(data, LIMITS).size == (8, 6)


@pytest.mark.parametrize(
    ("data", "dpi"),
    [
        pytest.param(encoded(plain("L", 9), dpi=(150, 150)), (150, 150), id="PNG"),
        pytest.param(encoded(plain("L", 9), dpi=(204, 98)), (204, 98), id="PNG, pixels that are not square"),
        pytest.param(encoded(plain("L", 9)), None, id="PNG without"),
        pytest.param(encoded(plain("L", 9), "JPEG", dpi=(150, 150)), (150, 150), id="JPEG"),
        pytest.param(encoded(plain("L", 9), "JPEG"), None, id="JPEG without"),
        pytest.param(encoded(plain("L", 9), "JPEG", exif=b"Exif\0\0" + exif(1)), None, id="JPEG whose EXIF has none"),
        pytest.param(encoded(plain("L", 9), "JPEG", exif=exif_dpi(72)), None, id="JPEG of a phone"),
        pytest.param(encoded(plain("L", 9), "JPEG", exif=exif_dpi(300)), (300, 300), id="JPEG, in EXIF alone"),
        pytest.param(encoded(plain("L", 9), "TIFF", dpi=(204, 98)), (204, 98), id="TIFF"),
        pytest.param(
            encoded(plain("L", 9), "TIFF", x_resolution=59, y_resolution=59, resolution_unit=3), (150, 150), id="in cm"
        ),
        pytest.param(encoded(plain("L", 9), "TIFF"), None, id="TIFF without"),
        pytest.param(encoded(plain("L", 9), "TIFF", dpi=(0, 0)), None, id="TIFF of 0 dpi"),
        pytest.param(encoded(plain("L", 9), "BMP", dpi=(150, 150)), (150, 150), id="BMP"),
        pytest.param(encoded(plain("L", 9), "GIF"), None, id="GIF"),
        pytest.param(encoded(plain("L", 9), "TIFF", dpi=(204, 98), tiffinfo={274: 6}), (98, 204), id="a turned TIFF"),
        pytest.param(
            encoded(plain("L", 9), "JPEG", dpi=(204, 98), exif=b"Exif\0\0" + exif(6)), (98, 204), id="a turned JPEG"
        ),
        pytest.param(
            encoded(plain("L", 9), "JPEG", dpi=(204, 98), exif=b"Exif\0\0" + exif(3)), (204, 98), id="upside down"
        ),
    ],
)
def test_the_resolution_stays_with_the_page(data: bytes, dpi: tuple[int, int] | None) -> None:
    page = open_page(data, LIMITS)
    assert page.info == ({} if dpi is None else {"dpi": pytest.approx(dpi, abs=0.2)})


CUT_BEHIND_THE_PIXELS = [
    *(("JPEG", options) for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0})),
    ("GIF", {}),
    ("GIF", {"interlace": 0}),
    ("BMP", {}),
]


@pytest.mark.parametrize(("format", "options"), CUT_BEHIND_THE_PIXELS)
@pytest.mark.parametrize("page", [rendered_page().resize((301, 157)), NOISE.resize((301, 157))], ids=["text", "noise"])
def test_a_cut_file_is_read_only_where_every_pixel_is_there(
    format: str, options: dict[str, object], page: Image.Image
) -> None:
    data = encoded(page, format, **options)
    whole = np.asarray(open_page(data, LIMITS), dtype=int)
    read = []
    for missing in (*range(1, 40), *range(40, len(data) - 1000, len(data) // 50)):
        try:
            apart = abs(np.asarray(open_page(data[:-missing], LIMITS)) - whole).max(axis=2)
        except ImageUnreadable:
            continue
        read.append(missing)
        assert not apart[:-8].any(), "not even a few pixels of the last block are missing"
        assert not apart[:, :-16].any()
    assert read[:1] == [1]
    assert set(read) <= set(range(1, 8))


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


FRAMES = {"save_all": True, "append_images": [plain("L", 5)]}


def cut(format: str, keep: float, **options: object) -> bytes:
    data = encoded(NOISE, format, **options)
    return data[: int(len(data) * keep)]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        pytest.param(b"", RequestInvalid, "no body", id="empty"),
        pytest.param(cut("PNG", 0.5), ImageTruncated, "PNG image is damaged or ends early", id="P22 PNG cut in half"),
        pytest.param(cut("PNG", 0.01), ImageTruncated, "PNG image is damaged", id="P22 PNG cut early"),
        pytest.param(cut("JPEG", 0.5), ImageTruncated, "JPEG image is damaged", id="P22 JPEG cut in half"),
        pytest.param(cut("JPEG", 0.99), ImageTruncated, "JPEG image is damaged", id="P22 JPEG cut late"),
        pytest.param(cut("TIFF", 0.5), ImageTruncated, "TIFF image is damaged", id="P22 TIFF cut in half"),
        pytest.param(cut("GIF", 0.5), ImageTruncated, "GIF image is damaged", id="P22 GIF cut in half"),
        pytest.param(cut("BMP", 0.5), ImageTruncated, "BMP image is damaged", id="P22 BMP cut in half"),
        pytest.param(cut("JPEG2000", 0.5), ImageTruncated, "JPEG2000 image is damaged", id="P22 JPEG2000 cut in half"),
        pytest.param(cut("WEBP", 0.5), ImageUnreadable, "header cannot be read", id="P22 WEBP cut in half"),
        pytest.param(encoded(NOISE)[:20], ImageUnreadable, "header cannot be read", id="P22 PNG cut in its header"),
        pytest.param(encoded(NOISE, "JPEG")[:30], ImageUnreadable, "header", id="P22 JPEG cut in its header"),
        pytest.param(encoded(plain("L", 9), "TIFF", **FRAMES), ImageHasSeveralPages, "TIFF file has 2", id="P21 TIFF"),
        pytest.param(b"%PDF-1.7\n%....", ImageHasSeveralPages, "scripts.predict` splits", id="PDF"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ImageUnreadable, "no image", id="EPS"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", ImageUnreadable, "no image", id="SVG"),
        pytest.param(b"<!doctype html><title>404</title>", ImageUnreadable, "33 bytes are no image", id="HTML"),
        pytest.param(bytes(range(256)) * 4, ImageUnreadable, "1,024 bytes are no image", id="random bytes"),
        pytest.param(b"\xff\xd8\xff", ImageUnreadable, "no image; send one of PNG", id="only a JPEG's first bytes"),
        pytest.param(b"GIF89a" + bytes(7) + b";", ImageUnreadable, "no image", id="GIF of no pixels"),
        pytest.param(png_claiming(12_000, 12_000), ImageTooLarge, "(?i)at most 90,000,000", id="P22 bomb of 144 MP"),
        pytest.param(png_claiming(20_000, 20_000), ImageTooLarge, "(?i)at most 90,000,000", id="P22 bomb of 400 MP"),
        pytest.param(
            png_claiming(2**31 - 1, 2**31 - 1), ImageTooLarge, "(?i)at most 90,000,000", id="P22 largest header"
        ),
    ],
)
def test_what_is_refused(data: bytes, error: type[HandlerError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        open_page(data, LIMITS)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        pytest.param(ImageLimits(max_bytes=50), r"has \d+ bytes, at most 50 are read", id="P22 bytes"),
        pytest.param(ImageLimits(max_pixels=47), "8 x 6 pixels, at most 47 in all", id="P22 pixels"),
    ],
)
def test_limits(limits: ImageLimits, message: str) -> None:
    with pytest.raises(ImageTooLarge, match=message) as raised:
        open_page(encoded(plain("L", 3)), limits)
    assert raised.value.status == 413


def test_a_page_exactly_at_the_limits_is_read() -> None:
    data = encoded(plain("L", 3))
    assert open_page(data, ImageLimits(max_bytes=len(data), max_pixels=48)).size == (8, 6)


@pytest.mark.parametrize(
    "size",
    [(224, 224), (640, 480), (1654, 2339), (30, 500), (1, 1), (3000, 9)],
    ids=lambda size: f"P23 {size[0]} x {size[1]}",
)
def test_the_thumbnail_is_hugging_faces(size: tuple[int, int]) -> None:
    """P8, P23: squeezed to a square, bilinear, 1/255, mean and deviation 0.5: the processor's own pixel values."""
    page = rendered_page().resize(size)
    processor = LayoutLMv3ImageProcessorPil(apply_ocr=False)
    expected = processor(page, return_tensors="np")["pixel_values"][0]
    encoder = Encoder(byte_level_bpe().backend_tokenizer, pad_id=1, uses_image=True)
    word = Word("a", Box(0, 0, 1, 1))
    pixels = encoder.encode(Page(Size(*size), "given", (word,), make_thumbnail(page))).pixels
    assert pixels is not None
    np.testing.assert_allclose(pixels, expected, atol=1e-6)
