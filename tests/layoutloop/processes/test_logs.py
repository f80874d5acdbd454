from __future__ import annotations

import logging
import sys

import pytest

from layoutloop.processes.logs import LONGEST, OneLineFormatter, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("Größe 😀 日本", "Größe 😀 日本", id="text"),
        pytest.param("a\nb\r\tc", r"a\nb\r\tc", id="ends of lines"),
        pytest.param("\x1b[2J\x00\x9b", r"\x1b[2J\x00\x9b", id="a terminal's commands"),
        pytest.param("\ud800x", r"\ud800x", id="half a character"),
        pytest.param("\u202eabc\u2028", r"\u202eabc\u2028", id="direction"),
        pytest.param("x" * (LONGEST + 5), "x" * LONGEST + " ... (5 more characters)", id="long"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_the_lines_of_a_traceback_are_indented() -> None:
    try:
        raise ValueError("first\n2026-11-30 ERROR forged")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed: %s", ("a\nb",), sys.exc_info())
    first, *others = OneLineFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert first == r"ERROR failed: a\nb"
    assert others
    assert all(line.startswith("    ") for line in others)
