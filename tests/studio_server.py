"""A small Label Studio on loopback that keeps projects, ML backends and webhooks as 1.23.2 was seen to keep them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.far_servers import LEGACY_KEY, _Handler, _Server, serve

OCR = (
    '<View><Image name="image" value="$image"/><Labels name="label" toName="image"><Label value="total"/></Labels>'
    '<Rectangle name="bbox" toName="image"/></View>'
)
RECTANGLES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="total"/>'
    "</RectangleLabels></View>"
)
TEXT = '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
RESERVED = "URL resolves to a reserved network address (block: {network})"
Row = dict[str, Any]


class Refused(Exception):
    """An answer that is not a 2xx."""

    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"status_code": status, "version": "1.23.2", **body}


@dataclass
class FakeStudio:
    """Projects, backends and webhooks, and what the shim would say to Label Studio.

    Args:
        blocked: the network that its protection bans the shim's address by; `backends_too` is ML_BLOCK_LOCAL_IP.
        state: what it finds when it asks a backend: CO, DI or ER.
        password: of the Basic auth that the shim wants; "" for none.
        version: what the shim answers to /setup; the row of a backend that answers something else has it as `answers`.
        test: `results` of a test prediction.
    """

    projects: dict[int, Row] = field(default_factory=dict)
    backends: dict[int, Row] = field(default_factory=dict)
    webhooks: dict[int, Row] = field(default_factory=dict)
    passwords: dict[int, str] = field(default_factory=dict)
    blocked: str = ""
    backends_too: bool = True
    state: str = "CO"
    password: str = ""
    version: str = "ocr-0a1b2c3d"
    test: list[Any] = field(default_factory=lambda: [{"result": [{"id": "a"}, {"id": "a"}, {"id": "b"}]}])
    changes: list[str] = field(default_factory=list)
    page_size: int = 2

    def add_project(self, project: int, config: str = OCR, tasks: int = 1, **fields: Any) -> None:
        row = {"id": project, "title": f"Project {project}", "label_config": config, "task_number": tasks}
        self.projects[project] = {**row, "show_collab_predictions": True, "model_version": "", "stored": {}, **fields}

    def add_backend(self, url: str, project: int = 7, **fields: Any) -> Row:
        number = len(self.backends) + 1
        auth = {"auth_method": "NONE", "basic_auth_user": "", "basic_auth_pass_is_set": False}
        row = {"id": number, "project": project, "url": url, "title": "Other", "is_interactive": True, **auth}
        self.backends[number] = {**row, "model_version": None, "error_message": None, **fields}
        return self.backends[number]

    def add_webhook(self, url: str, project: int = 7, **fields: Any) -> Row:
        number = len(self.webhooks) + 1
        row: Row = {"id": number, "project": project, "url": url, "headers": {}, "actions": [], "is_active": True}
        self.webhooks[number] = {**row, "send_payload": True, "send_for_all_actions": True, **fields}
        return self.webhooks[number]

    def __call__(self, handler: _Handler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        text = handler.server.seen[-1].body if length else b""
        try:
            if handler.headers.get("Authorization") != f"Token {LEGACY_KEY}":
                raise Refused(401, detail="Invalid token.")
            status, body = self.answer(handler.command, handler.path, json.loads(text) if text else {})
        except Refused as refused:
            status, body = refused.status, refused.body
        if handler.command != "GET" and status < 300 and "/predict/" not in handler.path:
            self.changes.append(f"{handler.command} {handler.path}")
        handler.reply(status, b"" if status == 204 else json.dumps(body).encode())

    def answer(self, method: str, target: str, body: Row) -> tuple[int, Any]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        routes: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
            (r"GET /api/current-user/whoami", lambda: (200, {"id": 1, "email": "admin@example.com"})),
            (r"GET /api/projects", lambda: self.list_projects(int(query["page"]), query["include"])),
            (r"GET /api/projects/(\d+)/", lambda one: (200, self.project(int(one)))),
            (r"PATCH /api/projects/(\d+)/", lambda one: self.change_project(self.project(int(one)), body)),
            (r"GET /api/projects/(\d+)/model-versions/", lambda one: (200, self.project(int(one))["stored"])),
            (r"GET /api/ml", lambda: (200, self.list_backends(self.project(int(query.get("project", 0)))))),
            (r"POST /api/ml", lambda: self.make_backend(body)),
            (r"PATCH /api/ml/(\d+)", lambda one: self.change_backend(self.backends[int(one)], body)),
            (r"DELETE /api/ml/(\d+)", lambda one: (204, self.backends.pop(int(one)))),
            (r"POST /api/ml/(\d+)/predict/test", lambda one: self.predict(self.backends[int(one)])),
            (r"GET /api/webhooks/", lambda: (200, self.list_webhooks(int(query["project"])))),
            (r"POST /api/webhooks/", lambda: self.make_webhook(body)),
            (r"PATCH /api/webhooks/(\d+)/", lambda one: (200, self.webhooks[int(one)].update(body))),
            (r"DELETE /api/webhooks/(\d+)/", lambda one: (204, self.webhooks.pop(int(one)))),
        ]
        for pattern, answer in routes:
            if found := re.fullmatch(pattern, f"{method} {parts.path}"):
                return answer(*found.groups())
        raise Refused(404, detail="Not found.")

    def project(self, number: int) -> Row:
        if number not in self.projects:
            raise Refused(404, detail="No Project matches the given query.")
        return self.projects[number]

    def list_projects(self, page: int, include: str) -> tuple[int, Row]:
        ids = sorted(self.projects, reverse=True)
        until = page * self.page_size
        rows = [self.projects[one] for one in ids[until - self.page_size : until]]
        shown = [{field: row[field] for field in include.split(",")} for row in rows]
        return 200, {"count": len(ids), "next": "more" if until < len(ids) else None, "results": shown}

    def change_project(self, project: Row, body: Row) -> tuple[int, Row]:
        version = body.get("model_version", "")
        titles = [row["title"] for row in self.backends.values() if row["project"] == project["id"]]
        if version not in ("", project["model_version"], *titles, *project["stored"]):
            raise Refused(400, detail="Validation error", validation_errors={"model_version": ["Model version ..."]})
        project.update(body)
        return 200, project

    def list_backends(self, project: Row) -> list[Row]:
        rows = [row for row in self.backends.values() if row["project"] == project["id"]]
        for row in rows:
            self.ask(row)
        return rows

    def ask(self, row: Row) -> None:
        """Ask /health and /setup, as Label Studio does before it lists or changes a backend."""
        lets_in = not self.password or self.passwords.get(row["id"]) == self.password
        row["state"] = self.state if lets_in or self.state == "DI" else "ER"
        row["readable_state"] = {"CO": "Connected", "DI": "Disconnected", "ER": "Error"}[row["state"]]
        row["error_message"] = "401 Client Error" if row["state"] == "ER" else None
        if row["state"] == "CO":
            row["model_version"] = row.get("answers", self.version)

    def check(self, body: Row, kept: str = "") -> str:
        """Try what was sent, as Label Studio does; return the password."""
        if self.blocked and self.backends_too:
            raise Refused(403, detail=RESERVED.format(network=self.blocked))
        password = str(body.get("basic_auth_pass") or kept)
        if self.state == "DI":
            problem = f"Can't connect to ML backend {body['url']}, health check failed."
            raise Refused(400, detail="Validation error", validation_errors={"non_field_errors": [problem]})
        if self.password and password != self.password:
            problem = "it doesn't look like a valid ML backend. Reason: 401 Client Error."
            raise Refused(400, detail="Validation error", validation_errors={"non_field_errors": [problem]})
        return password

    def make_backend(self, body: Row) -> tuple[int, Row]:
        password = self.check(body)
        row = self.add_backend(**{name: value for name, value in body.items() if name != "basic_auth_pass"})
        self.passwords[row["id"]] = password
        row["basic_auth_pass_is_set"] = bool(password)
        self.ask(row)
        project = self.projects[row["project"]]
        if not self.list_webhooks(row["project"], row["url"] + "/webhook"):
            self.make_webhook({"project": row["project"], "url": row["url"] + "/webhook"})
        if project["show_collab_predictions"] and not project["model_version"]:
            project["model_version"] = row["title"]
        return 201, row

    def change_backend(self, row: Row, body: Row) -> tuple[int, Row]:
        password = self.check(body, self.passwords.get(row["id"], ""))
        project = self.projects[row["project"]]
        if project["model_version"] == row["title"]:
            project["model_version"] = body["title"]
        row.update({name: value for name, value in body.items() if name != "basic_auth_pass"})
        self.passwords[row["id"]] = password
        row["basic_auth_pass_is_set"] = bool(password)
        self.ask(row)
        return 200, row

    def predict(self, row: Row) -> tuple[int, Row]:
        if not self.projects[row["project"]]["task_number"]:
            detail = "Project has no tasks to run prediction on, import at least 1 task to run prediction"
            raise Refused(500, detail=detail)
        return 200, {"task": {"id": 45}, "response": self.test}

    def list_webhooks(self, project: int, url: str = "") -> list[Row]:
        return [row for row in self.webhooks.values() if row["project"] == project and url in ("", row["url"])]

    def make_webhook(self, body: Row) -> tuple[int, Row]:
        if self.blocked:
            raise Refused(403, detail=RESERVED.format(network=self.blocked))
        return 201, self.add_webhook(**body)


class ChangingHandler(_Handler):
    """Also takes the two methods that change something."""

    do_PATCH = _Handler.do_GET  # noqa: N815 - the names http.server calls
    do_DELETE = _Handler.do_GET  # noqa: N815


@contextmanager
def serve_studio(studio: Callable[[_Handler], None]) -> Iterator[_Server]:
    """Serve it on loopback."""
    with serve("127.0.0.1", studio) as server:
        server.RequestHandlerClass = ChangingHandler
        yield server
