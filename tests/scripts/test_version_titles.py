from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.version_titles import VersionTitles
from shim.settings import Settings
from tests.scripts.studio_server import FakeStudio, serve_studio
from tests.shim.far_servers import LEGACY_KEY, _Handler
from training.store import write_json

FIRST, SECOND = "20261123T083000Z", "20261123T091500Z"


def put_into_service(model_dir: Path, version: str, project: int = 7) -> None:
    body = {"load": [version], "current": version, "sha256": {version: "0" * 64}, "left": {}}
    write_json(model_dir / f"project-{project}" / "serving.json", body)


@contextmanager
def looking(model_dir: Path, port: int) -> Iterator[None]:
    settings = Settings(
        label_studio_url=f"http://127.0.0.1:{port}", label_studio_api_key=LEGACY_KEY, model_dir=model_dir
    )
    titles = VersionTitles(settings, look_s=0.05, pause_s=0.2)
    titles.start()
    try:
        yield
    finally:
        titles.end()
        titles.join(30)


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def studio() -> FakeStudio:
    """A project whose backend bears the version of the cold start."""
    made = FakeStudio(version=f"{FIRST}-0a1b2c3d")
    made.add_project(7, model_version="ocr-0a1b2c3d")
    made.add_backend("http://127.0.0.1:9090", title="ocr-0a1b2c3d")
    return made


def test_the_title_follows_every_version(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, FIRST)
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(lambda: studio.projects[7]["model_version"] == f"{FIRST}-0a1b2c3d")
        studio.version = f"{SECOND}-0a1b2c3d"
        put_into_service(tmp_path, SECOND)
        wait_for(lambda: studio.projects[7]["model_version"] == f"{SECOND}-0a1b2c3d")
        asked = len(server.seen)
        time.sleep(0.5)
        assert len(server.seen) == asked, "it asks although nothing is new"


def test_a_shim_that_is_behind_is_asked_again(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, SECOND)
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(lambda: studio.projects[7]["model_version"] == f"{FIRST}-0a1b2c3d")
        studio.version = f"{SECOND}-0a1b2c3d"
        wait_for(lambda: studio.projects[7]["model_version"] == f"{SECOND}-0a1b2c3d")


def test_a_label_studio_that_is_away_is_told_later(
    studio: FakeStudio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_into_service(tmp_path, FIRST)
    away = True

    def answer(handler: _Handler) -> None:
        if away:
            handler.reply(503)
        else:
            studio(handler)

    with serve_studio(answer) as server, looking(tmp_path, server.port):
        wait_for(lambda: len(server.seen) > 2)
        away = False
        wait_for(lambda: studio.projects[7]["model_version"] == f"{FIRST}-0a1b2c3d")
    assert caplog.text.count("does not know yet which version of project 7 is in service") == 1


def test_a_project_that_is_gone_is_left_alone(
    studio: FakeStudio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_into_service(tmp_path, FIRST, project=8)
    (tmp_path / "project-9").mkdir()
    (tmp_path / "project-9" / "serving.json").write_text("damaged")
    with caplog.at_level(logging.WARNING), serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(lambda: "project 8" in caplog.text)
        asked = len(server.seen)
        time.sleep(0.6)
        assert len(server.seen) == asked
