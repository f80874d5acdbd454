"""Which frames of a TIFF are pages: thumbnails and masks are not."""

from __future__ import annotations

from PIL import Image

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 254, 255
_REDUCED, _MASK = 1, 4
_OLD_REDUCED = 2


def page_frames(image: Image.Image) -> tuple[int, ...]:
    """Return the numbers of the frames that are pages, from 0; leaves the image at its last frame.

    Where every frame is marked as a thumbnail or a mask, the marks say nothing and each is a page.
    """
    frames = range(int(getattr(image, "n_frames", 1)))
    return tuple(frame for frame in frames if _is_page(image, frame)) or tuple(frames)


def seek_page(image: Image.Image, frame: int) -> None:
    """Go to a frame, which is turned by its orientation tag when it is loaded, as viewers do, and by nothing else."""
    image.seek(frame)
    image.info.pop("xmp", None)  # Pillow would take an orientation from there


def _is_page(image: Image.Image, frame: int) -> bool:
    image.seek(frame)
    tags = image.tag_v2  # type: ignore[attr-defined]
    kind, old_kind = tags.get(_SUBFILE_TYPE, 0), tags.get(_OLD_SUBFILE_TYPE, 0)
    return not (isinstance(kind, int) and kind & (_REDUCED | _MASK)) and old_kind != _OLD_REDUCED
