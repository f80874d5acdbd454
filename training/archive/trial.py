"""A checkpoint labels a made-up page before it is archived: one that cannot is found here, and not by a node."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from handler.errors import CheckpointInvalid, HandlerError
from handler.images import make_thumbnail
from handler.page import BOX_LEVELS, Box, Page, Size, Word
from handler.tagging.layoutlm import LayoutLM, as_invalid
from handler.tagging.tagger import Tagger, TaggerSettings

_PAGE = Size(1000, 1000)
_ROWS, _COLUMNS = 32, 20
"""More words than a window has tokens, on all of the grid: every position that a page can have is looked up."""


def try_checkpoint(checkpoint: Path, box_level: str) -> LayoutLM:
    """Return a checkpoint's model after it labelled a page as it would be served, but on the CPU and in float32.

    Raises:
        CheckpointInvalid: it cannot be loaded, or does not label the page.
    """
    level = next(level for level in BOX_LEVELS if level == box_level)
    tagger = Tagger.load(checkpoint, TaggerSettings(device="cpu", dtype="float32", box_level=level))
    with as_invalid(f"{checkpoint} cannot label a page"):
        (answer,) = tagger.tag([_page(tagger.model.uses_image)])
    if isinstance(answer, HandlerError):
        raise CheckpointInvalid(f"{checkpoint} cannot label a page: {answer}") from answer
    return tagger.model


def _page(with_thumbnail: bool) -> Page:
    height, width = _PAGE.height // _ROWS, _PAGE.width // _COLUMNS
    corners = (Box(0, 0, _PAGE.width, _PAGE.height), Box(_PAGE.width - 1, _PAGE.height - 1, _PAGE.width, _PAGE.height))
    cells = (
        Box(x * width, y * height, (x + 1) * width, (y + 1) * height) for y in range(_ROWS) for x in range(_COLUMNS)
    )
    words = tuple(Word("Total", box) for box in (*corners, *cells))
    thumbnail = make_thumbnail(Image.new("RGB", (_PAGE.width, _PAGE.height), "white")) if with_thumbnail else None
    return Page(_PAGE, "trial", words, thumbnail)
