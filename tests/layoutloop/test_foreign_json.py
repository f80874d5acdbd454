from __future__ import annotations

import pytest

from layoutloop.foreign_json import mapping_of, number_of, parse_json, texts_of


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Infinity", id="infinity"),
        pytest.param("-Infinity", id="minus infinity"),
        pytest.param("NaN", id="not a number"),
        pytest.param("1e999", id="beyond a float"),
        pytest.param("[" * 100_000, id="deep list"),
        pytest.param('{"a":' * 100_000, id="deep object"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param("", id="nothing"),
        pytest.param("9" * 5000, id="an integer beyond Python's limit"),
    ],
)
def test_every_fault_is_one_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text)


def test_what_is_good_comes_as_it_is() -> None:
    assert parse_json(b'{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}


@pytest.mark.parametrize("value", [None, True, "1", [], 10**400], ids=["none", "bool", "text", "list", "too large"])
def test_no_number(value: object) -> None:
    with pytest.raises(ValueError, match="`time` is a number"):
        number_of(value, "`time`")


@pytest.mark.parametrize("value", [None, "ab", [1], {"a": 1}], ids=["none", "text", "a number in it", "object"])
def test_no_texts(value: object) -> None:
    with pytest.raises(ValueError, match="`load` is a list of strings"):
        texts_of(value, "`load`")


@pytest.mark.parametrize("value", [None, "ab", [1]], ids=["none", "text", "list"])
def test_no_object(value: object) -> None:
    with pytest.raises(ValueError, match="`holds` is a JSON object"):
        mapping_of(value, "`holds`")
