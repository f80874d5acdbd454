"""Which way the text of a page runs, told from its lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handler.page import MAX_TILT

LEAST_TILT = 1.5
"""Degrees. A page that is tilted less counts as upright: both engines read it as well, and a model hardly sees it. Of
328 scanned forms, receipts and papers 6 are tilted more."""


def turn_of(runs: NDArray[np.float64]) -> float:
    """Return by how much a page is to be turned clockwise so that its text runs to the right, as `Page.turn` has it.

    Most of the text decides which way it runs, and half of that which way it is tilted: a stamp or a margin does not.

    Args:
        runs: (N, 2), for each line of text how far it runs to the right and down.
    """
    lengths, angles = np.hypot(*runs.T), np.degrees(np.arctan2(runs[:, 1], runs[:, 0]))
    if not lengths.any():
        return 0.0
    quarters = np.round(angles / 90).astype(int) % 4
    quarter = int(np.bincount(quarters, weights=lengths).argmax())
    of_most = quarters == quarter
    tilt = _median((angles[of_most] + 45) % 90 - 45, lengths[of_most])
    return round((-90.0 * quarter - (tilt if LEAST_TILT <= abs(tilt) <= MAX_TILT else 0)) % 360, 1)


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
