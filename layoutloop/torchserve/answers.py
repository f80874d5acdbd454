"""What an answer of TorchServe says: its own errors, and those of LayoutLoop's handlers."""

from __future__ import annotations

from typing import Any

import requests

from handler.errors import MachineFailed, OutOfMemory
from layoutloop.errors import LayoutLoopError, PageRejected, TorchServeUnavailable

_NOT_JSON = (ValueError, RecursionError)


def error_of(answer: requests.Response) -> LayoutLoopError | None:
    """Return the handler's own error in an answer, None where the answer is TorchServe's."""
    try:
        error = answer.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (*_NOT_JSON, KeyError, TypeError):
        return None
    for kind in (MachineFailed, OutOfMemory):
        if code == kind.code:
            return kind(message)
    return PageRejected(code, message, answer.status_code)


def json_of(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object that an answer is.

    Raises:
        TorchServeUnavailable: it is something else.
    """
    try:
        body = answer.json()
    except _NOT_JSON as error:
        raise TorchServeUnavailable("TorchServe's answer is no JSON") from error
    if not isinstance(body, dict):
        raise TorchServeUnavailable(f"TorchServe's answer is a {type(body).__name__}, not an object")
    return body


def torchserve_error(answer: requests.Response) -> str:
    """Return TorchServe's own error as `Type: message`."""
    try:
        body = answer.json()
        return f"{body['type']}: {body['message']}"
    except (*_NOT_JSON, KeyError, TypeError):
        return answer.text[:200]


def wants_key(answer: requests.Response) -> bool:
    """Return whether TorchServe refused the key that was sent, or that none was."""
    return answer.status_code == 400 and "InvalidKey" in torchserve_error(answer)
