"""What Label Studio's projects are called, as its webhooks tell: nobody is asked for it."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

_MOST = 1000
_LONGEST = 120


class ProjectTitles:
    """Titles by project id, remembered in one small file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        """Keep the path; the file is read at the first use."""
        self._path = path
        self._guard = threading.Lock()
        self._titles: dict[int, str] | None = None

    def all(self) -> dict[int, str]:
        """Return the titles that are known."""
        with self._guard:
            return dict(self._known())

    def note(self, body: Mapping[str, object]) -> None:
        """Remember the title that a webhook's body names; one without is none of our business."""
        project = body.get("project")
        if not isinstance(project, Mapping):
            return
        number, title = project.get("id"), project.get("title")
        if type(number) is not int or not 0 <= number < 10**18 or not isinstance(title, str) or not title.strip():
            return
        title = " ".join(title.split())[:_LONGEST]
        with self._guard:
            known = self._known()
            if known.get(number) == title or (number not in known and len(known) >= _MOST):
                return
            known[number] = title
            self._write(known)

    def _known(self) -> dict[int, str]:
        if self._titles is None:
            try:
                body = json.loads(self._path.read_text(encoding="utf-8"))
                self._titles = {int(number): str(title)[:_LONGEST] for number, title in body.items()}
            except FileNotFoundError:
                self._titles = {}
            except (OSError, ValueError, AttributeError, RecursionError) as error:
                logger.warning(
                    "%s has no titles of projects (%s); they come again with the next webhooks", self._path, error
                )
                self._titles = {}
        return self._titles

    def _write(self, titles: Mapping[int, str]) -> None:
        """Replace the file; where that cannot be, the titles last as long as this process."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".new-")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump({str(number): title for number, title in titles.items()}, file)
                os.replace(name, self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            logger.warning(
                "%s cannot be written (%s): titles of projects are forgotten at the next start", self._path, error
            )
