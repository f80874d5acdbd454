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
        pytest.param([(5, 5, 5, 5), (5, 5, 5, 5)], [0, 0], id="words without area"),
    ],
)
def test_words_side_by_side_are_a_line(boxes: list[tuple[float, float, float, float]], lines: list[int]) -> None:
    words = [Word(str(number), Box(*box)) for number, box in enumerate(boxes)]
    numbered = number_rows(words)
    assert [word.line for word in numbered] == lines
    assert [word.text for word in numbered] == [word.text for word in words]
