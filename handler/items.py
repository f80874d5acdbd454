"""TorchServe's batch of requests to items and back: one answer per request, in order, errors for their item alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from handler.errors import HandlerError, RequestInvalid
from handler.machine import machine_failed
from handler.wire import error_to_json

logger = logging.getLogger(__name__)

_BODY_FIELDS = ("data", "body")
_PARAMETER_PREFIX = "x-layoutloop-"

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Item:
    """One request: its body (bytes, or what TorchServe decoded from JSON) and its parameters."""

    body: Any
    parameters: Mapping[str, str]


def items_of(rows: Sequence[Mapping[str, Any]], context: Any) -> list[Item]:
    """Return one item for each row of TorchServe's `data`.

    The body is the raw body or the multipart field `data`. TorchServe 0.12.0 drops the query string, so a
    parameter such as `psm` is the header `X-LayoutLoop-Psm`, or a further multipart field.
    """
    return [_item(row, context.get_all_request_header(index)) for index, row in enumerate(rows)]


def each(function: Callable[[T], U], values: Sequence[T | HandlerError]) -> list[U | HandlerError]:
    """Apply `function` to each value; what it raises takes that value's place, and errors are passed on."""
    return [value if isinstance(value, HandlerError) else _attempt(function, value) for value in values]


def respond(context: Any, answers: Sequence[dict[str, Any] | HandlerError]) -> list[bytes]:
    """Encode one JSON answer per request and set each one's status and content type."""
    bodies = []
    for index, answer in enumerate(answers):
        context.set_response_content_type(index, "application/json")
        if isinstance(answer, HandlerError):
            # Reason phrases must be constant ASCII: TorchServe counts characters and writes bytes, and an
            # exception's text in one kills the answers of the whole batch.
            context.set_response_status(answer.status, "item error", index)
            context.metrics.add_counter("ItemErrors", 1)
            logger.warning("item %d: %s: %s", index, answer.code, answer)
            answer = error_to_json(answer)
        bodies.append(json.dumps(answer, ensure_ascii=False, allow_nan=False).encode())
    return bodies


def integer_parameter(item: Item, name: str) -> int | None:
    """Return a parameter as an integer, None where it is not given."""
    value = item.parameters.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError as error:
        raise RequestInvalid(f"{name} is an integer, got {value!r:.80}") from error


def _item(row: Mapping[str, Any], headers: Mapping[str, str]) -> Item:
    body = next((row[field] for field in _BODY_FIELDS if row.get(field)), None)
    parameters = {
        name.lower().removeprefix(_PARAMETER_PREFIX): value
        for name, value in headers.items()
        if name.lower().startswith(_PARAMETER_PREFIX)
    }
    for name, value in row.items():
        if name not in _BODY_FIELDS:
            parameters[name] = value.decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value)
    return Item(bytes(body) if isinstance(body, bytearray) else body, parameters)


def _attempt(function: Callable[[T], U], value: T) -> U | HandlerError:
    try:
        return function(value)
    except HandlerError as error:
        return error
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            # The page itself came with the request: whatever the system refuses, it is not that.
            return machine_failed(error)
        logger.exception("an item failed in a way that was not foreseen")
        return HandlerError("this item failed in a way that was not foreseen; the model's log has the traceback")
