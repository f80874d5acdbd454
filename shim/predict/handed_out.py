"""Which tasks' predictions were handed out a moment ago, and to whom, so that no two of them are stored.

Nothing in Label Studio makes predictions unique: it checks which tasks lack the version, sends these, and up to 100 s
later stores what comes back. A pre-labelling stores meanwhile. So each prediction goes to one of the two, whoever comes
first:

- a pre-labelling takes its tasks right before it stores them, and looks once more what Label Studio holds after that;
- a task that was taken is `[]` for Label Studio, for as long as a press that began before can last;
- a task that Label Studio got is not given to a pre-labelling, until what it got must be stored;
- while a pre-labelling runs, which does what is left, a second press does not get what the first one got either.

Entries end by themselves: nothing waits long for a command that was killed, and the next command least. They are of
this process alone; where several shims serve one Label Studio, or one was restarted, the closing sweep of a
pre-labelling finds the doubles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from layoutloop.studio.results import PredictionDict

TAKEN_S = 240.0
"""Label Studio waits 100 s for a prediction, and the import of a large project takes its time before that counts."""
TAKE_OVER_S = 20.0
"""After it another pre-labelling may take them: most imports are through, and doubles of the others are swept."""
STORING_S, STORING_ONE_S = 60.0, 15.0
"""Label Studio stores a press of 300 tasks within seconds, the one that was opened at once; later on a busy machine."""

MOST_TASKS, LONGEST_NAME = 10_000, 64
"""Of one /take: its tasks, and the characters of its owner and version together."""
_SWEEP_S = 10.0

Entry = PredictionDict | list[PredictionDict]
"""What Label Studio gets for one task: a prediction, or `[]` for none (it may then request it another time)."""

_PRESS, _OPENED = "a press", "an opened task"


class HandedOut:
    """Tasks by version, and who got their predictions last.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._owners: dict[tuple[str, int], tuple[str, float]] = {}  # and since when
        self._running_until = self._next_sweep = float("-inf")

    def note_run(self) -> None:
        """Note that a pre-labelling runs."""
        self._running_until = self._clock() + STORING_S

    def take(self, owner: str, version: str, tasks: Iterable[int]) -> list[int]:
        """Return those of the tasks that `owner`, a pre-labelling, may store; it may take its own again."""

        def is_free(other: str, age_s: float) -> bool:
            storing_s = {_PRESS: STORING_S, _OPENED: STORING_ONE_S}.get(other, TAKE_OVER_S)
            return other == owner or age_s >= storing_s

        return self._hand_out(owner, version, tasks, is_free)

    def give(self, version: str, tasks: Iterable[int], *, is_press: bool) -> list[int]:
        """Return those of the tasks that Label Studio may store; one that is opened, however often it is requested."""
        is_once = is_press and self._clock() < self._running_until

        def is_free(other: str, age_s: float) -> bool:
            if other in (_PRESS, _OPENED):
                return not is_once or age_s >= STORING_S
            return age_s >= TAKEN_S

        return self._hand_out(_PRESS if is_press else _OPENED, version, tasks, is_free)

    def without_taken(self, tasks: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> list[Entry]:
        """Return what Label Studio is answered: `[]` for each task whose prediction goes to somebody else."""
        stored: dict[str, list[int]] = {}
        for task, entry in zip(tasks, entries, strict=True):
            if isinstance(entry, dict) and isinstance(task.get("id"), int):
                stored.setdefault(entry["model_version"], []).append(task["id"])
        is_press = len(tasks) > 1
        given = {
            (version, task)
            for version, those in stored.items()
            for task in self.give(version, those, is_press=is_press)
        }
        taken = {(version, task) for version, those in stored.items() for task in those} - given
        return [
            [] if isinstance(entry, dict) and (entry["model_version"], task.get("id")) in taken else entry
            for task, entry in zip(tasks, entries, strict=True)
        ]

    def _hand_out(
        self, owner: str, version: str, tasks: Iterable[int], is_free: Callable[[str, float], bool]
    ) -> list[int]:
        with self._lock:
            now = self._clock()
            if now >= self._next_sweep:  # not at each call: what is older is free for everybody anyway
                self._owners = {key: kept for key, kept in self._owners.items() if now - kept[1] < TAKEN_S}
                self._next_sweep = now + _SWEEP_S
            found = ((task, self._owners.get((version, task))) for task in tasks)
            free = [task for task, kept in found if kept is None or is_free(kept[0], now - kept[1])]
            self._owners |= {(version, task): (owner, now) for task in free}
            return free
