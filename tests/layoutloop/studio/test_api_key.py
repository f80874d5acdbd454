"""Both kinds of key, the exchange, and messages that never hold the key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from layoutloop.errors import SettingsInvalid, StudioUnavailable
from layoutloop.studio.api_key import LabelStudioKey
from tests.far_servers import LEGACY_KEY, PERSONAL_KEY, LabelStudio, jwt, serve

Start = Callable[[Callable[[Any], None]], tuple[LabelStudioKey, Any]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Serve an answer and give a personal access token for that server."""
    with ExitStack() as stack:

        def begin(answer: Callable[[Any], None]) -> tuple[LabelStudioKey, Any]:
            server = stack.enter_context(serve("127.0.0.1", answer))
            key = LabelStudioKey(f"http://127.0.0.1:{server.port}/", PERSONAL_KEY)
            stack.callback(key.close)
            return key, server

        yield begin


def test_no_key_no_header() -> None:
    assert LabelStudioKey("http://127.0.0.1:9", "").header() == {}


@pytest.mark.parametrize("token", [LEGACY_KEY, f" {LEGACY_KEY}\n", "chosen-by-hand"])
def test_legacy_token_is_sent_as_it_is(token: str) -> None:
    key = LabelStudioKey("http://127.0.0.1:9", token)
    key.forget()
    assert key.header() == {"Authorization": f"Token {token.strip()}"}
    assert token.strip() not in repr(key)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ümlaut", "a\x00b"])
def test_impossible_key_fails_at_start(key: str) -> None:
    with pytest.raises(SettingsInvalid, match="LABEL_STUDIO_API_KEY") as caught:
        LabelStudioKey("http://127.0.0.1:9", key)
    assert key not in str(caught.value)


def test_personal_access_token_needs_an_address() -> None:
    with pytest.raises(SettingsInvalid, match="LABEL_STUDIO_URL"):
        LabelStudioKey("", PERSONAL_KEY)


def test_access_token_is_cached_until_forgotten(start: Start) -> None:
    key, server = start(LabelStudio())
    first = key.header()
    assert first["Authorization"].startswith("Bearer ey")
    assert key.header() == first
    assert [request.target for request in server.seen] == ["/api/token/refresh/"]
    assert json.loads(server.seen[0].body) == {"refresh": PERSONAL_KEY}
    assert "Authorization" not in server.seen[0].headers
    key.forget()
    assert key.header() != first
    assert PERSONAL_KEY not in repr(key)


@pytest.mark.parametrize(
    ("life_s", "exchanges"),
    [
        pytest.param(300, 1, id="five minutes"),
        pytest.param(31.2, 2, id="ends within its last 30 seconds"),
        pytest.param(-5, 3, id="this clock is ahead"),
        pytest.param(10**9, 1, id="very long"),
    ],
)
def test_access_token_is_renewed_before_it_ends(life_s: float, exchanges: int, start: Start) -> None:
    key, server = start(LabelStudio(life_s=life_s))
    key.header()
    key.header()
    time.sleep(1.3 if exchanges == 2 else 0)
    key.header()
    assert len(server.seen) == exchanges


def test_threads_wait_for_one_exchange(start: Start) -> None:
    key, server = start(LabelStudio())
    with ThreadPoolExecutor(16) as threads:
        headers = list(threads.map(lambda _: key.header()["Authorization"], range(64)))
    assert len(set(headers)) == 1
    assert len(server.seen) == 1


def test_threads_do_not_queue_up_for_a_server_that_is_silent(start: Start) -> None:
    key, _ = start(lambda handler: handler.drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x", 0.05))

    def fails(_: int) -> bool:
        with pytest.raises(StudioUnavailable):
            key.header(timeout_s=1)
        return True

    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(fails, range(8)))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(lambda h: h.reply(401, b"{}"), "does not take the personal access token", id="revoked"),
        pytest.param(lambda h: h.reply(302, Location="http://127.0.0.1:9/x"), "set LABEL_STUDIO_URL", id="redirect"),
        pytest.param(lambda h: h.reply(500, PERSONAL_KEY.encode()), "answered 500", id="500 quotes the key"),
        pytest.param(lambda h: h.reply(200, b"<html>"), "no token", id="a page"),
        pytest.param(lambda h: h.reply(200, b"[" * 60000), "no token", id="deep JSON"),
        pytest.param(lambda h: h.reply(200, b"[1]"), "no token", id="a list"),
        pytest.param(lambda h: h.reply(200, b'{"access": 5}'), "no JWT", id="a number"),
        pytest.param(lambda h: h.reply(200, b'{"access": "a.b.c\\r\\nX-Evil: 1"}'), "no JWT", id="header inside"),
        pytest.param(lambda h: h.drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 9999, 0.001), "no token", id="endless"),
        pytest.param(lambda h: h.drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.05), "did not answer", id="drips"),
        pytest.param(lambda h: setattr(h, "close_connection", True), "did not answer", id="hangs up"),
    ],
)  # fmt: skip
def test_failed_exchange_has_a_sentence_without_the_key(answer: Callable[[Any], None], says: str, start: Start) -> None:
    key, server = start(answer)
    with pytest.raises(StudioUnavailable, match=says) as caught:
        key.header(timeout_s=1)
    assert PERSONAL_KEY not in f"{caught.value} {caught.value.__cause__!r}"
    assert len(server.seen) == 1


def test_nobody_at_the_address() -> None:
    with pytest.raises(StudioUnavailable, match="does not take connections"):
        LabelStudioKey("http://127.0.0.1:9", PERSONAL_KEY).header()


@pytest.mark.parametrize("claims", [{}, {"exp": "soon"}, {"exp": None}, {"exp": float("nan")}, {"exp": []}])
def test_access_token_without_an_end_is_used_once(claims: dict[str, object], start: Start) -> None:
    body = json.dumps({"access": jwt(**claims)}).encode()
    key, server = start(lambda handler: handler.reply(200, body))
    assert key.header() == key.header()
    assert len(server.seen) == 2


@pytest.mark.parametrize("ahead_s", [-3600, 3600], ids=["an hour behind", "an hour ahead"])
def test_the_life_of_an_access_token_is_counted_on_label_studios_clock(ahead_s: int, start: Start) -> None:
    issued = time.time() + ahead_s
    body = json.dumps({"access": jwt(iat=issued, exp=issued + 300)}).encode()
    key, server = start(lambda handler: handler.reply(200, body))
    assert key.header() == key.header()
    assert len(server.seen) == 1
