"""The networks' files inside the wheel `rapidocr`: found, and used only as published.

The package's own code is never imported: where a file is damaged or named otherwise it downloads one.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from handler.errors import OcrFailed

VERSION = "3.10.0"
"""The release whose files these are."""

DETECTOR, RECOGNISER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
SHA256 = {
    DETECTOR: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    RECOGNISER: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}

INSTALL = "pip install --no-deps -r requirements/reader.txt"
"""What brings the networks and what runs them on a CPU."""
_REPAIR = f"`{INSTALL} --force-reinstall`"


def read_model(name: str) -> bytes:
    """Return the bytes of one network (ONNX), which are those that were published.

    Raises:
        OcrFailed: the package is not installed or of another release, the file is missing or damaged.
    """
    try:
        package = distribution("rapidocr")
    except PackageNotFoundError as error:
        raise OcrFailed(f"engine rapidocr needs rapidocr {VERSION}: `{INSTALL}`") from error
    if package.version != VERSION:
        raise OcrFailed(f"engine rapidocr reads with rapidocr {VERSION}, {package.version} is installed: {_REPAIR}")
    path = Path(str(package.locate_file(f"rapidocr/models/{name}")))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OcrFailed(f"{path} cannot be read ({error.strerror}): {_REPAIR}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[name]:
        raise OcrFailed(f"{path} is damaged (sha256 {digest}, published {SHA256[name]}): {_REPAIR}")
    return data
