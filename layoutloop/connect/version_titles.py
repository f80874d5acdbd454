"""Keeps the titles of ML backends in Label Studio at the version in service, however either changed.

The title decides which prediction a person is shown and by which scores the Data Manager sorts (see `backend_titles`):
a stale one shows the boxes of a version that is gone, or sorts by nothing. The version changes with a training, a
restore or a command, here or on another machine, and with every edit of the label config. So this compares what is in
service here with Label Studio's list of projects, whose rows change with such edits, again and again, and corrects
what it finds. The same list shows whether Label Studio answers, for the dashboard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial

from layoutloop.connect.backend_titles import TitleState, ensure_titles, is_ours
from layoutloop.connect.queries import StatusFile, project_rows
from layoutloop.connect.schedule import Pace, RecheckSchedule
from layoutloop.errors import LayoutLoopError, ModelNotReady, SettingsInvalid, StudioUnavailable
from layoutloop.processes.side_threads import THREADS, TITLES, Rounds, beat_path
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import project_of
from layoutloop.store.model_store import ModelStore
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.status import STATUS_FILE, read_studio_status

logger = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
_ENDS_WITHIN_S = 2.0
_SHIM_STARTS_S = 60.0


class VersionTitles(threading.Thread):
    """Checks Label Studio, in the background of a worker.

    Args:
        settings: where Label Studio, the model store and the home are.
        pace: seconds between things.
    """

    def __init__(self, settings: Settings, pace: Pace | None = None) -> None:
        super().__init__(name="version titles", daemon=True)
        self._settings = settings
        self._store = ModelStore(settings.model_dir)
        self._pace = pace or Pace()
        self._schedule = RecheckSchedule(self._pace)
        self._status = StatusFile(settings.home / STATUS_FILE)
        self._ended = threading.Event()
        self._rounds = Rounds("the check of the titles in Label Studio", beat_path(settings.home / THREADS / TITLES))
        self._stamps: Mapping[int, str] = {}
        self._list_at = self._next_at = float("-inf")
        self._pause_s = self._pace.again_s
        self._answers: tuple[bool, str] | None = None
        self._titles = read_studio_status(settings.home, time.time()).titles
        self._disconnected: set[int] = set()
        self._logged: dict[int | None, set[str]] = {}

    def run(self) -> None:
        """Check again and again until `end`."""
        with ExitStack() as kept:
            client = self._rounds.run(partial(self._open, kept), None)
            while not self._ended.wait(self._pace.tick_s):
                self._rounds.run(partial(self._round, client), None)
        self._rounds.end()

    def _round(self, client: StudioClient | None) -> None:
        try:
            if client is not None:
                self._tick(client)
        finally:
            if self._answers is not None:
                # A disconnected project may go on showing what is stored of the last version (`connect --remove`).
                in_use = self._titles.keys() - self._disconnected
                self._status.note(*self._answers, {number: self._titles[number] for number in in_use})

    def end(self) -> None:
        """Stop; a request that Label Studio does not answer is not waited for."""
        self._ended.set()
        self.join(_ENDS_WITHIN_S)

    def _open(self, kept: ExitStack) -> StudioClient | None:
        """Return the client; None where the settings allow none, which a restart alone can change."""
        url, key = self._settings.label_studio_url, self._settings.label_studio_api_key
        if not key:
            self._answers = (False, NO_KEY)
            return None
        try:
            return kept.enter_context(open_studio(url, key, _TIMEOUT_S))
        except SettingsInvalid as error:
            self._answers = (False, str(error))
            self._log(None, str(error))
            return None

    def _tick(self, client: StudioClient) -> None:
        """Read what is in service, and do what is due; while Label Studio is down, only after a new version."""
        self._stamps = self._in_service()
        if self._schedule.note_stamps(self._stamps):
            self._next_at = float("-inf")
        if time.monotonic() < self._next_at:
            return
        try:
            if time.monotonic() >= self._list_at:
                self._list(client)
            for project in self._schedule.due(time.monotonic()):
                if self._ended.is_set():
                    return
                self._check(client, project)
        except StudioUnavailable as error:
            self._list_at = float("-inf")  # the list comes first then
            self._next_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, self._pace.list_s)  # that it is back is seen within a minute
            self._answers = (False, str(error))
            self._log(None, str(error))

    def _in_service(self) -> dict[int, str]:
        """Return the stamp in service of each project that has one; the shim reports a damaged serving.json."""
        stamps = {}
        for name in self._store.models():
            project = project_of(name)
            with suppress(ModelNotReady):
                serving = self._store.manifest(name)
                if project is not None and serving and serving.current:
                    stamps[project] = serving.current
        return stamps

    def _list(self, client: StudioClient) -> None:
        rows = project_rows(client, "title", "model_version", "label_config")
        self._titles = {number: str(row["title"]) for number, row in rows.items() if is_ours(str(row["model_version"]))}
        settings = {number: (str(row["model_version"]), hash(str(row["label_config"]))) for number, row in rows.items()}
        now = time.monotonic()
        self._schedule.note_projects(settings, now, frozenset(self._titles))
        self._list_at = now + self._pace.list_s
        if self._logged.pop(None, None):
            logger.info("Label Studio answers again at %s", self._settings.label_studio_url)
        self._pause_s = self._pace.again_s
        self._answers = (True, f"Label Studio answers at {self._settings.label_studio_url}")

    def _check(self, client: StudioClient, project: int) -> None:
        """Correct the titles of one project.

        Raises:
            StudioUnavailable: Label Studio does not answer.
        """
        try:
            found = ensure_titles(client, project, self._stamps.get(project))
        except LayoutLoopError as error:
            self._failed(project, error)
            return
        if found is TitleState.NO_BACKEND:
            self._disconnected.add(project)
        else:
            self._disconnected.discard(project)
        now = time.monotonic()
        if found in (TitleState.RIGHT, TitleState.NONE, TitleState.NO_BACKEND):
            self._schedule.settle(project, now)
            self._logged.pop(project, None)
            return
        is_late = self._schedule.check_again(project, now) >= _SHIM_STARTS_S
        if is_late and found is TitleState.BEHIND and project in self._stamps:
            self._log(
                project,
                f"no ML backend of project {project} reports version {self._stamps[project]}; "
                "see under Settings > Model that it is connected, and that its address is LayoutLoop's",
            )

    def _failed(self, project: int, error: LayoutLoopError) -> None:
        if isinstance(error, StudioUnavailable) and error.studio_status == 404:
            self._schedule.forget(project, time.monotonic())
        else:
            self._schedule.check_again(project, time.monotonic())
        if isinstance(error, StudioUnavailable) and error.is_temporary:
            raise error
        self._log(project, f"Label Studio does not know which version of project {project} is in service: {error}")

    def _log(self, project: int | None, sentence: str) -> None:
        """Log a sentence once, until what it is about is right again."""
        logged = self._logged.setdefault(project, set())
        if sentence not in logged:
            logged.add(sentence)
            logger.warning("%s", sentence)
