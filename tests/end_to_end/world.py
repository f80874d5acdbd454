"""The real Label Studio and a browser, in front of a real LayoutLoop that asks for a password.

What the browser showed can be looked at in the folder that TEST_PICTURES names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from demo.studio import Account, RunningStudio, running_studio
from layoutloop.settings.node import NodeSettings
from tests.end_to_end.conftest import LayoutLoop, free_port, free_settings, running
from tests.end_to_end.screen import Screen, open_screen
from tests.end_to_end.training_stack import TRAIN

PASSWORD = "seen-by-nobody"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class World:
    """Everything that runs.

    Args:
        studio: Label Studio.
        loop: LayoutLoop, with a personal access token as its key.
        screen: a signed-in person's browser.
        folder: for files.
    """

    studio: RunningStudio
    loop: LayoutLoop
    screen: Screen
    folder: Path

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """Ask Label Studio's API with the legacy token."""
        header = {"Authorization": f"Token {self.studio.account.token}"}
        answer = requests.request(method, self.studio.url + path, headers=header, timeout=300, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def new_project(self, title: str, config: str) -> int:
        return int(self.ask("POST", "/api/projects", json={"title": title, "label_config": config})["id"])

    def tasks(self, project: int) -> list[dict[str, Any]]:
        query = {"project": project, "fields": "all", "page_size": 100}
        tasks: list[dict[str, Any]] = self.ask("GET", "/api/tasks", params=query)["tasks"]
        return sorted(tasks, key=lambda task: int(task["id"]))

    def predictions(self, task: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/api/predictions", params={"task": task})
        for one in found:
            del one["created_ago"]  # "1 minute"
        return found

    def retrieve_predictions(self, project: int) -> None:
        """Ask for predictions of all tasks, as Actions > Retrieve Predictions does."""
        everything = {"selectedItems": {"all": True, "excluded": []}}
        self.ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", json=everything)

    def jobs(self, project: int) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = requests.get(
            f"{self.loop.url}/jobs", params={"project": project}, timeout=30
        ).json()["jobs"]
        return listed

    def job(self, job: str) -> dict[str, Any]:
        record: dict[str, Any] = requests.get(f"{self.loop.url}/jobs/{job}", timeout=30).json()
        return record


def key_of(studio: RunningStudio) -> str:
    """Return a personal access token."""
    header = {"Authorization": f"Token {studio.account.token}"}
    answer = requests.post(f"{studio.url}/api/token/", headers=header, timeout=30)
    assert answer.ok, answer.text
    return str(answer.json()["token"])


def behind(studio: RunningStudio, settings: NodeSettings, more: Mapping[str, str] = NOTHING) -> LayoutLoop:
    """Return a LayoutLoop for a Label Studio, with more settings; it does not run yet."""
    mine = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": key_of(studio),
        "LAYOUTLOOP_OCR_WORKERS": "2",
        "LAYOUTLOOP_PROJECT_WORKERS": "1",
        "BASIC_AUTH_USER": "annotation",
        "BASIC_AUTH_PASS": PASSWORD,
    }
    return LayoutLoop(
        settings, os.environ | settings.environment() | mine | TRAIN | {"LAYOUTLOOP_TRAIN_EVERY": "100"} | more
    )


@contextmanager
def open_world(folder: Path, settings: Mapping[str, str] = NOTHING) -> Iterator[World]:
    """Run all of it."""
    pictures = Path(os.environ.get("TEST_PICTURES") or folder / "pictures")
    account = Account("a-long-password-1", "0123456789abcdef" * 2 + "01234567")
    with running_studio(folder / "label-studio", free_port(), account) as studio:
        loop = behind(studio, free_settings(folder / "home"), settings)
        with running(loop, folder / "out"), open_screen(studio, pictures) as screen:
            yield World(studio, loop, screen, folder)
