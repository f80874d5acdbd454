"""The inference client against a server on loopback that answers as TorchServe 0.12.0 was measured to."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from handler.errors import MachineFailed
from layoutloop.errors import (
    DeadlineExceeded,
    LayoutLoopError,
    ModelNotReady,
    PageRejected,
    TorchServeUnavailable,
)
from layoutloop.torchserve.inference import InferenceClient, PageRequest
from layoutloop.torchserve.tokens import TokenFile
from tests.far_servers import Seen, _Handler, _Server, serve

VERSION = "20261122T083000Z"
OK = {"format": 1, "words": []}
WORKER_DIED = {"code": 500, "type": "InternalServerException", "message": "Worker died."}
OUT_OF_MEMORY = {"code": 507, "type": "InternalServerException", "message": "Out of memory resources"}
QUEUE_FULL = {
    "code": 503,
    "type": "ServiceUnavailableException",
    "message": 'Model "ocr" Version has no capacity to serve inference request, the job queue is full.',
}
NO_WORKER = {
    "code": 503,
    "type": "ServiceUnavailableException",
    "message": 'Model "ocr" has no worker to serve inference request. Please use scale workers API to add workers.',
}
INVALID_KEY = {
    "code": 400,
    "type": "InvalidKeyException",
    "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
}
DISK_FULL = {"error": {"code": "machine_failed", "message": "No space left on device (/tmp/x)"}}
HANG, CLOSE, CUT = "hang", "close", "cut"

Reply = tuple[int, Any] | str
"""Status and JSON body (bytes go out as they are), or one of HANG, CLOSE and CUT."""


class FakeTorchServe:
    """Models by (name, version), each a function of the request; `script` answers the next requests before them."""

    def __init__(self, key_file: Path) -> None:
        self.key_file = key_file
        self.models: dict[tuple[str, str], Callable[[Seen], Reply]] = {}
        self.script: deque[Reply] = deque()
        self.seen: list[Seen] = []
        self.busiest: dict[str, int] = {}
        self.closing = threading.Event()
        self._busy: dict[str, int] = {}
        self._lock = threading.Lock()
        self.new_keys("first-key")

    def new_keys(self, key: str, *, on_disk: bool = True) -> None:
        self.key = key
        if on_disk:
            kinds = {"management": f"m-{key}", "inference": key, "API": f"a-{key}"}
            body = {kind: {"key": key, "expiration time": "2036-11-20T08:30:00Z"} for kind, key in kinds.items()}
            self.key_file.parent.mkdir(parents=True, exist_ok=True)
            self.key_file.write_text(json.dumps(body))

    def count(self, name: str) -> int:
        """How many requests model `name` got."""
        return sum(f"/predictions/{name}/" in seen.target for seen in self.seen)

    def __call__(self, handler: _Handler) -> None:
        seen = next(one for one in reversed(self.seen) if one.client_port == handler.client_address[1])
        name = handler.path.split("/")[2] if handler.path.count("/") > 1 else handler.path
        with self._lock:
            reply = self.script.popleft() if self.script else None
            self._busy[name] = self._busy.get(name, 0) + 1
            self.busiest[name] = max(self.busiest.get(name, 0), self._busy[name])
        try:
            reply = reply or self._reply(handler, seen)
        finally:
            with self._lock:
                self._busy[name] -= 1
        self._send(handler, reply)

    def _reply(self, handler: _Handler, seen: Seen) -> Reply:
        if handler.headers.get("Authorization") != (f"Bearer {self.key}" if self.key else None):
            return 400, INVALID_KEY
        if handler.path == "/ping":
            return 200, {"status": "Healthy"}
        _, _, name, version = handler.path.split("/")
        model = self.models.get((name, version))
        if model is not None:
            return model(seen)
        if any(known == name for known, _ in self.models):
            kind, message = "ModelVersionNotFoundException", f"Model version: {version} does not exist for model"
        else:
            kind, message = "ModelNotFoundException", "Model not found"
        return 404, {"code": 404, "type": kind, "message": f"{message}: {name}"}

    def _send(self, handler: _Handler, reply: Reply) -> None:
        handler.close_connection = isinstance(reply, str)
        if reply == HANG:
            self.closing.wait(30)
        elif reply == CUT:
            handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"format"')
        elif not isinstance(reply, str):
            status, body = reply
            data = body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()
            handler.reply(status, data)


@contextmanager
def start(key_file: Path) -> Iterator[tuple[FakeTorchServe, _Server]]:
    fake = FakeTorchServe(key_file)
    with serve("127.0.0.1", fake) as server:
        fake.seen = server.seen
        try:
            yield fake, server
        finally:
            fake.closing.set()


class Scene:
    """A fake TorchServe with model `ocr`, and a client of it."""

    def __init__(self, fake: FakeTorchServe, server: _Server) -> None:
        self.fake = fake
        self.url = f"http://127.0.0.1:{server.port}"
        fake.models["ocr", VERSION] = lambda _: (200, OK)
        self.client = self.make_client()

    def make_client(self, read_timeout_s: float = 0.5, start_s: float = 30.0) -> InferenceClient:
        return InferenceClient(self.url, TokenFile(self.fake.key_file), read_timeout_s, start_s)

    def ask(
        self,
        seconds: float = 3.0,
        client: InferenceClient | None = None,
        model: str = "ocr",
        version: str = VERSION,
        in_flight: int = 4,
    ) -> dict[str, Any]:
        return (client or self.client).predict(
            PageRequest(model, version, b"image", "image/png", in_flight=in_flight), time.monotonic() + seconds
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with start(tmp_path / "key_file.json") as (fake, server):
        yield Scene(fake, server)


def test_a_request_as_it_arrives(scene: Scene) -> None:
    parameters = {"language": "deu+eng", "psm": "6", "thumbnail": "1"}
    request = PageRequest("ocr", VERSION, b"\x89PNG", "application/octet-stream", parameters)
    answer = scene.client.predict(request, time.monotonic() + 3)
    assert answer == OK
    (seen,) = scene.fake.seen
    assert (seen.method, seen.target, seen.body) == ("POST", f"/predictions/ocr/{VERSION}", b"\x89PNG")
    wanted = {
        "Authorization": "Bearer first-key",
        "Content-Type": "application/octet-stream",
        "X-LayoutLoop-Language": "deu+eng",
        "X-LayoutLoop-Psm": "6",
        "X-LayoutLoop-Thumbnail": "1",
    }
    assert wanted.items() <= seen.headers.items()


def test_names_cannot_leave_their_place_in_the_path(scene: Scene) -> None:
    with pytest.raises(ModelNotReady):
        scene.ask(model="project-7/../ocr", version="1?x=y")
    assert scene.fake.seen[0].target == "/predictions/project-7%2F..%2Focr/1%3Fx%3Dy"


def test_no_proxy_is_used(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(tmp_path / "proxy" / "key_file.json") as (proxy, server):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert scene.ask(client=scene.make_client()) == OK
        assert proxy.seen == []
    assert "HTTP_PROXY" in os.environ


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param([HANG], id="dropped without any answer"),
        pytest.param([CLOSE], id="connection closed"),
        pytest.param([CLOSE, CLOSE, CLOSE, CLOSE], id="connection closed again and again"),
        pytest.param([CUT], id="connection closed amid the answer"),
        pytest.param([(500, WORKER_DIED)], id="worker died"),
        pytest.param([(500, WORKER_DIED), (507, WORKER_DIED | {"code": 507})], id="worker died twice"),
        pytest.param([(503, QUEUE_FULL)] * 3, id="queue full"),
        pytest.param([(400, INVALID_KEY)], id="the key was half written"),
        pytest.param([(503, b"")], id="nothing said"),
    ],
)
def test_what_is_worth_another_try_gets_one(scene: Scene, failures: list[Reply]) -> None:
    scene.fake.script.extend(failures)
    assert scene.ask(8.0) == OK
    assert scene.fake.count("ocr") == len(failures) + 1


@pytest.mark.parametrize(
    ("reply", "error", "sentence"),
    [
        pytest.param((503, NO_WORKER), ModelNotReady, "has no worker", id="no worker"),
        pytest.param(
            (422, {"error": {"code": "image_unreadable", "message": "the bytes are no image"}}),
            *(PageRejected, "the bytes are no image"),
            id="the handler's own error",
        ),
        pytest.param(
            (500, {"error": {"code": "ocr_failed", "message": "tesseract gave up"}}),
            *(PageRejected, "tesseract gave up"),
            id="the handler's own error, 500",
        ),
        pytest.param((413, b""), PageRejected, "max_request_size", id="too many bytes, empty body"),
        pytest.param(
            (400, {"code": 400, "type": "BadRequestException", "message": "odd"}),
            *(TorchServeUnavailable, "400 for /predictions/ocr/"),
            id="a request it does not understand",
        ),
        pytest.param((405, b"<html>"), TorchServeUnavailable, "<html>", id="no TorchServe at all"),
        pytest.param((200, b"fine"), TorchServeUnavailable, "is no JSON", id="200, no JSON"),
        pytest.param((200, b"[" * 100_000), TorchServeUnavailable, "is no JSON", id="200, a bomb"),
        pytest.param((200, [1]), TorchServeUnavailable, "a list, not an object", id="200, a list"),
    ],
)
def test_what_another_try_would_not_change_gets_none(
    scene: Scene, reply: Reply, error: type[LayoutLoopError], sentence: str
) -> None:
    scene.fake.script.append(reply)
    with pytest.raises(error, match=sentence):
        scene.ask()
    assert scene.fake.count("ocr") == 1


def test_the_handlers_code_and_status_are_kept(scene: Scene) -> None:
    scene.fake.script.append((413, {"error": {"code": "image_too_large", "message": "90 megapixels"}}))
    with pytest.raises(PageRejected) as rejected:
        scene.ask()
    assert (rejected.value.code, rejected.value.status) == ("image_too_large", 413)


def test_what_a_machine_lacks_is_tried_again_and_told_of_its_node(scene: Scene) -> None:
    scene.fake.script += [(507, DISK_FULL)] * 2
    assert scene.ask() == OK
    assert scene.client.refusals().sentences == ()
    scene.fake.models["ocr", VERSION] = lambda _: (507, DISK_FULL)
    with pytest.raises(MachineFailed, match="No space left on device"):
        scene.ask()
    assert len(scene.fake.seen) == 3 + 3
    (sentence,) = scene.client.refusals().sentences
    assert sentence == f"{scene.url.removeprefix('http://')}: No space left on device (/tmp/x)"
    assert scene.client.refusals().of_all


@pytest.mark.parametrize(
    ("model", "version", "kind"),
    [
        pytest.param("ocr", "20270101T000000Z", "ModelVersionNotFoundException", id="version"),
        pytest.param("project-7", VERSION, "ModelNotFoundException", id="model"),
    ],
)
def test_404_is_not_ready(scene: Scene, model: str, version: str, kind: str) -> None:
    with pytest.raises(ModelNotReady, match=kind):
        scene.ask(model=model, version=version)
    assert len(scene.fake.seen) == 1


def test_a_page_that_kills_workers_is_not_asked_for_ever(scene: Scene) -> None:
    scene.fake.script.extend([(500, WORKER_DIED)] * 10)
    with pytest.raises(TorchServeUnavailable, match=r"Worker died\., 3 times on this page"):
        scene.ask(10.0)
    assert scene.fake.count("ocr") == 3


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(HANG, id="no answer"),
        pytest.param(CLOSE, id="closed"),
        pytest.param((503, QUEUE_FULL), id="queue full"),
        pytest.param((400, INVALID_KEY), id="wrong key"),
    ],
)
def test_the_deadline_is_kept(scene: Scene, reply: Reply) -> None:
    scene.fake.script.extend([reply] * 100)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="the time for this page is up; last: "):
        scene.ask(1.2)
    assert 1.0 < time.monotonic() - began < 2.0


def test_a_long_read_timeout_ends_with_the_deadline(scene: Scene) -> None:
    scene.fake.script.append(HANG)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="ReadTimeout"):
        scene.ask(1.0, client=scene.make_client(read_timeout_s=42))
    assert time.monotonic() - began < 1.8


def test_a_deadline_that_is_over_asks_nobody(scene: Scene) -> None:
    with pytest.raises(DeadlineExceeded):
        scene.ask(-1.0)
    assert scene.fake.seen == []


def test_a_torchserve_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with start(tmp_path / "key_file.json") as (_, server):
        port = server.port
    client = InferenceClient(f"http://127.0.0.1:{port}", TokenFile(tmp_path / "key_file.json"))
    with pytest.raises(DeadlineExceeded, match="no answer from TorchServe: ConnectionError"):
        client.predict(PageRequest("ocr", VERSION, b"", "image/png"), time.monotonic() + 1)


@pytest.mark.parametrize(
    ("start_s", "answered", "says"),
    [
        pytest.param(30, 0, f"/predictions/ocr/{VERSION} waits: TorchServe has not answered yet", id="it starts"),
        pytest.param(0, 0, "again: no answer from TorchServe: ConnectionError", id="too long for a start"),
        pytest.param(30, 1, "again: no answer from TorchServe: ConnectionError", id="it answered before"),
    ],
)
def test_nobody_answers_yet_is_no_failure_at_a_start(
    scene: Scene, caplog: pytest.LogCaptureFixture, start_s: float, answered: int, says: str
) -> None:
    client = scene.make_client(start_s=start_s)
    for _ in range(answered):
        assert scene.ask(client=client) == OK
    scene.fake.script.append(CLOSE)
    caplog.set_level(logging.INFO, "layoutloop.torchserve.inference")
    assert scene.ask(client=client) == OK
    (line,) = [record.getMessage() for record in caplog.records if record.name == "layoutloop.torchserve.inference"]
    assert says in line


def test_new_keys_are_read_after_a_restart(scene: Scene) -> None:
    assert scene.ask() == OK
    scene.fake.new_keys("second-key")
    assert scene.ask() == OK
    keys = [seen.headers["Authorization"] for seen in scene.fake.seen]
    assert keys == ["Bearer first-key", "Bearer first-key", "Bearer second-key"]


def test_keys_that_reach_the_file_late_are_waited_for(scene: Scene) -> None:
    scene.fake.key_file.write_text('{"inference": {"ke')  # TorchServe writes it in place
    timer = threading.Timer(0.6, lambda: scene.fake.new_keys("late-key"))
    timer.start()
    assert scene.ask(5.0) == OK
    timer.join()
    assert [seen.headers["Authorization"] for seen in scene.fake.seen] == ["Bearer late-key"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no file"),
        pytest.param("", id="empty"),
        pytest.param('{"inference": {"key": "abc', id="half"),
        pytest.param("[]", id="a list"),
        pytest.param('{"inference": "abc"}', id="no key"),
        pytest.param('{"management": {"key": "abc"}}', id="another key only"),
        pytest.param("\udcff\udcfe", id="no text"),
    ],
)
def test_a_key_file_without_the_key(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key_file.json"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(TorchServeUnavailable, match="holds no inference key; is TorchServe running"):
        TokenFile(path).header("inference")


def test_keys_by_kind(scene: Scene) -> None:
    keys = TokenFile(scene.fake.key_file)
    assert keys.header("management") == {"Authorization": "Bearer m-first-key"}
    assert keys.header("inference") == {"Authorization": "Bearer first-key"}


def test_each_model_has_its_bound(scene: Scene) -> None:
    def slowly(_: Seen) -> Reply:
        time.sleep(0.05)
        return 200, OK

    for name in ("ocr", "project-7"):
        scene.fake.models[name, VERSION] = slowly
    client = scene.make_client(read_timeout_s=5)
    places = {"ocr": 2, "project-7": 4}
    with ThreadPoolExecutor(24) as threads:
        asked = [
            threads.submit(scene.ask, 10.0, client, name, in_flight=places[name]) for _ in range(12) for name in places
        ]
        assert all(one.result() == OK for one in asked)
    assert scene.fake.busiest == places


@pytest.mark.parametrize(("page_bytes", "at_a_time"), [(10, 8), (40, 2), (60, 1), (500, 1)])
def test_the_bytes_that_are_under_way_are_bounded(scene: Scene, page_bytes: int, at_a_time: int) -> None:
    def slow(_: Seen) -> Reply:
        time.sleep(0.05)
        return 200, OK

    scene.fake.models["ocr", VERSION] = slow
    client = InferenceClient(scene.url, TokenFile(scene.fake.key_file), body_bytes=100)
    request = PageRequest("ocr", VERSION, bytes(page_bytes), "image/png", in_flight=8)
    with ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(client.predict, request, time.monotonic() + 10) for _ in range(24)]
        assert [one.result() for one in answers] == [OK] * 24
    assert scene.fake.busiest["ocr"] <= at_a_time


def test_a_torchserve_short_of_memory_gets_the_page_again(scene: Scene) -> None:
    scene.fake.script += [(507, OUT_OF_MEMORY)] * 2
    assert scene.ask() == OK
    scene.fake.models["ocr", VERSION] = lambda _: (507, OUT_OF_MEMORY)
    with pytest.raises(MachineFailed, match="TorchServe lacks memory for this page now"):
        scene.ask()


def test_who_waits_longest_goes_first(scene: Scene) -> None:
    """A thread that asks page after page must not keep a page waiting until its time is up."""
    began = threading.Event()

    def slowly(_: Seen) -> Reply:
        began.set()
        time.sleep(0.05)
        return 200, OK

    scene.fake.models["ocr", VERSION] = slowly
    client = scene.make_client(read_timeout_s=5)

    def many() -> None:
        for _ in range(10):
            scene.ask(10.0, client, in_flight=1)

    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(many)
        assert began.wait(5)
        assert scene.ask(10.0, client, in_flight=1) == OK
        assert scene.fake.count("ocr") <= 4
        busy.result()


def test_waiting_for_a_turn_ends_with_the_deadline_and_gives_the_turn_back(scene: Scene) -> None:
    client = scene.make_client(read_timeout_s=1.0)
    scene.fake.script.append(HANG)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(scene.ask, 4.0, client, in_flight=1)
        while not scene.fake.seen:
            time.sleep(0.01)
        with pytest.raises(DeadlineExceeded, match="ocr was busy with other pages"):
            scene.ask(0.3, client, in_flight=1)
        assert first.result() == OK
    for _ in range(3):
        with pytest.raises(ModelNotReady):
            scene.ask(1.0, client, version="1", in_flight=1)
    assert scene.ask(1.0, client, in_flight=1) == OK


def data_uri(content: bytes) -> str:
    """An image reference that needs nobody."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
