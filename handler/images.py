"""Bytes to one RGB page image as the annotator sees it: formats, colour modes, orientation, limits.

The page is what the annotator's browser shows, since boxes are shares of that picture: turned only where browsers
turn it, whole where they show it whole, the first picture of an animation. `handler.browser_view` says what Chromium
and Firefox were seen to do.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from handler.browser_view import orientation, seek_first_frame, turn, without_metadata
from handler.errors import (
    HandlerError,
    ImageHasSeveralPages,
    ImageTooLarge,
    ImageTruncated,
    ImageUnreadable,
    RequestInvalid,
)
from handler.resolution import upright_dpi
from handler.tiff_pages import page_frames, seek_page

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
"""What is opened. Not EPS, PDF, WMF and the like: Pillow hands those to outside programs.

MPO (phones' JPEG) comes with JPEG; naming it here makes Pillow 13 stop at it with a KeyError.
"""

THUMBNAIL_SIDE = 224
"""Side in pixels of what LayoutLMv3's image branch looks at."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged data."""

_SHOWN_WITHOUT_END = ("JPEG", "MPO", "GIF", "BMP")
_END_OF_JPEG = b"\xff\xd9"
_NOISE = bytes(37 * number % 251 for number in range(250))
"""Without 0xff, which begins a mark."""


def _more_pixels(first: int) -> bytes:
    """Return pixels for wherever a file was cut, a JPEG's eight restart marks among them, from number `first` on."""
    noise, marks = _NOISE[first:], (bytes((0xFF, 0xD0 + (first + number) % 8)) for number in range(8))
    return b"".join(noise + mark for mark in marks) + noise + _END_OF_JPEG


_ENDINGS = (_END_OF_JPEG + bytes(len(_NOISE)), _more_pixels(0), _more_pixels(4))
"""Ways to go on where a file stops. Two with pixels, since a decoder passes over a restart mark that comes one or two
too early."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How much image one request may be.

    Args:
        max_bytes: of the encoded file.
        max_pixels: width x height after decoding; an A3 page at 600 dpi has 70 million. Pillow itself refuses
            anything above 179 million, so a larger value has no effect.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 90_000_000


def open_page(data: bytes, limits: ImageLimits) -> Image.Image:
    """Return the one page in `data` as an RGB image, as the annotator sees it.

    It is turned before anybody reads a size; transparency is laid over white; 16-bit and floating-point greys are
    scaled to 8 bits, not cut. Its `format` is that of the file, and its `info` holds `dpi` (along width and height)
    where the file states it, and nothing else.

    Raises:
        ImageUnreadable, ImageTruncated, ImageHasSeveralPages, ImageTooLarge, RequestInvalid.
    """
    if not data:
        raise RequestInvalid("the request has no body; send the bytes of one page image")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the image has {len(data):,} bytes, at most {limits.max_bytes:,} are read")
    data = without_metadata(data)
    image = _identify(data, limits)
    try:
        return _upright(image)
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(str(error)) from error
    except _BROKEN as error:
        page = _read_without_end(data, limits) if image.format in _SHOWN_WITHOUT_END else None
        if page is None:
            raise ImageTruncated(f"the {image.format} image is damaged or ends early: {error}") from error
        return page


def _read_without_end(data: bytes, limits: ImageLimits) -> Image.Image | None:
    """Return the page of a file that lacks only what stands behind its pixels; None where pixels are missing.

    Missing pixels would come out of what the file is continued with, and differ. A progressive JPEG that stops exactly
    between two of its passes over the page is read as the passes before show it, as browsers do.
    """
    if data.startswith(b"\xff\xd8"):
        data = data.removesuffix(b"\xff")  # of a JPEG: half a mark
    try:
        page = _upright(_identify(data + _ENDINGS[0], limits))
        for ending in _ENDINGS[1:]:
            if ImageChops.difference(page, _upright(_identify(data + ending, limits))).getbbox():
                return None
    except (HandlerError, *_BROKEN):
        return None
    return page


def _identify(data: bytes, limits: ImageLimits) -> Image.Image:
    if data[:5] == b"%PDF-":
        raise ImageHasSeveralPages("this is a PDF; `python -m scripts.predict` splits documents into pages")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        pages = _seek_first_page(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"{error} At most {limits.max_pixels:,} pixels are read.") from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable(f"these {len(data):,} bytes are no image; send one of {', '.join(FORMATS)}") from error
    except _BROKEN as error:
        raise ImageUnreadable(f"the image's header cannot be read: {error}") from error
    if image.width * image.height > limits.max_pixels:
        raise ImageTooLarge(
            f"the image is {image.width} x {image.height} pixels, at most {limits.max_pixels:,} in all are read"
        )
    if pages > 1:
        raise ImageHasSeveralPages(
            f"the {image.format} file has {pages} pages and one request is one page; "
            "`python -m scripts.predict` splits documents into pages"
        )
    return image


def _seek_first_page(image: Image.Image) -> int:
    """Go to the first page of a file and return how many it has; only a TIFF has several."""
    if image.format != "TIFF":
        seek_first_frame(image)
        return 1
    frames = page_frames(image)
    seek_page(image, frames[0])
    return len(frames)


def _upright(image: Image.Image) -> Image.Image:
    value, dpi, format = orientation(image), upright_dpi(image), image.format
    image.load()
    page = _to_rgb(image)
    if format != "TIFF":  # Pillow has turned it
        page = turn(page, value)
    page.info = {} if dpi is None else {"dpi": dpi}
    page.format = format
    return page


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _scale_to_8_bits(image).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        page = image.convert("RGBA")
        white = Image.new("RGBA", page.size, "white")
        return Image.alpha_composite(white, page).convert("RGB")
    return image.convert("RGB")


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    samples = np.asarray(image, dtype=np.float64)
    peak = float(np.max(samples, where=np.isfinite(samples), initial=0.0))
    # Scanners that fill 16 bits say so only through their values; the range is the smallest that holds them.
    top = next((limit for limit in (1.0, 255.0, 65535.0) if peak <= limit), peak)
    if image.mode.startswith("I;16"):
        top = 65535.0
    scaled = np.nan_to_num(np.clip(samples / top, 0.0, 1.0)) * 255.0
    return Image.fromarray(scaled.round().astype(np.uint8))


def make_thumbnail(image: Image.Image) -> bytes:
    """Return the 224 x 224 RGB PNG of a page, squeezed to a square with the bilinear filter.

    The same pixels that Hugging Face's `LayoutLMv3ImageProcessorPil` would rescale and normalise.
    """
    small = image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
