"""What the client of Label Studio's API sends, sends again and says of a refusal; `test_export.py` is about answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from layoutloop.errors import SettingsInvalid, StudioRefused, StudioUnavailable
from layoutloop.studio.client import StudioClient, open_studio
from tests.far_servers import LEGACY_KEY, PERSONAL_KEY, Answer, _Handler, _Server, jwt
from tests.studio_server import serve_studio


@contextmanager
def asking(answer: Answer, key: str = LEGACY_KEY, prefix: str = "") -> Iterator[tuple[StudioClient, _Server]]:
    with serve_studio(answer) as server:
        url = f"http://127.0.0.1:{server.port}{prefix}"
        with open_studio(url, key, timeout_s=2) as client:
            yield client, server


def answering(status: int, body: bytes = b"") -> Answer:
    def answer(handler: _Handler) -> None:
        handler.reply(status, body)

    return answer


@pytest.mark.parametrize(
    ("call", "method", "target", "body"),
    [
        pytest.param(lambda c: c.get("/api/ml", {"project": 7}), "GET", "/api/ml?project=7", b"", id="get"),
        pytest.param(lambda c: c.post("/api/ml", {"a": 1}), "POST", "/api/ml", b'{"a": 1}', id="post"),
        pytest.param(lambda c: c.post("/api/x", [1], {"b": "c d"}), "POST", "/api/x?b=c+d", b"[1]", id="a list"),
        pytest.param(lambda c: c.patch("/api/ml/3", {"a": 1}), "PATCH", "/api/ml/3", b'{"a": 1}', id="patch"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/studio"])
def test_what_is_sent(call: Any, method: str, target: str, body: bytes, prefix: str) -> None:
    with asking(answering(201, b'{"id": 3}'), prefix=prefix) as (client, server):
        assert call(client) == {"id": 3}
    (seen,) = server.seen
    assert (seen.method, seen.target, seen.body) == (method, prefix + target, body)
    assert seen.headers["Authorization"] == f"Token {LEGACY_KEY}"
    assert seen.headers.get("Content-Type") == ("application/json" if body else None)


def test_a_file_is_sent_as_a_form() -> None:
    with asking(answering(201, b"{}")) as (client, server):
        client.upload("/api/projects/7/import", "ä b.png", b"\x89PNG", {"commit": "false"})
    (seen,) = server.seen
    assert seen.target == "/api/projects/7/import?commit=false"
    assert seen.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert seen.body.count(b'name="file"; filename=') == 1
    assert b"\r\n\r\n\x89PNG\r\n" in seen.body


def test_an_empty_answer_to_a_change_is_nothing() -> None:
    with asking(answering(204)) as (client, _):
        assert client.post("/api/x", {}) is None
        client.delete("/api/x")
        with pytest.raises(StudioUnavailable, match="no JSON"):
            client.get("/api/x")


@pytest.mark.parametrize(
    ("call", "times"),
    [
        pytest.param(lambda client: client.get("/api/x"), 2, id="get"),
        pytest.param(lambda client: client.post("/api/x", {}), 1, id="post"),
        pytest.param(lambda client: client.patch("/api/x", {}), 1, id="patch"),
        pytest.param(lambda client: client.delete("/api/x"), 1, id="delete"),
        pytest.param(lambda client: client.upload("/api/x", "a", b"b"), 1, id="upload"),
    ],
)
def test_only_a_get_is_sent_again_where_the_connection_broke(call: Any, times: int) -> None:
    def hang_up(handler: _Handler) -> None:
        handler.close_connection = True

    with asking(hang_up) as (client, server):
        with pytest.raises(StudioUnavailable, match="broke off its answer") as broken:
            call(client)
        assert len(server.seen) == times
    assert broken.value.studio_status == 0


def test_a_post_over_a_connection_that_was_closed_meanwhile() -> None:
    def close(handler: _Handler) -> None:
        handler.reply(200, b"{}")
        handler.close_connection = True

    with asking(close) as (client, server):
        for _ in range(3):
            client.post("/api/x", {})
            time.sleep(0.05)
        assert len(server.seen) == 3


def test_a_post_is_asked_again_with_a_new_access_token() -> None:
    access: list[str] = []

    def answer(handler: _Handler) -> None:
        if handler.path == "/api/token/refresh/":
            access.append(jwt(token_type="access", exp=time.time() + 300, jti=len(access)))
            handler.reply(200, json.dumps({"access": access[-1]}).encode())
        else:
            good = len(access) > 1 and handler.headers.get("Authorization") == f"Bearer {access[-1]}"
            handler.reply(200 if good else 401, b"{}")

    with asking(answer, PERSONAL_KEY) as (client, server):
        client.post("/api/x", {"a": 1})
        assert [seen.body for seen in server.seen if seen.target == "/api/x"] == [b'{"a": 1}'] * 2


def problem(**fields: Any) -> bytes:
    return json.dumps({"status_code": 400, "version": "1.23.2", "detail": "Validation error", **fields}).encode()


def invalid(errors: object) -> bytes:
    return problem(validation_errors=errors)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        pytest.param(400, problem(), "Validation error", id="detail"),
        pytest.param(400, invalid({"url": ["Enter it.", "Twice."]}), "url: Enter it. url: Twice.", id="field"),
        pytest.param(400, invalid({"non_field_errors": ["No <a href='x'>more</a>."]}), "No more.", id="no field"),
        pytest.param(400, invalid(["A list."]), "A list.", id="a list"),
        pytest.param(403, problem(detail="URL is reserved"), "URL is reserved", id="refused"),
        pytest.param(500, problem(detail=f"{LEGACY_KEY} and {PERSONAL_KEY}"), "[token] and [token]", id="tokens"),
        pytest.param(400, problem(detail="word " * 200), ("word " * 79)[:-1] + " ...", id="long"),
        pytest.param(400, b"<html>secret</html>", "", id="a web page"),
        pytest.param(400, b'["secret"]', "", id="a list alone"),
        pytest.param(400, b'{"detail": {"a": 5}}', "", id="numbers"),
    ],
)
def test_the_reason_that_label_studio_gives(status: int, body: bytes, reason: str) -> None:
    with asking(answering(status, body)) as (client, server):
        with pytest.raises(StudioUnavailable) as refused:
            client.post("/api/ml", {})
        assert (refused.value.studio_status, refused.value.reason) == (status, reason)
        assert str(refused.value).startswith(f"http://127.0.0.1:{server.port}/api/ml answered {status}")
        assert str(refused.value).endswith(f" (it says: {reason})") == bool(reason)
    assert LEGACY_KEY not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "refused"),
    [(400, False), (401, True), (403, True), (404, True), (409, False), (500, False), (503, False), (302, False)],
)
def test_what_counts_as_refused(status: int, refused: bool) -> None:
    with asking(answering(status)) as (client, _), pytest.raises(StudioUnavailable) as error:
        client.get("/api/ml/3")
    assert isinstance(error.value, StudioRefused) == refused


def test_a_reason_of_one_endless_word_is_read_fast() -> None:
    with asking(answering(500, problem(detail="a" * 65_000))) as (client, _):
        began = time.process_time()
        with pytest.raises(StudioUnavailable):
            client.get("/api/x")
        assert time.process_time() - began < 1.0  # the whole of it would take 4 s and more


@pytest.mark.parametrize(
    ("url", "key"),
    [
        pytest.param("ftp://studio", LEGACY_KEY, id="no address"),
        pytest.param("http://127.0.0.1:9", "a key", id="no key"),
    ],
)
def test_settings_that_cannot_be_used(url: str, key: str) -> None:
    with pytest.raises(SettingsInvalid), open_studio(url, key):
        pytest.fail("it was opened")
