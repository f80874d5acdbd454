from __future__ import annotations

import numpy as np
import pytest

from handler.reading.direction import turn_of

RIGHT, DOWN, LEFT, UP = (100, 0), (0, 100), (-100, 0), (0, -100)


def tilted(run: tuple[float, float], degrees: float) -> tuple[float, float]:
    """Turn a run clockwise."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return run[0] * cos - run[1] * sin, run[0] * sin + run[1] * cos


@pytest.mark.parametrize(
    ("runs", "turn"),
    [
        pytest.param([], 0, id="no lines"),
        pytest.param([(0, 0)], 0, id="a line of one word"),
        pytest.param([RIGHT] * 3, 0, id="upright"),
        pytest.param([DOWN] * 3, 270, id="text runs down"),
        pytest.param([LEFT] * 3, 180, id="upside down"),
        pytest.param([UP] * 3, 90, id="text runs up"),
        pytest.param([RIGHT] * 3 + [UP] * 2, 0, id="most of it counts"),
        pytest.param([RIGHT] * 3 + [(0, -400)], 90, id="long lines count for more"),
        pytest.param([tilted(RIGHT, 3)] * 3, 357, id="tilted clockwise"),
        pytest.param([tilted(UP, 3)] * 3, 87, id="tilted on its side"),
        pytest.param([tilted(LEFT, -4)] * 3, 184, id="tilted upside down"),
        pytest.param([tilted(RIGHT, 3)] * 3 + [tilted(RIGHT, 40)] * 2, 357, id="a slanted stamp does not count"),
        pytest.param([tilted(RIGHT, degrees) for degrees in (-1.2, 0.5, 1.4)], 0, id="hardly tilted"),
        pytest.param([tilted(RIGHT, 16)] * 3, 0, id="more than a scanner tilts"),
    ],
)
def test_the_turn_of_lines(runs: list[tuple[float, float]], turn: float) -> None:
    assert turn_of(np.array(runs, dtype=np.float64).reshape(-1, 2)) == turn
