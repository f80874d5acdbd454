"""Real HTTP servers on loopback for the image tests: a small Label Studio, a friend, a stranger.

They write down every request. Addresses 127.0.0.2 and up need Linux.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from layoutloop.studio.addresses import resolve

IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"
SECRET = "signature-nobody-may-read"


def jwt(**claims: object) -> str:
    """A token that looks like a JSON web token; its signature is made up."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2lnbmF0dXJl"])


PERSONAL_KEY = jwt(token_type="refresh", exp=8_000_000_000)


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    client_port: int

    def holds(self, secret: str) -> bool:
        return secret in f"{self.target} {self.headers} {self.body!r}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(Seen(self.command, self.path, dict(self.headers), body, self.client_address[1]))
        self.server.answer(self)

    do_POST = do_HEAD = do_GET  # noqa: N815 - the names http.server calls

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `_` in a header name stands for `-`."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, start: bytes, piece: bytes, pause_s: float) -> None:
        """Send a beginning, then one piece after the other until the other side has enough."""
        self.close_connection = True
        self.wfile.write(start)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.wfile.write(piece)
            time.sleep(pause_s)


Answer = Callable[[_Handler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, answer: Answer) -> None:
        super().__init__((host, 0), _Handler)
        self.answer = answer
        self.seen: list[Seen] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # a client that hangs up is what these tests are about


@contextmanager
def serve(host: str, answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[_Server]:
    """A server in a thread, closed at the end."""
    server = _Server(host, answer)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer_anyone(handler: _Handler) -> None:
    """Good and bad behaviour, chosen by the last part of the path; `/to?URL` redirects there."""
    parts = urlsplit(handler.path)
    start = b"HTTP/1.1 200 OK\r\n"
    match parts.path.rpartition("/")[2]:
        case "to":
            handler.reply(302, Location=unquote(parts.query))
        case "loop":
            handler.reply(302, Location=handler.path)
        case "missing":
            handler.reply(404)
        case "broken":
            handler.reply(502)
        case "busy":
            handler.reply(429)
        case "huge":
            handler.drip(start + b"Content-Length: 2147483648\r\n\r\n", b"x" * 65536, 0.001)
        case "endless":
            handler.drip(start + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n", 0.001)
        case "drip":
            handler.drip(start + b"Content-Length: 60000\r\n\r\n", b"x", 0.05)
        case "drip-header":
            handler.drip(start + b"X-Long: ", b"x", 0.05)
        case "drip-size":
            handler.drip(start + b"Transfer-Encoding: chunked\r\n\r\n", b"0", 0.05)
        case "gzip":
            handler.reply(200, gzip.compress(bytes(20_000_000)), Content_Encoding="gzip")
        case "short":
            handler.close_connection = True
            handler.wfile.write(start + b"Content-Length: 100\r\n\r\nhalf")
        case "hang-up":  # answers, promises to keep the connection, and closes it
            handler.reply(200, IMAGE)
            handler.close_connection = True
        case _:
            handler.reply(200, IMAGE)


@dataclass
class LabelStudio:
    """What Label Studio does about images and tokens, as measured."""

    cloud: dict[str, str] = field(default_factory=dict)  # cloud reference -> presigned address, or "" for the bytes
    access: set[str] = field(default_factory=set)
    life_s: float = 300
    files: dict[str, bytes] = field(default_factory=dict)  # path -> what is there, before everything else

    def __call__(self, handler: _Handler) -> None:
        parts = urlsplit(handler.path)
        given = handler.headers.get("Authorization", "")
        if parts.path == "/api/token/refresh/":
            self._refresh(handler)
        elif given != f"Token {LEGACY_KEY}" and given.removeprefix("Bearer ") not in self.access:
            handler.reply(401, b'{"detail": "Authentication credentials were not provided."}')
        elif parts.path in self.files:
            handler.reply(200, self.files[parts.path])
        elif parts.path.startswith(("/tasks/", "/projects/")):
            encoded = parse_qs(parts.query)["fileuri"][0]
            place = self.cloud[base64.urlsafe_b64decode(encoded).decode()]
            handler.reply(303, Location=place) if place else handler.reply(200, IMAGE)
        else:
            answer_anyone(handler)

    def _refresh(self, handler: _Handler) -> None:
        if json.loads(handler.server.seen[-1].body) != {"refresh": PERSONAL_KEY}:
            handler.reply(401, b'{"detail": "Token is invalid or expired"}')
            return
        token = jwt(token_type="access", exp=time.time() + self.life_s, jti=len(self.access))
        self.access.add(token)
        handler.reply(200, json.dumps({"access": token}).encode())


@dataclass
class Names:
    """A resolver: a name answers its lists of addresses one after the other, the last one again and again."""

    table: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host in self.table:
            answers = self.table[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        if host[0].isdigit() or ":" in host:  # every spelling of a number, as the system reads it
            return resolve(host, port)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@dataclass(frozen=True)
class Stage:
    """Everyone in one scene.

    Args:
        label_studio: at 127.0.0.1, where the key belongs.
        friend: at 127.0.0.2, an allowed image host; `friend.test` is its name.
        stranger: at 127.0.0.1 on another port, allowed by nobody.
    """

    label_studio: _Server
    friend: _Server
    stranger: _Server
    studio: LabelStudio

    def fill(self, template: str) -> str:
        """Put the ports in: {studio}, {friend} and {stranger}; {secret} too."""
        ports = {"studio": self.label_studio.port, "friend": self.friend.port, "stranger": self.stranger.port}
        for name, value in {**ports, "secret": SECRET}.items():
            template = template.replace("{" + name + "}", str(value))
        return template

    def forget_requests(self) -> None:
        for server in (self.label_studio, self.friend, self.stranger):
            server.seen.clear()


@contextmanager
def open_stage() -> Iterator[Stage]:
    """All three servers."""
    studio = LabelStudio()
    with (
        serve("127.0.0.1", studio) as label_studio,
        serve("127.0.0.2", answer_anyone) as friend,
        serve("127.0.0.1", answer_anyone) as stranger,
    ):
        stage = Stage(label_studio, friend, stranger, studio)
        studio.cloud |= {
            "s3://bucket/bytes.png": "",
            "gs://bucket/bytes ä.png": "",
            "s3://bucket//dir/inv #1?.png": "",
            "s3://bucket/dir\\a.png": "",
            "azure-blob://box/presigned.png": stage.fill("http://friend.test:{friend}/ok?X-Signature={secret}"),
            "s3://bucket/elsewhere.png": stage.fill("http://127.0.0.1:{stranger}/ok?X-Signature={secret}"),
        }
        yield stage
