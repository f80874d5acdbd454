from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from handler.page import Box, Region, Size
from layoutloop.store.thresholds import Thresholds
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from layoutloop.studio.results import Rendering, Results, regions_to_results, results_to_prediction
from tests.layoutloop.studio.test_drawn import boxes

VERSION = "20261122T083000Z-0a1b2c3d"
LABELS = '<Label value="Header"/><Label value="Grand total" alias="Total" predicted_values="total,sum"/>'


def config(kind: str, *, text: bool = True, pages: bool = False) -> LabelConfig:
    image = '<Image name="image" valueList="$pages"/>' if pages else '<Image name="image" value="$image"/>'
    textarea = '<TextArea name="transcription" toName="image" perRegion="true"/>' if text else ""
    if kind == "ocr":
        control = f'<Labels name="label" toName="image">{LABELS}</Labels><Rectangle name="bbox" toName="image"/>'
    else:
        control = f'<RectangleLabels name="label" toName="image">{LABELS}</RectangleLabels>'
    return parse_label_config(f"<View>{image}{control}{textarea}</View>")


def drawn(
    regions: Sequence[Region],
    served: LabelConfig,
    width: int = 800,
    height: int = 600,
    item_index: int | None = None,
    threshold: float = 0.0,
    read_only: bool = False,
) -> Results:
    return regions_to_results(
        regions, Size(width, height), Rendering(served, VERSION, Thresholds(threshold), read_only), item_index
    )


def region(label: str | None = "total", score: float = 0.9, text: str = "12.50", box: Box | None = None) -> Region:
    return Region(label, box or Box(80, 60, 240, 120), score, text, ())


GEOMETRY = {"x": 10.0, "y": 10.0, "width": 20.0, "height": 10.0, "rotation": 0}


@pytest.mark.parametrize(
    ("served", "given", "expected"),
    [
        pytest.param(
            config("rectanglelabels"),
            region(),
            [
                ("label", "rectanglelabels", {**GEOMETRY, "rectanglelabels": ["Total"]}),
                ("transcription", "textarea", {**GEOMETRY, "text": ["12.50"]}),
            ],
            id="RectangleLabels with TextArea",
        ),
        pytest.param(
            config("rectanglelabels", text=False),
            region(),
            [("label", "rectanglelabels", {**GEOMETRY, "rectanglelabels": ["Total"]})],
            id="RectangleLabels alone",
        ),
        pytest.param(
            config("rectanglelabels"),
            region(text=" "),
            [("label", "rectanglelabels", {**GEOMETRY, "rectanglelabels": ["Total"]})],
            id="RectangleLabels, no text",
        ),
        pytest.param(
            config("rectanglelabels", text=False),
            region("iban"),
            [("label", "rectanglelabels", {**GEOMETRY, "rectanglelabels": []})],
            id="RectangleLabels, label unknown to the config",
        ),
        pytest.param(
            config("ocr"),
            region(),
            [
                ("bbox", "rectangle", GEOMETRY),
                ("label", "labels", {**GEOMETRY, "labels": ["Total"]}),
                ("transcription", "textarea", {**GEOMETRY, "text": ["12.50"]}),
            ],
            id="OCR template",
        ),
        pytest.param(
            config("ocr"),
            region(None),
            [("bbox", "rectangle", GEOMETRY), ("transcription", "textarea", {**GEOMETRY, "text": ["12.50"]})],
            id="OCR template, cold start",
        ),
        pytest.param(
            config("ocr", text=False),
            region("iban"),
            [("bbox", "rectangle", GEOMETRY)],
            id="OCR template, label unknown, no TextArea",
        ),
        pytest.param(
            config("ocr", text=False),
            region("Grand total"),
            [("bbox", "rectangle", GEOMETRY), ("label", "labels", {**GEOMETRY, "labels": ["Total"]})],
            id="a label's value is drawn as its alias",
        ),
    ],
)
def test_one_region(served: LabelConfig, given: Region, expected: list[tuple[str, str, dict[str, Any]]]) -> None:
    results = drawn([given], served)
    assert [(item["from_name"], item["type"], item["value"]) for item in results.items] == expected
    assert len({item["id"] for item in results.items}) == 1
    common = {
        key: value
        for key, value in results.items[0].items()
        if key not in ("id", "from_name", "type", "value", "score", "to_name")
    }
    assert common == {
        "origin": "prediction",
        "original_width": 800,
        "original_height": 600,
        "image_rotation": 0,
    }
    assert {(item["to_name"], item["score"]) for item in results.items} == {("image", 0.9)}


@pytest.mark.parametrize(
    ("pages", "item_index", "read_only", "extra"),
    [
        pytest.param(False, None, False, {}, id="one image"),
        pytest.param(False, 0, False, {}, id="one image has no item_index"),
        pytest.param(True, 2, False, {"item_index": 2}, id="third page"),
        pytest.param(True, None, False, {"item_index": 0}, id="a page has an item_index"),
        pytest.param(True, 1, True, {"item_index": 1, "readonly": True}, id="read only page"),
        pytest.param(False, None, True, {"readonly": True}, id="read only"),
    ],
)
def test_item_index_and_readonly_stand_on_every_result(
    pages: bool, item_index: int | None, read_only: bool, extra: dict[str, Any]
) -> None:
    results = drawn([region()], config("ocr", pages=pages), item_index=item_index, read_only=read_only)
    assert len(results.items) == 3
    for item in results.items:
        assert {key: item[key] for key in ("item_index", "readonly") if key in item} == extra


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param(Box(0, 0, 800, 600), (0, 0, 100, 100), id="whole page"),
        pytest.param(Box(-50, -50, 900, 900), (0, 0, 100, 100), id="over every edge"),
        pytest.param(Box(760, 570, 960, 870), (95, 95, 5, 5), id="over the lower right corner"),
        pytest.param(Box(400, 300, 400, 300), (50, 50, 0.1, 0.1), id="no area"),
        pytest.param(Box(800, 600, 800, 600), (99.9, 99.9, 0.1, 0.1), id="no area in the last corner"),
        pytest.param(Box(900, 700, 950, 750), (99.9, 99.9, 0.1, 0.1), id="outside, below right"),
        pytest.param(Box(-90, -90, -50, -50), (0, 0, 0.1, 0.1), id="outside, above left"),
        pytest.param(Box(0, 0, 800 / 3, 600 / 7), (0, 0, 100 / 3, 100 / 7), id="fractions"),
    ],
)
@pytest.mark.parametrize("kind", ["rectanglelabels", "ocr"])
def test_percentages_stay_on_the_page(kind: str, box: Box, expected: tuple[float, ...]) -> None:
    for item in drawn([region(box=box)], config(kind)).items:
        value = item["value"]
        found = (value["x"], value["y"], value["width"], value["height"])
        assert found == pytest.approx(expected, abs=1e-6)
        assert value["width"] <= 100 - value["x"]
        assert value["height"] <= 100 - value["y"]
        assert min(found) >= 0
        assert min(found[2:]) >= 0.1 - 1e-9


def test_no_box_of_many_reaches_past_the_page() -> None:
    sizes = [(7, 3), (333, 777), (1654, 2339), (4961, 7016)]
    for width, height in sizes:
        edges = [(width * a / 97, height * b / 89, width, height) for a in range(0, 97, 5) for b in range(0, 89, 7)]
        results = drawn([region(box=Box(*edge)) for edge in edges], config("ocr", text=False), width, height)
        assert all(item["value"]["width"] <= 100 - item["value"]["x"] for item in results.items)
        assert all(item["value"]["height"] <= 100 - item["value"]["y"] for item in results.items)


@pytest.mark.parametrize(
    ("regions", "threshold", "labels", "score", "unknown"),
    [
        pytest.param([], 0.5, [], None, 0, id="an empty page"),
        pytest.param(
            [region(score=0.9), region("Header", 0.6)], 0.5, ["Total", "Header"], 0.6, 0, id="the least certain counts"
        ),
        pytest.param([region(score=0.9), region("Header", 0.4)], 0.5, ["Total"], 0.9, 0, id="below the threshold"),
        pytest.param([region(score=0.5)], 0.5, ["Total"], 0.5, 0, id="at the threshold"),
        pytest.param([region(None, 0.1)], 0.5, [None], None, 0, id="no threshold for text lines"),
        pytest.param([region("iban", 0.6), region(score=0.9)], 0.5, [None, "Total"], 0.9, 1, id="an unknown label"),
        pytest.param([region("iban", 0.4)], 0.5, [], None, 0, id="an unknown label below the threshold"),
        pytest.param([region("iban"), region("bic")], 0.0, [None, None], None, 2, id="two unknown labels"),
    ],
)
@pytest.mark.parametrize("kind", ["rectanglelabels", "ocr"])
def test_threshold_score_and_unknown_labels(
    kind: str, regions: list[Region], threshold: float, labels: list[str | None], score: float | None, unknown: int
) -> None:
    results = drawn(regions, config(kind), threshold=threshold)
    assert [box.label for box in boxes(results.items, config(kind), Size(800, 600))] == labels
    assert (results.score, results.unknown_labels, results.model_version) == (score, unknown, VERSION)


def test_a_label_has_a_threshold_of_its_own() -> None:
    """By the name that the project gives it, which the model's label may differ from."""
    regions = [region("total", 0.8), region("Header", 0.8), region("iban", 0.8), region("Header", 0.95)]
    thresholds = Thresholds(0.5, {"Total": 0.9, "Header": 0.9, "iban": 0.1})
    found = regions_to_results(regions, Size(800, 600), Rendering(config("rectanglelabels"), VERSION, thresholds))
    assert [item["score"] for item in found.items if item["type"] == "rectanglelabels"] == [0.8, 0.95]
    assert found.unknown_labels == 1


def test_ids_are_short_unique_and_the_same_every_time() -> None:
    regions = [region(), region(), region("Header"), region(None), *(region(text=str(n)) for n in range(500))]
    served = config("ocr", pages=True)
    pages = [drawn(regions, served, item_index=page) for page in range(4)]
    ids = [{item["id"] for item in page.items} for page in pages]
    assert [len(page) for page in ids] == [len(regions)] * 4
    assert len(set.union(*ids)) == 4 * len(regions)
    assert all(len(name) == 10 and name.isalnum() for name in set.union(*ids))
    assert drawn(regions, served, item_index=3) == pages[3]


def test_ids_do_not_move_with_the_threshold() -> None:
    regions = [region("Header", 0.2), region("total", 0.9)]
    everything, certain = (drawn(regions, config("ocr"), threshold=threshold) for threshold in (0.0, 0.5))
    assert {item["id"] for item in certain.items} < {item["id"] for item in everything.items}


def test_a_prediction_joins_its_pages() -> None:
    served = config("rectanglelabels", text=False, pages=True)
    pages = [drawn([region(score=score)], served, item_index=page) for page, score in enumerate((0.9, 0.7, 0.8))]
    prediction = results_to_prediction(pages)
    assert (prediction["model_version"], prediction["score"]) == (VERSION, 0.7)
    assert [item["item_index"] for item in prediction["result"]] == [0, 1, 2]
    assert json.loads(json.dumps(prediction, allow_nan=False)) == prediction


@pytest.mark.parametrize(
    ("pages", "score"),
    [
        pytest.param([[0.9, 0.4], [0.7]], 0.4, id="the least certain label of any page"),
        pytest.param([[0.9], [], [0.8]], 0.8, id="an empty page among others says nothing"),
        pytest.param([[]], 0.0, id="nothing found comes first"),
        pytest.param([[], []], 0.0, id="nothing found on several pages"),
    ],
)
def test_the_score_brings_first_what_needs_a_person_most(pages: list[list[float]], score: float) -> None:
    served = config("rectanglelabels", pages=True)
    assert (
        results_to_prediction([drawn([region(score=one) for one in page], served) for page in pages])["score"] == score
    )


def test_text_lines_that_no_model_has_seen_have_no_certainty() -> None:
    assert results_to_prediction([drawn([region(None, 0.99)], config("ocr"))])["score"] == 0.0


@pytest.mark.parametrize("versions", [pytest.param([], id="no page"), pytest.param(["a", "b"], id="two versions")])
def test_a_prediction_has_one_version(versions: list[str]) -> None:
    with pytest.raises(ValueError, match="made by one version"):
        results_to_prediction([Results(version, (), 1.0, 0) for version in versions])


ROUND_TRIP = [
    region("Header", 0.9, "Invoice", Box(0, 0, 800, 30)),
    region("total", 0.8, "12.50", Box(123.25, 456.5, 234.75, 470.125)),
    region(None, 0.7, "a line\nand another", Box(1, 590, 3, 599)),
    region("iban", 0.7, "", Box(700, 10, 790, 20)),
]


@pytest.mark.parametrize("kind", ["rectanglelabels", "ocr"])
@pytest.mark.parametrize("pages", [False, True])
def test_results_come_back_as_the_regions_they_were(kind: str, pages: bool) -> None:
    served = config(kind, pages=pages)
    found = boxes(drawn(ROUND_TRIP, served, item_index=1).items, served, Size(800, 600))
    assert [box.label for box in found] == ["Header", "Total", None, None]
    assert [box.text for box in found] == [given.text for given in ROUND_TRIP]
    assert {box.item_index for box in found} == {1 if pages else None}
    for box, given in zip(found, ROUND_TRIP, strict=True):
        for edge in ("left", "top", "right", "bottom"):
            assert getattr(box.box, edge) == pytest.approx(getattr(given.box, edge), abs=1e-4)
