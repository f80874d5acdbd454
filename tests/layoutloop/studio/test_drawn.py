"""What a person drew. P numbers are those of the project's list of pitfalls."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from handler.page import Box, Size
from layoutloop.studio.drawn import LabelledBox, drawn_regions, labelled_box
from layoutloop.studio.label_config import LabelConfig, parse_label_config

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
OCR = parse_label_config(
    '<View><Image name="image" value="$image"/><Labels name="label" toName="image"><Label value="A"/></Labels>'
    '<Rectangle name="bbox" toName="image"/><TextArea name="text" toName="image" perRegion="true"/></View>'
)
SIZE = Size(1000, 500)


def boxes(results: Iterable[Mapping[str, Any]], config: LabelConfig = OCR, size: Size = SIZE) -> list[LabelledBox]:
    """Return the boxes that can be used, in order."""
    found = (labelled_box(region.ours, size) for region in drawn_regions(list(results), config) if region.ours)
    return [box for box in found if isinstance(box, LabelledBox)]


def captured(capture: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURES / f"{capture}.json").read_text())["body"]
    return body


def result(identity: str | None, control: str, kind: str, **value: Any) -> dict[str, Any]:
    """One result; `kind` is its type."""
    one: dict[str, Any] = {"from_name": control, "to_name": "image", "type": kind, "value": value}
    return one if identity is None else {"id": identity, **one}


def rectangle(identity: str | None = "a", kind: str = "rectangle", control: str = "bbox", **value: Any) -> Any:
    return result(identity, control, kind, **{"x": 10, "y": 20, "width": 30, "height": 40, **value})


def labels(identity: str, *names: str, control: str = "label") -> dict[str, Any]:
    return result(identity, control, "labels", labels=list(names))


def text(identity: str, written: Any, control: str = "text") -> dict[str, Any]:
    return result(identity, control, "textarea", text=written)


BOX = Box(100, 100, 400, 300)  # of `rectangle()` on a page of 1000 x 500


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param([], [], id="nothing drawn"),
        pytest.param([rectangle()], [LabelledBox(None, BOX, "", None)], id="a bare rectangle"),
        pytest.param(
            [rectangle(kind="rectanglelabels", control="label", rectanglelabels=["A", "B"])],
            [LabelledBox("A", BOX, "", None)],
            id="the first of several labels",
        ),
        pytest.param(
            [
                text("a", ["one", "two"]),
                labels("a", "A"),
                rectangle(),
            ],
            [LabelledBox("A", BOX, "one\ntwo", None)],
            id="three results of one region in any order",
        ),
        pytest.param(
            [rectangle(), text("a", "plain")],
            [LabelledBox(None, BOX, "plain", None)],
            id="text may be a string",
        ),
        pytest.param(
            [rectangle(None), rectangle(None)],
            [LabelledBox(None, BOX, "", None)] * 2,
            id="results without an id stand alone",
        ),
        pytest.param(
            [{**rectangle("a"), "item_index": 0}, {**rectangle("b"), "item_index": 2}],
            [LabelledBox(None, BOX, "", 0), LabelledBox(None, BOX, "", 2)],
            id="pages",
        ),
        pytest.param(
            [
                result("p", "poly", "polygon", points=[[1, 1], [2, 2], [3, 1]]),
                labels("p", "A"),
                result("c", "kind", "choices", choices=["x"]),
                {"type": "relation", "from_id": "a", "to_id": "p", "direction": "right"},
                rectangle("b"),
            ],
            [LabelledBox(None, BOX, "", None)],
            id="what is no rectangle is left out",
        ),
        pytest.param(
            [
                rectangle("a", x=None),
                rectangle("b", width="30"),
                rectangle("c", y=math.nan),
                rectangle("d", height=True),
                rectangle("e", rotation=10**400),
                {**rectangle("f"), "value": None},
                {key: part for key, part in rectangle("g").items() if key != "value"},
            ],
            [],
            id="unusable numbers are left out",
        ),
        pytest.param(
            [{**rectangle(), "original_width": 1, "original_height": 0, "image_rotation": 90}],
            [LabelledBox(None, BOX, "", None)],
            id="what the annotation says of the image changes nothing",
        ),
        pytest.param(
            [rectangle(x=-10, y=90, width=200)], [LabelledBox(None, Box(0, 450, 1000, 500), "", None)], id="clipped"
        ),
    ],
)
def test_annotations_become_boxes(results: list[dict[str, Any]], expected: list[LabelledBox]) -> None:
    assert boxes(results) == expected


def test_only_one_of_two_images() -> None:
    results = [{**rectangle("a"), "to_name": "thumbnail"}, rectangle("b")]
    assert boxes(results) == [LabelledBox(None, BOX, "", None)]


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        # 30 % x 40 % of 1000 x 500 is 300 x 200 pixels, turned about (100, 100) x-right, y-down
        pytest.param(0, Box(100, 100, 400, 300), id="upright"),
        pytest.param(360, Box(100, 100, 400, 300), id="once around"),
        pytest.param(90, Box(0, 100, 100, 400), id="quarter turn: 200 pixels to the left, 300 down, clipped"),
        pytest.param(270, Box(100, 0, 300, 100), id="three quarters: 200 pixels to the right, 300 up, clipped"),
        pytest.param(-90, Box(100, 0, 300, 100), id="the other way"),
    ],
)
def test_rotation_is_about_the_top_left_corner(rotation: float, expected: Box) -> None:
    (found,) = boxes([rectangle(rotation=rotation)])
    for edge in ("left", "top", "right", "bottom"):
        assert getattr(found.box, edge) == pytest.approx(getattr(expected, edge), abs=1e-9)


@pytest.mark.parametrize(("width", "height"), [(1000, 1000), (1000, 500), (500, 2000)])
@pytest.mark.parametrize("rotation", [30, 45, 60])
def test_rotation_is_one_of_pixels_not_of_percent(width: int, height: int, rotation: float) -> None:
    across, down = width * 0.1, height * 0.1
    turn = math.radians(rotation)
    given = rectangle(x=50, y=50, width=10, height=10, rotation=rotation)
    (found,) = boxes([given], size=Size(width, height))
    assert found.box.left == pytest.approx(width / 2 - down * math.sin(turn))
    assert found.box.top == pytest.approx(height / 2)
    assert found.box.right == pytest.approx(width / 2 + across * math.cos(turn))
    assert found.box.bottom == pytest.approx(height / 2 + across * math.sin(turn) + down * math.cos(turn))


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        pytest.param(
            "webhook_with_basic_auth_header", [LabelledBox("Header", Box(80, 60, 240, 120), "", None)], id="one box"
        ),
        pytest.param(
            "webhook_ANNOTATION_CREATED_from_ui_with_parent_prediction", [], id="an empty prediction was accepted"
        ),
        pytest.param("webhook_ANNOTATION_CREATED_skipped", [], id="skipped"),
    ],
)
def test_captured_annotations(capture: str, expected: list[LabelledBox]) -> None:
    body = captured(capture)
    config = parse_label_config(body["project"]["label_config"])
    assert boxes(body["annotation"]["result"], config, Size(800, 600)) == expected


def test_captured_prediction_with_text() -> None:
    body = captured("predict_interactive")
    (prediction,) = body["tasks"][0]["predictions"]
    area = '<TextArea name="transcription" toName="image" perRegion="true"/></View>'
    config = parse_label_config(body["label_config"].replace("</View>", area))
    assert boxes(prediction["result"], config, Size(800, 600)) == [
        LabelledBox("Header", Box(80, 60, 240, 120), "hi", None)
    ]


TWO_LABELS = parse_label_config(
    '<View><Image name="image" value="$image"/><Labels name="label" toName="image"><Label value="A"/></Labels>'
    '<Labels name="quality" toName="image"><Label value="printed"/></Labels><Rectangle name="bbox" toName="image"/>'
    '<Rectangle name="frame" toName="image"/><TextArea name="text" toName="image" perRegion="true"/>'
    '<TextArea name="remark" toName="image" perRegion="true"/></View>'
)
TWO_RECTANGLES = parse_label_config(
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="A"/>'
    '</RectangleLabels><RectangleLabels name="stamp" toName="image"><Label value="round"/></RectangleLabels></View>'
)
QUALITY = labels("a", "printed", control="quality")
STAMP = rectangle("a", "rectanglelabels", "stamp", rectanglelabels=["round"])


@pytest.mark.parametrize(
    ("config", "results", "expected"),
    [
        pytest.param(TWO_LABELS, [rectangle(), QUALITY, labels("a", "A")], [("A", "")], id="it comes before ours"),
        pytest.param(TWO_LABELS, [rectangle(), labels("a", "A"), QUALITY], [("A", "")], id="it comes after ours"),
        pytest.param(TWO_LABELS, [rectangle(), QUALITY], [(None, "")], id="it becomes no label"),
        pytest.param(
            TWO_LABELS,
            [rectangle(), labels("a", "A"), text("a", ["why?"], "remark"), text("a", ["12.50"])],
            [("A", "12.50")],
            id="a remark is no transcription",
        ),
        pytest.param(
            TWO_LABELS, [rectangle(control="frame"), labels("a", "A")], [("A", "")], id="our label on another rectangle"
        ),
        pytest.param(TWO_LABELS, [rectangle(control="frame"), QUALITY], [], id="nothing of it is ours"),
        pytest.param(TWO_RECTANGLES, [STAMP], [], id="a second <RectangleLabels>"),
        pytest.param(
            TWO_RECTANGLES,
            [STAMP, rectangle("a", "rectanglelabels", "label", rectanglelabels=["A"])],
            [("A", "")],
            id="both on one rectangle",
        ),
        pytest.param(
            TWO_RECTANGLES,
            [STAMP, result("a", "label", "rectanglelabels", rectanglelabels=["A"])],
            [],
            id="a result of ours that says no place",
        ),
    ],
)
def test_only_served_controls_are_ours(
    config: LabelConfig, results: list[dict[str, Any]], expected: list[tuple[str | None, str]]
) -> None:
    assert [(box.label, box.text) for box in boxes(results, config)] == expected
