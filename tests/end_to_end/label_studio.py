"""A Label Studio at a socket: projects, their export and their uploads, with a legacy token, as 1.23.2 answers.

The real one is 159 packages and starts in 25 s; training asks four of its addresses (`layoutloop/studio/export.py`),
the start of LayoutLoop one (`layoutloop/connect/queries.py`).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StudioProject:
    """What one project holds.

    Args:
        label_config: XML.
        tasks: as the JSON export has them.
        uploads: file name -> bytes, read at `/data/upload/<project>/<name>`.
    """

    label_config: str
    tasks: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)


class Studio:
    """The server; tests change its projects while it runs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.projects: dict[int, StudioProject] = {}
        self.asked: list[str] = []
        self.delay_s = 0.0

    def pages_read(self) -> int:
        """How often an upload was asked for."""
        return sum(path.startswith("/data/upload/") for path in self.asked)

    def answer(self, path: str, key: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        time.sleep(self.delay_s)
        if key != f"Token {KEY}":
            return 401, b'{"detail": "Invalid token."}'
        if path == "/api/current-user/whoami":
            return 200, b'{"id": 1}'
        if urlsplit(path).path == "/api/ml":
            return 200, b"[]"
        if urlsplit(path).path == "/api/projects":
            return 200, b'{"count": 0, "next": null, "results": []}'
        if urlsplit(path).path == "/api/tasks":
            return self._count(parse_qs(urlsplit(path).query))
        found = re.fullmatch(r"/api/projects/(\d+)(/export|/)|/data/upload/(\d+)/(.+)", urlsplit(path).path)
        project = self.projects.get(int(found[1] or found[3])) if found else None
        if found is None or project is None:
            return 404, b'{"detail": "Not found."}'
        if found[4] is not None:
            data = project.uploads.get(found[4])
            return (200, data) if data is not None else (404, b"")
        if found[2] == "/export":
            return 200, json.dumps([task for task in project.tasks if task["annotations"]]).encode()
        body = {
            "id": int(found[1]),
            "title": f"project {found[1]}",
            "label_config": project.label_config,
            "task_number": len(project.tasks),
            "num_tasks_with_annotations": len(project.tasks),
            "total_annotations_number": sum(len(task["annotations"]) for task in project.tasks),
        }
        return 200, json.dumps(body).encode()

    def _count(self, query: dict[str, list[str]]) -> tuple[int, bytes]:
        """Count annotated tasks, those alone that changed since a moment where one is asked for."""
        conditions = json.loads(query["query"][0])["filters"]["items"]
        since = next((one["value"] for one in conditions if one["filter"] == "filter:tasks:updated_at"), "")
        tasks = self.projects[int(query["project"][0])].tasks
        newest = (max((one["updated_at"] for one in task["annotations"]), default="") for task in tasks)
        return 200, json.dumps({"total": sum(bool(moment) and moment >= since for moment in newest)}).encode()


@contextmanager
def running_studio() -> Iterator[Studio]:
    """A Studio on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = studio.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    studio = Studio(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield studio
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
