"""Which annotation counts and what it draws. P numbers are those of the project's list of pitfalls."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from handler.page import Box, Size
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from training.data import annotations as reasons
from training.data.annotations import (
    AnnotatedPage,
    annotation_that_counts,
    count_new,
    fingerprint,
    labelled_boxes,
    select_pages,
)
from training.data.left_out import LeftOut

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
LABELS = '<Label value="Total"/><Label value="Date of issue" alias="date" predicted_values="issued"/>'
RECTANGLES = parse_label_config(
    f'<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">{LABELS}'
    "</RectangleLabels></View>"
)
OCR = parse_label_config(
    f'<View><Image name="image" value="$ocr"/><Labels name="label" toName="image">{LABELS}</Labels>'
    '<Rectangle name="bbox" toName="image"/><TextArea name="text" toName="image" perRegion="true"/></View>'
)
PAGES = parse_label_config(
    f'<View><Image name="image" valueList="$pages"/><RectangleLabels name="label" toName="image">{LABELS}'
    "</RectangleLabels></View>"
)
SIZE = Size(1000, 500)
GEOMETRY = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
BOX = Box(100, 100, 400, 300)  # of GEOMETRY on SIZE


def drawn(
    identity: str = "a", label: str | None = "Total", *, item: Any = None, from_name: str = "label", **value: Any
) -> dict[str, Any]:
    """One RectangleLabels result."""
    labels = {} if label is None else {"rectanglelabels": [label]}
    result = {"id": identity, "from_name": from_name, "to_name": "image", "type": "rectanglelabels"}
    return {**result, "value": {**GEOMETRY, **labels, **value}, **({} if item is None else {"item_index": item})}


def result(identity: str, control: str, kind: str, **value: Any) -> dict[str, Any]:
    """One result of any control."""
    return {"id": identity, "from_name": control, "to_name": "image", "type": kind, "value": value}


def annotation(
    identity: int = 1, *results: Any, at: str = "2026-11-23T04:26:35.151878Z", **more: Any
) -> dict[str, Any]:
    return {"id": identity, "result": list(results), "was_cancelled": False, "updated_at": at, **more}


def task(*annotations: Any, identity: int = 7, data: Any = None) -> dict[str, Any]:
    data = {"image": "/data/upload/1/a.png"} if data is None else data
    return {"id": identity, "data": data, "annotations": list(annotations), "drafts": [], "predictions": []}


def boxes_of(
    *results: Any, config: LabelConfig = RECTANGLES, data: Any = None
) -> tuple[list[list[tuple[str | None, Box]]], dict[str, int]]:
    """Return label and box of every box on every page of one task, and what was left out."""
    selection = select_pages([task(annotation(1, *results), data=data)], config)
    found = []
    for page in selection.pages:
        boxes = labelled_boxes(page, config, SIZE, selection.left_out)
        found.append([(box.label, box.box) for box in boxes])
    return found, selection.left_out.counts()


EARLY, LATE = "2026-11-23T04:26:35.151878Z", "2026-11-23T04:27:00.350230Z"


COPIED = {"parent_prediction": 55, "lead_time": None, "updated_by": None}
"""What Label Studio 1.23.2 exports of an annotation that *Create Annotations From Predictions* made."""


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param([], None, id="none"),
        pytest.param([annotation(1, was_cancelled=True)], None, id="P24 only a skipped one"),
        pytest.param([annotation(1), annotation(2, at=LATE, was_cancelled=True)], 1, id="P24 a skipped one is newer"),
        pytest.param([annotation(1, at=LATE), annotation(2, at=EARLY)], 1, id="P24 the one changed last"),
        pytest.param([annotation(1, at=EARLY), annotation(2, at=EARLY)], 2, id="P24 at one moment the higher id"),
        pytest.param(
            [annotation(1, at=EARLY, ground_truth=True), annotation(2, at=LATE)], 1, id="P24 ground truth first"
        ),
        pytest.param(
            [annotation(1, at=EARLY, ground_truth=True), annotation(2, at=LATE, ground_truth=True)],
            2,
            id="the newer of two ground truths",
        ),
        pytest.param(
            [annotation(1, ground_truth=True, was_cancelled=True), annotation(2)], 2, id="a skipped ground truth"
        ),
        pytest.param(
            [annotation(1, at="2026-11-23T10:00:00+00:00"), annotation(2, at="2026-11-23T10:30:00+02:00")],
            1,
            id="moments of different time zones",
        ),
        pytest.param([annotation(1, at="yesterday"), annotation(2, at="")], 2, id="no readable moment: the id decides"),
        pytest.param([{"id": 1, "result": None}, "nonsense", annotation(2)], 2, id="what is no annotation"),
        pytest.param(
            [annotation(3, drawn(), parent_prediction=55, lead_time=11.2, updated_by=1)],
            3,
            id="P24 a prediction that was submitted unchanged",
        ),
        pytest.param([annotation(3, **COPIED)], None, id="copied from a prediction and never touched"),
        pytest.param([annotation(3, **COPIED), annotation(2, at=EARLY)], 2, id="a person's beside one that is copied"),
        pytest.param([annotation(3, **COPIED | {"lead_time": 3.2, "updated_by": 1})], 3, id="copied, then updated"),
        pytest.param([annotation(3, **COPIED | {"updated_by": 1})], 3, id="copied, then changed by a program"),
        pytest.param([annotation(3, **COPIED | {"ground_truth": True})], 3, id="copied, then starred"),
        pytest.param([annotation(3, lead_time=None, updated_by=None)], 3, id="imported with its task"),
    ],
)
def test_which_annotation_counts(annotations: list[Any], expected: int | None) -> None:
    chosen = annotation_that_counts(task(*annotations))
    assert (chosen["id"] if chosen else None) == expected


def test_drafts_and_predictions_never_count() -> None:
    """P24: only `annotations` are looked at."""
    one = task() | {"drafts": [annotation(1, drawn())], "predictions": [annotation(2, drawn())]}
    selection = select_pages([one], RECTANGLES)
    assert selection.pages == ()
    assert selection.left_out.to_json() == {reasons.NOT_ANNOTATED: {"count": 1, "examples": ["task 7 has none"]}}


def test_annotations_that_nobody_touched_are_counted_and_their_tasks_wait() -> None:
    tasks = [
        task(annotation(1, **COPIED), identity=5),
        task(annotation(2, **COPIED), annotation(3), identity=6),
        task(annotation(4, was_cancelled=True), identity=7),
    ]
    selection = select_pages(tasks, RECTANGLES)
    assert (selection.annotated, [page.task for page in selection.pages]) == (1, [6])
    assert selection.left_out.to_json() == {
        reasons.UNTOUCHED: {"count": 2, "examples": ["task 5", "task 6"]},
        reasons.NOT_ANNOTATED: {"count": 1, "examples": ["task 7 has 1 skipped"]},
    }


def test_an_annotation_without_boxes_is_a_page() -> None:
    selection = select_pages([task(annotation(1))], RECTANGLES)
    assert selection.pages == (AnnotatedPage(7, 0, "/data/upload/1/a.png", "1", EARLY, ()),)
    assert (selection.tasks, selection.annotated) == (1, 1)


def test_every_page_of_an_annotated_task_is_one() -> None:
    found, left_out = boxes_of(drawn(item=2), config=PAGES, data={"pages": ["a.png", "b.png", "c.png"]})
    assert found == [[], [], [("Total", BOX)]]
    assert not left_out


@pytest.mark.parametrize(
    ("config", "data", "results", "expected", "left_out"),
    [
        pytest.param(RECTANGLES, None, [drawn()], [("Total", BOX)], {}, id="a rectangle"),
        pytest.param(
            RECTANGLES, None, [drawn(label="date")], [("date", BOX)], {}, id="P18 a label by its alias, whole"
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn(label="Date of issue")],
            [("date", BOX)],
            {},
            id="a label by its value, from before",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn("a", "Gone"), drawn("b")],
            [("Total", BOX)],
            {reasons.UNKNOWN_LABEL: 1},
            id="a label that is not in the config",
        ),
        pytest.param(RECTANGLES, None, [drawn(label=None)], [], {reasons.NO_LABEL: 1}, id="a box without a label"),
        pytest.param(
            RECTANGLES,
            None,
            [drawn(rectanglelabels=["date", "Total", "date"])],
            [("date", BOX)],
            {reasons.SEVERAL_LABELS: 1},
            id="a box with two labels",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn("a", x=math.nan), drawn("b", x=1e9), drawn("c", width=None), drawn("d", height="3"), drawn("e")],
            [("Total", BOX)],
            {reasons.NO_NUMBERS: 4},
            id="P26 absurd coordinates",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn(x=90, y=-10, width=30, height=20)],
            [("Total", Box(900, 0, 1000, 50))],
            {},
            id="P5 past the edge",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn(x=50, y=10, width=10, height=10, rotation=90)],
            [("Total", Box(450, 50, 500, 150))],
            {},
            id="P5 turned about its top left corner, in pixels and not in percent",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn() | {"original_width": 0, "original_height": None, "image_rotation": 90}],
            [("Total", BOX)],
            {},
            id="P6 the image decides, not what the annotation says of it",
        ),
        pytest.param(RECTANGLES, None, [drawn() | {"to_name": "thumbnail"}], [], {}, id="on another image"),
        pytest.param(RECTANGLES, None, [drawn(item=0)], [("Total", BOX)], {}, id="page 0 of a task with one"),
        pytest.param(RECTANGLES, None, [drawn(item=1)], [], {reasons.NO_PAGE: 1}, id="page 1 of a task with one"),
        pytest.param(PAGES, {"pages": ["a.png"]}, [drawn()], [("Total", BOX)], {}, id="no page number, one page"),
        pytest.param(
            OCR,
            {"ocr": "a.png"},
            [
                result("a", "text", "textarea", **GEOMETRY, text=["12.50", "EUR"]),
                result("a", "label", "labels", **GEOMETRY, labels=["Total"]),
                result("a", "bbox", "rectangle", **GEOMETRY),
                result("b", "bbox", "rectangle", **GEOMETRY),
                result("p", "poly", "polygon", points=[[1, 1], [2, 2], [3, 1]]),
                result("p", "label", "labels", labels=["Total"]),
                result("c", "kind", "choices", choices=["x"]),
                {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
            ],
            [("Total", BOX)],
            {reasons.NO_RECTANGLE: 1, reasons.NO_LABEL: 1},
            id="P25 three results of one region in any order, and a polygon",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn() | {"id": ["x"]}, drawn() | {"id": None}, "nonsense", drawn() | {"value": 7}],
            [("Total", BOX)] * 2,
            {reasons.NO_NUMBERS: 1},
            id="ids and values that are none",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn("a", from_name="stamp", label="round"), drawn("b")],
            [("Total", BOX)],
            {reasons.OTHER_CONTROL: 1},
            id="a box of a second <RectangleLabels>",
        ),
        pytest.param(
            RECTANGLES,
            None,
            [drawn("a", x=766, y=3133, width=3685, height=377), drawn("b", x=101), drawn("c", y=-41), drawn("d")],
            [("Total", BOX)],
            {reasons.NO_NUMBERS: 3},
            id="boxes that are on no page",
        ),
        pytest.param(
            RECTANGLES, None, [drawn(rectanglelabels="Total")], [], {reasons.NO_LABEL: 1}, id="labels that are no list"
        ),
    ],
)
def test_boxes_of_one_page(
    config: LabelConfig, data: Any, results: list[Any], expected: list[tuple[str, Box]], left_out: dict[str, int]
) -> None:
    (found,), counted = boxes_of(*results, config=config, data=data)
    assert [label for label, _ in found] == [label for label, _ in expected]
    for (_, box), (_, wanted) in zip(found, expected, strict=True):
        for edge in ("left", "top", "right", "bottom"):
            assert getattr(box, edge) == pytest.approx(getattr(wanted, edge), abs=1e-9)
    assert counted == left_out


@pytest.mark.parametrize("item", [None, -1, 3, 1.0, True, "1"])
def test_a_box_that_is_on_none_of_several_pages(item: Any) -> None:
    found, left_out = boxes_of(drawn(item=item), config=PAGES, data={"pages": ["a.png", "b.png", "c.png"]})
    assert found == [[], [], []]
    assert left_out == {reasons.NO_PAGE: 1}


def test_the_sentence_names_the_label_and_those_of_the_config() -> None:
    selection = select_pages([task(annotation(1, drawn(label="Gone")))], RECTANGLES)
    labelled_boxes(selection.pages[0], RECTANGLES, SIZE, selection.left_out)
    (sentence,) = selection.left_out[reasons.UNKNOWN_LABEL].examples
    assert sentence == 'task 7, page 0: "Gone"; the label config has Total, date'


@pytest.mark.parametrize(
    ("results", "reason", "sentence"),
    [
        pytest.param(
            [drawn(from_name="stamp", label="round")],
            reasons.OTHER_CONTROL,
            'task 7: drawn with "stamp"; "label" is served',
            id="another control",
        ),
        pytest.param(
            [result("a", "bbox", "rectangle", **GEOMETRY), result("a", "quality", "labels", labels=["printed"])],
            reasons.NO_LABEL,
            'task 7, page 0: a rectangle without a label of "label"; its words are taught as no entity',
            id="labelled, but not by the served control",
        ),
        pytest.param(
            [result("a", "bbox", "rectangle", x=1, y=2, width=3, height=400)],
            reasons.NO_NUMBERS,
            "task 7, page 0: x 1, y 2, width 3, height 400, rotation None: it is far larger than the page; numbers are "
            "percent of the page, from 0 to 100",
            id="numbers in another unit",
        ),
    ],
)
def test_the_sentence_is_true_of_the_box(results: list[Any], reason: str, sentence: str) -> None:
    config = RECTANGLES if reason == reasons.OTHER_CONTROL else OCR
    key = "image" if config is RECTANGLES else "ocr"
    selection = select_pages([task(annotation(1, *results), data={key: "a.png"})], config)
    for page in selection.pages:
        labelled_boxes(page, config, Size(1000, 1000), selection.left_out)
    assert selection.left_out.to_json() == {reason: {"count": 1, "examples": [sentence]}}


@pytest.mark.parametrize("data", [{}, {"image": ""}, {"image": 7}, [], {"image": ["a", "b"]}])
def test_a_task_without_an_image_costs_itself(data: Any) -> None:
    good = task(annotation(2), identity=8)
    selection = select_pages([task(annotation(1), data=data), good], RECTANGLES)
    assert [page.task for page in selection.pages] == [8]
    assert selection.left_out.counts() == {reasons.NO_IMAGE: 1}
    assert "task 7" in selection.left_out[reasons.NO_IMAGE].examples[0]


def test_what_is_left_out_keeps_five_sentences() -> None:
    left_out, more = LeftOut(), LeftOut()
    for number in range(4):
        left_out.add("reason", f"sentence {number}")
        more.add("reason", f"more {number}")
    more.add("other", "one")
    left_out.add_all(more)
    assert left_out.counts() == {"reason": 8, "other": 1}
    assert left_out["reason"].examples == ("sentence 0", "sentence 1", "sentence 2", "sentence 3", "more 0")
    assert left_out["never met"].count == 0


def test_new_annotations_are_counted() -> None:
    tasks = [task(annotation(number), identity=number, data={"pages": ["a", "b"]}) for number in (1, 2, 3)]
    before = fingerprint(select_pages(tasks, PAGES).pages)
    assert before == {key: EARLY for number in (1, 2, 3) for key in (f"{number}", f"{number}/1")}
    assert count_new({}, before) == 3
    assert count_new(before, before) == 0
    tasks[0]["annotations"][0]["updated_at"] = LATE
    tasks[1]["annotations"].append(annotation(9, at=LATE, was_cancelled=True))
    del tasks[2]
    tasks.append(task(annotation(4), identity=4, data={"pages": ["a"]}))
    assert count_new(before, fingerprint(select_pages(tasks, PAGES).pages)) == 2


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        pytest.param({"12": EARLY}, {"12": EARLY}, 0, id="nothing"),
        pytest.param({"12": EARLY}, {"12": LATE}, 1, id="changed"),
        pytest.param({}, {"12": EARLY, "12/1": EARLY, "12/2": EARLY}, 1, id="a document is one annotation"),
        pytest.param({"12": EARLY}, {"12": EARLY, "12/1": EARLY}, 1, id="a page that can be read now"),
        pytest.param({"12": EARLY, "12/1": EARLY}, {"12/1": EARLY}, 0, id="a page that can no longer be read"),
        pytest.param({"1": EARLY}, {"12": EARLY, "1/2": EARLY}, 2, id="annotation 12 is not page 2 of annotation 1"),
    ],
)
def test_an_annotation_is_new_with_any_of_its_pages(before: dict[str, str], now: dict[str, str], new: int) -> None:
    assert count_new(before, now) == new


def test_captured_annotations() -> None:
    """What Label Studio really sent, in the shape of an export."""
    counted = LeftOut()
    found = {}
    for name in (
        "with_basic_auth_header",
        "ANNOTATION_CREATED_skipped",
        "ANNOTATION_CREATED_from_ui_with_parent_prediction",
    ):
        body = json.loads((CAPTURES / f"webhook_{name}.json").read_text())["body"]
        one = {**body["task"], "annotations": [body["annotation"]]}
        config = parse_label_config(body["project"]["label_config"])
        selection = select_pages([one], config)
        boxes = [labelled_boxes(page, config, Size(800, 600), counted) for page in selection.pages]
        found[name] = [[(box.label, box.box) for box in page] for page in boxes]
    assert found == {
        "with_basic_auth_header": [[("Header", Box(80, 60, 240, 120))]],
        "ANNOTATION_CREATED_skipped": [],
        "ANNOTATION_CREATED_from_ui_with_parent_prediction": [[]],
    }
    assert not counted.counts()


def test_the_annotations_that_the_data_manager_made_from_predictions_do_not_count() -> None:
    body = json.loads((CAPTURES / "webhook_ANNOTATIONS_CREATED.json").read_text())["body"]
    tasks = [{**one, "annotations": [made]} for one, made in zip(body["task"], body["annotation"], strict=True)]
    selection = select_pages(tasks, parse_label_config(body["project"]["label_config"]))
    assert (selection.annotated, selection.left_out.counts()) == (0, {reasons.UNTOUCHED: len(tasks)})
