"""Removes the predictions of older versions from tasks that wait: LayoutLoop's alone, one task after the other."""

from __future__ import annotations

import time
from functools import partial

from layoutloop.prelabel.patience import Patience
from layoutloop.prelabel.run import Listener
from layoutloop.studio.predictions import ProjectPredictions

_PAUSE_TIMES = 3.0
"""After each task, in times of what it took; people wait for the same Label Studio."""


def remove_older(studio: ProjectPredictions, version: str, patience: Patience, listener: Listener) -> int:
    """Delete what older versions drew, but for the last, on tasks that have a version's prediction; return how many.

    Whether a task still waits is looked up right before: predictions that somebody may have begun with are kept.
    """
    removed = after = 0
    while tasks := patience.call(partial(studio.holding_others, version, after)):
        listener.found(len(tasks))
        for task in tasks:
            began = time.monotonic()
            removed += patience.call(partial(studio.remove_older, task, version))
            listener.answered(1, 0)
            patience.pause(_PAUSE_TIMES * (time.monotonic() - began))
        after = tasks[-1]
    return removed
