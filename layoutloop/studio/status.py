"""Whether Label Studio answers, as the trainer last saw it: its small file saves the shim a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from layoutloop.foreign_json import parse_json
from layoutloop.moments import age_s
from layoutloop.studio.api_key_file import NO_KEY

STATUS_FILE = "label-studio.json"
"""In LAYOUTLOOP_HOME: `{"time": Unix seconds, "ok": bool, "sentence": str, "projects": {id: title}}`, replaced at least
every minute; the projects are those that show a version of LayoutLoop's."""

DISCONNECTED = "PROJECT_DISCONNECTED"
"""The action of an event of our own: `scripts.connect --remove` sends it to the webhook."""
LONGEST_TITLE = 120
MOST_TITLES = 1000
SILENT_S = 300.0
"""A file that is older says nothing about now."""

_LONGEST = 500
_MOST_BYTES = 2**20
_PROJECT = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StudioStatus:
    """What is known of Label Studio.

    Args:
        state: `answers`; `fails`; `silent`: no request was made for a while; `never`: none was made yet.
        asked: when the trainer last made a request, Unix seconds; None where that is not known.
        problem: what is wrong, as a sentence; empty where nothing is.
        titles: of the projects that showed a version of LayoutLoop's when it last answered, by id.
    """

    state: Literal["answers", "fails", "silent", "never"]
    asked: float | None = None
    problem: str = ""
    titles: Mapping[int, str] = field(default_factory=dict)

    @property
    def needs_key(self) -> bool:
        """Whether all that is wrong is that no key was set yet."""
        return self.problem.startswith(NO_KEY)


def read_studio_status(home: Path, now: float) -> StudioStatus:
    """Read the trainer's file; a damaged one is reported as a problem, and no error.

    Args:
        home: LAYOUTLOOP_HOME.
        now: Unix seconds.
    """
    path = home / STATUS_FILE
    unknown = "Whether Label Studio answers is not known"
    try:
        with path.open("rb") as file:
            body = parse_json(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return StudioStatus("never")
    except OSError as error:
        return StudioStatus("silent", None, f"{unknown}: {path}: {error.strerror}.")
    except ValueError:
        body = None
    asked = _moment(body.get("time")) if isinstance(body, dict) else None
    if asked is None:
        return StudioStatus("silent", None, f"{unknown}: {path.name} is damaged; the trainer rewrites it.")
    titles = _titles(body.get("projects"))
    if age_s(asked, now) > SILENT_S:
        last = f"{datetime.fromtimestamp(asked, timezone.utc):%Y-%m-%d %H:%M} UTC"
        problem = f"Label Studio was last tried at {last}; is the trainer running (logs/trainer.log)?"
        return StudioStatus("silent", asked, problem, titles)
    if body.get("ok") is True:
        return StudioStatus("answers", asked, titles=titles)
    sentence = body.get("sentence")
    said = " ".join(sentence.split())[:_LONGEST] if isinstance(sentence, str) else ""
    return StudioStatus("fails", asked, said or "Label Studio cannot be used; logs/trainer.log says why.", titles)


def _titles(found: object) -> dict[int, str]:
    if not isinstance(found, dict):
        return {}
    return {
        int(number): " ".join(title.split())[:LONGEST_TITLE]
        for number, title in found.items()
        if _PROJECT.fullmatch(number) and isinstance(title, str)
    }


def _moment(value: object) -> float | None:
    """Return a time that a calendar has; a file may hold any number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e11 else None
