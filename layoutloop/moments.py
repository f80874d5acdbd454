"""How long ago something was that another process noted: by the clock, which is all that processes have in common."""

from __future__ import annotations

import time

AHEAD_S = 300.0
"""So far another machine's clock may be ahead of ours."""


def age_s(moment: float, now: float | None = None) -> float:
    """Return how many seconds ago a moment was.

    One far in the future was noted before a clock was moved back. It is as old as it is far off: else whoever stopped
    in that hour would count as running until it is over.

    Args:
        moment: Unix seconds.
        now: the same; the clock's by default.
    """
    age = (time.time() if now is None else now) - moment
    return -age if age < -AHEAD_S else max(0.0, age)
