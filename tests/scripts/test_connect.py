"""The command that connects Label Studio with the shim, against a small Label Studio and a small shim on loopback."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from layoutloop.connect.backend import Connected, connect, disconnect
from layoutloop.connect.reserved_networks import LINK_LOCAL, LOCAL_NETWORKS, networks_to_ban, protection_advice
from layoutloop.connect.shim_address import ShimAddress
from layoutloop.errors import LabelConfigUnsupported, NotConnected, SettingsInvalid, StudioRefused, StudioUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import StudioClient, open_studio
from scripts.connect import main
from shim.app import create_app
from tests.far_servers import LEGACY_KEY, _Handler, serve
from tests.studio_server import RECTANGLES, TEXT, FakeStudio, serve_studio

SHIM = ShimAddress("http://127.0.0.1:9090")
GUARDED = ShimAddress("http://127.0.0.1:9090", "studio", "sesame")
BASIC = {"Authorization": "Basic " + base64.b64encode(b"studio:sesame").decode()}
HOOK = "http://127.0.0.1:9090/webhook"
VERSION = "ocr-0a1b2c3d"
ALL_EVENTS = {"send_payload": True, "send_for_all_actions": True, "is_active": True}


@dataclass
class Bench:
    """A Label Studio, its client, and what was said."""

    studio: FakeStudio
    client: StudioClient
    url: str
    said: list[str]

    def connect(self, shim: ShimAddress = SHIM, project: int = 7) -> Connected:
        return connect(self.client, project, shim, self.said.append)

    def says(self, words: str) -> bool:
        return any(words in sentence for sentence in self.said)

    def backend(self) -> Mapping[str, Any]:
        (backend,) = self.studio.backends.values()
        return backend

    def webhook(self) -> Mapping[str, Any]:
        (webhook,) = self.studio.webhooks.values()
        return webhook


@pytest.fixture
def bench() -> Iterator[Bench]:
    studio = FakeStudio()
    studio.add_project(7)
    with serve_studio(studio) as server:
        url = f"http://127.0.0.1:{server.port}"
        with open_studio(url, LEGACY_KEY) as client:
            yield Bench(studio, client, url, [])


@pytest.mark.parametrize(
    ("shim", "auth", "headers"),
    [
        pytest.param(SHIM, {"auth_method": "NONE", "basic_auth_user": ""}, {}, id="open"),
        pytest.param(GUARDED, {"auth_method": "BASIC_AUTH", "basic_auth_user": "studio"}, BASIC, id="Basic auth"),
    ],
)
def test_connected_once_and_found_right_the_second_time(
    bench: Bench, shim: ShimAddress, auth: dict[str, str], headers: dict[str, str]
) -> None:
    bench.studio.password = shim.password
    first = bench.connect(shim)
    assert first == Connected(project=7, backend=1, changed=True, regions=2)
    assert {"url": shim.url, "is_interactive": True, "state": "CO", **auth}.items() <= bench.backend().items()
    assert {"url": HOOK, "headers": headers, **ALL_EVENTS}.items() <= bench.webhook().items()
    assert bench.says("test prediction: task 45 gets 2 regions")
    bench.studio.changes.clear()
    second = bench.connect(shim)
    assert second == Connected(project=7, backend=1, changed=False, regions=2)
    assert bench.studio.changes == []


def test_which_of_several_controls_is_served_is_told(bench: Bench) -> None:
    stamp = '<RectangleLabels name="stamp" toName="image"><Label value="round"/></RectangleLabels></View>'
    bench.studio.projects[7]["label_config"] = RECTANGLES.replace("</View>", stamp)
    bench.connect()
    assert bench.says('<RectangleLabels name="label"> is served; what is drawn with <RectangleLabels name="stamp"> is')


def test_a_title_that_a_person_gave_stays(bench: Bench) -> None:
    bench.studio.add_backend(SHIM.url, title="our model")
    bench.connect()
    assert bench.backend()["title"] == bench.studio.projects[7]["model_version"] == "our model"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param({"is_interactive": False}, "without interactive", id="not interactive"),
        pytest.param({"auth_method": "NONE"}, "with another Basic auth", id="without Basic auth"),
        pytest.param({"basic_auth_user": "someone"}, "with another Basic auth", id="another user"),
        pytest.param({}, "in state Error", id="another password"),
        pytest.param({"url": "http://localhost:9090/", "is_interactive": False}, "without", id="another spelling"),
    ],
)
def test_a_backend_is_mended_and_never_a_second_one_made(bench: Bench, fields: dict[str, Any], why: str) -> None:
    bench.studio.password = "sesame"
    given = {"auth_method": "BASIC_AUTH", "basic_auth_user": "studio", "basic_auth_pass_is_set": True, **fields}
    bench.studio.add_backend(given.pop("url", GUARDED.url), **given)
    if why != "in state Error":
        bench.studio.passwords[1] = "sesame"
    assert bench.connect(GUARDED).changed
    assert bench.says(f"repaired the ML backend {GUARDED.url}, with Basic auth: it was")
    assert bench.says(why)
    right = {"id": 1, "url": GUARDED.url, "auth_method": "BASIC_AUTH", "basic_auth_user": "studio", "state": "CO"}
    assert {**right, "is_interactive": True}.items() <= bench.backend().items()
    assert bench.studio.passwords == {1: "sesame"}
    assert not bench.connect(GUARDED).changed


def test_basic_auth_that_was_turned_off_is_taken_away(bench: Bench) -> None:
    bench.studio.password = "sesame"
    bench.connect(GUARDED)
    bench.studio.password = ""
    assert bench.connect(SHIM).changed
    assert (bench.backend()["auth_method"], bench.backend()["basic_auth_user"]) == ("NONE", "")
    assert bench.webhook()["headers"] == {}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        pytest.param({}, {"headers": BASIC}, id="as Label Studio makes it"),
        pytest.param({"headers": {"authorization": "x", "X-A": "1"}}, {"headers": {"X-A": "1", **BASIC}}, id="headers"),
        pytest.param({"is_active": False}, {"is_active": True}, id="switched off"),
        pytest.param({"send_payload": False}, {"send_payload": True}, id="without payload"),
        pytest.param(
            {"send_for_all_actions": False, "actions": ["TASKS_CREATED"]},
            {"send_for_all_actions": True, "actions": ["TASKS_CREATED"]},
            id="other events only",
        ),
        pytest.param(
            {
                "send_for_all_actions": False,
                "actions": ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "TASKS_CREATED"],
            },
            {
                "send_for_all_actions": False,
                "actions": ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "TASKS_CREATED"],
            },
            id="the events that count stay chosen",
        ),
    ],
)
def test_a_webhook_is_mended(bench: Bench, fields: dict[str, Any], wanted: dict[str, Any]) -> None:
    bench.studio.add_webhook(HOOK, **fields)
    assert bench.connect(GUARDED).changed
    assert wanted.items() <= bench.webhook().items()
    assert bench.webhook()["headers"]["Authorization"] == BASIC["Authorization"]
    assert not bench.connect(GUARDED).changed


def test_doubles_are_removed_but_one_and_what_is_of_others_stays(bench: Bench) -> None:
    bench.studio.add_backend(SHIM.url)
    bench.studio.add_backend("http://localhost:9090")
    for url in (
        HOOK,
        "http://localhost:9090/webhook",
        "http://127.0.0.1:9091/webhook",
        "https://127.0.0.1:9090/webhook",
    ):
        bench.studio.add_webhook(url)
    bench.studio.add_webhook(HOOK, project=8)
    assert bench.connect().changed
    assert bench.backend()["id"] == 1
    assert list(bench.studio.webhooks) == [1, 3, 4, 5]


def test_a_backend_before_ours_is_named_and_left_alone(bench: Bench) -> None:
    bench.studio.add_backend("http://10.0.0.9:9090", title="Another")
    bench.studio.projects[7]["model_version"] = "Another"
    bench.connect()
    assert bench.says('another ML backend, "Another" at http://10.0.0.9:9090, is left alone')
    assert bench.says("remove it for LayoutLoop to be used")
    assert not any("/api/ml/1" in change for change in bench.studio.changes)
    assert bench.studio.projects[7]["model_version"] == "Another"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"show_collab_predictions": False}, id="off"),
        pytest.param({"model_version": "imported", "stored": {"imported": 3}}, id="imported predictions"),
    ],
)
def test_predictions_are_shown(bench: Bench, fields: dict[str, Any]) -> None:
    bench.studio.projects[7].update(fields)
    assert bench.connect().changed
    assert bench.studio.projects[7]["show_collab_predictions"] is True
    assert bench.studio.projects[7]["model_version"] == VERSION
    assert bench.says("turned on predictions while labelling")
    assert bench.says("(before: imported)") == ("model_version" in fields)


@pytest.mark.parametrize(
    ("config", "tasks", "results", "regions", "sentence"),
    [
        pytest.param("", 0, [[]], None, "the project has no tasks yet", id="no tasks"),
        pytest.param(RECTANGLES, 1, [[]], 0, "RectangleLabels need a model", id="no model yet"),
        pytest.param("", 1, [{"result": []}], 0, "gets 0 regions", id="an empty page"),
    ],
)
def test_what_a_test_prediction_says(
    bench: Bench, config: str, tasks: int, results: list[Any], regions: int | None, sentence: str
) -> None:
    bench.studio.projects[7] |= {"task_number": tasks, **({"label_config": config} if config else {})}
    bench.studio.test = results
    assert bench.connect().regions == regions
    assert bench.says(sentence)


def test_one_region_is_said_to_be_one(bench: Bench) -> None:
    bench.studio.test = [{"result": [{"id": "a"}, {"id": "a"}]}]
    assert bench.connect().regions == 1
    assert bench.said[-1] == "test prediction: task 45 gets 1 region"


def _text(bench: Bench) -> None:
    bench.studio.projects[7]["label_config"] = TEXT


def _away(bench: Bench) -> None:
    bench.studio.state = "DI"


def _other_password(bench: Bench) -> None:
    bench.studio.password = "another"


def _empty(bench: Bench) -> None:
    bench.studio.test = [[]]


def _gone(bench: Bench) -> None:
    bench.studio.projects.clear()


def _blocked(bench: Bench) -> None:
    bench.studio.blocked = "127.0.0.0/8"


def _of_another_form(bench: Bench) -> None:
    del bench.studio.projects[7]["label_config"]


@pytest.mark.parametrize(
    ("spoil", "error", "sentence", "backends"),
    [
        pytest.param(_text, LabelConfigUnsupported, "found <Choices> on <Text>", 0, id="a label config not served"),
        pytest.param(_away, NotConnected, "health check failed. It must reach that itself; --shim-url", 0, id="away"),
        pytest.param(_other_password, NotConnected, "Reason: 401 Client Error", 0, id="a wrong password"),
        pytest.param(_empty, NotConnected, "task 45 came back empty; the reason is in", 1, id="no prediction"),
        pytest.param(_gone, StudioRefused, "No Project matches the given query", 0, id="no project"),
        pytest.param(_blocked, NotConnected, "USE_DEFAULT_BANNED_SUBNETS=false", 0, id="protected"),
        pytest.param(_of_another_form, StudioUnavailable, "in a form that LayoutLoop does not", 0, id="another form"),
    ],
)
def test_what_keeps_them_apart(
    bench: Bench, spoil: Callable[[Bench], None], error: type[Exception], sentence: str, backends: int
) -> None:
    spoil(bench)
    with pytest.raises(error, match=sentence):
        bench.connect()
    assert len(bench.studio.backends) == backends


def test_a_backend_that_went_in_while_its_webhook_was_refused(bench: Bench) -> None:
    bench.studio.blocked, bench.studio.backends_too = "127.0.0.0/8", False
    for _ in range(2):
        with pytest.raises(NotConnected, match="USER_ADDITIONAL_BANNED_SUBNETS="):
            bench.connect()
    assert not bench.studio.webhooks
    bench.studio.blocked = ""
    assert bench.connect().changed
    assert bench.backend()["id"] == 1
    assert bench.webhook()["url"] == HOOK


def test_removed_and_gone_the_second_time(bench: Bench) -> None:
    bench.connect()
    bench.studio.add_backend("http://10.0.0.9:9090")
    bench.studio.add_webhook("http://10.0.0.9:9090/webhook")
    bench.studio.projects[7]["stored"] = {VERSION: 14}
    bench.studio.state = "DI"  # it need not be up for that
    assert disconnect(bench.client, 7, SHIM, bench.said.append)
    assert [row["url"] for row in bench.studio.backends.values()] == ["http://10.0.0.9:9090"]
    assert [row["url"] for row in bench.studio.webhooks.values()] == ["http://10.0.0.9:9090/webhook"]
    assert bench.studio.projects[7]["model_version"] == VERSION
    assert not disconnect(bench.client, 7, SHIM, bench.said.append)
    assert bench.said[-1] == f"nothing of {SHIM.url} is there"


def test_removed_where_nothing_is_stored(bench: Bench) -> None:
    bench.connect()
    disconnect(bench.client, 7, SHIM, bench.said.append)
    assert bench.studio.projects[7]["model_version"] == ""


@pytest.mark.parametrize(
    ("url", "network", "freed"),
    [
        pytest.param("http://127.0.0.1:9090", "127.0.0.0/8", {"127.0.0.0/8", "::1/128"}, id="loopback"),
        pytest.param("http://[::1]:9090", "::1/128", {"127.0.0.0/8", "::1/128"}, id="loopback, IPv6"),
        pytest.param("http://10.1.2.3:9090", "10.0.0.0/8", {"10.0.0.0/8"}, id="a house"),
        pytest.param("http://layoutloop.invalid:9090", "172.16.0.0/12", {"172.16.0.0/12"}, id="a container"),
        pytest.param("http://192.168.1.9:9090", "172.16.0.0/12", {"172.16.0.0/12", "192.168.0.0/16"}, id="two names"),
    ],
)
def test_only_the_network_of_the_shim_is_opened(url: str, network: str, freed: set[str]) -> None:
    advice = protection_advice(url, network)
    assert "\n  USE_DEFAULT_BANNED_SUBNETS=false\n  USER_ADDITIONAL_BANNED_SUBNETS=" in advice
    assert set(advice.rpartition("=")[2].split(",")) == set(LOCAL_NETWORKS) - freed


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        pytest.param(LINK_LOCAL, "Give LayoutLoop another address", id="where clouds keep credentials"),
        pytest.param("203.0.113.0/28", "Take that network out of its USER_ADDITIONAL_BANNED_SUBNETS", id="their own"),
    ],
)
def test_what_is_not_to_be_opened_so(network: str, sentence: str) -> None:
    assert sentence in protection_advice("http://shim.invalid:9090", network)
    assert "USE_DEFAULT" not in protection_advice("http://shim.invalid:9090", network)


def test_link_local_addresses_stay_banned() -> None:
    assert LINK_LOCAL in networks_to_ban(["169.254.1.1"], LINK_LOCAL)


@pytest.mark.parametrize(
    ("url", "password"),
    [
        pytest.param("layoutloop:9090", "", id="no scheme"),
        pytest.param("http://user:secret@shim:9090", "", id="a password in it"),
        pytest.param("http://shim:9090", "öpen", id="what Label Studio cannot send"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, password: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"write for example|plain ASCII"):
        ShimAddress(url, "studio", password)


class Health:
    """The shim's /health, with Basic auth or without."""

    def __init__(self, *, guarded: bool = False, body: object = None) -> None:
        self.guarded = guarded
        self.body = body

    def __call__(self, handler: _Handler) -> None:
        known = not self.guarded or handler.headers.get("Authorization") == BASIC["Authorization"]
        body = {"status": "UP", "v2": True, "ready": True, **({"model_dir": "/models"} if known else {})}
        handler.reply(200, json.dumps(self.body if self.body is not None else body).encode())


@pytest.fixture
def command(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_URL", bench.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_KEY)
    return bench


def run(monkeypatch: pytest.MonkeyPatch, health: Health, *arguments: str) -> int:
    with serve("127.0.0.1", health) as shim:
        monkeypatch.setenv("LAYOUTLOOP_PORT", str(shim.port))
        return main(arguments)


def test_the_command(command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with serve("127.0.0.1", Health()) as shim:
        monkeypatch.setenv("LAYOUTLOOP_PORT", str(shim.port))
        assert main(["--project", "7"]) == 0
        first = capsys.readouterr().out.splitlines()
        assert first[0] == f"Label Studio answers at {command.url}; the legacy token is admin@example.com's"
        assert first[1] == f"the shim answers at http://127.0.0.1:{shim.port}"
        assert all(line.startswith("project 7: ") for line in first[2:])
        assert main(["--project", "7"]) == 0
        assert capsys.readouterr().out.endswith("project 7: nothing had to be changed\n")
        for sentence in ("removed the ML backend", "nothing of http"):
            assert main(["--project", "7", "--remove"]) == 0
            assert sentence in capsys.readouterr().out


def test_the_shim_forgets_a_project_that_is_removed(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("BASIC_AUTH_USER", "studio")
    monkeypatch.setenv("BASIC_AUTH_PASS", "sesame")
    app = create_app(Settings(home=tmp_path, model_dir=tmp_path, basic_auth_user="studio", basic_auth_pass="sesame"))
    titles = app.extensions["layoutloop"].titles
    titles.note({"project": {"id": 7, "title": "Invoices"}})
    titles.note({"project": {"id": 8, "title": "Receipts"}})
    shim = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=shim.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("LAYOUTLOOP_PORT", str(shim.server_port))
        command.studio.add_backend(f"http://127.0.0.1:{shim.server_port}")
        assert main(["--project", "7", "--remove"]) == 0
        assert main(["--project", "8", "--remove"]) == 1, "Label Studio has no such project"
    finally:
        shim.shutdown()
        thread.join()
        shim.server_close()
    assert titles.all() == {8: "Receipts"}
    assert "could not be reached" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("up", "cause"),
    [pytest.param(True, "HTTPError", id="another password"), pytest.param(False, "Connect", id="nobody listens")],
)
def test_a_shim_need_not_answer_to_be_removed(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], up: bool, cause: str
) -> None:
    with serve("127.0.0.1", lambda asked: asked.reply(401)) as shim:
        port = shim.port if up else 9  # where nobody listens
        monkeypatch.setenv("LAYOUTLOOP_PORT", str(port))
        command.studio.add_backend(f"http://127.0.0.1:{port}")
        assert main(["--project", "7", "--remove"]) == 0
    assert f"the shim at http://127.0.0.1:{port} could not be reached ({cause}" in capsys.readouterr().out
    assert command.studio.backends == {}


def test_a_shim_that_still_waits_is_connected_all_the_same(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    health = Health(body={"status": "UP", "v2": True, "ready": False, "model_dir": "/models"})
    assert run(monkeypatch, health, "--project", "7") == 0
    assert "is not ready yet; its /health says what it waits for" in capsys.readouterr().out


def test_all_projects_go_on_after_one_that_fails(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command.studio.add_project(8, TEXT)
    command.studio.add_project(9)
    assert run(monkeypatch, Health(), "--all") == 1
    assert sorted(row["project"] for row in command.studio.backends.values()) == [7, 9]
    assert "project 8: error: the label config has neither" in capsys.readouterr().err


def test_the_same_refusal_is_told_once(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command.studio.add_project(8)
    command.studio.blocked = "127.0.0.0/8"
    assert run(monkeypatch, Health(), "--all") == 1
    assert capsys.readouterr().err.count("USE_DEFAULT_BANNED_SUBNETS") == 1


@pytest.mark.parametrize(
    ("health", "environment", "status", "sentence"),
    [
        pytest.param(Health(guarded=True), {}, 1, "wants Basic auth", id="no Basic auth here"),
        pytest.param(
            Health(guarded=True),
            {"BASIC_AUTH_USER": "studio", "BASIC_AUTH_PASS": "x"},
            1,
            "does not take the BASIC_AUTH_USER and BASIC_AUTH_PASS",
            id="another Basic auth",
        ),
        pytest.param(Health(body={"status": "UP", "v2": True}), {}, 1, "is not LayoutLoop", id="another back end"),
        pytest.param(Health(body=[]), {}, 1, "is not LayoutLoop", id="something else"),
        pytest.param(Health(), {"LABEL_STUDIO_API_KEY": "f" * 40}, 1, "Invalid token.", id="a wrong key"),
        pytest.param(Health(), {"LABEL_STUDIO_API_KEY": ""}, 2, "LABEL_STUDIO_API_KEY is not set", id="no key"),
        pytest.param(Health(), {"LABEL_STUDIO_URL": "http://127.0.0.1:1"}, 1, "does not take connections", id="nobody"),
        pytest.param(Health(), {"LABEL_STUDIO_URL": "ftp://x"}, 2, "LABEL_STUDIO_URL", id="no address"),
    ],
)
def test_the_command_ends_before_it_changes_anything(
    command: Bench,
    health: Health,
    environment: dict[str, str],
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(monkeypatch, health, "--project", "7") == status
    said = capsys.readouterr()
    assert sentence in said.err
    assert LEGACY_KEY not in said.err + said.out
    assert command.studio.changes == []


def test_a_shim_that_is_not_up(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve("127.0.0.1", Health()) as gone:
        monkeypatch.setenv("LAYOUTLOOP_PORT", str(gone.port))
    assert main(["--project", "7"]) == 1
    assert "start scripts/serve.sh" in capsys.readouterr().err
    assert command.studio.changes == []


def test_an_address_that_label_studio_alone_can_reach(
    command: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--project", "7", "--shim-url", "http://127.0.0.1:1/"]) == 0
    assert "Label Studio may reach it all the same, so it is tested from there" in capsys.readouterr().out
    assert command.backend()["url"] == "http://127.0.0.1:1"
