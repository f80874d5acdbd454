"""`data:` URI -> the bytes in it."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from handler.errors import ImageTooLarge, ImageUnreadable
from layoutloop.errors import ImageUnavailable

MAX_HEADER_CHARS = 256


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """Return the bytes of a `data:` URI, base64 or percent-encoded; its size is judged before it is decoded.

    Raises:
        ImageUnreadable: it says it is neither an image nor plain bytes.
        ImageTooLarge: more than `max_bytes` are in it.
        ImageUnavailable: it cannot be decoded.
    """
    if not uri.isascii():
        raise ImageUnavailable("a data: URI holds characters that no URI has")
    comma = uri.find(",", 0, MAX_HEADER_CHARS)
    if comma < 0:
        raise ImageUnavailable(f"a data: URI has no comma within its first {MAX_HEADER_CHARS} characters")
    media_type, *parameters = [part.strip().lower() for part in uri[len("data:") : comma].split(";")]
    if not (media_type.startswith("image/") or media_type == "application/octet-stream"):
        raise ImageUnreadable(f"a data: URI holds {media_type or 'text/plain'}; only image/* is read")
    is_base64 = parameters[-1:] == ["base64"]
    count = len(uri) - comma - 1
    smallest = count // 4 - 2 if is_base64 else count // 3  # every character percent-encoded, and padding
    if smallest > max_bytes:
        raise ImageTooLarge(f"a data: URI of {count} characters holds more than {max_bytes} bytes")
    payload = unquote_to_bytes(uri[comma + 1 :])
    if is_base64:
        payload = b"".join(payload.split()).rstrip(b"=")
    size = len(payload) * 3 // 4 if is_base64 else len(payload)
    if size > max_bytes:
        raise ImageTooLarge(f"a data: URI holds {size} bytes; at most {max_bytes} are read")
    try:
        return base64.b64decode(payload + b"=" * (-len(payload) % 4), validate=True) if is_base64 else payload
    except (binascii.Error, ValueError) as error:
        raise ImageUnavailable("a data: URI is not valid base64") from error
