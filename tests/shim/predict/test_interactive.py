"""Interactive asks: from the rectangle that the editor sends to the region that takes its place."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handler.page import Box, Page, Size, Word
from handler.turn import words_of_picture
from handler.wire import page_to_json
from shim.predict.interactive import covered_words
from shim.predict.request import parse_predict
from tests.far_servers import Seen
from tests.layoutloop.torchserve.test_inference import Reply, data_uri
from tests.shim.predict.test_predictor import (
    OCR_CARD,
    OCR_TEMPLATE,
    PAGES,
    RECTANGLES,
    WAIT_S,
    Bench,
    image,
    ocr,
    open_bench,
    texts,
)

WITH_TEXT = RECTANGLES.replace("</View>", '<TextArea name="text" toName="image" perRegion="true"/></View>')
# Every word is 9 % wide and 2 % high; one begins at each tenth of the width and each fortieth of the height.
SHEET = "Total 12.50 Date\nDate 2026 Total"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        yield opened


def rectangle(
    x: float, y: float, width: float, height: float, label: str | None = None, region_id: str = "mine", **more: Any
) -> list[dict[str, Any]]:
    """What the editor sends for a rectangle on <RectangleLabels>."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    value |= {"rectanglelabels": [label]} if label else {}
    common = {"id": region_id, "from_name": "label", "to_name": "image", "type": "rectanglelabels", "origin": "manual"}
    return [{**common, "value": value, **more}]


def drawn_apart(x: float, y: float, width: float, height: float, label: str) -> list[dict[str, Any]]:
    """The same with the OCR template: rectangle and label are two results of one id."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    common = {"id": "mine", "to_name": "image", "origin": "manual"}
    return [
        {**common, "from_name": "bbox", "type": "rectangle", "value": value},
        {**common, "from_name": "label", "type": "labels", "value": value | {"labels": [label]}},
    ]


def ask(bench: Bench, context: object, config: str = RECTANGLES, **data: object) -> Any:
    """Ask as Label Studio does when a rectangle was drawn; return the one entry."""
    body = {
        "tasks": [{"id": 5, "data": data or {"image": data_uri(SHEET.encode()), "ocr": data_uri(SHEET.encode())}}],
        "label_config": config,
        "project": "7.1795327242",
        "params": {"login": None, "password": None, "context": context},
    }
    status, answer = bench.post("/predict", body)
    assert status == 200, answer
    (entry,) = answer["results"]
    return entry


def boxes(entry: Any) -> list[tuple[float, float, float, float]]:
    values = [item["value"] for item in entry["result"] if item["type"].startswith("rectangle")]
    return [(value["x"], value["y"], value["width"], value["height"]) for value in values]


def test_a_rectangle_becomes_its_words(bench: Bench) -> None:
    bench.serve_project()
    entry = ask(bench, {"result": rectangle(-3, -1, 20, 3)})
    (result,) = entry["result"]
    assert result == {
        "id": "mine",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "prediction",
        "original_width": 1000,
        "original_height": 2000,
        "image_rotation": 0,
        "score": 0.95,
        "value": {"x": 0.0, "y": 0.0, "width": 19.0, "height": 2.0, "rotation": 0, "rectanglelabels": ["Total"]},
    }
    assert entry["score"] == 0.95
    assert entry["model_version"] == bench.setup()


def test_the_ocr_template_gets_rectangle_label_and_text_under_the_same_id(bench: Bench) -> None:
    bench.serve_project()
    entry = ask(bench, {"result": drawn_apart(1, 0, 17, 5, "Total")}, OCR_TEMPLATE)
    assert [(item["type"], item["from_name"], item["id"]) for item in entry["result"]] == [
        ("rectangle", "bbox", "mine"),
        ("labels", "label", "mine"),
        ("textarea", "text", "mine"),
    ]
    assert texts(entry) == ["Total 12.50 Date 2026"]
    assert boxes(entry) == [(0.0, 0.0, 19.0, 4.5)]


def test_text_is_joined_as_its_script_is_written(bench: Bench) -> None:
    bench.serve_project()
    sheet = data_uri("发 票 Total".encode())  # the words stand a space's width apart
    entry = ask(bench, {"result": drawn_apart(0, 0, 40, 5, "Total")}, OCR_TEMPLATE, ocr=sheet)
    assert texts(entry) == ["发票 Total"]


def test_text_of_a_tilted_page_keeps_its_spaces(bench: Bench) -> None:
    words = (Word("号", Box(400, 900, 420, 920)), Word("12345678", Box(429, 900, 509, 920)))
    size = Size(1000, 2000)
    page = Page(size, "rapidocr-3.10.0-eng-psm3", words_of_picture(words, size, 10, size), turn=10)
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: (200, page_to_json(page))
    entry = ask(bench, {"result": drawn_apart(35, 40, 25, 10, "Total")}, OCR_TEMPLATE)
    assert texts(entry) == ["号 12345678"]


@pytest.mark.parametrize(
    ("rough", "covered"),
    [
        pytest.param(Box(0, 0, 100, 40), ["a"], id="exactly one"),
        pytest.param(Box(49, 0, 100, 40), ["a"], id="more than half across"),
        pytest.param(Box(50, 0, 100, 40), [], id="half across"),
        pytest.param(Box(0, 20, 100, 60), ["a"], id="half down"),
        pytest.param(Box(20, 12, 100, 40), ["a"], id="0.8 across and 0.7 down"),
        pytest.param(Box(30, 12, 100, 40), [], id="0.7 across and 0.7 down"),
        pytest.param(Box(5, 13, 95, 27), ["a"], id="close around the ink"),
        pytest.param(Box(5, 22, 95, 36), [], id="as thin, below the middle"),
        pytest.param(Box(0, 0, 1000, 1000), ["a", "b", "c", "point"], id="all but the blank one"),
        pytest.param(Box(40, 10, 60, 30), [], id="inside one word"),
        pytest.param(Box(500, 90, 520, 110), ["point"], id="a word without an area"),
        pytest.param(Box(600, 600, 900, 900), [], id="beside all of them"),
        pytest.param(Box(100, 40, 100, 40), [], id="a click"),
    ],
)
def test_covered_words(rough: Box, covered: list[str]) -> None:
    words = [
        Word("a", Box(0, 0, 100, 40), 0.9, 0),
        Word("  ", Box(0, 0, 100, 40), 0.9, 0),
        Word("b", Box(200, 0, 300, 40), 0.9, 0),
        Word("c", Box(0, 60, 100, 100), 0.9, 1),
        Word("point", Box(510, 100, 510, 100), 0.9, 2),
    ]
    assert [words[index].text for index in covered_words(words, rough)] == covered


@pytest.mark.parametrize(
    ("text", "chosen", "label", "score"),
    [
        pytest.param("Total Total? Date", None, "Total", (0.95 + 0.3) / 2, id="the label of most words, its mean"),
        pytest.param("Date Total", None, "Date", 0.95, id="the first of two that are equal"),
        pytest.param("12.50 paid Date", None, "Date", 0.95, id="labels the config does not know have no vote"),
        pytest.param("Date", "Total", "Date", 0.95, id="the model before the person"),
        pytest.param("12.50", "Total", "Total", 0.9, id="the person's where the model has none"),
        pytest.param("12.50", None, None, 0.9, id="no label"),
        pytest.param("12.50", "Sum", None, 0.9, id="a label the config does not know"),
    ],
)
def test_label_and_score(bench: Bench, text: str, chosen: str | None, label: str | None, score: float) -> None:
    bench.serve_project()
    entry = ask(bench, {"result": rectangle(0, 0, 100, 5, chosen)}, image=data_uri(text.encode()))
    (result,) = entry["result"]
    assert result["value"]["rectanglelabels"] == ([label] if label else [])
    assert result["score"] == pytest.approx(score)


def test_a_label_below_the_threshold_is_not_taken(bench: Bench) -> None:
    bench.serve_project()
    bench.make_app(score_threshold=0.5)
    entry = ask(bench, {"result": rectangle(0, 0, 100, 5, "Date")}, image=data_uri(b"Total? Total?"))
    assert entry["result"][0]["value"]["rectanglelabels"] == ["Date"]


@pytest.mark.parametrize(
    ("config", "context", "types", "found"),
    [
        pytest.param(
            OCR_TEMPLATE, drawn_apart(0, 0, 20, 2, "Total"), ["rectangle", "labels", "textarea"], ["Total"], id="ocr"
        ),
        pytest.param(
            OCR_TEMPLATE, drawn_apart(0, 0, 20, 2, "?")[:1], ["rectangle", "textarea"], [], id="ocr, no label"
        ),
        pytest.param(WITH_TEXT, rectangle(0, 0, 20, 2, "Date"), ["rectanglelabels", "textarea"], ["Date"], id="labels"),
        pytest.param(WITH_TEXT, rectangle(0, 0, 20, 2), ["rectanglelabels", "textarea"], [], id="labels, none chosen"),
    ],
)
def test_without_a_model_there_is_text_and_what_the_person_chose(
    bench: Bench, config: str, context: list[dict[str, Any]], types: list[str], found: list[str]
) -> None:
    entry = ask(bench, {"result": context}, config)
    assert [item["type"] for item in entry["result"]] == types
    assert texts(entry) == ["Total 12.50"]
    values = [item["value"] for item in entry["result"]]
    assert [label for value in values for key in ("labels", "rectanglelabels") for label in value.get(key, [])] == found


@pytest.mark.parametrize(
    ("config", "context", "types"),
    [
        pytest.param(WITH_TEXT, rectangle(40, 60, 20, 20, "Total"), ["rectanglelabels"], id="RectangleLabels"),
        pytest.param(OCR_TEMPLATE, drawn_apart(40, 60, 20, 20, "Total"), ["rectangle", "labels"], id="OCR template"),
        pytest.param(OCR_TEMPLATE, drawn_apart(40, 60, 20, 20, "Total")[:1], ["rectangle"], id="without a label"),
    ],
)
def test_a_rectangle_without_words_comes_back_as_it_was_drawn(
    bench: Bench, config: str, context: list[dict[str, Any]], types: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve_project()
    entry = ask(bench, {"result": context}, config)
    assert [(item["type"], item["id"], item["origin"], item["value"]) for item in entry["result"]] == [
        (kind, "mine", "manual", one["value"]) for kind, one in zip(types, context, strict=True)
    ]
    assert caplog.records == []  # it is no failure


def test_the_last_rectangle_is_answered(bench: Bench) -> None:
    bench.serve_project()
    context = [
        *rectangle(0, 0, 9, 2, "Date", "before", origin="prediction"),
        *rectangle(10, 2, 9, 2, "Date", "corrected", origin="prediction-changed"),
        *rectangle(20, 2, 9, 3, "Date", "last"),
    ]
    entry = ask(bench, {"result": context})
    assert [item["id"] for item in entry["result"]] == ["last"]
    assert boxes(entry) == [(20.0, 2.5, 9.0, 2.0)]


def test_a_rotated_rectangle_is_the_box_around_it(bench: Bench) -> None:
    bench.serve_project()
    (tilted,) = rectangle(9, 0, 4, 9)
    tilted["value"]["rotation"] = 90  # about its top left corner: 18 % to the left, 2 % down
    assert boxes(ask(bench, {"result": [tilted]})) == [(0.0, 0.0, 9.0, 2.0)]


STAIRS = "Total 12.50\nDate 2026 Total paid\n12.50 Total Date Date"
"""Three lines; each word is 9 % of 1000 pixels wide and 2 % of 2000 high, the lines are 50 pixels apart."""


@pytest.mark.parametrize(
    ("value", "covered"),
    [
        pytest.param({"x": 2, "y": 0, "width": 18, "height": 2, "rotation": 26.6}, "Total 2026", id="down the page"),
        pytest.param({"x": 0, "y": 3.75, "width": 20, "height": 2, "rotation": 333.4}, "12.50 Date", id="up the page"),
        pytest.param(
            {"x": 16.3, "y": 5.82, "width": 18, "height": 2, "rotation": 206.6}, "Total 2026", id="from its other end"
        ),
    ],
)
def test_a_tilted_rectangle_gets_the_words_inside_it_and_stays_where_it_was_drawn(
    bench: Bench, value: dict[str, Any], covered: str
) -> None:
    bench.serve_project()
    (tilted,) = rectangle(0, 0, 1, 1)
    tilted["value"] = value
    entry = ask(bench, {"result": [tilted]}, WITH_TEXT, image=data_uri(STAIRS.encode()))
    assert texts(entry) == [covered]
    assert all(value.items() <= item["value"].items() for item in entry["result"])


def test_a_tilted_rectangle_without_words_comes_back_as_it_was_drawn(bench: Bench) -> None:
    bench.serve_project()
    (tilted,) = rectangle(40, 60, 20, 2, "Total")
    tilted["value"]["rotation"] = 10
    (result,) = ask(bench, {"result": [tilted]})["result"]
    assert (result["value"], result["origin"]) == (tilted["value"], "manual")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"x": 766, "y": 3133, "width": 3685, "height": 377}, id="a hundredfold"),
        pytest.param({"x": 120, "y": 10, "width": 10, "height": 10}, id="beside the page"),
    ],
)
def test_a_rectangle_that_cannot_be_meant(
    bench: Bench, value: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve_project()
    (wild,) = rectangle(0, 0, 1, 1)
    wild["value"] |= value
    assert ask(bench, {"result": [wild]}) == []
    assert "request_invalid: the rectangle drawn cannot be used: it " in caplog.text


QUALITY = '<Labels name="quality" toName="image"><Label value="Date"/></Labels></View>'
STAMP = '<RectangleLabels name="stamp" toName="image"><Label value="Total"/></RectangleLabels></View>'


def test_the_label_of_another_control_is_not_ours(bench: Bench) -> None:
    quality = {"id": "mine", "from_name": "quality", "to_name": "image", "type": "labels", "origin": "manual"}
    quality["value"] = {"labels": ["Date"]}
    context = {"result": [*drawn_apart(0, 0, 20, 2, "Total")[:1], quality]}
    config = OCR_TEMPLATE.replace("</View>", QUALITY).replace('"total"/>', '"total"/><Label value="Date"/>')
    entry = ask(bench, context, config)
    assert [item["from_name"] for item in entry["result"]] == ["bbox", "text"]


def test_a_rectangle_of_another_control_is_not_answered(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    context = {"result": [*rectangle(0, 0, 9, 2), *rectangle(0, 0, 9, 2, "Total", "other", from_name="stamp")]}
    assert ask(bench, context, RECTANGLES.replace("</View>", STAMP)) == []
    assert "no rectangle drawn by hand with the control that is served" in caplog.text
    assert bench.fake.seen == []


def test_only_the_page_drawn_on_is_read(bench: Bench) -> None:
    bench.serve_project()
    pages = [data_uri(text.encode()) for text in ("Total", "Date", "Total Date")]
    entry = ask(bench, {"result": rectangle(0, 0, 10, 4, item_index=1)}, PAGES, pages=pages)
    (result,) = entry["result"]
    assert result["item_index"] == 1
    assert result["value"]["rectanglelabels"] == ["Date"]
    assert [seen.body for seen in bench.fake.seen if "/ocr/" in seen.target] == [b"Date"]


def test_item_index_means_nothing_where_a_task_is_one_image(bench: Bench) -> None:
    bench.serve_project()
    (result,) = ask(bench, {"result": rectangle(0, 0, 10, 2, item_index=3)})["result"]
    assert "item_index" not in result


POLYGON = {"id": "p", "from_name": "poly", "to_name": "image", "type": "polygon", "value": {"points": [[1, 2], [3, 4]]}}
POINT = {"id": "k", "from_name": "label", "to_name": "image", "type": "keypointlabels", "value": {"x": 1, "y": 1}}


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({}, id="empty"),
        pytest.param({"result": []}, id="the rectangle was deleted"),
        pytest.param({"result": None}, id="result: null"),
        pytest.param({"result": {"0": 1}}, id="result: an object"),
        pytest.param({"result": [None, 5, "x", []]}, id="results that are no objects"),
        pytest.param([], id="a list"),
        pytest.param("text", id="a string"),
        pytest.param(7, id="a number"),
        pytest.param(False, id="false"),
        pytest.param({"result": [POLYGON]}, id="a polygon"),
        pytest.param({"result": [POINT]}, id="a point"),
        pytest.param({"result": [{"id": "x", "type": "rectangle"}]}, id="no value"),
        pytest.param({"result": rectangle(1, 1, 1e300, 5)}, id="wider than any page"),
        pytest.param({"result": rectangle(1, 1, "5", 5)}, id="a string for a number"),  # type: ignore[arg-type]
        pytest.param({"result": rectangle(True, 1, 5, 5)}, id="true for a number"),
        pytest.param({"result": rectangle(0, 0, 9, 9, to_name="other")}, id="on another image"),
        pytest.param({"result": rectangle(0, 0, 9, 9, id={"a": 1})}, id="an id that is no name"),
        pytest.param({"result": rectangle(0, 0, 9, 9, origin="prediction")}, id="a box that was predicted"),
        pytest.param({"result": rectangle(0, 0, 9, 9, origin="prediction-changed")}, id="a corrected box"),
        pytest.param({"result": [*rectangle(0, 0, 9, 9), POLYGON]}, id="a polygon after a rectangle"),
    ],
)
def test_what_is_no_rectangle_gets_an_empty_entry_and_a_line_in_the_log(
    bench: Bench, context: object, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve_project()
    assert ask(bench, context) == []
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("project 7 task 5: request_invalid: an interactive request whose newest region is no")
    assert bench.fake.seen == []


@pytest.mark.parametrize("index", [3, -1, 10**30])
def test_a_page_that_the_task_has_not(bench: Bench, index: int, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    pages = [data_uri(b"Total")] * 3
    assert ask(bench, {"result": rectangle(0, 0, 10, 4, item_index=index)}, PAGES, pages=pages) == []
    assert f"a rectangle on page {index} of a task with pages 0 to 2" in caplog.text


def test_older_shapes_and_what_is_no_result_are_left_out(bench: Bench) -> None:
    bench.serve_project()
    entry = ask(bench, {"result": [POLYGON, None, POINT, *rectangle(0, 0, 9, 2), 5]})
    assert [item["id"] for item in entry["result"]] == ["mine"]


def test_a_rectangle_without_an_id_gets_one(bench: Bench) -> None:
    bench.serve_project()
    (rough,) = rectangle(0, 0, 9, 2)
    del rough["id"]
    (result,) = ask(bench, {"result": [rough]})["result"]
    assert result["id"]


def test_an_image_that_cannot_be_read_is_an_empty_entry(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    assert ask(bench, {"result": rectangle(0, 0, 9, 2)}, image=data_uri(b"unreadable")) == []
    assert "image_unreadable" in caplog.text


def test_ordinary_and_interactive_asks_share_what_was_read_but_not_what_is_answered(bench: Bench) -> None:
    bench.serve_project()
    ordinary = bench.predict(image(SHEET))["results"][0]
    assert len(ordinary["result"]) == 6
    snapped = [ask(bench, {"result": rectangle(10 * x, 0, 9, 2)}) for x in range(3)]
    assert [boxes(entry)[0][0] for entry in snapped] == [0.0, 10.0, 20.0]
    assert bench.predict(image(SHEET))["results"][0] == ordinary
    assert (bench.fake.count("ocr"), bench.fake.count("project-7")) == (1, 1)
    assert bench.metric("cached_pages_total", stage="tag") == 4


def test_a_rectangle_does_not_wait_for_pages_that_others_opened(bench: Bench) -> None:
    bench.serve_project()
    opened, released = [f"Total {number}" for number in range(12)], threading.Event()

    def ocr_when_released(seen: Seen) -> Reply:
        assert released.wait(WAIT_S)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = ocr_when_released
    with ThreadPoolExecutor(13) as people:
        answers = [people.submit(bench.predict, image(text)) for text in opened]
        wait_until(lambda: bench.metric("pages_waiting") == 12)
        drawn = people.submit(ask, bench, {"result": rectangle(0, 0, 9, 2)}, image=data_uri(b"Date"))
        wait_until(lambda: bench.metric("pages_waiting") == 13)
        released.set()
        assert drawn.result()["result"]
        assert all(answer.result()["results"][0] for answer in answers)
    read = [seen.body for seen in bench.fake.seen if "/ocr/" in seen.target]
    assert read.index(b"Date") <= 6  # four were under way


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_snapped_box_can_be_moved_even_where_predicted_ones_cannot(bench: Bench) -> None:
    bench.serve_project()
    bench.make_app(read_only_boxes=True)
    (result,) = ask(bench, {"result": rectangle(0, 0, 9, 2)})["result"]
    assert "readonly" not in result


@pytest.mark.parametrize(("context", "is_interactive"), [(None, False), ({}, True), ([], True), ("", True)], ids=repr)
def test_any_context_makes_an_ask_interactive(context: object, is_interactive: bool) -> None:
    body = {"tasks": [], "label_config": RECTANGLES, "params": {"context": context}}
    assert parse_predict(body, 10).is_interactive is is_interactive


@pytest.mark.parametrize("params", [None, [], "x", 5, {}], ids=repr)
def test_no_context_is_an_ordinary_ask(params: object) -> None:
    assert not parse_predict({"tasks": [], "label_config": RECTANGLES, "params": params}, 10).is_interactive
