"""What scripts.serve says of Label Studio, with a real server in its place."""

from __future__ import annotations

import re
import socket

import pytest

from scripts.studio import label_studio_problem
from shim.settings import Settings
from tests.shim.far_servers import LEGACY_KEY, _Handler, serve


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


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        problem = label_studio_problem(Settings(label_studio_url=url, label_studio_api_key=LEGACY_KEY))
    assert problem is not None
    assert problem.startswith(f"{url}/api/current-user/whoami could not be asked")


def test_something_else_is_there() -> None:
    with serve("127.0.0.1", lambda request: request.reply(200, b"[]")) as other:
        url = f"http://127.0.0.1:{other.port}"
        problem = label_studio_problem(Settings(label_studio_url=url, label_studio_api_key=LEGACY_KEY))
    assert "set LABEL_STUDIO_URL to its address" in (problem or "")
