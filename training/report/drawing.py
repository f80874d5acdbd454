"""The pages a model disagrees on most, with what was marked and what was predicted drawn on them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from handler.errors import HandlerError
from handler.images import ImageLimits, open_page
from handler.page import Box, Region, TaggedPage
from layoutloop.documents.drawing import Colour, Side, draw_caption
from layoutloop.errors import LayoutLoopError
from training.data.examples import Entity, Example, entities_of

if TYPE_CHECKING:
    from training.measure.scoring import (
        Scores,  # scikit-learn takes seconds, and scripts.predict needs the caption alone
    )

logger = logging.getLogger(__name__)


MARKED: Colour = (0, 90, 200)
PREDICTED: Colour = (205, 75, 0)
"""Blue and orange are told apart with every common kind of colour blindness."""
MAX_SIDE_PIXELS = 1100
MAX_JPEG_BYTES = 150_000


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawn page.

    Args:
        task: Label Studio's task id.
        item: which page of the task, from 0.
        right: predictions that are right.
        marked: entities a person marked.
        predicted: entities the model predicted.
        other_box: marked entities with the right label around other words; None where that was not counted.
        jpeg: the picture, at most MAX_JPEG_BYTES.
    """

    task: int
    item: int
    right: int
    marked: int
    predicted: int
    other_box: int | None
    jpeg: bytes


def draw_worst(
    examples: Sequence[Example],
    tagged: Sequence[TaggedPage | HandlerError],
    scores: Scores,
    image_of: Callable[[Example], bytes],
    *,
    label_map: Mapping[str, str] | None = None,
    limit: int = 6,
) -> tuple[Drawing, ...]:
    """Draw the pages with the most missed and wrong entities, worst first; pages without any are not drawn.

    A page whose image is gone, or cannot be opened, is logged and left out.

    Args:
        examples: annotated pages.
        tagged: the model's answer for each, in the same order.
        scores: of those answers.
        image_of: returns the encoded image of a page; may raise LayoutLoopError or OSError.
        label_map: model's label -> project's label, as for the scores.
        limit: pages drawn at most.
    """
    worst = sorted(range(len(examples)), key=lambda index: -scores.pages[index].wrong)
    drawings: list[Drawing] = []
    for index in worst:
        page = scores.pages[index]
        if len(drawings) == limit or not page.wrong:
            break
        try:
            image = open_page(image_of(examples[index]), ImageLimits())
        except (LayoutLoopError, OSError) as error:
            logger.warning("task %d, page %d is not drawn: %s", page.task, page.item + 1, error)
            continue
        picture = draw_comparison(image, examples[index].entities, _regions(tagged[index]), label_map)
        jpeg = to_jpeg(picture, MAX_JPEG_BYTES)
        drawings.append(Drawing(page.task, page.item, page.right, page.gold, page.predicted, page.other_box, jpeg))
    return tuple(drawings)


def draw_comparison(
    image: Image.Image,
    entities: Sequence[Entity],
    regions: Sequence[Region],
    label_map: Mapping[str, str] | None = None,
) -> Image.Image:
    """Return a page scaled down to MAX_SIDE_PIXELS with marked and predicted boxes on it.

    What both sides have is a thin line. What only one has is a thick one with its label: above the box for what
    was marked, below it for what was predicted, so that the words in question can be read.
    """
    marked = [(entity.label, entity.box, entity.words) for entity in entities]
    found = [(entity.label, entity.box, entity.words) for entity in entities_of(regions, label_map or {})]
    scale = min(1.0, MAX_SIDE_PIXELS / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    page = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    draw = ImageDraw.Draw(page, "RGBA")
    font = ImageFont.load_default(max(12, page.width // 65))
    both = {(label, words) for label, _, words in marked if words} & {(label, words) for label, _, words in found}
    sides: tuple[tuple[Sequence[tuple[str, Box, tuple[int, ...]]], Colour, Side], ...] = (
        (marked, MARKED, "above"),
        (found, PREDICTED, "below"),
    )
    for boxes, colour, side in sides:
        for label, box, words in boxes:
            agreed = (label, words) in both
            pad = 0 if agreed else 2
            left, top, right, bottom = (edge * scale for edge in (box.left, box.top, box.right, box.bottom))
            around = Box(left - pad, top - pad, right + pad, bottom + pad)
            edges = (around.left, around.top, around.right, around.bottom)
            draw.rectangle(edges, outline=colour, width=1 if agreed else 2)
            if not agreed:
                draw_caption(draw, font, page.size, around, label, colour, side)
    return page


def to_jpeg(image: Image.Image, max_bytes: int) -> bytes:
    """Encode an image in at most `max_bytes`: first with less quality, then smaller."""
    while True:
        for quality in (80, 60, 40):
            buffer = io.BytesIO()
            image.save(buffer, format="JPEG", quality=quality, optimize=True)
            if buffer.tell() <= max_bytes or max(image.size) <= 16:
                return buffer.getvalue()
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))


def _regions(answer: TaggedPage | HandlerError) -> tuple[Region, ...]:
    return () if isinstance(answer, HandlerError) else answer.regions
