from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.layoutlmv3_handler import LayoutLMv3Handler
from handler.ocr_handler import OcrHandler
from handler.wire import page_to_json
from tests.checkpoints import make_lilt_checkpoint
from tests.handler.samples import (
    INVOICE_LINES,
    METRICS,
    Context,
    encoded,
    noisy_thumbnail,
    page_of,
    rendered_page,
    requests_to,
)
from tests.handler.samples import serving_context as context_of

PNG = encoded(rendered_page())
CUT = PNG[: len(PNG) // 2]
OCR = {"ocr": {"engine": "tesserocr"}}
TAGGER = {"tagger": {"device": "cpu", "dtype": "float32", "max_tokens": 64, "stride": 16}, **OCR}
PAGE = page_to_json(page_of("Invoice", "Total", "12.50", "EUR", thumbnail=noisy_thumbnail()))


def ask(
    handler: OcrHandler | LayoutLMv3Handler, context: Context, rows: list[dict[str, Any]], *headers: dict[str, str]
) -> list[tuple[int, Any]]:
    """Return (status, decoded answer) of each request of one batch, and check what every answer must be."""
    requests_to(context, *(headers or [{}] * len(rows)))
    bodies = handler.handle(rows, context)
    assert len(bodies) == len(rows)
    statuses = [context.get_response_status(index) for index in range(len(rows))]
    assert all(phrase in (None, "item error") for _, phrase in statuses), "TorchServe breaks on anything not ASCII"
    assert {context.get_response_content_type(index) for index in range(len(rows))} == {"application/json"}
    assert all(isinstance(body, bytes) for body in bodies)
    return [(status, json.loads(body)) for (status, _), body in zip(statuses, bodies, strict=True)]


def outcome(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1].get("error", {}).get("code", "ok")


@pytest.fixture
def ocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[OcrHandler, Context]:
    monkeypatch.setenv("LAYOUTLOOP_CACHE_DIR", str(tmp_path / "cache"))
    context, handler = context_of(tmp_path, OCR), OcrHandler()
    handler.initialize(context)
    return handler, context


@pytest.fixture(scope="module", params=["text", "image", "LiLT"])
def tagging(
    request: pytest.FixtureRequest, text_checkpoint: Path, image_checkpoint: Path, tmp_path_factory: Any
) -> tuple[LayoutLMv3Handler, Context]:
    folder = tmp_path_factory.mktemp("model")
    if request.param == "LiLT":
        make_lilt_checkpoint(folder / "checkpoint")
    else:
        shutil.copytree(text_checkpoint if request.param == "text" else image_checkpoint, folder / "checkpoint")
    context, handler = context_of(folder, TAGGER), LayoutLMv3Handler()
    handler.initialize(context)
    return handler, context


def test_ocr_answers_every_request_of_a_batch(ocr: tuple[OcrHandler, Context]) -> None:
    """P22, P28: damaged, empty and foreign bodies are the fault of their own item alone."""
    rows = [
        {"body": bytearray(PNG)},
        {"body": bytearray(CUT)},
        {"body": b""},
        {"data": PNG, "psm": b"6"},
        {"body": {"format": 1}},
        {},
        {"body": "größe"},
        {"body": b"%PDF-1.4"},
        {"body": PNG},
    ]
    answers = ask(*ocr, rows)
    assert [outcome(answer) for answer in answers] == [
        (200, "ok"),
        (422, "image_truncated"),
        (400, "request_invalid"),
        (200, "ok"),
        (400, "request_invalid"),
        (400, "request_invalid"),
        (400, "request_invalid"),
        (422, "image_has_several_pages"),
        (200, "ok"),
    ]
    assert " ".join(word["text"] for word in answers[0][1]["words"]) == " ".join(INVOICE_LINES)
    assert answers[0][1]["engine"].endswith("psm3")
    assert answers[3][1]["engine"].endswith("psm6")
    assert answers[8] == answers[0]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"X-LayoutLoop-Psm": "6"}, (200, "ok"), id="mode"),
        pytest.param({"X-LayoutLoop-Psm": "0"}, (400, "request_invalid"), id="mode without words"),
        pytest.param({"X-LayoutLoop-Psm": "größe"}, (400, "request_invalid"), id="mode not ASCII"),
        pytest.param({"X-LayoutLoop-Language": "eng+osd"}, (200, "ok"), id="languages"),
        pytest.param({"X-LayoutLoop-Language": "../größe"}, (400, "request_invalid"), id="language not ASCII"),
        pytest.param({"X-LayoutLoop-Language": "tlh"}, (422, "ocr_language_missing"), id="language missing"),
    ],
)
def test_ocr_parameters(ocr: tuple[OcrHandler, Context], headers: dict[str, str], expected: tuple[int, str]) -> None:
    (answer,) = ask(*ocr, [{"body": PNG}], headers)
    assert outcome(answer) == expected


@pytest.mark.parametrize(("wish", "given"), [("1", True), ("true", True), ("0", False)])
def test_the_thumbnail_comes_on_request(ocr: tuple[OcrHandler, Context], wish: str, given: bool) -> None:
    ((_, page),) = ask(*ocr, [{"body": PNG}], {"X-LayoutLoop-Thumbnail": wish})
    assert ("thumbnail" in page) is given


def test_a_page_whose_words_are_known_is_not_read(ocr: tuple[OcrHandler, Context]) -> None:
    headers = {"X-LayoutLoop-Words": "0", "X-LayoutLoop-Thumbnail": "1", "X-LayoutLoop-Psm": "6"}
    headers_of_turned = [headers | {"X-LayoutLoop-Turn": turn} for turn in ("90", "30", "north")]
    rows = [{"body": PNG}, {"body": PNG}, {"body": CUT}, *[{"body": PNG}] * 3]
    plain, known, broken, turned, *senseless = ask(*ocr, rows, {}, headers, headers, *headers_of_turned)
    assert (turned[0], turned[1]["turn"], turned[1]["words"]) == (200, 90, [])
    assert [outcome(one) for one in senseless] == [(400, "request_invalid")] * 2
    size = {name: plain[1][name] for name in ("width", "height")}
    assert known[1].pop("thumbnail")
    assert known == (200, {"format": 1, "engine": "", "words": [], **size})
    assert outcome(broken) == (422, "image_truncated")


def test_the_page_cache_is_where_the_environment_says(ocr: tuple[OcrHandler, Context], tmp_path: Path) -> None:
    ask(*ocr, [{"body": PNG}])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_blank_page_is_an_answer(ocr: tuple[OcrHandler, Context]) -> None:
    """P10."""
    ((status, page),) = ask(*ocr, [{"body": encoded(rendered_page(()))}])
    assert (status, page["words"], page["width"]) == (200, [], 900)


def test_regions_for_every_request_of_a_batch(tagging: tuple[LayoutLMv3Handler, Context]) -> None:
    """P10, P22, P28."""
    rows = [
        {"body": PAGE},
        {"body": json.dumps(PAGE).encode()},
        {"body": PAGE | {"format": 2}},
        {"body": PAGE | {"format": "größe"}},
        {"body": bytearray(CUT)},
        {"body": b""},
        {"body": PAGE | {"words": []}},
        {"body": bytearray(PNG)},
        {"body": b'{"format": 1, gr\xf6\xdfe'},
        {"body": PAGE | {"words": [{"text": "a\ud800", "box": [0, 0, 1, 1]}]}},
        {"body": PAGE | {"width": 10**400}},
        {"body": PAGE | {"words": PAGE["words"] * 40}},
        {"body": PAGE},
    ]
    answers = ask(*tagging, rows)
    assert [outcome(answer) for answer in answers] == [
        (200, "ok"),
        (200, "ok"),
        (422, "format_unsupported"),
        (422, "format_unsupported"),
        (422, "image_truncated"),
        (400, "request_invalid"),
        (200, "ok"),
        (200, "ok"),
        (400, "request_invalid"),
        (422, "page_invalid"),
        (422, "page_invalid"),
        (200, "ok"),
        (200, "ok"),
    ]
    assert answers[1] == answers[0]
    assert answers[12] == answers[0]
    assert answers[6][1] == {"format": 1, "model_version": "20261122T083000Z", "windows": 0, "regions": []}
    assert answers[11][1]["windows"] > 1
    assert "scripts.archive --refresh" in answers[2][1]["error"]["message"]
    assert {answer["model_version"] for status, answer in answers if status == 200} == {"20261122T083000Z"}


def test_image_bytes_give_what_ocr_and_then_tagging_gives(
    ocr: tuple[OcrHandler, Context], tagging: tuple[LayoutLMv3Handler, Context]
) -> None:
    ((_, page),) = ask(*ocr, [{"body": PNG}], {"X-LayoutLoop-Thumbnail": "1"})
    two_steps, at_once = ask(*tagging, [{"body": page}, {"body": bytearray(PNG)}])
    assert two_steps == at_once
    assert two_steps[1]["regions"], "this checkpoint labels words"


def test_a_bad_thumbnail_is_its_own_items_error(tagging: tuple[LayoutLMv3Handler, Context]) -> None:
    """P28: it is found only while the batch is encoded, and its neighbours are answered all the same."""
    handler, context = tagging
    bare = {key: value for key, value in PAGE.items() if key != "thumbnail"}
    rows = [{"body": body} for body in (PAGE, PAGE | {"thumbnail": "AAAA"}, bare, PAGE)]
    answers = ask(handler, context, rows)
    config = json.loads((Path(context.system_properties["model_dir"]) / "checkpoint" / "config.json").read_text())
    expected = (422, "page_invalid") if config.get("visual_embed") else (200, "ok")
    assert [outcome(answer) for answer in answers] == [(200, "ok"), expected, expected, (200, "ok")]
    assert answers[3] == answers[0]


def test_a_language_that_is_missing_is_one_items_error(text_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(text_checkpoint, tmp_path / "checkpoint")
    context = context_of(tmp_path, TAGGER | {"ocr": {"engine": "tesserocr", "language": "tlh"}})
    handler = LayoutLMv3Handler()
    handler.initialize(context)
    answers = ask(handler, context, [{"body": bytearray(PNG)}, {"body": PAGE}])
    assert [outcome(answer) for answer in answers] == [(422, "ocr_language_missing"), (200, "ok")]


def test_a_context_without_configuration(text_checkpoint: Path, tmp_path: Path) -> None:
    """P28: no model-config.yaml and no gpu_id."""
    shutil.copytree(text_checkpoint, tmp_path / "checkpoint")
    context = context_of(tmp_path, {})
    context.model_yaml_config = None
    handler = LayoutLMv3Handler()
    handler.initialize(context)
    assert outcome(ask(handler, context, [{"body": PAGE}])[0]) == (200, "ok")


@pytest.mark.parametrize("name", ["ocr.yaml", "cpu.yaml", "gpu.yaml"])
def test_the_archives_configurations_are_understood(name: str, text_checkpoint: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "handler" / "config" / name).read_text())
    shutil.copytree(text_checkpoint, tmp_path / "checkpoint")
    handler = OcrHandler() if name == "ocr.yaml" else LayoutLMv3Handler()
    context = context_of(tmp_path, config["handler"])
    handler.initialize(context)
    assert "minWorkers" not in config
    assert outcome(ask(handler, context, [{"body": bytearray(PNG)}])[0]) == (200, "ok")


def test_counters(ocr: tuple[OcrHandler, Context]) -> None:
    handler, context = ocr
    requests_to(context, {}, {})
    handler.handle([{"body": PNG}, {"body": b""}], context)
    names = {name for metrics in context.metrics.cache.values() for name in metrics}
    assert {"PagesRead", "OcrSeconds", "ItemErrors"} <= names


def emitted(caplog: pytest.LogCaptureFixture) -> dict[str, tuple[float, str]]:
    """What the worker's log, from which TorchServe takes its metrics, says: name to (value, type)."""
    lines = re.findall(r"\[METRICS\](\w+)\.\w+:([\d.e-]+)\|.*?\|#type:(\w+)\|", caplog.text)
    return {name: (float(value), kind) for name, value, kind in lines}


def listed() -> dict[str, str]:
    kinds = yaml.safe_load(METRICS.read_text())["model_metrics"]
    return {metric["name"]: kind.upper() for kind, metrics in kinds.items() for metric in metrics}


def test_metrics_of_ocr_are_those_that_are_listed(
    ocr: tuple[OcrHandler, Context], caplog: pytest.LogCaptureFixture
) -> None:
    """TorchServe drops a metric of another type than the listed one."""
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            ask(*ocr, [{"body": PNG}, {"body": b""}])
    found = emitted(caplog)
    assert {name: kind for name, (_, kind) in found.items()} == {
        name: listed()[name] for name in ("PagesRead", "OcrSeconds", "ItemErrors")
    }
    assert found["PagesRead"] == (2, "COUNTER")
    assert found["OcrSeconds"][0] < 60
    assert found["OcrSeconds"][1] == "HISTOGRAM"


def test_metrics_of_tagging_are_those_that_are_listed(
    tagging: tuple[LayoutLMv3Handler, Context], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        ask(*tagging, [{"body": PAGE}, {"body": PAGE}, {"body": b""}])
    assert emitted(caplog) == {
        "BatchPages": (3, "HISTOGRAM"),
        "PagesTagged": (3, "COUNTER"),
        "Windows": (2, "COUNTER"),
        "ItemErrors": (1, "COUNTER"),
    }
    assert {name: listed()[name] for name in emitted(caplog)} == {
        name: kind for name, (_, kind) in emitted(caplog).items()
    }


@pytest.mark.parametrize("size", ["", "1000000"], ids=["empty means unset", "a size"])
def test_the_size_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv("LAYOUTLOOP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LAYOUTLOOP_CACHE_BYTES", size)
    context, handler = context_of(tmp_path, OCR), OcrHandler()
    handler.initialize(context)
    assert outcome(ask(handler, context, [{"body": PNG}])[0]) == (200, "ok")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
