"""Label Studio as this machine reaches it: whether it answers and takes the key, and which projects it has."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from layoutloop.errors import LayoutLoopError, StudioUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.store.writing import write_json
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.status import LONGEST_TITLE, MOST_TITLES

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_WHO_AM_I = "/api/current-user/whoami"
_PROJECTS = "/api/projects"
_PROJECTS_AT_A_TIME = 100
"""The most that Label Studio gives, whatever is requested."""


def label_studio_problem(settings: Settings) -> str | None:
    """Try Label Studio and the key; return a sentence about what would keep images from being read, or None."""
    if not settings.label_studio_api_key:
        return NO_KEY
    try:
        with open_studio(settings.label_studio_url, settings.label_studio_api_key, _TIMEOUT_S) as client:
            who_am_i(client)
    except LayoutLoopError as error:
        return str(error)
    return None


def who_am_i(client: StudioClient) -> str:
    """Return the e-mail address of the person whose key this is.

    Raises:
        StudioUnavailable: Label Studio does not answer there, or does not take the key; says what to set.
    """
    body = client.get(_WHO_AM_I)
    if not isinstance(body, dict) or "email" not in body:
        raise StudioUnavailable(
            f"{client.address(_WHO_AM_I)} answered as Label Studio does not: set LABEL_STUDIO_URL to its address"
        )
    return str(body["email"])


def project_rows(client: StudioClient, *fields: str) -> dict[int, dict[str, Any]]:
    """Return what Label Studio says of every project that the key may see, by id; it calls no ML backend for that.

    Args:
        client: of Label Studio.
        fields: what is wanted beside the id, for example `title`.

    Raises:
        StudioUnavailable: Label Studio does not answer, or with something else.
    """
    found: dict[int, dict[str, Any]] = {}
    query: dict[str, str | int] = {"page_size": _PROJECTS_AT_A_TIME, "include": ",".join(("id", *fields))}
    page = 1
    while True:
        body = client.get(_PROJECTS, {"page": page, **query})
        try:
            found |= {int(row["id"]): {field: row[field] for field in fields} for row in body["results"]}
            is_last = not body["next"]
        except (KeyError, TypeError, ValueError) as error:
            raise StudioUnavailable(f"{client.address(_PROJECTS)} answered with no list of projects") from error
        if is_last:
            return found
        page += 1


class StatusFile:
    """A small file that shows the dashboard how Label Studio answers.

    Args:
        path: of the file, see `layoutloop.studio.status`.
        every_s: seconds after which it is written again although nothing changed, to show that the trainer runs.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, *, every_s: float = 60.0, clock: Callable[[], float] = time.time) -> None:
        """Write nothing yet."""
        self._path = path
        self._every_s = every_s
        self._clock = clock
        self._written: dict[str, Any] = {}
        self._problem = ""

    def note(self, ok: bool, sentence: str, projects: Mapping[int, str]) -> None:
        """Write it where it is new, or the file old; where it cannot be written, the log says so once.

        Args:
            ok: whether Label Studio answers.
            sentence: how.
            projects: titles of those that show a version of ours, by id.
        """
        named = {str(number): title[:LONGEST_TITLE] for number, title in sorted(projects.items())[-MOST_TITLES:]}
        new = {"time": self._clock(), "ok": ok, "sentence": sentence, "projects": named}
        before = self._written.get("time", float("-inf"))
        if new | {"time": before} == self._written and 0 <= new["time"] - before < self._every_s:
            return
        self._written = new
        try:
            write_json(self._path, new)
        except OSError as error:
            problem = str(error.strerror)
            if problem != self._problem:
                logger.warning("%s cannot be written (%s): the dashboard does not see it", self._path, problem)
            self._problem = problem
