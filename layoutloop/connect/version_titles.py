"""Label Studio's ML backends bear the version in service as title, whoever put it there, and whatever changed it.

The title decides which prediction a person is shown and by which scores the Data Manager sorts (see
`backend_titles`): a stale one shows the boxes of a version that is gone, or sorts by nothing. The version
changes with a training, a restore or a command, here or on another machine, and with every edit of the label config.
So this looks at what is in service here and at the list of projects there, whose rows change with such edits, and
puts right what it finds, again and again. The same list shows whether Label Studio answers, for the dashboard.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack

from layoutloop.connect.backend_titles import TitleState, ensure_titles, is_ours
from layoutloop.connect.queries import StatusFile, project_rows
from layoutloop.connect.schedule import Pace, RecheckSchedule
from layoutloop.errors import LayoutLoopError, ModelNotReady, SettingsInvalid, StudioUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.store.model_store import ModelStore
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.status import STATUS_FILE, read_studio_status

logger = logging.getLogger(__name__)

_PROJECT = re.compile(r"project-(\d+)")
_TIMEOUT_S = 30.0
_ENDS_WITHIN_S = 2.0
_SHIM_STARTS_S = 60.0


class VersionTitles(threading.Thread):
    """Looks at Label Studio, in the background of a worker.

    Args:
        settings: where Label Studio, the model store and the home are.
        pace: seconds between things.
    """

    def __init__(self, settings: Settings, pace: Pace | None = None) -> None:
        super().__init__(name="version titles", daemon=True)
        self._settings = settings
        self._store = ModelStore(settings.model_dir)
        self._pace = pace or Pace()
        self._plan = RecheckSchedule(self._pace)
        self._status = StatusFile(settings.home / STATUS_FILE)
        self._ended = threading.Event()
        self._stamps: Mapping[int, str] = {}
        self._list_at = self._ask_at = float("-inf")
        self._away_s = self._pace.again_s
        self._answers: tuple[bool, str] | None = None
        self._titles = read_studio_status(settings.home, time.time()).titles
        self._disconnected: set[int] = set()
        self._said: dict[int | None, set[str]] = {}

    def run(self) -> None:
        """Look again and again until `end`."""
        with ExitStack() as kept:
            client = self._open(kept)
            while not self._ended.wait(self._pace.tick_s):
                if client is not None:
                    self._tick(client)
                if self._answers is not None:
                    self._status.note(*self._answers, self._in_use())

    def end(self) -> None:
        """Stop looking; a request that Label Studio does not answer is not waited for."""
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
            self._say(None, str(error))
            return None

    def _tick(self, client: StudioClient) -> None:
        """Read what is in service, and do what is due; nothing but a new version while Label Studio is away."""
        self._stamps = self._in_service()
        if self._plan.note_stamps(self._stamps):
            self._ask_at = float("-inf")
        if time.monotonic() < self._ask_at:
            return
        try:
            if time.monotonic() >= self._list_at:
                self._list(client)
            for project in self._plan.due(time.monotonic()):
                if self._ended.is_set():
                    return
                self._look(client, project)
        except StudioUnavailable as error:
            self._back_off(error)

    def _in_service(self) -> dict[int, str]:
        """Return the stamp in service of each project that has one; a damaged serving.json is the shim's to tell."""
        stamps = {}
        for name in self._store.models():
            if match := _PROJECT.fullmatch(name):
                try:
                    serving = self._store.manifest(name)
                except ModelNotReady:
                    continue
                if serving and serving.current:
                    stamps[int(match[1])] = serving.current
        return stamps

    def _in_use(self) -> dict[int, str]:
        """Return the titles of the projects that show a version of ours and may get another one.

        One that was disconnected may go on showing what is stored of the last version (`scripts.connect --remove`).
        """
        return {project: title for project, title in self._titles.items() if project not in self._disconnected}

    def _list(self, client: StudioClient) -> None:
        rows = project_rows(client, "title", "model_version", "label_config")
        settings = {
            project: (str(row["model_version"]), hash(str(row["label_config"]))) for project, row in rows.items()
        }
        self._titles = {
            project: str(rows[project]["title"]) for project, (shown, _) in settings.items() if is_ours(shown)
        }
        now = time.monotonic()
        self._plan.note_projects(settings, now, frozenset(self._titles))
        self._list_at = now + self._pace.list_s
        if self._said.pop(None, None):
            logger.info("Label Studio answers again at %s", self._settings.label_studio_url)
        self._away_s = self._pace.again_s
        self._answers = (True, f"Label Studio answers at {self._settings.label_studio_url}")

    def _look(self, client: StudioClient, project: int) -> None:
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
            self._plan.settle(project, now)
            self._said.pop(project, None)
            return
        pause_s = self._plan.look_again(project, now)
        if found is TitleState.BEHIND and project in self._stamps and pause_s >= _SHIM_STARTS_S:
            self._say(
                project,
                f"no ML backend of project {project} says that it serves {self._stamps[project]}; "
                "see under Settings > Model whether it is connected, and its address that of LayoutLoop",
            )

    def _failed(self, project: int, error: LayoutLoopError) -> None:
        """Put off a project that could not be put right.

        Raises:
            StudioUnavailable: it is Label Studio that is away.
        """
        if isinstance(error, StudioUnavailable) and error.studio_status == 404:
            self._plan.forget(project, time.monotonic())
        else:
            self._plan.look_again(project, time.monotonic())
        if isinstance(error, StudioUnavailable) and error.is_temporary:
            raise error
        self._say(project, f"Label Studio does not know which version of project {project} is in service: {error}")

    def _back_off(self, error: StudioUnavailable) -> None:
        """Leave Label Studio alone for a while; the list comes first then."""
        self._list_at = float("-inf")
        self._ask_at = time.monotonic() + self._away_s
        self._away_s = min(2 * self._away_s, self._pace.list_s)  # whoever mends it sees so within a minute
        self._answers = (False, str(error))
        self._say(None, str(error))

    def _say(self, project: int | None, sentence: str) -> None:
        """Log a sentence once, until what it is about is right again."""
        said = self._said.setdefault(project, set())
        if sentence not in said:
            said.add(sentence)
            logger.warning("%s", sentence)
