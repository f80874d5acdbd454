"""What comes from outside, as nobody would write it: each is taken or refused with an error of ours, and soon.

Examples are fixed (`tests/conftest.py`); `HYPOTHESIS_PROFILE=explore` looks for new ones.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.page import Size
from handler.wire import page_from_json, page_to_json, tagged_page_from_json, tagged_page_to_json
from layoutloop.errors import LayoutLoopError
from layoutloop.settings.serving import Settings
from layoutloop.studio.data_uri import decode_data_uri
from layoutloop.studio.drawn import drawn_regions
from layoutloop.studio.export import check_export
from layoutloop.studio.label_config import LabelConfig, image_references, parse_label_config, served_sentence
from layoutloop.studio.reference import read_reference
from layoutloop.studio.web_address import check_path, parse_studio_url, parse_web_address
from shim.app import create_app
from shim.webhook import read_event
from training.data.annotations import fingerprint, labelled_boxes, select_pages
from training.data.left_out import LeftOut

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="Total"/>'
    '<Label value="Date"/></RectangleLabels><TextArea name="text" toName="image" perRegion="true"/></View>'
)
SOON_S = 2.0
"""Of the processor: how long the clock says depends on what else the machine does."""

WORDS = st.sampled_from(
    [
        *("id", "tasks", "task", "data", "image", "label_config", "project", "params", "context", "result", "value"),
        *("annotations", "annotation", "was_cancelled", "ground_truth", "updated_at", "type", "from_name", "to_name"),
        *(
            "x",
            "y",
            "width",
            "height",
            "rotation",
            "rectanglelabels",
            "labels",
            "text",
            "item_index",
            "action",
            "schema",
        ),
        *("rectangle", "textarea", "label", "Total", "START_TRAINING", "ANNOTATION_CREATED", "2026-11-22T08:30:00Z"),
        *("format", "words", "box", "confidence", "line", "regions", "engine", "thumbnail", "model_version", "windows"),
        *("original_width", "original_height", "image_rotation", "/data/upload/7/a.png", "s3://bucket/a.png", "7.5"),
    ]
)
TEXTS = WORDS | st.text(max_size=20) | st.sampled_from(["\ud800", "\x00", "\u202e", "a" * 5000, CONFIG])
NUMBERS = st.integers(-5, 200) | st.floats() | st.sampled_from([10**30, -(10**400), 2**63])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=8),
    max_leaves=25,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=8)

PARTS = st.sampled_from(
    [
        *(
            "/data/upload/7/",
            "/data/local-files/?d=",
            "?",
            "#",
            "%",
            "%2e%2e",
            "..",
            "/",
            "\\",
            "//",
            "http://",
            "https://",
        ),
        *("s3://", "gs://", "azure-blob://", "data:", "image/png;base64,", "AAAA", "=", "@", ":", "[::1]", "localhost"),
        *(
            "127.0.0.1",
            "0x7f.1",
            "/tasks/7/resolve/?fileuri=",
            "c2NyaXB0",
            "\x00",
            "\n",
            "é",
            "e\u0301",
            "\ud800",
            "&d=",
        ),
    ]
)
REFERENCES = st.lists(PARTS | st.text(max_size=4), max_size=8).map("".join) | st.text(max_size=60)

TAGS = st.sampled_from(["View", "Image", "RectangleLabels", "Labels", "Label", "Rectangle", "TextArea", "x:y"])
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["name", "toName", "value", "valueList", "alias", "predicted_values", "perRegion", "model_skip"]),
    st.sampled_from(["image", "label", "$image", "$", "", "Total", "true", "a,b", "a b", "$image[0]", "&#0;", "&x;"]),
    max_size=4,
)


def _element(tag: str, attributes: Mapping[str, str], inner: list[str]) -> str:
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<{tag}{written}>{''.join(inner)}</{tag}>"


XML = st.recursive(
    st.builds(_element, TAGS, ATTRIBUTES, st.just([])),
    lambda inner: st.builds(_element, TAGS, ATTRIBUTES, st.lists(inner, max_size=4)),
    max_leaves=10,
)
CONFIGS = (
    XML
    | st.text(max_size=80)
    | st.sampled_from(
        [
            *("<View>" * 50_000, "<!DOCTYPE x [<!ENTITY a 'b'>]><View>&a;</View>", "\ud800", "<View", "<View/>\x00"),
            '<?xml version="1.0" encoding="utf-16"?><View/>',
            _element("View", {}, [_element("Label", {"value": "x" * 100_000}, [])] * 20),
        ]
    )
)


@given(xml=CONFIGS, task=OBJECTS)
def test_label_configs(xml: str, task: dict[str, Any]) -> None:
    began = time.process_time()
    with suppress(LayoutLoopError):
        config = parse_label_config(xml)
        served_sentence(xml, config)
        image_references(task, config)
    assert time.process_time() - began < SOON_S


def _config() -> LabelConfig:
    return parse_label_config(CONFIG)


RESULTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": TEXTS | st.integers(),
            "type": st.sampled_from(["rectanglelabels", "rectangle", "labels", "textarea", "polygonlabels"]) | JSON,
            "from_name": st.sampled_from(["label", "text", "other"]) | JSON,
            "to_name": st.just("image") | JSON,
            "item_index": NUMBERS | JSON,
            "value": st.dictionaries(
                st.sampled_from(["x", "y", "width", "height", "rotation", "rectanglelabels", "labels", "text"]),
                NUMBERS | st.lists(TEXTS, max_size=2) | JSON,
            )
            | JSON,
        },
    )
    | JSON,
    max_size=4,
)
ANNOTATIONS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"id": NUMBERS, "result": RESULTS | JSON, "updated_at": TEXTS, "was_cancelled": JSON}
    )
    | JSON,
    max_size=3,
)
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "id": NUMBERS | JSON,
        "data": st.dictionaries(st.just("image"), TEXTS) | JSON,
        "annotations": ANNOTATIONS | JSON,
    },
)


@given(body=st.lists(TASKS | JSON, max_size=3) | JSON)
def test_exports(body: Any) -> None:
    with suppress(LayoutLoopError):
        selection = select_pages(check_export(body, "the export"), _config())
        fingerprint(selection.pages)
        for page in selection.pages:
            labelled_boxes(page, _config(), Size(800, 1000), LeftOut())


@given(results=RESULTS | JSON)
def test_results(results: Any) -> None:
    drawn_regions(results, _config())


@given(text=REFERENCES)
def test_references(text: str) -> None:
    began = time.process_time()
    reference = read_reference(text)
    assert all(isinstance(name, str) for name in (reference.file, *reference.file_names))
    for parse in (parse_web_address, parse_studio_url, lambda one: decode_data_uri(one, 100)):
        with suppress(LayoutLoopError):
            parse(text)
    with suppress(LayoutLoopError):
        check_path(reference.path, reference.query)
    assert time.process_time() - began < SOON_S


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("text", "label"), TEXTS | JSON),
        "box": st.lists(NUMBERS, min_size=4, max_size=4) | JSON,
        **dict.fromkeys(("confidence", "score", "line"), NUMBERS | JSON),
        "words": st.lists(NUMBERS, max_size=3) | JSON,
    },
)
PAGES = st.fixed_dictionaries(
    {"format": st.just(1) | JSON},
    optional={
        **dict.fromkeys(("width", "height"), st.integers(1, 2000) | JSON),
        "engine": TEXTS | JSON,
        "words": st.lists(ENTRIES, max_size=3) | JSON,
        "thumbnail": TEXTS | JSON,
    },
)
WORD = {"text": "Total", "box": [1, 2, 30, 40], "confidence": 0.5, "line": 0}
PAGE = {"format": 1, "width": 100, "height": 100, "engine": "e", "words": [WORD]}


@given(body=PAGES | JSON, is_request=st.booleans())
def test_pages_on_the_wire(body: Any, is_request: bool) -> None:
    with suppress(LayoutLoopError):
        page = page_from_json(body, is_request=is_request)
        assert page_from_json(json.loads(json.dumps(page_to_json(page)))) == page


@given(
    body=st.fixed_dictionaries(
        {"format": st.just(1) | JSON},
        optional={
            "model_version": TEXTS | JSON,
            "windows": NUMBERS | JSON,
            "regions": st.lists(ENTRIES, max_size=3) | JSON,
        },
    )
    | JSON
)
def test_regions_on_the_wire(body: Any) -> None:
    page = page_from_json(PAGE)
    with suppress(LayoutLoopError):
        answer = tagged_page_from_json(body, page)
        assert tagged_page_from_json(json.loads(json.dumps(tagged_page_to_json(*answer))), page) == answer


@given(body=OBJECTS)
def test_webhooks(body: dict[str, Any]) -> None:
    with suppress(LayoutLoopError):
        read_event(body)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    place: Path = tmp_path_factory.mktemp("edges")
    return create_app(Settings(model_dir=place / "store", home=place / "home", deadline_s=1.0)).test_client()


BODIES = (
    OBJECTS
    | st.fixed_dictionaries(
        {"tasks": st.lists(TASKS, max_size=3), "label_config": st.just(CONFIG)}, optional={"project": JSON}
    )
    | st.fixed_dictionaries({"schema": CONFIGS, "project": JSON})
    | st.fixed_dictionaries({"action": WORDS, "project": JSON, "annotation": JSON})
    | st.fixed_dictionaries({"project": NUMBERS}, optional={"force": JSON, "dry_run": JSON})
).map(lambda body: json.dumps(body).encode())
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def _check(client: FlaskClient, method: str, path: str, caplog: pytest.LogCaptureFixture, **more: Any) -> None:
    caplog.clear()
    began = time.process_time()
    with caplog.at_level(logging.ERROR):
        answer = client.open(path, method=method, **more)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert "internal" not in answer.text.lower() or answer.status_code < 500
    assert time.process_time() - began < SOON_S


@QUICK
@given(path=st.sampled_from(["/predict", "/setup", "/webhook", "/train"]), body=BODIES | st.binary(max_size=50))
def test_posts(client: FlaskClient, caplog: pytest.LogCaptureFixture, path: str, body: bytes) -> None:
    _check(client, "POST", path, caplog, data=body, headers={"Content-Type": "application/json"})


PATHS = st.sampled_from(
    [
        *("/", "/health", "/jobs", "/versions", "/metrics", "/dashboard", "/dashboard/live", "/dashboard/projects/"),
        *(
            "7",
            "/train",
            "/versions/",
            "20261122T083000Z",
            "/report",
            "/restore",
            "..",
            "%2e%2e",
            "%ff",
            "%00",
            "?project=",
        ),
    ]
)


@QUICK
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"]),
    parts=st.lists(PATHS | st.text("abc/%&=.\u00e9\U0001f600", max_size=4), min_size=1, max_size=5),
    query=st.dictionaries(st.sampled_from(["project", "limit"]), TEXTS.filter(str.isprintable)),
)
def test_paths(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, method: str, parts: list[str], query: dict[str, str]
) -> None:
    _check(client, method, "/" + "".join(parts).lstrip("/"), caplog, query_string=query)
