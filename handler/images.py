"""Bytes to one upright RGB page image: formats, colour modes, EXIF orientation, limits."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from handler.errors import (
    ImageHasSeveralPages,
    ImageTooLarge,
    ImageTruncated,
    ImageUnreadable,
    RequestInvalid,
)

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
    """Return the one page in `data` as an upright RGB image.

    EXIF orientation is applied before anybody reads a size; transparency is laid over white; 16-bit and
    floating-point greys are scaled to 8 bits, not cut.

    Raises:
        ImageUnreadable, ImageTruncated, ImageHasSeveralPages, ImageTooLarge, RequestInvalid.
    """
    if not data:
        raise RequestInvalid("the request has no body; send the bytes of one page image")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the image has {len(data):,} bytes, at most {limits.max_bytes:,} are read")
    image = _identify(data, limits)
    try:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(str(error)) from error
    except _BROKEN as error:
        raise ImageTruncated(f"the {image.format} image is damaged or ends early: {error}") from error


def _identify(data: bytes, limits: ImageLimits) -> Image.Image:
    if data[:5] == b"%PDF-":
        raise ImageHasSeveralPages("this is a PDF; `python -m scripts.predict` splits documents into pages")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
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
