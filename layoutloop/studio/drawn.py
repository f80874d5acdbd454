"""What a person drew: the results of an annotation -> regions of the served controls, and their boxes in pixels.

A label config may have further controls on the same <Image>. What they say is no part of a region here: neither a
label nor a text of another control is taken for one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.page import Box, Size
from layoutloop.studio.label_config import LabelConfig
from layoutloop.studio.rectangle import TiltedBox, clipped, read_rectangle

RECTANGLES = ("rectangle", "rectanglelabels")
"""Types of results that say where a rectangle is."""
_LABELS = ("labels", "rectanglelabels")

Result = Mapping[str, Any]
"""One entry of an annotation's `result`, as Label Studio exports it."""


@dataclass(frozen=True, slots=True)
class DrawnRegion:
    """One region on the served <Image>.

    Args:
        identity: its id.
        results: all results of it, whatever their control.
        ours: of them, those of the served controls; a rectangle of another control that has one of our labels is
            there as a bare rectangle. Empty where no served control has a part in it.
    """

    identity: str
    results: tuple[Result, ...]
    ours: tuple[Result, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """Types of its results."""
        return tuple(str(result.get("type")) for result in self.results)


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """One rectangle of an annotation.

    Args:
        label: as the annotation names it; the first of several; None for a box without a label.
        box: pixels of the page as the annotator sees it, around the rectangle where it is tilted, clipped to the page.
        text: the transcription; empty where there is none.
        item_index: page of a valueList task; None where the annotation does not say.
        tilted: the rectangle itself where it is tilted.
    """

    label: str | None
    box: Box
    text: str
    item_index: int | None
    tilted: TiltedBox | None = None

    @property
    def outline(self) -> Box | TiltedBox:
        """What holds the region's words."""
        return self.tilted or self.box


def grouped(results: object) -> dict[str, list[Result]]:
    """Return the results of each region by its id, in order; results without an id stand alone, under one made up."""
    groups: dict[str, list[Result]] = {}
    for position, result in enumerate(results if isinstance(results, list) else []):
        if isinstance(result, Mapping):
            identity = result.get("id")
            known = isinstance(identity, str | int) and identity
            groups.setdefault(str(identity) if known else f"drawn{position}", []).append(result)
    return groups


def drawn_regions(results: object, config: LabelConfig) -> list[DrawnRegion]:
    """Return the regions on the served <Image>, in order; what is no result is left out.

    Args:
        results: `annotation["result"]`.
        config: of the project.
    """
    found = []
    for identity, group in grouped(results).items():
        here = [result for result in group if result.get("to_name") == config.to_name]
        if here:
            found.append(DrawnRegion(identity, tuple(here), _ours(here, config)))
    return found


def labelled_box(group: Sequence[Result], size: Size) -> LabelledBox | str:
    """Return the rectangle of one region's results, or why no person can have meant it, as the end of a sentence.

    Percentages are taken of the page as it is, like Label Studio's own drawing does: a missing or wrong
    original_width changes nothing, and image_rotation is only how the annotator looked at it.

    Args:
        group: the results of one region, in any order.
        size: of the page as the annotator sees it.
    """
    values = [result.get("value") for result in group if result.get("type") in RECTANGLES]
    drawn = read_rectangle(values[0] if values else None, size)
    if isinstance(drawn, str):
        return drawn
    labels, texts = labels_of(group), [_text(result) for result in group if result.get("type") == "textarea"]
    pages = [page for result in group if type(page := result.get("item_index")) is int]
    return LabelledBox(
        label=labels[0] if labels else None,
        box=clipped(drawn.around(), size),
        text=next(filter(None, texts), ""),
        item_index=pages[-1] if pages else None,
        tilted=None if drawn.is_upright else drawn,
    )


def labels_of(group: Sequence[Result]) -> list[str]:
    """Return all labels of one region's results, in order and once each."""
    found: dict[str, None] = {}
    for result in group:
        value, kind = result.get("value"), result.get("type")
        entries = value.get(kind) if isinstance(value, Mapping) and kind in _LABELS else None
        if isinstance(entries, list):
            found |= dict.fromkeys(entry for entry in entries if isinstance(entry, str))
    return list(found)


def _ours(group: Sequence[Result], config: LabelConfig) -> tuple[Result, ...]:
    controls = [config.from_name, *filter(None, [config.rectangle_name])]
    if not any(result.get("from_name") in controls for result in group):
        return ()
    controls += filter(None, [config.textarea_name])
    ours = [result for result in group if result.get("from_name") in controls]
    if not any(result.get("type") in RECTANGLES for result in ours):
        ours += [{**result, "type": "rectangle"} for result in group if result.get("type") in RECTANGLES]
    return tuple(ours)


def _text(result: Result) -> str:
    value = result.get("value")
    text = value.get("text") if isinstance(value, Mapping) else None
    return "\n".join(line for line in (text if isinstance(text, list) else [text]) if isinstance(line, str))
