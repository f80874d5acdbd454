"""Regions -> Label Studio's results; the way back, from what a person drew, is in `layoutloop.studio.drawn`.

Label Studio measures in percent of the image as the annotator sees it, this project in pixels. What is emitted is what
its interface draws: rectangle, labels and text of one region share an id, text is a list, every number is finite,
nothing reaches past the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from handler.page import Box, Region, Size
from layoutloop.store.thresholds import Thresholds
from layoutloop.studio.label_config import LabelConfig
from layoutloop.studio.rectangle import MIN_VISIBLE_PERCENT, TiltedBox

_DECIMALS = 6  # of a percent: a ten-thousandth of a pixel on the largest scan


class GeometryValue(TypedDict):
    """A rectangle in percent of the page, x and y its top left corner; rotation in degrees clockwise about it."""

    x: float
    y: float
    width: float
    height: float
    rotation: float


class RectangleLabelsValue(GeometryValue):
    """The value of a `rectanglelabels` result; an empty list is a box that is still to be labelled."""

    rectanglelabels: list[str]


class LabelsValue(GeometryValue):
    """The value of a `labels` result."""

    labels: list[str]


class TextValue(GeometryValue):
    """The value of a `textarea` result. Never a plain string: Label Studio's page crashes on one."""

    text: list[str]


Value = GeometryValue | RectangleLabelsValue | LabelsValue | TextValue


class _Drawn(TypedDict):
    from_name: str
    type: str
    value: Value


class _CommonAlways(TypedDict):
    to_name: str
    origin: str
    original_width: int
    original_height: int
    image_rotation: int


class _Common(_CommonAlways, total=False):
    item_index: int  # page of a valueList task, counted from 0
    readonly: bool


class ResultDict(_Drawn, _Common):
    """One entry of a prediction's `result`."""

    id: str
    score: float


class PredictionDict(TypedDict):
    """What /predict answers for one task."""

    model_version: str
    score: float
    result: list[ResultDict]


@dataclass(frozen=True, slots=True)
class Results:
    """What one page adds to its task's prediction.

    Args:
        model_version: the reported version that made it.
        items: entries of the prediction's `result`.
        score: lowest score of the regions drawn with a label; None where there is none.
        unknown_labels: how many regions were drawn without a label because the config does not know it.
    """

    model_version: str
    items: tuple[ResultDict, ...]
    score: float | None
    unknown_labels: int


@dataclass(frozen=True, slots=True)
class Rendering:
    """How the regions of one version become results in one project.

    Args:
        config: of the project.
        version: the reported one.
        thresholds: labelled regions with a lower score are left out.
        read_only: the boxes cannot be moved.
    """

    config: LabelConfig
    version: str
    thresholds: Thresholds = field(default_factory=Thresholds)
    read_only: bool = False

    def draws(self, region: Region) -> bool:
        """Whether a region is certain enough; one without a label, a line of text, always is."""
        return self.thresholds.draw(self.config.project_label(region.label) or region.label, region.score)


def regions_to_results(
    regions: Sequence[Region], size: Size, rendering: Rendering, item_index: int | None = None
) -> Results:
    """Turn the regions of one page into what Label Studio draws.

    A region without a label, or with one that the config does not know, becomes a box that is still to be labelled: on
    <RectangleLabels> an empty list of labels, which Label Studio takes for exactly that (`fixBrokenAnnotation` in
    web/libs/editor/src/stores/Annotation/Annotation.js). Whether text lines are wanted there in cold start is the
    caller's choice.

    The score is that of the least certain label drawn; see `results_to_prediction`.

    Args:
        regions: of the page.
        size: of the page as the annotator sees it.
        rendering: how they are drawn.
        item_index: page of a valueList task; None where there is one image.
    """
    config = rendering.config
    shown = [
        (index, region, config.project_label(region.label))
        for index, region in enumerate(regions)
        if rendering.draws(region)
    ]
    common = _common(rendering, size, item_index)
    items = tuple(
        ResultDict(id=_region_id(item_index, index, region), score=region.score, **drawn, **common)
        for index, region, label in shown
        for drawn in _drawn(region, label, _geometry(region.box, size), config)
    )
    score = min((region.score for _, region, label in shown if label is not None), default=None)
    unknown = sum(region.label is not None and label is None for _, region, label in shown)
    return Results(rendering.version, items, score, unknown)


def results_to_prediction(pages: Sequence[Results]) -> PredictionDict:
    """Join the pages of one task (at least one, all of one version) into its prediction.

    Its score is that of the least certain label on any page, so that sorting tasks by score, upwards, brings first
    what needs a person most. A task without a label on any page has 0: every box on it is still to be drawn. One
    empty page among others says nothing.
    """
    versions = {page.model_version for page in pages}
    if len(versions) != 1:
        raise ValueError(f"a prediction is made by one version, got {sorted(versions)}")
    return {
        "model_version": versions.pop(),
        "score": min((page.score for page in pages if page.score is not None), default=0.0),
        "result": [item for page in pages for item in page.items],
    }


def tilted_geometry(tilted: TiltedBox, size: Size) -> GeometryValue:
    """Return a tilted rectangle as Label Studio stores it."""
    across, down = 100 / size.width, 100 / size.height
    return {
        "x": round(tilted.x * across, _DECIMALS),
        "y": round(tilted.y * down, _DECIMALS),
        "width": round(tilted.width * across, _DECIMALS),
        "height": round(tilted.height * down, _DECIMALS),
        "rotation": tilted.degrees,
    }


def _common(rendering: Rendering, size: Size, item_index: int | None) -> _Common:
    common: _Common = {
        "to_name": rendering.config.to_name,
        "origin": "prediction",
        "original_width": size.width,
        "original_height": size.height,
        "image_rotation": 0,
    }
    if rendering.config.is_list:
        common["item_index"] = item_index or 0
    if rendering.read_only:
        common["readonly"] = True
    return common


def _drawn(region: Region, label: str | None, geometry: GeometryValue, config: LabelConfig) -> Iterator[_Drawn]:
    """Yield what each result of one region says; the rectangle comes first."""
    labels = [label] if label is not None else []
    if config.rectangle_name is None:
        boxed = RectangleLabelsValue(**geometry, rectanglelabels=labels)
        yield _Drawn(from_name=config.from_name, type="rectanglelabels", value=boxed)
    else:
        yield _Drawn(from_name=config.rectangle_name, type="rectangle", value=geometry)
        if labels:
            yield _Drawn(from_name=config.from_name, type="labels", value=LabelsValue(**geometry, labels=labels))
    if config.textarea_name is not None and region.text.strip():
        written = TextValue(**geometry, text=[region.text])
        yield _Drawn(from_name=config.textarea_name, type="textarea", value=written)


def _geometry(box: Box, size: Size) -> GeometryValue:
    x, extent_x = _span(box.left, box.right, size.width)
    y, extent_y = _span(box.top, box.bottom, size.height)
    return {"x": x, "y": y, "width": extent_x, "height": extent_y, "rotation": 0}


def _span(low: float, high: float, side: int) -> tuple[float, float]:
    """Convert two pixel edges to (start, extent) in percent: inside 0..100, and wide enough to be seen."""
    start, end = (min(100.0, max(0.0, 100.0 * edge / side)) for edge in (low, high))
    start = round(min(start, 100.0 - MIN_VISIBLE_PERCENT), _DECIMALS)
    extent = max(round(end - start, _DECIMALS), MIN_VISIBLE_PERCENT)
    return start, min(extent, 100.0 - start)


def _region_id(item_index: int | None, index: int, region: Region) -> str:
    """Return 10 characters (50 bits of a hash): the same whenever the same region of the same page is drawn again."""
    box = region.box
    identity = json.dumps([item_index, index, box.left, box.top, box.right, box.bottom, region.label])
    return base64.b32encode(hashlib.sha256(identity.encode()).digest()).decode().lower()[:10]
