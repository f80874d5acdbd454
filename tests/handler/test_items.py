from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from handler.errors import (
    HandlerError,
    ImageUnreadable,
    MachineFailed,
    OcrTimeout,
    OutOfMemory,
    PageInvalid,
    RequestInvalid,
)
from handler.items import Item, each, integer_parameter, items_of, respond
from tests.handler.samples import requests_to, serving_context


@pytest.mark.parametrize(
    ("row", "headers", "item"),
    [
        pytest.param({"body": bytearray(b"page")}, {}, Item(b"page", {}), id="P28 raw body"),
        pytest.param({"data": bytearray(b"page")}, {}, Item(b"page", {}), id="P28 multipart field data"),
        pytest.param({"body": {"format": 1}}, {}, Item({"format": 1}, {}), id="P28 JSON that TorchServe decoded"),
        pytest.param({"body": b""}, {}, Item(None, {}), id="P28 empty body"),
        pytest.param({}, {}, Item(None, {}), id="P28 nothing"),
        pytest.param({"body": None}, {}, Item(None, {}), id="P28 null"),
        pytest.param(
            {"data": b"page", "psm": bytearray(b"6")}, {}, Item(b"page", {"psm": "6"}), id="P28 a further field"
        ),
        pytest.param({"data": b"page", "psm": b"\xff"}, {}, Item(b"page", {"psm": "\ufffd"}), id="a field of no text"),
        pytest.param({"data": b"page", "psm": 6}, {}, Item(b"page", {"psm": "6"}), id="a field TorchServe decoded"),
        pytest.param(
            {"body": b"page"},
            {"X-LayoutLoop-Psm": "6", "x-layoutloop-language": "deu", "Authorization": "Bearer key", "Host": "h"},
            Item(b"page", {"psm": "6", "language": "deu"}),
            id="headers, and never the key",
        ),
    ],
)
def test_items_of(row: dict[str, Any], headers: dict[str, str], item: Item, tmp_path: Path) -> None:
    context = serving_context(tmp_path, {})
    requests_to(context, {}, headers)
    assert items_of([{"body": b"first"}, row], context) == [Item(b"first", {}), item]


@pytest.mark.parametrize(
    ("value", "number"),
    [pytest.param("6", 6, id="a number"), pytest.param(None, None, id="none"), pytest.param("-1", -1, id="negative")],
)
def test_integer_parameter(value: str | None, number: int | None) -> None:
    assert integer_parameter(Item(b"", {} if value is None else {"psm": value}), "psm") == number


@pytest.mark.parametrize("value", ["", "six", "6.0", "9" * 5000, "ü"], ids=["empty", "word", "fraction", "long", "ü"])
def test_a_parameter_that_is_no_integer(value: str) -> None:
    with pytest.raises(RequestInvalid, match="psm is an integer, got '"):
        integer_parameter(Item(b"", {"psm": value}), "psm")


def test_each_passes_errors_on_and_keeps_the_order(caplog: pytest.LogCaptureFixture) -> None:
    def reciprocal(value: int) -> float:
        if value < 0:
            raise PageInvalid("negative")
        return 1 / value

    before = ImageUnreadable("came in so")
    answers = each(reciprocal, [2, -1, before, 0, 4])
    assert (answers[0], answers[2], answers[4]) == (0.5, before, 0.25)
    assert isinstance(answers[1], PageInvalid)
    assert type(answers[3]) is HandlerError
    assert "ZeroDivisionError" in caplog.text, "the log has the traceback"
    assert "ZeroDivisionError" not in str(answers[3]), "the client has none"


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device", "/t/tess_1"), "left on device", id="full disk"),
        pytest.param(OSError(errno.EMFILE, "Too many open files"), "ulimit -n", id="files"),
        pytest.param(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u", id="processes"),
        pytest.param(MemoryError(), "not enough memory; give it more", id="memory"),
        pytest.param(PermissionError(errno.EACCES, "Permission denied", "/t"), "Permission denied (/t)", id="rights"),
    ],
)
def test_what_the_machine_lacks_is_no_fault_of_the_page(raised: Exception, says: str) -> None:
    def read(_: int) -> int:
        raise raised

    (answer,) = each(read, [1])
    assert isinstance(answer, MachineFailed)
    assert (answer.status, answer.code) == (507, "machine_failed")
    assert says in str(answer)


def test_respond(tmp_path: Path) -> None:
    """P28: one answer per request, each with its own status; P30: lack of memory is one item's error."""
    context = serving_context(tmp_path, {})
    requests_to(context, {}, {}, {}, {})
    answers = [{"text": "größe"}, OcrTimeout("größe\r\nX-Evil: 1"), {"n": 1}, OutOfMemory("one window")]
    bodies = [json.loads(body) for body in respond(context, answers)]
    assert bodies[0] == {"text": "größe"}
    assert bodies[1] == {"error": {"code": "ocr_timeout", "message": "größe\r\nX-Evil: 1"}}
    assert bodies[3]["error"]["code"] == "out_of_memory"
    statuses = [context.get_response_status(index) for index in range(4)]
    assert [code for code, _ in statuses] == [200, 504, 200, 507]
    assert {phrase for _, phrase in statuses} == {None, "item error"}
    assert {context.get_response_content_type(index) for index in range(4)} == {"application/json"}
