"""Bytes that a stranger may send to a real shim: each gets its status, and none a traceback."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.shim.real_server import RealShim, real_shim

AUTH = b"Authorization: Basic " + base64.b64encode(b"me:secret")
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShim]:
    """With Basic auth."""
    with real_shim(tmp_path_factory.mktemp("guarded"), BASIC_AUTH_USER="me", BASIC_AUTH_PASS="secret") as shim:
        yield shim
        assert "Traceback" not in shim.log


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShim]:
    """Without Basic auth; one name is set."""
    with real_shim(tmp_path_factory.mktemp("opened"), LAYOUTLOOP_HOSTS="host.docker.internal,Shim.Lan") as shim:
        yield shim
        assert "Traceback" not in shim.log


@pytest.mark.parametrize(
    "given",
    [
        *(b"", b"Basic", b"Basic ", b"Basic !!!!", b"Basic ====", b"basic \xe9", "Basic ä".encode(), b"\xff\xfe"),
        *(b"Basic " + base64.b64encode(one) for one in (b"\xff\xfe", b"nocolon", b"me:wrong", b"\xed\xa0\x80:x")),
        *(b"Digest a", b"Digest username=\xff", b"Digest username*=xx-zz''%41", b"Bearer ", b"Negotiate ="),
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/dashboard"])
def test_an_authorization_that_is_none_is_refused(guarded: RealShim, path: str, given: bytes) -> None:
    assert guarded.get(path, b"localhost", b"Authorization: " + given)[0] == 401
    status, body = guarded.get("/health", b"localhost", b"Authorization: " + given)
    assert (status, "model_dir" in body) == (200, False)


@pytest.mark.parametrize(
    "body",
    [
        *(b"zz\r\nabc\r\n0\r\n\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"-5\r\nabcde\r\n0\r\n\r\n", b"\r\n\r\n"),
        *(b"5\r\nabc", b"fffffffffffffffff\r\nx\r\n0\r\n\r\n", b"5;\x00\r\nabcde\r\n0\r\n\r\n", b"\xff\r\n", b""),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/train"])
def test_chunks_that_are_none(guarded: RealShim, path: str, body: bytes) -> None:
    status, answer = guarded.post(path, body, CHUNKED, AUTH)
    assert status == 400
    assert "internal" not in answer.lower()


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/jobs/x%0a2026-11-30%2000:00:00,000%20ERROR%20forged", r"x\n2026"),
        ("/jobs/%1b[2J%07%0d", r"\x1b[2J\x07\r"),
        ("/jobs/%E2%80%AE%E2%80%A8x", r"\u202e\u2028x"),
        ("/jobs/" + "a" * 4000, "aaa"),
    ],
    ids=["a line", "a terminal's commands", "direction and line", "long"],
)
def test_a_path_is_one_line_of_the_log(opened: RealShim, path: str, part: str) -> None:
    before = len(opened.log.splitlines())
    assert opened.get(path)[0] == 404
    new = opened.log.splitlines()[before:]
    assert len(new) == 1
    assert part in new[0]
    assert len(new[0]) < 5000


def test_without_a_password_nobody_writes_lines_of_the_log(guarded: RealShim) -> None:
    assert guarded.get("/x%0aERROR%20forged")[0] in (401, 404)
    assert guarded.get("/jobs/x%0aERROR%20forged")[0] == 401
    assert not any(line.startswith("ERROR forged") for line in guarded.log.splitlines())


@pytest.mark.parametrize("title", [rb"\ud800", rb"a\udfffb", rb"\u0000\u202e", "Ünïcode 😀".encode(), rb"\ud83d\ude00"])
def test_a_title_that_is_no_text_blanks_no_page(opened: RealShim, title: bytes) -> None:
    event = b'{"action": "PROJECT_UPDATED", "project": {"id": 7, "title": "' + title + b' seven"}}'
    assert opened.post_json("/webhook", event)[0] == 200
    for path in ("/dashboard", "/dashboard/live", "/dashboard/projects/7/train", "/jobs", "/versions", "/metrics"):
        status, body = opened.get(path)
        assert status == 200, path
    assert "seven" in opened.get("/dashboard/projects/7/train")[1]
    assert body


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"\\ud800": 1}', b'{"action": "\\ud800\\n", "project": "\\udc00"}', b'{"project": "\\ud800"}'),
        *(b'{"tasks": [{"id": "\\ud800"}], "label_config": "\\ud800"}', b'{"schema": "\\ud800", "project": 1e999}'),
        *(
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"project": Infinity}',
            b'{"project": [7]}',
            b"\xff\xfe{}",
            b"\xef\xbb\xbf{}",
        ),
        *(b'{"project": 99999999999999999999}', b'{"tasks": {}, "label_config": 5}', b'{"project": true}', b"null"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/train"])
def test_bodies_that_are_strange(opened: RealShim, path: str, body: bytes) -> None:
    status, answer = opened.post_json(path, body)
    assert status in (200, 202, 400, 422)
    assert "internal" not in answer.lower()


KNOWN = [b"localhost", b"LOCALHOST:9090", b"localhost.", b"a.localhost", b"127.0.0.1:1", b"[::1]:9", b"10.0.0.5", b""]
SET = [b"host.docker.internal", b"Host.Docker.Internal:9090", b"shim.lan", b"SHIM.LAN."]
UNKNOWN = [
    *(b"evil.example", b"evil.example:9090", b"localhost.evil.example", b"127.0.0.1.evil.example", b"localhost@evil"),
    *(b"evil.example/localhost", b"shim.lan.evil.example", b"\xff\xfe", b"[::1", b"a b", b"localhost:x", b"[evil]"),
]
ROUTES = ["/", "/health", "/jobs", "/jobs/x", "/versions", "/metrics", "/dashboard", "/dashboard/live", "/not/there"]


@pytest.mark.parametrize("host", [*KNOWN, *SET])
def test_names_by_which_the_shim_is_called(opened: RealShim, host: bytes) -> None:
    assert opened.get("/health", host)[0] == 200
    assert opened.get("/dashboard", host)[0] == 200


@pytest.mark.parametrize("host", UNKNOWN)
def test_a_name_that_is_not_known_is_refused_on_every_route(opened: RealShim, host: bytes) -> None:
    for path in [*ROUTES, "/dashboard/static/dashboard.css"]:
        assert opened.get(path, host)[0] == 421, path


def test_a_refusal_of_a_name_names_the_setting(opened: RealShim) -> None:
    body = opened.get("/health", b"rebound.example")[1]
    assert "host_unknown" in body
    assert "LAYOUTLOOP_HOSTS" in body
    assert "LAYOUTLOOP_HOSTS" in next(line for line in opened.log.splitlines() if "rebound.example" in line)
    request = (
        b"POST /train HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\nConnection: close\r\n"
    )
    status, _ = opened.send(request + b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"project": 7}')
    assert status == 421


def test_with_a_password_every_name_is_good(guarded: RealShim) -> None:
    assert guarded.get("/jobs", b"any.example", AUTH)[0] == 200
    assert guarded.get("/jobs", b"any.example")[0] == 401
