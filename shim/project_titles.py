"""What Label Studio's projects are called, as its webhooks tell: nobody is asked for it."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from layoutloop.studio.status import DISCONNECTED, LONGEST_TITLE, MOST_TITLES

logger = logging.getLogger(__name__)

DAY_S = 86400.0
LATELY_S = 30 * DAY_S
"""Of a project that sends no webhook for longer the title alone is no sign that it still exists."""


@dataclass(frozen=True, slots=True)
class _Title:
    """A title, and when a webhook last told it: Unix seconds, to a day or so."""

    text: str
    told: int


class ProjectTitles:
    """Titles by project id, remembered in one small file; those told last where there are too many.

    Args:
        path: of the file.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Keep the path; the file is read at the first use."""
        self._path = path
        self._clock = clock
        self._guard = threading.Lock()
        self._titles: dict[int, _Title] | None = None

    def all(self) -> dict[int, str]:
        """Return the titles that are known."""
        with self._guard:
            return {number: title.text for number, title in self._known().items()}

    def lately(self) -> frozenset[int]:
        """Return the projects whose webhooks came in the last 30 days."""
        since = self._clock() - LATELY_S
        with self._guard:
            return frozenset(number for number, title in self._known().items() if title.told >= since)

    def note(self, body: Mapping[str, object]) -> None:
        """Remember the title that a webhook's body names; one without is none of our business."""
        project = body.get("project")
        if not isinstance(project, Mapping):
            return
        number, title = project.get("id"), project.get("title")
        if type(number) is not int or not 0 <= number < 10**18:
            return
        with self._guard:
            known = self._known()
            if body.get("action") in ("PROJECT_DELETED", DISCONNECTED):
                if known.pop(number, None):
                    self._write(known)
                return
            if not isinstance(title, str) or not title.strip():
                return
            new = _Title(" ".join(title.split())[:LONGEST_TITLE], round(self._clock()))
            old = known.get(number)
            if old and old.text == new.text and new.told - old.told < DAY_S:
                return  # not a file written for every annotation
            known[number] = new
            while len(known) > MOST_TITLES:
                del known[min(known, key=lambda one: known[one].told)]
            self._write(known)

    def _known(self) -> dict[int, _Title]:
        if self._titles is None:
            try:
                body = json.loads(self._path.read_text(encoding="utf-8"))
                self._titles = {
                    int(number): _Title(str(one["title"])[:LONGEST_TITLE], round(one["told"]))
                    for number, one in body.items()
                }
            except FileNotFoundError:
                self._titles = {}
            except (OSError, ValueError, AttributeError, TypeError, KeyError, OverflowError, RecursionError) as error:
                logger.warning(
                    "%s has no titles of projects (%s); they come again with the next webhooks", self._path, error
                )
                self._titles = {}
        return self._titles

    def _write(self, titles: Mapping[int, _Title]) -> None:
        """Replace the file; where that cannot be, the titles last as long as this process."""
        body = {str(number): {"title": title.text, "told": title.told} for number, title in titles.items()}
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".new-")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(body, file)
                os.replace(name, self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            logger.warning(
                "%s cannot be written (%s): titles of projects are forgotten at the next start", self._path, error
            )
