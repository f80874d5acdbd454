"""The key in a file: what a file must hold, and how another key in it is taken while everything runs."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from layoutloop.errors import ImageUnavailable, SettingsInvalid, StudioRefused, StudioUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.studio.api_key import REREAD_S, LabelStudioKey
from layoutloop.studio.api_key_file import MAX_KEY_BYTES, read_key_file
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.image_fetcher import ImageFetcher
from tests.far_servers import IMAGE, LEGACY_KEY, PERSONAL_KEY, SECRET, _Handler, _Server, jwt, serve

OTHER_LEGACY = "f" * 40
OTHER_PERSONAL = jwt(token_type="refresh", exp=8_000_000_000, jti="other")
KEYS = (LEGACY_KEY, OTHER_LEGACY, PERSONAL_KEY, OTHER_PERSONAL)
UNREAD = 600.0


@dataclass
class Studio:
    """Takes one key, of either kind, and nothing that an earlier one bought."""

    key: str
    refuses: int = 401
    to_others: int = 401
    access: set[str] = field(default_factory=set)

    def change(self, key: str) -> None:
        self.key = key
        self.access.clear()

    def __call__(self, handler: _Handler) -> None:
        given = handler.headers.get("Authorization", "")
        if handler.path == "/api/token/refresh/":
            self._refresh(handler)
        elif given == f"Token {self.key}" or given.removeprefix("Bearer ") in self.access:
            handler.reply(200, IMAGE if handler.path.startswith("/data/") else b'{"well": true}')
        else:
            handler.reply(self.to_others, b'{"detail": "Invalid token."}')

    def _refresh(self, handler: _Handler) -> None:
        if json.loads(handler.server.seen[-1].body) != {"refresh": self.key}:
            handler.reply(self.refuses, b'{"detail": "Token is blacklisted"}')
            return
        token = jwt(token_type="access", exp=time.time() + 300, jti=len(handler.server.seen))
        self.access.add(token)
        handler.reply(200, json.dumps({"access": token}).encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mounted Secret of Kubernetes: `key` -> `..data/key`, `..data` -> `..1`; only the second link ever moves."""
    (tmp_path / "key").symlink_to("..data/key")
    return tmp_path


def put(folder: Path, key: str) -> Path:
    """Put a key in, as a whole folder that takes the place of the last one."""
    new = folder / f"..{len(list(folder.iterdir()))}"
    new.mkdir()
    (new / "key").write_text(f"{key}\n")
    (folder / "..new").symlink_to(new.name)
    (folder / "..new").replace(folder / "..data")
    return folder / "key"


@contextmanager
def opened(
    server: _Server, path: Path, reread_s: float = 0.0
) -> Iterator[tuple[LabelStudioKey, StudioClient, ImageFetcher]]:
    """A key, and those who ask Label Studio with it."""
    url = f"http://127.0.0.1:{server.port}"
    with (
        closing(LabelStudioKey(url, path, reread_s=reread_s)) as key,
        closing(StudioClient(url, key)) as client,
        closing(ImageFetcher(url, key)) as images,
    ):
        yield key, client, images


def make_nothing(path: Path) -> None:
    pass


def holding(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(make_nothing, "cannot be read: No such file or directory", id="missing"),
        pytest.param(holding(b""), "is empty", id="empty"),
        pytest.param(holding(b" \n"), "is empty", id="blank"),
        pytest.param(Path.mkdir, "is no file that can be read again", id="a folder"),
        pytest.param(os.mkfifo, "is no file that can be read again", id="a pipe"),
        pytest.param(lambda path: path.symlink_to(path.name), "cannot be read: Too many levels", id="a link to itself"),
        pytest.param(holding(b"x" * (MAX_KEY_BYTES + 1)), "has more than 4096 bytes", id="too large"),
        pytest.param(holding(SECRET.encode() + b" b"), "holds white space or characters", id="two words"),
        pytest.param(holding(SECRET.encode() + b"\r\nX: 1"), "holds white space or characters", id="two lines"),
        pytest.param(holding(SECRET.encode() + b"\xfc"), "holds white space or characters", id="no ASCII"),
    ],
)
def test_a_file_that_holds_no_key_is_named_and_hurts_nothing_that_needs_none(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "key"
    make(path)
    named = rf"{re.escape(str(path))} \(LABEL_STUDIO_API_KEY_FILE\) {says}"
    with pytest.raises(SettingsInvalid, match=f"^{named}") as no:
        read_key_file(path)
    assert SECRET not in f"{no.value} {no.value.__cause__!r}"
    key = LabelStudioKey(
        "http://127.0.0.1:9", Settings.from_env({"LABEL_STUDIO_API_KEY_FILE": str(path)}).label_studio_api_key
    )
    assert (key.header(), key.kind) == ({}, "no key")
    assert re.search(f"; now {named}", key.remedy("that may read"))
    assert SECRET not in key.remedy("that may read")


def test_a_key_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbf  " + PERSONAL_KEY.encode() + b"\r\n")
    assert read_key_file(path) == PERSONAL_KEY


@pytest.mark.parametrize("after", KEYS, ids=["legacy", "other legacy", "personal", "other personal"])
@pytest.mark.parametrize("before", [LEGACY_KEY, PERSONAL_KEY], ids=["legacy", "personal"])
def test_another_key_is_taken_when_the_known_one_is_refused(
    folder: Path, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    studio = Studio(before)
    path = put(folder, before)
    with (
        caplog.at_level(logging.INFO, "layoutloop"),
        serve("127.0.0.1", studio) as server,
        opened(server, path, REREAD_S) as (key, client, images),
    ):
        assert client.get("/api/x") == {"well": True}
        studio.change(after)
        put(folder, after)
        assert images.fetch("/data/upload/1/a.png") == IMAGE
        assert client.post("/api/x", {}) == {"well": True}
        assert client.key_kind == (
            "personal access token" if after in (PERSONAL_KEY, OTHER_PERSONAL) else "legacy token"
        )
    assert caplog.text.count("holds another key now") == (before != after)
    assert not any(secret in caplog.text + repr(key) for secret in KEYS)


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("after", [LEGACY_KEY, OTHER_PERSONAL], ids=["legacy", "personal"])
def test_another_key_is_taken_when_the_exchange_is_refused(folder: Path, status: int, after: str) -> None:
    studio = Studio(PERSONAL_KEY, refuses=status)
    with serve("127.0.0.1", studio) as server:
        with open_studio(f"http://127.0.0.1:{server.port}", put(folder, PERSONAL_KEY)) as client:
            studio.change(after)
            put(folder, after)
            # No access token yet: the exchange is the first to be refused.
            assert client.get("/api/x") == {"well": True}
        assert [seen.target for seen in server.seen].count("/api/x") == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_key_that_may_see_more_is_taken_although_the_known_one_is_good(folder: Path, status: int) -> None:
    studio = Studio(LEGACY_KEY, to_others=status)
    path = put(folder, OTHER_LEGACY)
    with serve("127.0.0.1", studio) as server, opened(server, path) as (_, client, images):
        with pytest.raises(StudioRefused):
            client.get("/api/x")
        assert len(server.seen) == 1
        put(folder, LEGACY_KEY)
        assert images.fetch("/data/upload/1/a.png") == IMAGE
        put(folder, OTHER_LEGACY)
        studio.change(OTHER_LEGACY)
        assert client.post("/api/x", {}) == {"well": True}


@pytest.mark.parametrize("after", [OTHER_LEGACY, OTHER_PERSONAL], ids=["legacy", "personal"])
@pytest.mark.parametrize("before", [LEGACY_KEY, PERSONAL_KEY], ids=["legacy", "personal"])
def test_all_threads_go_on_with_the_other_key(folder: Path, before: str, after: str) -> None:
    studio = Studio(before)
    path = put(folder, before)
    with serve("127.0.0.1", studio) as server, open_studio(f"http://127.0.0.1:{server.port}", path) as client:
        client.get("/api/x")
        studio.change(after)
        put(folder, after)
        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(lambda _: client.get("/api/x"), range(64))) == [{"well": True}] * 64


def test_the_file_is_looked_at_every_few_seconds_at_most(folder: Path) -> None:
    studio = Studio(OTHER_LEGACY)
    path = put(folder, LEGACY_KEY)
    with serve("127.0.0.1", studio) as server:
        url = f"http://127.0.0.1:{server.port}"
        for reread_s, taken in ((UNREAD, False), (0.3, True)):
            put(folder, LEGACY_KEY)
            with (
                closing(LabelStudioKey(url, path, reread_s=reread_s)) as key,
                closing(StudioClient(url, key)) as client,
            ):
                with pytest.raises(StudioRefused):
                    client.get("/api/x")
                put(folder, OTHER_LEGACY)
                time.sleep(0.4)
                if taken:
                    client.get("/api/x")
                else:
                    with pytest.raises(StudioRefused):
                        client.get("/api/x")


def test_nobody_looks_while_the_key_is_taken(folder: Path) -> None:
    path, studio = put(folder, LEGACY_KEY), Studio(LEGACY_KEY)
    with serve("127.0.0.1", studio) as server, open_studio(f"http://127.0.0.1:{server.port}", path) as client:
        client.get("/api/x")
        put(folder, OTHER_LEGACY)
        assert client.get("/api/x") == {"well": True}


@pytest.mark.parametrize("key", [LEGACY_KEY, PERSONAL_KEY], ids=["legacy", "personal"])
def test_a_file_that_breaks_leaves_the_key_and_is_named(folder: Path, key: str) -> None:
    studio = Studio(key)
    path = put(folder, key)
    with serve("127.0.0.1", studio) as server, opened(server, path) as (_, client, images):
        client.get("/api/x")
        studio.change(OTHER_LEGACY)
        put(folder, f"{SECRET} b")
        says = rf"into {path} \(LABEL_STUDIO_API_KEY_FILE\), no restart is needed; now {path} .* holds white space"
        with pytest.raises(StudioUnavailable, match=says) as refused:
            client.get("/api/x")
        assert not any(secret in str(refused.value) for secret in (key, SECRET))
        path.unlink()
        with pytest.raises(ImageUnavailable, match=rf"now {path} .* cannot be read: No such file"):
            images.fetch("/data/upload/1/a.png")
        studio.change(key)
        assert client.get("/api/x") == {"well": True}
        path.write_text(OTHER_LEGACY)
        studio.change(OTHER_LEGACY)
        assert client.get("/api/x") == {"well": True}


def test_what_the_known_key_bought_is_not_used_with_another(folder: Path) -> None:
    def sell(handler: _Handler) -> None:
        token = jwt(token_type="access", exp=time.time() + 300, jti=len(handler.server.seen))
        handler.reply(200, json.dumps({"access": token}).encode())

    path = put(folder, PERSONAL_KEY)
    with serve("127.0.0.1", sell) as server, closing(LabelStudioKey(f"http://127.0.0.1:{server.port}", path)) as key:
        first = key.header()
        put(folder, OTHER_PERSONAL)
        key.forget()
        assert key.header() != first
        assert [json.loads(seen.body)["refresh"] for seen in server.seen] == [PERSONAL_KEY, OTHER_PERSONAL]


def test_a_key_that_was_revoked_has_a_sentence_with_the_file(folder: Path) -> None:
    path, studio = put(folder, LEGACY_KEY), Studio(OTHER_LEGACY)
    with (
        serve("127.0.0.1", studio) as server,
        open_studio(f"http://127.0.0.1:{server.port}", path) as client,
        pytest.raises(StudioRefused) as refused,
    ):
        client.get("/api/x")
    assert str(refused.value).endswith(
        f"/api/x answered 401: put a key of a person who may do this in the project into {path} "
        "(LABEL_STUDIO_API_KEY_FILE), no restart is needed (it says: Invalid token.)"
    )


def test_a_personal_key_with_no_address_to_exchange_it_at_changes_nothing(folder: Path) -> None:
    with closing(LabelStudioKey("", put(folder, LEGACY_KEY))) as key:
        put(folder, PERSONAL_KEY)
        key.forget()
        assert key.header() == {"Authorization": f"Token {LEGACY_KEY}"}
        assert "LABEL_STUDIO_URL is needed" in key.remedy("of yours")
