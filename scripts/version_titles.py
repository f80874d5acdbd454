"""Label Studio's ML backends bear the version in service as title, whoever put it there.

The title decides which prediction a person is shown and by which scores the Data Manager sorts (see
`scripts.studio_backend`): a stale one shows the boxes of a version that is gone. A version comes into service by a
training, a restore or a command, here or on another machine. So this looks at what is in service, as the rollout
watcher does, and tells Label Studio until it knows; where that is away, or the shim, it is told later.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from contextlib import closing

from scripts.studio_backend import follow_versions
from shim.credentials import LabelStudioKey
from shim.errors import LayoutLoopError, ModelNotReady, StudioRefused
from shim.serving import models_in, read_serving
from shim.settings import Settings
from shim.studio_client import StudioClient

logger = logging.getLogger(__name__)

_PROJECT = re.compile(r"project-(\d+)")
_TIMEOUT_S = 30.0


class VersionTitles(threading.Thread):
    """Tells Label Studio, in the background of a worker.

    Args:
        settings: where Label Studio and the model store are.
        look_s: seconds between looks at the model store.
        pause_s: seconds before a project is tried again that could not be told.
    """

    def __init__(self, settings: Settings, *, look_s: float = 1.0, pause_s: float = 15.0) -> None:
        super().__init__(name="version titles", daemon=True)
        self._settings = settings
        self._look_s = look_s
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._told: dict[int, str] = {}
        self._again_at: dict[int, float] = {}
        self._warned: dict[int, str] = {}

    def run(self) -> None:
        """Look again and again until `end`."""
        while not self._ended.wait(self._look_s):
            for project, version in self._untold():
                self._tell(project, version)

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def _untold(self) -> list[tuple[int, str]]:
        """Return the projects whose version Label Studio was not told, and may be told now."""
        found = []
        for name in models_in(self._settings.model_dir):
            match = _PROJECT.fullmatch(name)
            version = self._current(name) if match else None
            if match and version and self._told.get(int(match[1])) != version:
                found.append((int(match[1]), version))
        now = time.monotonic()
        return [(project, version) for project, version in found if self._again_at.get(project, 0.0) <= now]

    def _current(self, name: str) -> str | None:
        try:
            serving = read_serving(self._settings.model_dir, name)
        except ModelNotReady:  # damaged; the shim says so
            return None
        return serving.current if serving else None

    def _tell(self, project: int, version: str) -> None:
        url = self._settings.label_studio_url
        try:
            with (
                closing(LabelStudioKey(url, self._settings.label_studio_api_key)) as key,
                closing(StudioClient(url, key, timeout_s=_TIMEOUT_S)) as client,
            ):
                is_told = follow_versions(client, project, version)
        except StudioRefused as error:
            is_told = error.studio_status == 404  # it is gone; there is nobody to tell
            self._warn(project, str(error))
        except LayoutLoopError as error:
            is_told = False
            self._warn(project, str(error))
        if is_told:
            self._told[project] = version
        else:
            self._again_at[project] = time.monotonic() + self._pause_s

    def _warn(self, project: int, why: str) -> None:
        """Say a reason once, not every quarter of a minute."""
        if self._warned.get(project) != why:
            self._warned[project] = why
            logger.warning("Label Studio does not know yet which version of project %d is in service: %s", project, why)
