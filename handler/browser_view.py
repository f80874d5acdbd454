"""What browsers take from an image file: the picture they show, how they turn it, the chunks they look at.

Looked at in November 2026 with Chromium 156 and Firefox 153 (ESR) on Debian, with small files of each kind:

| file | turned by | not turned by |
|---|---|---|
| JPEG | the first EXIF segment before the scan, type SHORT, one value, 2 to 8 | XMP, a second EXIF segment, one behind the scan, a value of type LONG, values 0 and 9 |
| PNG | the first eXIf chunk before the pixels | eXIf behind the pixels or with a wrong checksum, XMP, ImageMagick's raw profiles |
| WebP, GIF, BMP | nothing | EXIF and XMP of a WebP, XMP of a GIF |
| TIFF, JPEG 2000, PPM | they are not shown | |

The two disagree where a JPEG's XMP stands before its EXIF: Chromium turns it, Firefox does not; here it is turned. A
resolution in EXIF may scale the page on the screen, which changes no box, since these are shares of the page. Of an
animation both begin with its first frame; a PNG's default image is none of them where no fcTL stands before it.
"""  # noqa: E501

from __future__ import annotations

import struct
import zlib

from PIL import Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that make a page's width of its stored height."""

_EXIF_START = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_PNG_START = b"\x89PNG\r\n\x1a\n"
_LOOKED_AT = frozenset({b"tRNS", b"pHYs", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
"""The chunks that a page can be drawn without, and whose content matters here all the same."""


def orientation(image: Image.Image) -> int:
    """Return EXIF's number, 1 to 8, of the turn that a browser makes, or a viewer of a TIFF; 1 is none.

    Of an image that is opened and not loaded: Pillow adds what stands behind a PNG's pixels when it loads them, and
    forgets the tag of a TIFF.
    """
    value: object = 1
    if image.format == "TIFF":
        value = image.tag_v2.get(_ORIENTATION)  # type: ignore[attr-defined]
    elif image.format in ("JPEG", "MPO", "PNG"):
        value = _exif_orientation(image.info.get("exif", b"").removeprefix(_EXIF_START))
    return value if isinstance(value, int) and value in _TURNS else 1


def turn(image: Image.Image, value: int) -> Image.Image:
    """Return a stored image as orientation `value` says it is shown."""
    return image.transpose(_TURNS[value]) if value in _TURNS else image


def _exif_orientation(tiff: bytes) -> int:
    try:
        order = _BYTE_ORDERS[tiff[:2]]
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(entries):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if (tag, kind, count) == (_ORIENTATION, _SHORT, 1):
                return int(value)
    except (KeyError, struct.error):
        pass  # no EXIF, or cut short: not turned
    return 1


def without_metadata(data: bytes) -> bytes:
    """Return a PNG without the chunks that browsers do not look at; any other file as it is.

    One of them that is damaged, or a text of some megabytes, makes Pillow refuse a page that every browser shows.
    """
    if not data.startswith(_PNG_START):
        return data
    view = memoryview(data)
    kept: list[bytes | memoryview] = [_PNG_START]
    seen: set[bytes] = set()
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = view[at : at + 12 + length]
        if _is_critical(kind) or (kind in _LOOKED_AT and _is_usable(kind, chunk, seen)):
            kept.append(chunk)
            seen.add(kind)
        at += 12 + length
    kept.append(view[at:])
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)


def _is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20  # a capital


def _is_usable(kind: bytes, chunk: memoryview, seen: set[bytes]) -> bool:
    if kind == b"eXIf" and seen & {b"eXIf", b"IDAT"}:
        return False
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def seek_first_frame(image: Image.Image) -> None:
    """Go to the picture with which a browser begins."""
    if getattr(image, "default_image", False):
        image.seek(1)
