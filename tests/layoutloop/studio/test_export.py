"""Label Studio's API against a small one on loopback that answers as the real one did (1.23.2)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from layoutloop.errors import ExportInvalid, FileUnusable, SettingsInvalid, StudioUnavailable
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.export import Project, check_export, export_project, read_export, read_project
from tests.far_servers import LEGACY_KEY, PERSONAL_KEY, SECRET, _Handler, _Server, jwt, serve

CONFIG = '<View><Image name="image" value="$image"/></View>'
PROJECT = {
    **{"id": 7, "title": "Invoices", "label_config": CONFIG, "task_number": 4, "num_tasks_with_annotations": 2},
    **{"useful_annotation_number": 2, "skipped_annotations_number": 1, "total_annotations_number": 3},
}
TASKS: list[dict[str, Any]] = [
    {
        "id": 45,
        "annotations": [{"id": 1, "completed_by": 1, "result": [], "was_cancelled": False, "ground_truth": True}],
        "data": {"image": "/data/upload/8/ca09bd01-p0.png"},
        "drafts": [],
        "predictions": [55],
    }
]
NOT_FOUND = {"status_code": 404, "version": "1.23.2", "detail": "No Project matches the given query."}


@dataclass
class Studio:
    """What Label Studio answers about projects, as measured."""

    access: list[str] = field(default_factory=list)
    personal: bool = False
    prefix: str = ""

    def __call__(self, handler: _Handler) -> None:
        given = handler.headers.get("Authorization", "")
        good = [f"Bearer {self.access[-1]}"] if self.access else [] if self.personal else [f"Token {LEGACY_KEY}"]
        path = handler.path.removeprefix(self.prefix)
        if path == "/api/token/refresh/":
            self.access.append(jwt(token_type="access", exp=time.time() + 300, jti=len(self.access)))
            handler.reply(200, json.dumps({"access": self.access[-1]}).encode())
        elif given not in good:
            handler.reply(401, b'{"detail": "Authentication credentials were not provided."}')
        elif path == "/api/projects/7/":
            handler.reply(200, json.dumps(PROJECT).encode(), Content_Type="application/json")
        elif path == "/api/projects/7/export?exportType=JSON":
            # The content type is what Label Studio really sends.
            handler.reply(200, json.dumps(TASKS).encode(), Content_Type="application/.json")
        else:
            self.misbehave(handler, urlsplit(path).path)

    def misbehave(self, handler: _Handler, path: str) -> None:
        start = b"HTTP/1.1 200 OK\r\n"
        match path.split("/")[3]:
            case "302":
                handler.reply(302, Location=f"http://127.0.0.1:1/{SECRET}")
            case "403":
                handler.reply(403, SECRET.encode())
            case "500":
                handler.reply(500, SECRET.encode())
            case "20001":
                handler.reply(200, b"<!doctype html>")
            case "20002":
                handler.reply(200, b"{}")
            case "20003":
                handler.reply(200, b"[" * 100_000)
            case "20004":
                handler.drip(start + b"Content-Length: 60000\r\n\r\n", b" ", 0.05)
            case "20005":
                handler.drip(start + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n", 0.001)
            case "20006":
                handler.close_connection = True
                handler.wfile.write(start + b"Content-Length: 100\r\n\r\nhalf")
            case "20007":
                handler.reply(200, b"x", Content_Encoding="gzip")
            case _:
                handler.reply(404, json.dumps(NOT_FOUND).encode())


@contextmanager
def asking(studio: Studio, key: str = LEGACY_KEY, **limits: Any) -> Iterator[tuple[StudioClient, _Server]]:
    with serve("127.0.0.1", studio) as server:
        url = f"http://127.0.0.1:{server.port}{studio.prefix}"
        with closing(LabelStudioKey(url, key)) as keyed, closing(StudioClient(url, keyed, **limits)) as client:
            yield client, server


@pytest.mark.parametrize("prefix", ["", "/studio"])
def test_a_project_and_its_annotations(prefix: str) -> None:
    with asking(Studio(prefix=prefix)) as (client, server):
        assert read_project(client, 7) == Project(7, "Invoices", CONFIG, tasks=4, annotated_tasks=2, annotations=3)
        assert export_project(client, 7) == TASKS
    assert [(one.method, one.target) for one in server.seen] == [
        ("GET", f"{prefix}/api/projects/7/"),
        ("GET", f"{prefix}/api/projects/7/export?exportType=JSON"),
    ]


def test_a_personal_access_token_is_exchanged_once() -> None:
    with asking(Studio(personal=True), PERSONAL_KEY) as (client, server):
        assert read_project(client, 7).id == 7
        assert export_project(client, 7) == TASKS
    assert [urlsplit(one.target).path for one in server.seen] == [
        "/api/token/refresh/",
        "/api/projects/7/",
        "/api/projects/7/export",
    ]


def test_an_access_token_that_ended_early_is_exchanged_again() -> None:
    studio = Studio(personal=True)
    with asking(studio, PERSONAL_KEY) as (client, _):
        read_project(client, 7)
        studio.access.append("revoked")
        assert export_project(client, 7) == TASKS
        assert len(studio.access) == 3


@pytest.mark.parametrize(
    ("project", "sentence"),
    [
        pytest.param(302, r"302 \(a redirect, which is not followed\): set LABEL_STUDIO_URL", id="redirect"),
        pytest.param(403, "403: set LABEL_STUDIO_API_KEY to a key of a person who may do this", id="forbidden"),
        pytest.param(404, "404: the project does not exist, or LABEL_STUDIO_API_KEY may not see it", id="no project"),
        pytest.param(500, r"500; is that Label Studio's address \(LABEL_STUDIO_URL\)", id="server error"),
        pytest.param(20001, "200 with something that is no JSON", id="a web page"),
        pytest.param(20003, "200 with something that is no JSON", id="brackets without end"),
        pytest.param(20004, "did not send its whole answer in time", id="drip"),
        pytest.param(20005, "more than 200,000 bytes; export in parts", id="endless"),
        pytest.param(20006, "broke off its answer", id="half an answer"),
        pytest.param(20007, r"compressed \(gzip\), unrequested", id="compressed"),
    ],
)
@pytest.mark.parametrize("call", [read_project, export_project])
def test_anything_but_an_answer_fails_at_once(
    call: Callable[[StudioClient, int], object], project: int, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), asking(Studio(), timeout_s=0.5, max_bytes=200_000) as (client, server):
        began = time.monotonic()
        with pytest.raises(StudioUnavailable, match=sentence) as failed:
            call(client, project)
        assert time.monotonic() - began < 3
        assert str(failed.value).startswith(f"http://127.0.0.1:{server.port}/api/projects/{project}/")
        assert len(server.seen) == 1
    assert SECRET not in str(failed.value) + caplog.text
    assert LEGACY_KEY not in str(failed.value)


def test_a_wrong_key() -> None:
    with asking(Studio(), "f" * 40) as (client, server):
        with pytest.raises(StudioUnavailable, match="401: set LABEL_STUDIO_API_KEY"):
            read_project(client, 7)
        assert len(server.seen) == 1


def test_a_personal_access_token_that_is_not_taken() -> None:
    def refuse(handler: _Handler) -> None:
        handler.reply(401)

    with serve("127.0.0.1", refuse) as server:
        url = f"http://127.0.0.1:{server.port}"
        with (
            open_studio(url, PERSONAL_KEY) as client,
            pytest.raises(StudioUnavailable, match="does not take the personal access token"),
        ):
            read_project(client, 7)


def test_something_that_is_no_project_and_no_export() -> None:
    with asking(Studio()) as (client, _):
        with pytest.raises(StudioUnavailable, match="is no project of Label Studio"):
            read_project(client, 20002)
        with pytest.raises(ExportInvalid, match="holds an object, not a list of tasks"):
            export_project(client, 20002)


def test_nobody_is_there() -> None:
    with serve("127.0.0.1", Studio()) as server:
        url = f"http://127.0.0.1:{server.port}"
    with (
        open_studio(url, LEGACY_KEY) as client,
        pytest.raises(
            StudioUnavailable, match=rf"^{url}/api/projects/7/ could not be reached: .* does not take connections"
        ),
    ):
        read_project(client, 7)


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    def hang_up(handler: _Handler) -> None:
        Studio()(handler)
        handler.close_connection = True

    with serve("127.0.0.1", hang_up) as server:
        url = f"http://127.0.0.1:{server.port}"
        with open_studio(url, LEGACY_KEY) as client:
            for _ in range(3):
                assert read_project(client, 7).title == "Invoices"
                time.sleep(0.05)


def test_proxies_and_netrc_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with asking(Studio()) as (client, server):
        read_project(client, 7)
        assert server.seen[0].headers["Authorization"] == f"Token {LEGACY_KEY}"


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://127.0.0.1", "http://user:secret@127.0.0.1"])
def test_an_address_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="LABEL_STUDIO_URL"):
        StudioClient(url, LabelStudioKey("http://127.0.0.1", LEGACY_KEY))


MINIMAL = [{"image": "/data/upload/8/a.png", "id": 45, "label": [], "annotator": 1, "annotation_id": 1}]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param({"tasks": []}, "holds an object, not a list of tasks", id="an object"),
        pytest.param("x", "holds a str", id="a string"),
        pytest.param([7], "entry 0 is a int, not a task", id="numbers"),
        pytest.param(MINIMAL, "looks like JSON-MIN, which has lost the regions", id="JSON-MIN"),
        pytest.param([{"text": "x"}], "entry 0 has no `data`", id="something else"),
        pytest.param([{"id": 1, "data": {}}], "entry 0 has no list of `annotations`", id="tasks to import"),
        pytest.param([{"data": {}, "annotations": []}], "entry 0 has no task id", id="no id"),
        pytest.param([{"id": True, "data": {}, "annotations": []}], "entry 0 has no task id", id="an id that is none"),
        pytest.param([*TASKS, *TASKS], "task 45 is in it twice", id="twice"),
    ],
)
def test_what_is_no_export(body: object, sentence: str) -> None:
    with pytest.raises(ExportInvalid, match=rf"^the file.*{sentence}.*(JSON in Label Studio|export once more)"):
        check_export(body, "the file")


def test_a_file_that_was_exported(tmp_path: Path) -> None:
    path = tmp_path / "project-8-at-2026-11-23-04-26-d969c8e9.json"
    path.write_text(json.dumps(TASKS))
    assert read_export(path) == TASKS
    path.write_text("[]")
    assert read_export(path) == []


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    with pytest.raises(FileUnusable, match="cannot be read: No such file"):
        read_export(path)
    path.write_bytes(b"image,id\n\xff")
    with pytest.raises(ExportInvalid, match=r"is no JSON; choose Export > JSON"):
        read_export(path)
