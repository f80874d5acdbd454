"""What Label Studio's projects are called, as its webhooks say; no request is made for it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from layoutloop.foreign_json import parse_json
from layoutloop.store.writing import write_bytes
from layoutloop.studio.status import DISCONNECTED, LONGEST_TITLE, MOST_TITLES

logger = logging.getLogger(__name__)

DAY_S = 86400.0
LATELY_S = 30 * DAY_S
"""Of a project that sends no webhook for longer the title alone is no sign that it still exists."""


@dataclass(frozen=True, slots=True)
class _Title:
    """A title, and when the last webhook with it came: Unix seconds, to a day or so."""

    title: str
    told: int


class ProjectTitles:
    """Titles by project id, kept in one small file; the latest where there are too many.

    Args:
        path: of the file.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Keep the path; the file is read at the first use."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._titles: dict[int, _Title] | None = None

    def all(self) -> dict[int, str]:
        """Return the titles that are known."""
        with self._lock:
            return {number: known.title for number, known in self._known().items()}

    def lately(self) -> frozenset[int]:
        """Return the projects whose webhooks came in the last 30 days."""
        since = self._clock() - LATELY_S
        with self._lock:
            return frozenset(number for number, known in self._known().items() if known.told >= since)

    def note(self, body: Mapping[str, object]) -> None:
        """Keep the title that a webhook's body names, if it names one; drop that of a project which is gone."""
        project = body.get("project")
        number, title = (project.get("id"), project.get("title")) if isinstance(project, Mapping) else (None, None)
        if type(number) is not int or not 0 <= number < 10**18:
            return
        with self._lock:
            known = self._known()
            if body.get("action") in ("PROJECT_DELETED", DISCONNECTED):
                if known.pop(number, None):
                    self._write(known)
            elif isinstance(title, str) and title.strip():
                new = _Title(" ".join(title.split())[:LONGEST_TITLE], round(self._clock()))
                old = known.get(number)
                if old and old.title == new.title and new.told - old.told < DAY_S:
                    return  # not a file written for every annotation
                known[number] = new
                while len(known) > MOST_TITLES:
                    del known[min(known, key=lambda one: known[one].told)]
                self._write(known)

    def _known(self) -> dict[int, _Title]:
        if self._titles is None:
            self._titles = {}
            try:
                body = parse_json(self._path.read_bytes())
                self._titles = {
                    int(number): _Title(str(one["title"])[:LONGEST_TITLE], round(one["told"]))
                    for number, one in body.items()
                }
            except FileNotFoundError:
                pass
            except (OSError, ValueError, AttributeError, TypeError, KeyError, OverflowError) as error:
                logger.warning("%s has no project titles (%s); the next webhooks bring them again", self._path, error)
        return self._titles

    def _write(self, titles: Mapping[int, _Title]) -> None:
        """Replace the file; where that fails, the titles last as long as this process."""
        body = json.dumps({str(number): asdict(known) for number, known in titles.items()})
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_bytes(self._path, body.encode(), mode=0o600)
        except OSError as error:
            logger.warning("%s cannot be written (%s): a restart forgets the project titles", self._path, error)
