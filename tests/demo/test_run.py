"""What the demo decides before it starts anything, and how it finds its projects again."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from demo.errors import LoopFailed, StudioFailed
from demo.layoutloop import check_settings, demo_environment
from demo.projects import make_project, project_title, tasks_of
from demo.run import main
from demo.studio import Account
from layoutloop.errors import SettingsInvalid
from layoutloop.processes.parts import instance_lock
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import StudioClient, open_studio
from tests.far_servers import LEGACY_KEY, _Handler, serve

HOME = Path("/demo")
ACCOUNT = Account("password", LEGACY_KEY)
STUDIO = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("variable", "value", "kept"),
    [
        pytest.param("REDIS_URL", "redis://jobs.example/0", False, id="a real queue"),
        pytest.param("REDIS_HOST", "jobs.example", False, id="a real queue by its host"),
        pytest.param("USE_REDIS", "1", False, id="a setting of the old backend"),
        pytest.param("LAYOUTLOOP_CACHE_DIR", "/cache", False, id="another cache"),
        pytest.param("LAYOUTLOOP_IMAGE_HOSTS", "images.example", False, id="other images"),
        pytest.param("LABEL_STUDIO_ACCESS_TOKEN", "secret", False, id="another key"),
        pytest.param("LABEL_STUDIO_API_KEY_FILE", "/run/secrets/key", False, id="another key, in a file"),
        pytest.param("LAYOUTLOOP_PORT", "9191", True, id="the port"),
        pytest.param("LAYOUTLOOP_TORCHSERVE_PORT", "7100", True, id="TorchServe's ports"),
        pytest.param("LAYOUTLOOP_TRAIN_BASE", "scratch", True, id="how models are trained"),
        pytest.param("LAYOUTLOOP_OCR_WORKERS", "1", True, id="OCR"),
        pytest.param("HF_HOME", "/models", True, id="downloaded models"),
        pytest.param("https_proxy", "http://proxy.example:3128", True, id="a proxy"),
    ],
)
def test_what_the_shell_has_set_for_another_layoutloop_stays_out(variable: str, value: str, kept: bool) -> None:
    environ = demo_environment({variable: value}, HOME, STUDIO, ACCOUNT)
    assert (environ.get(variable) == value) == kept


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MODEL_DIR", "/store"),
        ("LAYOUTLOOP_HOME", "/var/layoutloop"),
        ("LAYOUTLOOP_HOST", "0.0.0.0"),  # noqa: S104
        ("LABEL_STUDIO_URL", "https://studio.example"),
        ("LABEL_STUDIO_API_KEY", "secret"),
        ("BASIC_AUTH_USER", "me"),
    ],
)
def test_all_state_is_the_demos(variable: str, value: str) -> None:
    settings = Settings.from_env(demo_environment({variable: value}, HOME, STUDIO, ACCOUNT))
    assert (settings.model_dir, settings.home) == (HOME / "model_store", HOME / "layoutloop")
    assert (settings.host, settings.label_studio_url, settings.label_studio_api_key) == (
        *("127.0.0.1", STUDIO, ACCOUNT.token),
    )
    assert settings.jobs_url == "sqlite:///demo/layoutloop/jobs.db"
    assert settings.basic_auth_pass == ACCOUNT.password


@pytest.mark.parametrize("variable", ["LAYOUTLOOP_OCR_WORKER", "LAYOUTLOOP_SCORE_TRESHOLD", "LAYOUTLOOP_TRAIN_EPOCS"])
def test_a_mistyped_setting_is_refused_as_serve_does(variable: str) -> None:
    with pytest.raises(SettingsInvalid) as by_serve:
        NodeSettings.from_env({variable: "3"})
    with pytest.raises(SettingsInvalid, match=f"^{variable} is no setting") as by_demo:
        check_settings(demo_environment({variable: "3"}, HOME, STUDIO, ACCOUNT))
    assert str(by_demo.value) == str(by_serve.value)


def test_a_taken_port_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = demo_environment({"LAYOUTLOOP_PORT": port}, HOME, STUDIO, ACCOUNT)
        with pytest.raises(LoopFailed, match=f"port {port} on 127.0.0.1 .*set LAYOUTLOOP_PORT to a free port"):
            check_settings(environ)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        pytest.param("scans", "My pages: scans", id="short"),
        pytest.param("x" * 60, "My pages: " + "x" * 40, id="at most 50 characters"),
        pytest.param("x" * 39 + " y", "My pages: " + "x" * 39, id="Label Studio takes spaces off its end"),
        pytest.param("Zo\udcff", "My pages: Zo\ufffd", id="a name that is no UTF-8"),
    ],
)
def test_a_title_that_label_studio_keeps(name: str, title: str) -> None:
    assert project_title(Path("/home") / name) == title


class Projects:
    """A Label Studio with many projects and tasks, which lists 100 of them at a time."""

    def __init__(self) -> None:
        self.titles = [f"Project {number}" for number in range(250)]
        self.tasks = 1200

    def __call__(self, handler: _Handler) -> None:
        if handler.command == "POST":
            self.titles.append(json.loads(handler.server.seen[-1].body)["title"])
            answer: object = {"id": len(self.titles) - 1}
        else:
            parts = urlsplit(handler.path)
            query = parse_qs(parts.query)
            page, size = int(query["page"][0]), int(query["page_size"][0])
            if parts.path == "/api/tasks":
                numbers = range(self.tasks)[(page - 1) * size : page * size]
                answer = {"total": self.tasks, "tasks": [{"id": number} for number in numbers]}
            else:
                size = min(size, 100)
                found = list(enumerate(self.titles))[(page - 1) * size : page * size]
                more = page * size < len(self.titles)
                results = [{"id": number, "title": title} for number, title in found]
                answer = {"results": results, "next": "more" if more else None}
        handler.reply(200, json.dumps(answer).encode(), Content_Type="application/json")


@pytest.fixture
def studio() -> Projects:
    return Projects()


@pytest.fixture
def client(studio: Projects) -> Iterator[StudioClient]:
    with serve("127.0.0.1", studio) as server, open_studio(f"http://127.0.0.1:{server.port}", LEGACY_KEY) as client:
        yield client


def test_a_project_among_many_is_found_again(client: StudioClient, studio: Projects) -> None:
    made = make_project(client, "My pages: scans", "<View/>")
    assert made == 250
    assert make_project(client, "My pages: scans", "<View/>") == made
    assert make_project(client, "Project 7", "<View/>") == 7
    assert len(studio.titles) == 251


def test_all_tasks_are_listed(client: StudioClient, studio: Projects) -> None:
    assert [task["id"] for task in tasks_of(client, 7)] == list(range(1200))
    studio.tasks = 0
    assert tasks_of(client, 7) == []


def test_an_account_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "label-studio"
    account = Account.in_folder(folder)
    assert len(account.token) == 40
    assert Account.in_folder(folder) == account
    assert [(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()] == [("account.txt", 0o600)]


def test_an_account_that_was_not_written_to_its_end_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "account.partial").write_text("half")
    assert len(Account.in_folder(tmp_path).token) == 40


def test_a_damaged_account_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "account.txt").touch()
    with pytest.raises(StudioFailed, match="0 words where a password and a token should be: remove"):
        Account.in_folder(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--count", "2"], "--count is 3 or more", id="nothing to label"),
        pytest.param(["--pages", "/gone"], "--pages: /gone is no folder", id="no pages"),
        pytest.param(["--labels", " , "], "--labels names no label", id="no labels"),
        pytest.param(["--studio-port", "0"], "--studio-port is between", id="no port"),
        pytest.param(["--page", "/tmp"], "unrecognized arguments", id="demo.sh knows whole names"),  # noqa: S108
    ],
)
def test_options_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--home", str(tmp_path / "home")])
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_one_demo_in_a_folder_at_a_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with instance_lock(tmp_path):
        assert main(["--home", str(tmp_path)]) == 1
    assert f"another demo runs in {tmp_path}: stop it, or choose another folder (--home)" in capsys.readouterr().err
