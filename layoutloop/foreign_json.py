"""JSON that something else may have written, damaged or made up: read in one way, and every fault is a ValueError."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes half of a character beyond the first 65,536; one without its other half is no text."""


def parse_json(text: str | bytes) -> Any:
    """Return what JSON in UTF-8 says; all its numbers are finite, all its strings are text (see `parse_message`).

    Raises:
        ValueError: it is none, is no text, is nested too deeply, or has a number that no float can hold.
    """
    return _parse(text, parse_constant=_finite, parse_float=_finite)


def parse_message(text: bytes) -> Any:
    """Return what a program sent, which may use any number that Python knows; half a character becomes `?`.

    Raises:
        ValueError: it is no JSON in UTF-8, or nested too deeply.
    """
    return _parse(text)


def _parse(text: str | bytes, **options: Any) -> Any:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.encode("utf-8", "replace").decode()
        body = json.loads(decoded, **options)
        if _HALF.search(decoded):
            body = json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return body


def mapping_of(value: object, what: str) -> Mapping[str, Any]:
    """Return a JSON object as it is; `what` names it in the error.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a JSON object, got {_shown(value)}")
    return value


def number_of(value: object, what: str) -> float:
    """Return a number.

    Raises:
        ValueError: it is something else, or an integer that no float can hold.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is a number, got {_shown(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{what} is a number that a float can hold") from error


def texts_of(value: object, what: str) -> tuple[str, ...]:
    """Return a list of strings.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{what} is a list of strings, got {_shown(value)}")
    return tuple(value)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text:.20}")
    return number


def _shown(value: object) -> str:
    return f"{value!r:.80}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
