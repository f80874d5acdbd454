"""Which tasks' predictions were handed out a moment ago, and to whom, so that no two of them are stored.

Label Studio knows no uniqueness: it checks which tasks lack the version, sends these, and up to 100 s later stores what
comes back. A pre-labelling stores meanwhile. So each prediction goes to one of the two, whoever comes first:

- a pre-labelling takes its tasks right before it stores them, and looks once more what Label Studio holds after that;
- a task that was taken is `[]` for Label Studio, for as long as a press that began before can last;
- a task that Label Studio got is not given to a pre-labelling, until what it got must be stored;
- while a pre-labelling runs, which does what is left, a second press does not get what the first one got either.

Entries end by themselves: nothing waits long for a command that was killed. They are of this process alone; where
several shims serve one Label Studio, or one was restarted, the closing sweep of a pre-labelling finds the doubles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

TAKEN_S = 240.0
"""Label Studio waits 100 s for a prediction, and the import of a large project takes its time before that counts."""
STORING_S, STORING_ONE_S = 60.0, 15.0
"""Label Studio stores a press of 300 tasks within seconds, the one that was opened at once; later on a busy machine."""

_LABEL_STUDIO = ""


class HandedOut:
    """Tasks by version, and who got their predictions last.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._owners: dict[tuple[str, int], tuple[str, float]] = {}
        self._running_until = float("-inf")

    def note_run(self) -> None:
        """Note that a pre-labelling runs."""
        self._running_until = self._clock() + STORING_S

    def take(self, owner: str, version: str, tasks: Iterable[int]) -> list[int]:
        """Return those of the tasks that `owner`, a pre-labelling, may store; it may take its own again."""
        return self._hand_out(owner, TAKEN_S, version, tasks)

    def give(self, version: str, tasks: Iterable[int], *, is_press: bool) -> list[int]:
        """Return those of the tasks that Label Studio may store; one that is opened, however often it is requested."""
        is_once = is_press and self._clock() < self._running_until
        return self._hand_out(_LABEL_STUDIO, STORING_S if is_press else STORING_ONE_S, version, tasks, is_once=is_once)

    def _hand_out(
        self, owner: str, for_s: float, version: str, tasks: Iterable[int], *, is_once: bool = False
    ) -> list[int]:
        with self._lock:
            now = self._clock()
            self._owners = {key: kept for key, kept in self._owners.items() if kept[1] > now}
            nobody = (None if is_once else owner, now)
            free = [task for task in tasks if self._owners.get((version, task), nobody)[0] == nobody[0]]
            self._owners |= {(version, task): (owner, now + for_s) for task in free}
            return free
