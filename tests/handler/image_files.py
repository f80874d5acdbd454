"""Small image files with metadata of every kind that may turn a page, and what Chromium 156 makes of each."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image

from tests.handler.samples import encoded

CASES = Path(__file__).parents[1] / "data" / "cases"
SIZE = (64, 32)
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 160, 0)


def cornered() -> Image.Image:
    """A white page, red at the top left, blue at the top right, green at the bottom left."""
    image = Image.new("RGB", SIZE, "white")
    for colour, (left, top) in {RED: (0, 0), BLUE: (48, 0), GREEN: (0, 16)}.items():
        image.paste(colour, (left, top, left + 16, top + 16))
    return image


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """A TIFF header and one entry, of type SHORT (3) or LONG (4)."""
    value = struct.pack(f"{order}HH", orientation, 0) if kind == 3 else struct.pack(f"{order}I", orientation)
    start = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 1)
    return start + struct.pack(f"{order}HHI", 0x0112, kind, 1) + value + bytes(4)


def xmp(orientation: int) -> bytes:
    description = (
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}" rdf:about=""/>'
    )
    rdf = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode()


def app1(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", 2 + len(payload)) + payload


def exif_segment(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    return app1(b"Exif\0\0" + exif(orientation, order, kind))


def xmp_segment(orientation: int) -> bytes:
    return app1(b"http://ns.adobe.com/xap/1.0/\0" + xmp(orientation))


def jpeg(*segments: bytes, before: bytes = b"") -> bytes:
    """A JPEG with further segments, right behind its first mark or before another one."""
    plain = encoded(cornered(), "JPEG", quality=95)
    at = plain.rindex(before) if before else 2
    return plain[:at] + b"".join(segments) + plain[at:]


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(*chunks: bytes, before: bytes = b"IDAT") -> bytes:
    """A PNG with further chunks before one of its own."""
    plain = encoded(cornered())
    at = plain.index(before) - 4
    return plain[:at] + b"".join(chunks) + plain[at:]


def raw_profile(orientation: int) -> bytes:
    profile = b"Exif\0\0" + exif(orientation)
    text = b"\nexif\n%8d\n%s\n" % (len(profile), profile.hex().encode())
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


XMP_OF_PNG = b"XML:com.adobe.xmp\0\0\0\0\0"

TURNED_AS = {
    **{f"exif{number}.jpg": (jpeg(exif_segment(number)), number if 2 <= number <= 8 else 1) for number in range(10)},
    "exif6_big_endian.jpg": (jpeg(exif_segment(6, ">")), 6),
    "exif6_long.jpg": (jpeg(exif_segment(6, kind=4)), 1),
    "exif6_before_scan.jpg": (jpeg(exif_segment(6), before=b"\xff\xda"), 6),
    "exif6_behind_scan.jpg": (jpeg(exif_segment(6), before=b"\xff\xd9"), 1),
    "xmp6.jpg": (jpeg(xmp_segment(6)), 1),
    "xmp6_exif1.jpg": (jpeg(xmp_segment(6), exif_segment(1)), 1),
    "xmp3_exif6.jpg": (jpeg(xmp_segment(3), exif_segment(6)), 6),
    "exif6_xmp3.jpg": (jpeg(exif_segment(6), xmp_segment(3)), 6),
    "exif1_exif6.jpg": (jpeg(exif_segment(1), exif_segment(6)), 1),
    "exif6_exif1.jpg": (jpeg(exif_segment(6), exif_segment(1)), 6),
    "exif_without_tag_exif6.jpg": (jpeg(app1(b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"), exif_segment(6)), 1),
    **{f"exif{number}.png": (png(chunk(b"eXIf", exif(number))), max(1, number)) for number in range(9)},
    "exif6_big_endian.png": (png(chunk(b"eXIf", exif(6, ">"))), 6),
    "exif6_with_prefix.png": (png(chunk(b"eXIf", b"Exif\0\0" + exif(6))), 1),
    "exif6_behind_pixels.png": (png(chunk(b"eXIf", exif(6)), before=b"IEND"), 1),
    "exif6_exif3.png": (png(chunk(b"eXIf", exif(6)), chunk(b"eXIf", exif(3))), 6),
    "exif6_wrong_checksum.png": (png(chunk(b"eXIf", exif(6), checksum=1)), 1),
    "raw_profile6.png": (png(raw_profile(6)), 1),
    "raw_profile1_exif6.png": (png(raw_profile(1), chunk(b"eXIf", exif(6))), 6),
    "xmp6.png": (png(chunk(b"iTXt", XMP_OF_PNG + xmp(6))), 1),
    "exif6_xmp1.png": (png(chunk(b"iTXt", XMP_OF_PNG + xmp(1)), chunk(b"eXIf", exif(6))), 6),
    "exif6.webp": (encoded(cornered(), "WEBP", lossless=True, exif=exif(6)), 1),
    "exif6_lossy.webp": (encoded(cornered(), "WEBP", quality=95, exif=b"Exif\0\0" + exif(6)), 1),
    "xmp6.webp": (encoded(cornered(), "WEBP", lossless=True, xmp=xmp(6)), 1),
    "plain.gif": (encoded(cornered(), "GIF"), 1),
    "plain.bmp": (encoded(cornered(), "BMP"), 1),
}
"""File name to file and the orientation, 1 to 8, in which Chromium shows it."""

BLACK = Image.new("RGB", SIZE)
ANIMATED = {"save_all": True, "duration": 60_000}

SHOWN_WHOLE = {
    "anim.gif": encoded(cornered(), "GIF", append_images=[BLACK], **ANIMATED),
    "anim.webp": encoded(cornered(), "WEBP", append_images=[BLACK], lossless=True, **ANIMATED),
    "anim.png": encoded(cornered(), "PNG", append_images=[BLACK], **ANIMATED),
    "anim_behind_its_default_image.png": encoded(
        BLACK, "PNG", append_images=[cornered(), BLACK], default_image=True, **ANIMATED
    ),
    "two_pictures.mpo.jpg": encoded(cornered(), "MPO", save_all=True, append_images=[BLACK], quality=95),
    "progressive_without_end.jpg": encoded(cornered(), "JPEG", quality=95, progressive=True)[:-2],
    "zeros_for_an_end.jpg": jpeg()[:-2] + bytes(64),
    "without_end.png": png()[:-12],
    "without_end.gif": encoded(cornered(), "GIF")[:-1],
    "more_behind_the_end.png": png() + b"more",
    "text_of_4_MiB.png": png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**22)))),
    "text_with_wrong_checksum.png": png(chunk(b"tEXt", b"a\0b", checksum=1)),
    "resolution_with_wrong_checksum.png": png(chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), checksum=1)),
    "profile_that_is_none.png": png(chunk(b"iCCP", b"a\0\0nothing")),
}
"""Files of the page as it is, which Chromium 156 shows whole though something is odd about them."""
