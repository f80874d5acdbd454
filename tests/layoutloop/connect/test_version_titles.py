"""The thread that keeps Label Studio's titles right, with a small Label Studio on loopback."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layoutloop.connect.schedule import Pace
from layoutloop.connect.version_titles import VersionTitles
from layoutloop.settings.serving import Settings
from layoutloop.store.writing import write_json
from layoutloop.studio.status import STATUS_FILE, read_studio_status
from tests.far_servers import LEGACY_KEY, _Handler, _Server
from tests.studio_server import FakeStudio, serve_studio

FIRST, SECOND = "20261123T083000Z", "20261123T091500Z"
HASH, EDITED = "0a1b2c3d", "99999999"
FAST = Pace(tick_s=0.05, list_s=0.3, settled_s=600.0, first_s=0.1, again_s=0.2, longest_s=0.8)


def put_into_service(model_dir: Path, version: str, project: int = 7) -> None:
    body = {"load": [version], "current": version, "sha256": {version: "0" * 64}, "left": {}}
    write_json(model_dir / f"project-{project}" / "serving.json", body)


@contextmanager
def looking(model_dir: Path, port: int, pace: Pace = FAST, key: str | Path = LEGACY_KEY) -> Iterator[VersionTitles]:
    """Run it; its home is beside the store."""
    settings = Settings(
        home=model_dir / "home",
        label_studio_url=f"http://127.0.0.1:{port}",
        label_studio_api_key=key,
        model_dir=model_dir,
    )
    titles = VersionTitles(settings, pace)
    titles.start()
    try:
        yield titles
    finally:
        titles.end()
        assert not titles.is_alive()


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def status(model_dir: Path) -> dict[str, Any]:
    """What the dashboard reads; empty before it is written."""
    path = model_dir / "home" / STATUS_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def looks(server: _Server) -> int:
    """How often the ML backends of a project were asked."""
    return sum(seen.target.startswith("/api/ml?") for seen in server.seen)


class Away:
    """A Label Studio that answers with a status of its own, for all or below one path, until it is 0."""

    def __init__(self, studio: FakeStudio, status: int, below: str = "/") -> None:
        self.studio = studio
        self.status = status
        self.below = below

    def __call__(self, handler: _Handler) -> None:
        if self.status and handler.path.startswith(self.below):
            handler.reply(self.status, b'{"detail": "Not now."}')
        else:
            self.studio(handler)


@pytest.fixture
def studio() -> FakeStudio:
    """A project whose backend bears the version of the cold start."""
    made = FakeStudio(version=f"{FIRST}-{HASH}")
    made.add_project(7, model_version=f"ocr-{HASH}")
    made.add_backend("http://127.0.0.1:9090", title=f"ocr-{HASH}")
    return made


def shows(studio: FakeStudio, version: str) -> Callable[[], bool]:
    """Whether the project shows a version, and the backend's title is it too."""
    return lambda: studio.projects[7]["model_version"] == studio.backends[1]["title"] == version


def test_the_title_follows_every_version(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, FIRST)
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(shows(studio, f"{FIRST}-{HASH}"))
        studio.version = f"{SECOND}-{HASH}"
        put_into_service(tmp_path, SECOND)
        wait_for(shows(studio, f"{SECOND}-{HASH}"))
        time.sleep(0.4)  # its own change is in the next list
        asked = looks(server)
        time.sleep(0.6)
        assert looks(server) == asked, "it asks although nothing is new"


@pytest.mark.parametrize("stamp", [FIRST, None], ids=["a version in service", "before any"])
def test_the_title_follows_an_edit_of_the_label_config(studio: FakeStudio, tmp_path: Path, stamp: str | None) -> None:
    if stamp:
        put_into_service(tmp_path, stamp)
    studio.version = f"{stamp or 'ocr'}-{HASH}"
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(shows(studio, f"{stamp or 'ocr'}-{HASH}"))
        studio.version = f"{stamp or 'ocr'}-{EDITED}"
        studio.projects[7]["label_config"] += "<!-- edited -->"
        wait_for(shows(studio, f"{stamp or 'ocr'}-{EDITED}"))


def test_a_title_that_is_no_text_does_not_end_the_thread(
    studio: FakeStudio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a surrogate pair, which JSON can carry and no file can."""
    put_into_service(tmp_path, FIRST)
    studio.projects[7]["title"] = "invoices \ud800"
    with serve_studio(studio) as server, looking(tmp_path, server.port) as titles:
        wait_for(shows(studio, f"{FIRST}-{HASH}"))
        time.sleep(0.4)
        assert titles.is_alive()
        studio.projects[7]["title"] = "invoices"
        studio.version = f"{SECOND}-{HASH}"
        put_into_service(tmp_path, SECOND)
        wait_for(shows(studio, f"{SECOND}-{HASH}"))
        wait_for(lambda: status(tmp_path).get("projects") == {"7": "invoices"})


def test_what_a_race_wrote_is_put_right(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, FIRST)
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(shows(studio, f"{FIRST}-{HASH}"))
        time.sleep(0.4)
        studio.projects[7]["model_version"] = f"ocr-{HASH}"
        wait_for(shows(studio, f"{FIRST}-{HASH}"))


def test_a_backend_that_is_added_by_hand_is_named(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, FIRST)
    studio.backends.clear()
    studio.projects[7]["model_version"] = ""
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(lambda: looks(server))
        time.sleep(0.2)
        studio.add_backend("http://127.0.0.1:9090", title="LayoutLoop")
        studio.projects[7]["model_version"] = "LayoutLoop"
        wait_for(shows(studio, f"{FIRST}-{HASH}"))


def test_a_project_that_was_disconnected_is_in_use_no_more(studio: FakeStudio, tmp_path: Path) -> None:
    """Also where it goes on showing what is stored of the last version."""
    often = Pace(tick_s=0.05, list_s=0.1, settled_s=0.2)
    studio.version = f"ocr-{HASH}"
    studio.add_project(8, model_version=f"ocr-{HASH}")
    studio.add_backend("http://127.0.0.1:9090", 8, title=f"ocr-{HASH}")
    with serve_studio(studio) as server, looking(tmp_path, server.port, often):
        wait_for(lambda: status(tmp_path).get("projects") == {"7": "Project 7", "8": "Project 8"})
        backend = studio.backends.pop(1)
        wait_for(lambda: status(tmp_path)["projects"] == {"8": "Project 8"})
        assert studio.projects[7]["model_version"] == f"ocr-{HASH}"
        studio.backends[1] = backend
        wait_for(lambda: status(tmp_path)["projects"] == {"7": "Project 7", "8": "Project 8"})


def test_a_shim_that_is_behind_is_asked_again(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, SECOND)
    with serve_studio(studio) as server, looking(tmp_path, server.port):
        wait_for(lambda: looks(server) > 1)
        assert studio.changes == []
        studio.version = f"{SECOND}-{HASH}"
        wait_for(shows(studio, f"{SECOND}-{HASH}"))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        pytest.param(503, "answered 503", id="away"),
        pytest.param(401, "set LABEL_STUDIO_API_KEY", id="a key that was revoked"),
    ],
)
def test_a_label_studio_that_is_away_is_told_later(
    studio: FakeStudio, tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int, sentence: str
) -> None:
    put_into_service(tmp_path, FIRST)
    away = Away(studio, code)
    with caplog.at_level(logging.INFO), serve_studio(away) as server, looking(tmp_path, server.port):
        wait_for(lambda: len(server.seen) > 4)
        assert not status(tmp_path)["ok"]
        assert sentence in status(tmp_path)["sentence"]
        away.status = 0
        wait_for(shows(studio, f"{FIRST}-{HASH}"))
        wait_for(lambda: read_studio_status(tmp_path / "home", time.time()).state == "answers")
        assert read_studio_status(tmp_path / "home", time.time()).titles == {7: studio.projects[7]["title"]}
        assert time.time() - 30 < status(tmp_path)["time"] <= time.time()
    assert caplog.text.count(sentence) == 1
    assert caplog.text.count("Label Studio answers again") == 1


def test_a_key_that_is_put_into_its_file_later(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, FIRST)
    path = tmp_path / "key"
    with serve_studio(studio) as server, looking(tmp_path, server.port, key=path):
        wait_for(lambda: f"{path} (LABEL_STUDIO_API_KEY_FILE) cannot be read" in status(tmp_path).get("sentence", ""))
        path.write_text("f" * 40)
        wait_for(lambda: "answered 401: put a key of a person who may do this" in status(tmp_path)["sentence"])
        path.write_text(LEGACY_KEY)
        wait_for(shows(studio, f"{FIRST}-{HASH}"))
        wait_for(lambda: status(tmp_path)["ok"])


def test_a_label_studio_that_is_back_is_seen_within_the_pace_of_the_list(studio: FakeStudio, tmp_path: Path) -> None:
    away = Away(studio, 503)
    with serve_studio(away) as server, looking(tmp_path, server.port, Pace(tick_s=0.05, list_s=0.2, again_s=0.1)):
        wait_for(lambda: len(server.seen) > 10)  # 20 s and more, if each pause were twice the last one
        away.status = 0
        wait_for(lambda: status(tmp_path)["ok"])


def test_a_new_version_is_told_at_once_after_a_long_absence(studio: FakeStudio, tmp_path: Path) -> None:
    put_into_service(tmp_path, FIRST)
    away = Away(studio, 503)
    patient = Pace(tick_s=0.05, again_s=600.0)
    with serve_studio(away) as server, looking(tmp_path, server.port, patient):
        wait_for(lambda: server.seen)
        time.sleep(0.3)
        assert len(server.seen) == 1
        away.status = 0
        studio.version = f"{SECOND}-{HASH}"
        put_into_service(tmp_path, SECOND)
        wait_for(shows(studio, f"{SECOND}-{HASH}"))


def test_one_project_that_cannot_be_put_right_keeps_none_back(
    studio: FakeStudio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_into_service(tmp_path, FIRST)
    studio.add_project(6, model_version=f"ocr-{HASH}")
    with serve_studio(Away(studio, 500, "/api/ml?project=6")) as server, looking(tmp_path, server.port):
        wait_for(shows(studio, f"{FIRST}-{HASH}"))
        wait_for(lambda: looks(server) > 4)
        assert status(tmp_path)["ok"]
    assert caplog.text.count("version of project 6 is in service: ") == 1


def test_a_project_that_is_gone_is_left_alone(
    studio: FakeStudio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_into_service(tmp_path, FIRST, project=8)
    (tmp_path / "project-9").mkdir()
    (tmp_path / "project-9" / "serving.json").write_text("damaged")
    slow = Pace(tick_s=0.05, list_s=0.3, again_s=0.1)
    with caplog.at_level(logging.WARNING), serve_studio(studio) as server, looking(tmp_path, server.port, slow):
        wait_for(lambda: "project 8" in caplog.text)
        time.sleep(0.6)
        assert sum(seen.target == "/api/ml?project=8" for seen in server.seen) == 1
        assert status(tmp_path)["ok"]


def test_without_a_key_nobody_is_asked(studio: FakeStudio, tmp_path: Path) -> None:
    with serve_studio(studio) as server, looking(tmp_path, server.port, key=""):
        wait_for(lambda: status(tmp_path))
        assert server.seen == []
    assert not status(tmp_path)["ok"]
    assert "LABEL_STUDIO_API_KEY is not set" in status(tmp_path)["sentence"]


def test_it_ends_while_label_studio_hangs(tmp_path: Path) -> None:
    def hang(handler: _Handler) -> None:
        time.sleep(4)

    with serve_studio(hang) as server:
        url = f"http://127.0.0.1:{server.port}"
        settings = Settings(home=tmp_path, label_studio_url=url, label_studio_api_key=LEGACY_KEY, model_dir=tmp_path)
        titles = VersionTitles(settings, FAST)
        titles.start()
        wait_for(lambda: server.seen)
        began = time.monotonic()
        titles.end()
        assert time.monotonic() - began < 3
        titles.join(30)
