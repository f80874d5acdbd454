from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from layoutloop.errors import LabelConfigUnsupported, TaskInvalid
from layoutloop.store.thresholds import Thresholds
from layoutloop.studio.label_config import (
    MAX_XML_BYTES,
    OCR_EXAMPLE,
    RECTANGLE_LABELS_EXAMPLE,
    LabelConfig,
    image_references,
    parse_label_config,
    served_sentence,
)
from layoutloop.studio.version import config_fingerprint, reported_version

CAPTURES = Path(__file__).parents[2] / "data" / "captures"

# Label Studio's own templates, unchanged (label_studio/annotation_templates/computer-vision/*/config.yml)
OBJECT_DETECTION = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
    <Label value="Airplane" background="green"/>
    <Label value="Car" background="blue"/>
  </RectangleLabels>
</View>"""
OPTICAL_CHARACTER_RECOGNITION = """<View>
  <Image name="image" value="$ocr"/>

  <Labels name="label" toName="image">
    <Label value="Text" background="green"/>
    <Label value="Handwriting" background="blue"/>
  </Labels>

  <Rectangle name="bbox" toName="image" strokeWidth="3"/>
  <Polygon name="poly" toName="image" strokeWidth="3"/>

  <TextArea name="transcription" toName="image"
            editable="true"
            perRegion="true"
            required="true"
            maxSubmissions="1"
            rows="5"
            placeholder="Recognized Text"
            displayMode="region-list"
            />
</View>"""
IMAGE = '<Image name="image" value="$image"/>'
LABELS = '<RectangleLabels name="label" toName="image"><Label value="Total"/></RectangleLabels>'
BOMB = '<!DOCTYPE v [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><View>&b;</View>'


def captured(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURES / f"{name}.json").read_text())["body"]
    return body


def identity(*labels: str) -> tuple[tuple[str, str], ...]:
    return tuple((label, label) for label in labels)


def rectangle_labels(labels: str, image: str = IMAGE) -> LabelConfig:
    return parse_label_config(
        f'<View>{image}<RectangleLabels name="label" toName="image">{labels}</RectangleLabels></View>'
    )


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        pytest.param(
            OBJECT_DETECTION,
            LabelConfig(
                kind="rectanglelabels",
                to_name="image",
                from_name="label",
                rectangle_name=None,
                textarea_name=None,
                value_key="image",
                is_list=False,
                labels=("Airplane", "Car"),
                label_map=identity("Airplane", "Car"),
                columns=frozenset({"image"}),
            ),
            id="template Object Detection",
        ),
        pytest.param(
            OPTICAL_CHARACTER_RECOGNITION,
            LabelConfig(
                kind="ocr",
                to_name="image",
                from_name="label",
                rectangle_name="bbox",
                textarea_name="transcription",
                value_key="ocr",
                is_list=False,
                labels=("Text", "Handwriting"),
                label_map=identity("Text", "Handwriting"),
                columns=frozenset({"ocr"}),
            ),
            id="template Optical Character Recognition",
        ),
    ],
)
def test_templates_work_unchanged(xml: str, expected: LabelConfig) -> None:
    assert parse_label_config(xml) == expected


@pytest.mark.parametrize(
    ("capture", "key", "kind", "value_key", "is_list", "labels"),
    [
        pytest.param("setup_on_add", "schema", "rectanglelabels", "image", False, ("Header", "Total"), id="setup"),
        pytest.param("setup_ocr_template", "schema", "ocr", "ocr", False, ("Header", "Total"), id="setup, ocr"),
        pytest.param(
            "setup_multipage", "schema", "rectanglelabels", "pages", True, ("Header", "Total"), id="setup, pages"
        ),
        pytest.param("predict_ocr_template", "label_config", "ocr", "ocr", False, ("Header", "Total"), id="ocr"),
        pytest.param(
            "predict_interactive",
            "label_config",
            "rectanglelabels",
            "image",
            False,
            ("Header", "Total", "Item"),
            id="a label was added",
        ),
    ],
)
def test_captured_configs(
    capture: str, key: str, kind: str, value_key: str, is_list: bool, labels: tuple[str, ...]
) -> None:
    config = parse_label_config(captured(capture)[key])
    assert (config.kind, config.value_key, config.is_list, config.labels) == (kind, value_key, is_list, labels)


def test_setup_and_predict_report_the_same_version() -> None:
    for template in ("ocr_template", "multipage"):
        versions = {
            reported_version(
                "20261122T083000Z",
                config_fingerprint(parse_label_config(captured(name)[key]), "engine", Thresholds(0.5)),
            )
            for name, key in ((f"setup_{template}", "schema"), (f"predict_{template}", "label_config"))
        }
        assert len(versions) == 1


@pytest.mark.parametrize("example", [RECTANGLE_LABELS_EXAMPLE, OCR_EXAMPLE])
def test_the_examples_in_messages_are_served(example: str) -> None:
    assert parse_label_config(example).labels == ("Total",)


@pytest.mark.parametrize(
    ("xml", "changes"),
    [
        pytest.param(f"<View>{LABELS}{IMAGE}</View>", {}, id="the image comes last"),
        pytest.param(
            f'<View><Header value="x"/><Style>.a{{}}</Style>{IMAGE}<Choices name="c" toName="image">'
            f'<Choice value="a"/></Choices><Relations><Relation value="r"/></Relations>{LABELS}'
            '<Ellipse name="e" toName="image"/><Brush name="b" toName="image"/></View>',
            {},
            id="everything else is ignored",
        ),
        pytest.param(
            f'<View><View style="display: flex">{IMAGE}<View>{LABELS}</View></View></View>', {}, id="nested views"
        ),
        pytest.param(
            '<View><Image name="image" valueList="$pages"/>' + LABELS + "</View>",
            {"value_key": "pages", "is_list": True, "columns": frozenset({"pages"})},
            id="valueList",
        ),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<TextArea name="text" toName="image" perRegion="true"/></View>',
            {"textarea_name": "text"},
            id="text per region",
        ),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<TextArea name="notes" toName="image"/></View>', {}, id="text of the whole page"
        ),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<TextArea name="notes" toName="other" perRegion="true"/></View>',
            {},
            id="text on something else",
        ),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<RectangleLabels name="second" toName="image"><Label value="B"/></RectangleLabels>'
            "</View>",
            {},
            id="the first control is taken",
        ),
        pytest.param(
            f'<View>{IMAGE}<RectangleLabels name="first" toName="image" model_skip="true"><Label value="B"/>'
            f"</RectangleLabels>{LABELS}</View>",
            {},
            id="model_skip passes a control over",
        ),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<TextArea name="notes" toName="image" perRegion="true" Model_Skip=" YES "/>'
            '<TextArea name="text" toName="image" perRegion="true" model_skip="false"/></View>',
            {"textarea_name": "text"},
            id="and a text area",
        ),
        pytest.param(
            f'<View>{IMAGE}<Labels name="quality" toName="image" model_skip="1"><Label value="B"/></Labels>'
            '<Rectangle name="frame" toName="image" model_skip="true"/><Rectangle name="r" toName="image"/>'
            '<Labels name="label" toName="image"><Label value="Total"/></Labels></View>',
            {"kind": "ocr", "rectangle_name": "r"},
            id="and a Rectangle",
        ),
        pytest.param(
            f'<View>{IMAGE}<Labels name="alone" toName="image"><Label value="B"/></Labels>{LABELS}</View>',
            {},
            id="Labels without Rectangle are passed over",
        ),
        pytest.param(
            '<View><Image name="thumb" value="$doc[0].page"/><RectangleLabels name="x" toName="thumb">'
            f'<Label value="B"/></RectangleLabels>{IMAGE}{LABELS}</View>',
            {"columns": frozenset({"doc", "image"})},
            id="an image with an unusable value is passed over",
        ),
        pytest.param(
            f'<View><Text name="t" value="$text"/><Labels name="ner" toName="t"><Label value="B"/></Labels>'
            f"{IMAGE}{LABELS}</View>",
            {"columns": frozenset({"text", "image"})},
            id="labels on a text are passed over",
        ),
        pytest.param(
            '<View><Image name="image" value="$image"/><Rectangle name="r" toName="image"/>'
            '<Labels name="label" toName="image"><Header value="h"/><View><Label value="Total"/></View></Labels>'
            "</View>",
            {"kind": "ocr", "rectangle_name": "r"},
            id="Rectangle before Labels, labels in a view",
        ),
        pytest.param(f"<!-- note --><View>{IMAGE}{LABELS}</View><!-- {{}} -->", {}, id="comments around"),
        pytest.param(
            f'<?xml version="1.0" encoding="utf-8"?>\n<View>{IMAGE}{LABELS}</View>', {}, id="an XML declaration"
        ),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<TextArea name="text" toname="image" perregion="True"/></View>',
            {"textarea_name": "text"},
            id="attribute names in any case",
        ),
    ],
)
def test_what_is_taken_from_larger_configs(xml: str, changes: dict[str, Any]) -> None:
    plain = parse_label_config(f"<View>{IMAGE}{LABELS}</View>")
    assert parse_label_config(xml) == dataclasses.replace(plain, **changes)


STAMP = '<RectangleLabels name="stamp" toName="image"><Label value="round"/></RectangleLabels>'
SKIPPED = LABELS.replace("toName", 'model_skip="true" toName')
CHOICE = '(model_skip="true" on a control passes it over)'


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        pytest.param(f"<View>{IMAGE}{LABELS}</View>", None, id="one control"),
        pytest.param(
            f'<View>{IMAGE}{LABELS}<Text name="t" value="$t"/><Labels name="ner" toName="t"><Label value="B"/></Labels>'
            '<Choices name="c" toName="image"/></View>',
            None,
            id="others that label no image",
        ),
        pytest.param(
            f"<View>{IMAGE}{LABELS}{STAMP}</View>",
            'of 2 controls with labels <RectangleLabels name="label"> is served; what is drawn with <RectangleLabels '
            f'name="stamp"> is left to people {CHOICE}',
            id="two",
        ),
        pytest.param(
            f"<View>{IMAGE}{SKIPPED}{STAMP}</View>",
            'of 2 controls with labels <RectangleLabels name="stamp"> is served; what is drawn with <RectangleLabels '
            f'name="label"> is left to people {CHOICE}',
            id="the other one was chosen",
        ),
    ],
)
def test_which_of_several_controls_is_served_is_told(xml: str, sentence: str | None) -> None:
    assert served_sentence(xml, parse_label_config(xml)) == sentence


@pytest.mark.parametrize(
    ("labels", "names", "label_map"),
    [
        pytest.param(
            '<Label value="B"/><Label value="A"/><Label value="ß"/>',
            ("B", "A", "ß"),
            {"B": "B", "A": "A", "ß": "ß"},
            id="config order",
        ),
        pytest.param(
            '<Label value="Total" predicted_values="amount, sum ,,"/><Label value="Date" predicted_values=""/>',
            ("Total", "Date"),
            {"Total": "Total", "amount": "Total", "sum": "Total", "Date": "Date"},
            id="predicted_values",
        ),
        pytest.param(
            '<Label value="Total amount" alias="T" predicted_values="total"/>',
            ("T",),
            {"T": "T", "Total amount": "T", "total": "T"},
            id="an alias is what annotations carry",
        ),
        pytest.param('<Label alias="T"/>', ("T",), {"T": "T"}, id="alias alone"),
        pytest.param('<Label/><Label value="A"/>', ("A",), {"A": "A"}, id="a label without a name"),
        pytest.param('<Label value="A"/><Label value="A"/>', ("A",), {"A": "A"}, id="a label written twice"),
        pytest.param(
            '<Label value="A" predicted_values="A,x,x"/>', ("A",), {"A": "A", "x": "A"}, id="a name written twice"
        ),
    ],
)
def test_label_map(labels: str, names: tuple[str, ...], label_map: dict[str, str]) -> None:
    config = rectangle_labels(labels)
    assert config.labels == names
    assert dict(config.label_map) == label_map
    assert {name: config.project_label(name) for name in label_map} == label_map
    assert config.project_label("unheard of") is None
    assert config.project_label(None) is None


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param(" \n", "is empty", id="blank"),
        pytest.param("<View>", "not well-formed XML", id="not closed"),
        pytest.param("RectangleLabels", "not well-formed XML", id="no XML"),
        pytest.param("<View>\x00</View>", "not well-formed XML", id="a NUL"),
        pytest.param("<View>\ud800</View>", "characters that are refused", id="half a character"),
        pytest.param(BOMB, "DTD, entities", id="entity bomb"),
        pytest.param('<!DOCTYPE v SYSTEM "http://127.0.0.1:1/x"><View/>', "DTD, entities", id="external DTD"),
        pytest.param(
            '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View>&x;</View>', "DTD, entities", id="external"
        ),
        pytest.param("<View>" + " " * MAX_XML_BYTES + "</View>", "longer than 1,048,576 bytes", id="too long"),
        pytest.param(
            "<View>" + "ß" * (MAX_XML_BYTES // 2) + "</View>", "longer than 1,048,576 bytes", id="too long in UTF-8"
        ),
        pytest.param("<View/>", "found no control with a toName", id="nothing in it"),
        pytest.param(
            '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>',
            "found <Choices> on <Text>",
            id="choices on a text",
        ),
        pytest.param(
            f'<View>{IMAGE}<Labels name="label" toName="image"><Label value="A"/></Labels></View>',
            "found <Labels> on <Image>",
            id="Labels without Rectangle",
        ),
        pytest.param(
            f'<View>{IMAGE}<Image name="two" value="$two"/><Rectangle name="r" toName="two"/>'
            '<Labels name="label" toName="image"><Label value="A"/></Labels></View>',
            "found <Rectangle> on <Image>, <Labels> on <Image>",
            id="Labels and Rectangle on two images",
        ),
        pytest.param(f"<View>{LABELS}</View>", 'found <RectangleLabels> on a missing "image"', id="no image"),
        pytest.param(
            f'<View>{IMAGE}<RectangleLabels name="label" toName="image" model_skip="true"><Label value="A"/>'
            "</RectangleLabels></View>",
            "found <RectangleLabels> on <Image> (passed over: model_skip)",
            id="nothing is left to serve",
        ),
        pytest.param(
            '<View><Image name="image"/>' + LABELS + "</View>", '<Image name="image"> has value=""', id="no value"
        ),
        pytest.param(
            '<View><Image name="image" value="http://host/a.png"/>' + LABELS + "</View>",
            'has value="http://host/a.png"; write value="$key"',
            id="a fixed address",
        ),
        pytest.param(
            '<View><Repeater on="$document" indexFlag="{{idx}}"><Image name="page_{{idx}}" '
            'value="$document[{{idx}}].page"/><RectangleLabels name="l" toName="page_{{idx}}"><Label value="A"/>'
            "</RectangleLabels></Repeater></View>",
            'or valueList="$key" for a list of pages',
            id="template Multi-page document annotation",
        ),
        pytest.param(
            '<View><Image name="image" valueList="pages"/>' + LABELS + "</View>",
            'has valueList="pages"',
            id="valueList without a dollar",
        ),
        pytest.param(
            f'<View>{IMAGE}<RectangleLabels name="label" toName="image"/></View>',
            '<RectangleLabels name="label"> has no <Label>',
            id="no labels",
        ),
        pytest.param(
            f'<View>{IMAGE}<RectangleLabels name="label" toName="image" value="$brands"/></View>',
            "takes its labels from the task ($brands)",
            id="labels from the task",
        ),
        pytest.param(
            f'<View>{IMAGE}<RectangleLabels name="label" toName="image"><Label value="A" predicted_values="x"/>'
            '<Label value="B" predicted_values="x"/></RectangleLabels></View>',
            '"x" stands for two labels of <RectangleLabels name="label">, "A" and "B"',
            id="one predicted value for two labels",
        ),
        pytest.param(
            f'<View>{IMAGE}<RectangleLabels name="label" toName="image"><Label value="A" predicted_values="B"/>'
            '<Label value="B"/></RectangleLabels></View>',
            '"B" stands for two labels',
            id="a predicted value that is another label",
        ),
    ],
)
def test_refusals_say_what_was_found_and_what_to_write(xml: str, sentence: str) -> None:
    with pytest.raises(LabelConfigUnsupported, match=re.escape(sentence)) as refused:
        parse_label_config(xml)
    assert "Write for example: <" in str(refused.value)
    assert refused.value.status == 422


def test_very_deep_configs_are_no_trouble() -> None:
    deep = "<V>" * 100_000 + IMAGE + LABELS + "</V>" * 100_000
    assert parse_label_config(deep).labels == ("Total",)


BASE = rectangle_labels('<Label value="A"/>')
HALF = Thresholds(0.5)


@pytest.mark.parametrize(
    ("config", "engine", "thresholds", "same"),
    [
        pytest.param(BASE, "tess", HALF, True, id="the same"),
        pytest.param(rectangle_labels('<Label value="A" background="red"/>'), "tess", HALF, True, id="another colour"),
        pytest.param(rectangle_labels('<Label value="A" predicted_values="x"/>'), "tess", HALF, False, id="label map"),
        pytest.param(rectangle_labels('<Label value="A"/><Label value="B"/>'), "tess", HALF, False, id="label set"),
        pytest.param(BASE, "tess2", HALF, False, id="engine"),
        pytest.param(BASE, "tess", Thresholds(0.6), False, id="threshold"),
        pytest.param(BASE, "tess", Thresholds(0.5, {"A": 0.6}), False, id="threshold of a label"),
    ],
)
def test_fingerprint_changes_with_what_changes_results(
    config: LabelConfig, engine: str, thresholds: Thresholds, same: bool
) -> None:
    fingerprint = config_fingerprint(config, engine, thresholds)
    assert re.fullmatch(r"[0-9a-f]{8}", fingerprint)
    assert (fingerprint == config_fingerprint(BASE, "tess", HALF)) is same


def test_reported_version() -> None:
    suffix = config_fingerprint(BASE, "tess", Thresholds())
    assert (
        reported_version("20261122T083000Z", config_fingerprint(BASE, "tess", Thresholds(0)))
        == f"20261122T083000Z-{suffix}"
    )
    assert reported_version(None, config_fingerprint(BASE, "tess", Thresholds())) == f"ocr-{suffix}"


ONE = BASE
MANY = rectangle_labels('<Label value="A"/>', '<Image name="image" valueList="$pages"/>')


@pytest.mark.parametrize(
    ("capture", "references"),
    [
        pytest.param(
            "predict_multipage",
            [tuple(f"/data/local-files/?d=docs/p{page}.png" for page in (1, 2, 3))],
            id="pages",
        ),
        pytest.param("predict_ocr_template", [("/data/upload/2/461f49f5-d.png",)], id="an upload"),
        pytest.param("predict_interactive", [("/data/upload/1/b99f8919-a.png",)], id="interactive"),
    ],
)
def test_images_of_captured_tasks(capture: str, references: list[tuple[str, ...]]) -> None:
    body = captured(capture)
    config = parse_label_config(body["label_config"])
    assert [image_references(task, config) for task in body["tasks"]] == references


@pytest.mark.parametrize("capture", sorted(path.stem for path in CAPTURES.glob("predict_*.json")))
def test_every_captured_task_has_an_image(capture: str) -> None:
    body = captured(capture)
    config = parse_label_config(body["label_config"])
    assert all(image_references(task, config) for task in body["tasks"])


@pytest.mark.parametrize(
    ("task", "config", "references"),
    [
        pytest.param({"data": {"pages": "a.png"}}, MANY, ("a.png",), id="valueList with a single string"),
        pytest.param({"data": {"$undefined$": "a.png"}}, ONE, ("a.png",), id="a plain list of files"),
    ],
)
def test_other_images(task: dict[str, object], config: LabelConfig, references: tuple[str, ...]) -> None:
    assert image_references(task, config) == references


@pytest.mark.parametrize(
    ("task", "config", "sentence"),
    [
        pytest.param({"id": 7}, ONE, "task 7 has no `data` object", id="no data"),
        pytest.param({"data": []}, ONE, "task without an id has no `data` object", id="data is a list"),
        pytest.param({"id": 7, "data": {}}, ONE, 'no "image"', id="data is empty"),
        pytest.param({"data": {"ocr": "a", "meta": 1}}, ONE, "these keys: ocr, meta", id="another key"),
        pytest.param({"data": {"image": None}}, ONE, "the address of one image, got a NoneType", id="null"),
        pytest.param({"data": {"image": 5}}, ONE, "the address of one image, got a int", id="a number"),
        pytest.param({"data": {"image": " "}}, ONE, "got an empty string", id="blank"),
        pytest.param({"data": {"image": ["a.png"]}}, ONE, 'write valueList="$..." for many pages', id="a list"),
        pytest.param({"data": {"pages": []}}, MANY, 'the list of images in "pages" is empty', id="no pages"),
        pytest.param({"data": {"pages": ["a", None, 3]}}, MANY, "got a NoneType, a int, an address", id="mixed"),
        pytest.param({"data": {"pages": ["a", ""]}}, MANY, "a list of addresses, got an address, an empty", id="gap"),
        pytest.param({"data": {"pages": {"0": "a"}}}, MANY, "a list of addresses, got a dict", id="an object"),
    ],
)
def test_tasks_without_an_image(task: dict[str, object], config: LabelConfig, sentence: str) -> None:
    with pytest.raises(TaskInvalid, match=re.escape(sentence)):
        image_references(task, config)
