"""Line numbers of words that have none."""

from __future__ import annotations

import pytest

from handler.page import Box, Word
from layoutloop.studio.text_rows import number_rows


@pytest.mark.parametrize(
    ("boxes", "lines"),
    [
        pytest.param([], [], id="no words"),
        pytest.param([(0, 0, 40, 20), (45, 2, 90, 22)], [0, 0], id="side by side"),
        pytest.param([(0, 0, 40, 20), (0, 30, 40, 50)], [0, 1], id="below each other"),
        pytest.param([(0, 0, 40, 20), (0, 18, 40, 38)], [0, 1], id="lines that touch"),
        pytest.param([(0, 0, 40, 20), (45, 0, 90, 20), (0, 30, 40, 50), (45, 30, 90, 50)], [0, 0, 1, 1], id="two rows"),
        pytest.param([(0, 0, 40, 20), (400, 0, 440, 20)], [0, 1], id="another column"),
        pytest.param([(45, 0, 90, 20), (0, 0, 40, 20)], [0, 0], id="right to left"),
        pytest.param([(0, 8, 40, 20), (42, 14, 45, 20)], [0, 0], id="a full stop"),
        pytest.param([(0, 0, 40, 20), (46, 9, 54, 11), (60, 0, 99, 20)], [0, 0, 0], id="a dash"),
        pytest.param([(0, 0, 40, 20), (46, 17, 49, 24), (60, 0, 99, 20)], [0, 0, 0], id="a comma with spaces"),
        pytest.param([(0, 0, 40, 20), (46, 22, 60, 24), (66, 0, 99, 20)], [0, 0, 0], id="an underscore"),
        pytest.param([(0, 6, 9, 15), (18, 0, 40, 20)], [0, 0], id="a bullet"),
        pytest.param([(0, 0, 40, 20), *((x, 17, x + 3, 20) for x in range(46, 99, 9))], [0] * 7, id="dot leaders"),
        pytest.param([(0, 0, 40, 20), (0, 30, 9, 32), (15, 21, 40, 41)], [0, 1, 1], id="a dash in the next line"),
        pytest.param([(0, 0, 40, 20), (80, 9, 88, 11), (120, 0, 160, 20)], [0, 1, 2], id="a dash as a table's cell"),
        pytest.param([(5, 5, 5, 5), (5, 5, 5, 5)], [0, 0], id="words without area"),
    ],
)
def test_words_side_by_side_are_a_line(boxes: list[tuple[float, float, float, float]], lines: list[int]) -> None:
    words = [Word(str(number), Box(*box)) for number, box in enumerate(boxes)]
    numbered = number_rows(words)
    assert [word.line for word in numbered] == lines
    assert [word.text for word in numbered] == [word.text for word in words]
