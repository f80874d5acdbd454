"""The management client against a server on loopback that keeps models as TorchServe 0.12.0 does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from layoutloop.errors import ManagementError
from layoutloop.torchserve.management import ManagementClient, ServedVersion
from layoutloop.torchserve.tokens import TokenFile

V1, V2, V3 = "20261122T083000Z", "20261122T093000Z", "20261122T103000Z"
Answer = tuple[int, Any]


@dataclass
class Registered:
    """One version: its workers, and how many requests wait for it at each of the next times somebody looks."""

    workers: int
    dead: bool = False  # all workers have ended for good
    pending: list[int] = field(default_factory=list)


class FakeManagement(ThreadingHTTPServer):
    """Registers, scales, makes default and unregisters in memory; `calls` has what changed something.

    Args:
        archives: TorchServe's model store.
        key_file: where its keys are written.
    """

    daemon_threads = True

    def __init__(self, archives: Path, key_file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archives = archives
        self.key_file = key_file
        self.models: dict[str, dict[str, Registered]] = {}
        self.default: dict[str, str] = {}
        self.broken: set[str] = set()  # versions whose workers do not start
        self.late: set[str] = set()  # versions whose workers start too late: they stay registered without any
        self.raced: set[str] = set()  # versions that somebody else registers a moment earlier: 409
        self.refused: set[str] = set()  # calls answered 500, like "DELETE /models/ocr/1"
        self.calls: list[str] = []
        self.lock = threading.Lock()
        self.new_keys("first-key")

    def new_keys(self, key: str) -> None:
        self.key = key
        self.key_file.parent.mkdir(parents=True, exist_ok=True)
        self.key_file.write_text(json.dumps({"management": {"key": key}}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def hold(self, name: str, *versions: str, workers: int = 1) -> None:
        """Have versions registered already; the first is the default."""
        for version in versions:
            self.models.setdefault(name, {})[version] = Registered(workers)
            self.default.setdefault(name, version)

    def held(self) -> dict[str, list[str]]:
        return {name: sorted(versions) for name, versions in self.models.items()}

    def answer(self, method: str, target: str) -> Answer:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = [unquote(part) for part in parts.path.split("/")[2:]]
        if method != "GET":
            self.calls.append(f"{method} {unquote(target)}")
        if f"{method} {parts.path}" in self.refused:
            return 500, error(500, "InternalServerException", "no such luck")
        match method, path:
            case "GET", []:
                return self._list(int(query["limit"]), int(query["next_page_token"]))
            case "POST", []:
                return self._register(query)
            case "GET", [name]:
                return self._describe(name, [self.default.get(name, "")])
            case "GET", [name, "all"]:
                return self._describe(name, sorted(self.models.get(name, ())))
            case "PUT", [name, version, "set-default"] if version in self.models.get(name, ()):
                self.default[name] = version
                return 200, {"status": f"Default version succesfully updated for model {name!r} to {version!r}"}
            case "PUT", [name, version] if version in self.models.get(name, ()):
                self.models[name][version].workers = int(query["min_worker"])
                return 200, {"status": f"Workers scaled to {query['min_worker']} for model: {name}"}
            case "DELETE", [name, version] if version in self.models.get(name, ()):
                return self._unregister(name, version)
            case _, [name, *_]:
                return 404, error(404, "ModelNotFoundException", f"Model not found: {name}")
        return 405, error(405, "MethodNotAllowedException", "Requested method is not allowed")

    def _list(self, limit: int, start: int) -> Answer:
        names = sorted(self.models)[start : start + limit]
        body: dict[str, Any] = {"models": [{"modelName": name, "modelUrl": f"{name}.mar"} for name in names]}
        if start + limit < len(self.models):
            body["nextPageToken"] = str(start + limit)
        return 200, body

    def _describe(self, name: str, versions: list[str]) -> Answer:
        if name not in self.models:
            return 404, error(404, "ModelNotFoundException", f"Model not found: {name}")
        return 200, [self._description(name, version) for version in versions]

    def _description(self, name: str, version: str) -> dict[str, Any]:
        one = self.models[name][version]
        return {
            "modelName": name,
            "modelVersion": version,
            "minWorkers": one.workers,
            "maxWorkers": one.workers,
            "workers": [
                {"id": str(9000 + index), "status": "UNLOADED" if one.dead else "READY"} for index in range(one.workers)
            ],
            "jobQueueStatus": {"remainingCapacity": 100, "pendingRequests": one.pending.pop(0) if one.pending else 0},
        }

    def _register(self, query: dict[str, str]) -> Answer:
        name = query["model_name"]
        if not (self.archives / query["url"]).is_file():
            return 404, error(404, "ModelNotFoundException", f"Model not found at: {query['url']}")
        assert query["synchronous"] == "true"
        version = query["url"].removeprefix(f"{name}-").removesuffix(".mar")
        if version in self.raced:
            self.hold(name, version)
        if version in self.models.get(name, ()):
            return 409, error(
                409, "ConflictStatusException", f"Model version {version} is already registered for model {name}"
            )
        if version in self.broken:
            return 500, error(
                500, "InternalServerException", f"Failed to start workers for model {name} version: {version}"
            )
        self.hold(name, version, workers=0 if version in self.late else int(query["initial_workers"]))
        if version in self.late:
            return 500, error(
                500, "InternalServerException", f"Failed to start workers for model {name} version: {version}"
            )
        return 200, {
            "status": f'Model "{name}" Version: {version} registered with {query["initial_workers"]} initial workers'
        }

    def _unregister(self, name: str, version: str) -> Answer:
        if self.default[name] == version and len(self.models[name]) > 1:
            return 403, error(403, "ForbiddenException", f"Cannot remove default version for model {name}")
        del self.models[name][version]
        if not self.models[name]:
            del self.models[name], self.default[name]
        return 200, {"status": f'Model "{name}" unregistered'}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeManagement

    def do_GET(self) -> None:
        with self.server.lock:
            if self.headers.get("Authorization") == (f"Bearer {self.server.key}" if self.server.key else None):
                status, body = self.server.answer(self.command, self.path)
            else:
                status, body = 400, error(400, "InvalidKeyException", "Token Authorization failed.")
        data = json.dumps(body, indent=2).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names http.server calls

    def log_message(self, *_: object) -> None:
        pass


def error(code: int, kind: str, message: str) -> dict[str, Any]:
    return {"code": code, "type": kind, "message": message}


@contextmanager
def open_management(folder: Path) -> Iterator[FakeManagement]:
    archives = folder / "archives"
    archives.mkdir(parents=True)
    server = FakeManagement(archives, folder / "key_file.json")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeManagement]:
    with open_management(tmp_path) as server:
        yield server


@pytest.fixture
def client(fake: FakeManagement) -> ManagementClient:
    return ManagementClient(fake.url, TokenFile(fake.key_file))


def test_models_page_by_page(fake: FakeManagement, client: ManagementClient) -> None:
    assert client.models() == []
    names = [f"project-{number:03}" for number in range(250)]
    for name in names:
        fake.hold(name, V1)
    assert client.models() == names


def test_versions_of_a_model(fake: FakeManagement, client: ManagementClient) -> None:
    fake.hold("ocr", V1, V2, workers=2)
    fake.models["ocr"][V1].pending = [7]
    assert client.versions("ocr") == [ServedVersion(V1, 2, 2, 7), ServedVersion(V2, 2, 2, 0)]
    assert client.default_version("ocr") == V1
    assert client.versions("project-7") == []
    assert client.default_version("project-7") is None


def test_registering_waits_for_the_workers(fake: FakeManagement, client: ManagementClient) -> None:
    (fake.archives / f"project-7-{V1}.mar").touch()
    client.register(f"project-7-{V1}.mar", "project-7", 2)
    assert fake.calls == [
        f"POST /models?url=project-7-{V1}.mar&model_name=project-7&initial_workers=2&synchronous=true"
    ]
    assert client.versions("project-7") == [ServedVersion(V1, 2, 2, 0)]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        pytest.param("missing", "404 ModelNotFoundException: Model not found at: ", id="archive is not there"),
        pytest.param("registered", "409 ConflictStatusException: Model version", id="registered already"),
        pytest.param("broken", "500 InternalServerException: Failed to start workers", id="does not load"),
    ],
)
def test_registering_fails_in_torchserves_words(
    fake: FakeManagement, client: ManagementClient, state: str, sentence: str
) -> None:
    if state != "missing":
        (fake.archives / f"ocr-{V1}.mar").touch()
    if state == "registered":
        fake.hold("ocr", V1)
    if state == "broken":
        fake.broken.add(V1)
    with pytest.raises(ManagementError, match=f"POST /models: {sentence}"):
        client.register(f"ocr-{V1}.mar", "ocr", 1)


def test_scaling_and_making_default(fake: FakeManagement, client: ManagementClient) -> None:
    fake.hold("ocr", V1, V2)
    client.scale("ocr", V2, 3)
    client.scale("ocr", V1, 2, wait=False)
    client.set_default("ocr", V2)
    assert fake.calls == [
        f"PUT /models/ocr/{V2}?min_worker=3&max_worker=3&synchronous=true",
        f"PUT /models/ocr/{V1}?min_worker=2&max_worker=2&synchronous=false",
        f"PUT /models/ocr/{V2}/set-default",
    ]
    assert client.default_version("ocr") == V2


def test_unregistering(fake: FakeManagement, client: ManagementClient) -> None:
    fake.hold("ocr", V1, V2)
    with pytest.raises(ManagementError, match="403 ForbiddenException: Cannot remove default version for model ocr"):
        client.unregister("ocr", V1)
    client.unregister("ocr", V2)
    client.unregister("ocr", V2)
    client.unregister("ocr", V1)
    client.unregister("ocr", V1)
    assert fake.held() == {}


def test_names_cannot_leave_their_place_in_the_path(fake: FakeManagement, client: ManagementClient) -> None:
    fake.hold("ocr", V1)
    assert client.versions("../models/ocr") == []
    client.unregister("x/../ocr", V1)
    assert fake.held() == {"ocr": [V1]}


def test_draining_waits_until_nothing_is_queued_and_a_little_longer(
    fake: FakeManagement, client: ManagementClient
) -> None:
    fake.hold("ocr", V1)
    fake.models["ocr"][V1].pending = [3, 2, 1]
    began = time.monotonic()
    client.drain("ocr", V1)
    assert 3.5 < time.monotonic() - began < 6
    assert fake.models["ocr"][V1].pending == []


def test_draining_what_is_gone_is_done_at_once(fake: FakeManagement, client: ManagementClient) -> None:
    fake.hold("ocr", V2)
    began = time.monotonic()
    client.drain("ocr", V1)
    client.drain("project-7", V1)
    assert time.monotonic() - began < 1


def test_keys_of_the_next_start_are_read(fake: FakeManagement, client: ManagementClient) -> None:
    fake.hold("ocr", V1)
    assert client.models() == ["ocr"]
    fake.new_keys("second-key")
    assert client.models() == ["ocr"]


def test_a_key_that_is_never_right(fake: FakeManagement, client: ManagementClient) -> None:
    fake.key = "another"
    with pytest.raises(ManagementError, match="400 InvalidKeyException"):
        client.models()


def test_a_torchserve_without_keys(fake: FakeManagement) -> None:
    fake.key = ""
    client = ManagementClient(fake.url, None)
    assert client.models() == []
    fake.key = "wanted"
    with pytest.raises(ManagementError, match="400 InvalidKeyException"):
        client.models()


def test_no_torchserve(tmp_path: Path) -> None:
    with open_management(tmp_path) as server:
        client = ManagementClient(server.url, TokenFile(server.key_file))
    with pytest.raises(ManagementError, match="TorchServe does not answer"):
        client.models()
    with pytest.raises(ManagementError, match="holds no management key; is TorchServe running"):
        ManagementClient("http://127.0.0.1:9", TokenFile(tmp_path / "missing.json")).models()


def test_no_proxy_is_used(fake: FakeManagement, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ManagementClient(fake.url, TokenFile(fake.key_file)).models() == []
