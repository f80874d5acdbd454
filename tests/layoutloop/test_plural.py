from __future__ import annotations

import pytest

from layoutloop.plural import counted


@pytest.mark.parametrize(
    ("number", "one", "many", "text"),
    [
        pytest.param(0, "page", "", "0 pages", id="none"),
        pytest.param(1, "page", "", "1 page", id="one"),
        pytest.param(2, "page", "", "2 pages", id="two"),
        pytest.param(1200, "page", "", "1,200 pages", id="thousands"),
        pytest.param(1, "entity", "entities", "1 entity", id="one of another plural"),
        pytest.param(3, "entity", "entities", "3 entities", id="several of another plural"),
    ],
)
def test_counted(number: int, one: str, many: str, text: str) -> None:
    assert counted(number, one, many) == text
