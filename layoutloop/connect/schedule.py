"""Which projects are checked in Label Studio, and when. Pure: what was seen and the time are passed in.

A check makes Label Studio call all ML backends of the project, those of others too. So checks are spread out; one that
finds all as it should be is not soon repeated, and one that does not is repeated ever later.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

_AT_ONCE = float("-inf")
_FIRST = 0.0
"""Due before everything that was not yet due when this machine started."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between things.

    Args:
        tick_s: between reads of the model store, and between spread out checks.
        list_s: between lists of all projects, which call no ML backend.
        settled_s: until a project is checked again where all was right.
        first_s: until the second check after another version came into service; the shim may be a moment behind.
        again_s: until the second check for another reason, or after Label Studio did not answer; then ever longer.
        longest_s: the longest such pause.
    """

    tick_s: float = 1.0
    list_s: float = 60.0
    settled_s: float = 300.0
    first_s: float = 1.0
    again_s: float = 15.0
    longest_s: float = 600.0


class RecheckSchedule:
    """Keeps when each project is due. All times are seconds on one clock that never goes back.

    Args:
        pace: seconds between things.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._stamps: Mapping[int, str] | None = None
        self._listed: Mapping[int, Hashable] = {}
        self._due: dict[int, float] = {}
        self._pause: dict[int, float] = {}

    def note_stamps(self, stamps: Mapping[int, str]) -> bool:
        """Take what is in service, by project; return whether a project has another version since the last call.

        Those are due at once. What was in service before the first call is spread out, for it may be hundreds.
        """
        before, self._stamps = self._stamps, dict(stamps)
        if before is None:
            self._due |= dict.fromkeys(stamps, _FIRST)
            return False
        changed = [project for project in {*before, *stamps} if before.get(project) != stamps.get(project)]
        self._due |= dict.fromkeys(changed, _AT_ONCE)
        self._pause |= dict.fromkeys(changed, self._pace.first_s)
        return bool(changed)

    def note_projects(self, projects: Mapping[int, Hashable], now: float, first: frozenset[int] = frozenset()) -> None:
        """Take all projects with what may change in each; one that is new or changed is due.

        Args:
            projects: what each project's settings are, by id.
            now: seconds.
            first: those that come first where many are new, since they seem to be connected.
        """
        for project in {*self._due} - {*projects} - {*(self._stamps or ())}:
            del self._due[project]
            self._pause.pop(project, None)
        for project, settings in projects.items():
            due = min(_FIRST if project in first else now, self._due.get(project, now))
            if (project not in self._listed or self._listed[project] != settings) and due != _AT_ONCE:
                self._due[project] = due
                self._pause[project] = self._pace.again_s
        self._listed = dict(projects)

    def due(self, now: float) -> list[int]:
        """Return the projects to check now: all with another version, and at most one of the others."""
        at_once = sorted(project for project, due in self._due.items() if due == _AT_ONCE)
        others = sorted((due, project) for project, due in self._due.items() if _AT_ONCE < due <= now)
        return at_once + [project for _, project in others[:1]]

    def settle(self, project: int, now: float) -> None:
        """Note that all was right, or that no ML backend of ours is there."""
        self._due[project] = now + self._pace.settled_s
        self._pause[project] = self._pace.again_s

    def check_again(self, project: int, now: float) -> float:
        """Note that a check did not find what it should; return the seconds until the next one."""
        pause_s = self._pause.get(project, self._pace.again_s)
        self._due[project] = now + pause_s
        self._pause[project] = min(2 * pause_s, self._pace.longest_s)
        return pause_s

    def forget(self, project: int, now: float) -> None:
        """Note that Label Studio has no such project, or does not show it to us."""
        self._due[project] = now + self._pace.longest_s
