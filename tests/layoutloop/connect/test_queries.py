"""What scripts.serve says of Label Studio, with a real server in its place."""

from __future__ import annotations

import json
import logging
import re
import socket
from pathlib import Path

import pytest

from layoutloop.connect.queries import StatusFile, label_studio_problem
from layoutloop.settings.serving import Settings
from tests.far_servers import LEGACY_KEY, _Handler, serve


def whoami(request: _Handler) -> None:
    """Answer as Label Studio does: who the key belongs to, 401 to another, 404 elsewhere."""
    if request.path != "/api/current-user/whoami":
        request.reply(404)
    else:
        known = request.headers.get("Authorization") == f"Token {LEGACY_KEY}"
        request.reply(*(200, b'{"email": "admin@example.com"}') if known else (401, b'{"detail": "Invalid token."}'))


@pytest.mark.parametrize(
    ("key", "path", "sentence"),
    [
        pytest.param(LEGACY_KEY, "", None, id="all is well"),
        pytest.param("", "", "LABEL_STUDIO_API_KEY is not set", id="no key"),
        pytest.param("f" * 40, "", r"401: set LABEL_STUDIO_API_KEY .* Invalid token\.", id="another key"),
        pytest.param(LEGACY_KEY, "/elsewhere", "answered 404: is that Label Studio's address", id="another address"),
    ],
)
def test_what_would_keep_images_from_being_read(key: str, path: str, sentence: str | None) -> None:
    with serve("127.0.0.1", whoami) as studio:
        url = f"http://127.0.0.1:{studio.port}{path}"
        problem = label_studio_problem(Settings(label_studio_url=url, label_studio_api_key=key))
    if sentence is None:
        assert problem is None
    else:
        assert re.search(sentence, problem or "")


def test_a_key_in_a_file_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("f" * 40)
    with serve("127.0.0.1", whoami) as studio:
        settings = Settings(label_studio_url=f"http://127.0.0.1:{studio.port}", label_studio_api_key=path)
        assert f"into {path} (LABEL_STUDIO_API_KEY_FILE), no restart" in (label_studio_problem(settings) or "")
        path.write_text(LEGACY_KEY)
        assert label_studio_problem(settings) is None


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        problem = label_studio_problem(Settings(label_studio_url=url, label_studio_api_key=LEGACY_KEY))
    assert problem is not None
    assert problem.startswith(f"{url}/api/current-user/whoami could not be reached")


def test_something_else_is_there() -> None:
    with serve("127.0.0.1", lambda request: request.reply(200, b"[]")) as other:
        url = f"http://127.0.0.1:{other.port}"
        problem = label_studio_problem(Settings(label_studio_url=url, label_studio_api_key=LEGACY_KEY))
    assert "set LABEL_STUDIO_URL to its address" in (problem or "")


def test_the_status_is_written_where_it_is_new_or_the_file_old(tmp_path: Path) -> None:
    now = [1000.0]
    path = tmp_path / "home" / "label-studio.json"
    status = StatusFile(path, every_s=60.0, clock=lambda: now[0])
    notes = [(0, True, "a", "A", 1000), (59, True, "a", "A", 1000), (60, True, "a", "A", 1060)]
    notes += [(61, False, "b", "A", 1061), (62, False, "c", "A", 1062), (63, False, "c", "B", 1063)]
    for after, ok, sentence, title, written in [*notes, (-500, False, "c", "B", 500)]:
        now[0] = 1000.0 + after
        status.note(ok, sentence, {7: title})
        body = {"time": written, "ok": ok, "sentence": sentence, "projects": {"7": title}}
        assert json.loads(path.read_text()) == body


def test_a_status_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "home").touch()
    status = StatusFile(tmp_path / "home" / "label-studio.json", every_s=0.0)
    with caplog.at_level(logging.WARNING):
        status.note(True, "a", {})
        status.note(True, "a", {})
    assert len(caplog.records) == 1
