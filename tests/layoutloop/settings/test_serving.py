from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from layoutloop.errors import SettingsInvalid
from layoutloop.settings.serving import Settings, variable_of
from layoutloop.settings.variables import READ_ELSEWHERE

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
HERE = Path.cwd()

EVERY_FIELD = {
    "label_studio_url": ("LABEL_STUDIO_URL", "https://studio.example.org/ls", "https://studio.example.org/ls"),
    "label_studio_api_key": ("LABEL_STUDIO_API_KEY", JWT, JWT),
    "basic_auth_user": ("BASIC_AUTH_USER", "studio", "studio"),
    "basic_auth_pass": ("BASIC_AUTH_PASS", "päss word", "päss word"),
    "model_dir": ("MODEL_DIR", "store", HERE / "store"),
    "home": ("LAYOUTLOOP_HOME", "/srv/layoutloop/../state", Path("/srv/state")),
    "host": ("LAYOUTLOOP_HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - allowed, since Basic auth is on
    "port": ("LAYOUTLOOP_PORT", "9191", 9191),
    "torchserve_port": ("LAYOUTLOOP_TORCHSERVE_PORT", "7180", 7180),
    "torchserve_host": ("LAYOUTLOOP_TORCHSERVE_HOST", "10.1.2.3", "10.1.2.3"),
    "torchserve_url": ("LAYOUTLOOP_TORCHSERVE_URL", "http://torchserve:7080", "http://torchserve:7080"),
    "node_silent_s": ("LAYOUTLOOP_NODE_SILENT_S", "12", 12.0),
    "allow_open_bind": ("LAYOUTLOOP_ALLOW_OPEN_BIND", "yes", True),
    "hosts": ("LAYOUTLOOP_HOSTS", "host.docker.internal, shim.lan,", ("host.docker.internal", "shim.lan")),
    "image_hosts": ("LAYOUTLOOP_IMAGE_HOSTS", "a.example, *.b.example:8443,", ("a.example", "*.b.example:8443")),
    "image_networks": ("LAYOUTLOOP_IMAGE_NETWORKS", "10.20.0.0/16,fd00::/8", ("10.20.0.0/16", "fd00::/8")),
    "max_image_bytes": ("LAYOUTLOOP_MAX_IMAGE_BYTES", "1000000", 1_000_000),
    "score_threshold": ("LAYOUTLOOP_SCORE_THRESHOLD", "0.25", 0.25),
    "read_only_boxes": ("LAYOUTLOOP_READ_ONLY_BOXES", "on", True),
    "deadline_s": ("LAYOUTLOOP_DEADLINE_S", "45", 45.0),
    "max_predicts": ("LAYOUTLOOP_MAX_PREDICTS", "3", 3),
    "max_tasks": ("LAYOUTLOOP_MAX_TASKS", "50", 50),
    "max_waiting_pages": ("LAYOUTLOOP_MAX_WAITING_PAGES", "50", 50),
    "ocr_workers": ("LAYOUTLOOP_OCR_WORKERS", "6", 6),
    "project_workers": ("LAYOUTLOOP_PROJECT_WORKERS", "2", 2),
    "idle_s": ("LAYOUTLOOP_IDLE_S", "600", 600.0),
    "train_every": ("LAYOUTLOOP_TRAIN_EVERY", "25", 25),
    "prelabel": ("LAYOUTLOOP_PRELABEL", "50", 50),
    "prelabel_remove_old": ("LAYOUTLOOP_PRELABEL_REMOVE_OLD", "1", True),
    "shim_url": ("LAYOUTLOOP_SHIM_URL", "http://shim:9090", "http://shim:9090"),
    "redis_url": ("REDIS_URL", "rediss://u:open@jobs.example:6380/2", "rediss://u:open@jobs.example:6380/2"),
    "log_level": ("LAYOUTLOOP_LOG_LEVEL", "DEBUG", "DEBUG"),
}
"""Field: (variable, text in the environment, value)."""


def test_every_field_comes_from_its_variable() -> None:
    settings = Settings.from_env({variable: text for variable, text, _ in EVERY_FIELD.values()})
    assert {field.name: getattr(settings, field.name) for field in fields(Settings)} == {
        name: value for name, (_, _, value) in EVERY_FIELD.items()
    }
    assert {field.name: variable_of(field.name) for field in fields(Settings)} == {
        name: variable for name, (variable, _, _) in EVERY_FIELD.items()
    }


def test_the_docstring_names_every_field_and_its_variable() -> None:
    for name, (variable, _, _) in EVERY_FIELD.items():
        assert f"{name}: {variable}" in (Settings.__doc__ or "")


def test_nothing_set_and_empty_are_the_defaults() -> None:
    empty = {variable: " " for variable, _, _ in EVERY_FIELD.values()}
    assert Settings.from_env(empty) == Settings.from_env({}) == Settings()


def test_addresses_and_paths_that_follow_from_settings() -> None:
    settings = Settings(torchserve_port=7180, home=Path("/srv/state"))
    assert settings.torchserve_urls == ("http://127.0.0.1:7180",)
    assert settings.token_path == Path("/srv/state/torchserve/key_file.json")


@pytest.mark.parametrize(
    ("host", "url", "asked"),
    [
        pytest.param("127.0.0.1", "", ("http://127.0.0.1:7080",), id="this machine"),
        pytest.param("0.0.0.0", "", ("http://127.0.0.1:7080",), id="this machine, open to others"),  # noqa: S104
        pytest.param("10.1.2.3", "", ("http://10.1.2.3:7080",), id="this machine, by one of its addresses"),
        pytest.param("127.0.0.1", "http://nodes:7080", ("http://nodes:7080",), id="a name"),
        pytest.param("127.0.0.1", "http://a:1, http://b:2/", ("http://a:1", "http://b:2/"), id="several"),
    ],
)
def test_who_is_asked(host: str, url: str, asked: tuple[str, ...]) -> None:
    settings = Settings(torchserve_host=host, torchserve_url=url, allow_open_bind=True)
    assert settings.torchserve_urls == asked
    assert (settings.token_path is None) == (host != "127.0.0.1"), "there are no keys where others may ask"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        pytest.param(Settings(home=Path("/srv/state")), "sqlite:///srv/state/jobs.db", id="a file"),
        pytest.param(Settings(home=Path("/a b?#%")), "sqlite:///a%20b%3F%23%25/jobs.db", id="a file, odd name"),
        pytest.param(Settings(), f"sqlite://{HERE}/var/jobs.db", id="a file, here"),
        pytest.param(Settings(redis_url="redis://jobs:1/2"), "redis://jobs:1/2", id="Redis"),
    ],
)
def test_where_jobs_are_kept(settings: Settings, url: str) -> None:
    assert settings.jobs_url == url


@pytest.mark.parametrize(
    ("environ", "name", "value"),
    [
        pytest.param({"LABEL_STUDIO_HOST": "http://ls:8080"}, "label_studio_url", "http://ls:8080", id="host"),
        pytest.param({"LABEL_STUDIO_HOSTNAME": "http://ls:1"}, "label_studio_url", "http://ls:1", id="hostname"),
        pytest.param({"HOSTNAME": "http://ls:2"}, "label_studio_url", "http://ls:2", id="bare HOSTNAME, an address"),
        pytest.param({"HOSTNAME": "my-laptop"}, "label_studio_url", "http://localhost:8080", id="name of a machine"),
        pytest.param(
            {"LABEL_STUDIO_URL": "http://first", "LABEL_STUDIO_HOST": "http://second", "HOSTNAME": "http://third"},
            *("label_studio_url", "http://first"),
            id="the name of today wins",
        ),
        pytest.param({"LABEL_STUDIO_ACCESS_TOKEN": "abcdef"}, "label_studio_api_key", "abcdef", id="access token"),
        pytest.param({"REDIS_HOST": "jobs"}, "redis_url", "redis://jobs:6379/0", id="Redis: host"),
        pytest.param(
            {"REDIS_HOST": "jobs", "REDIS_PORT": "6380"}, "redis_url", "redis://jobs:6380/0", id="Redis: host and port"
        ),
        pytest.param({"REDIS_HOST": "::1"}, "redis_url", "redis://[::1]:6379/0", id="Redis: IPv6"),
        pytest.param(
            {"REDIS_HOST": "redis", "REDIS_PORT": "tcp://10.0.0.5:6381"},
            *("redis_url", "redis://redis:6381/0"),
            id="Redis: the port as Kubernetes sets it",
        ),
        pytest.param({"REDIS_PORT": "tcp://10.0.0.5:6379"}, "redis_url", "", id="Redis: a port alone is none"),
        pytest.param(
            {"REDIS_URL": "redis://first", "REDIS_HOST": "second", "REDIS_PORT": "x"},
            *("redis_url", "redis://first"),
            id="Redis: the address wins",
        ),
        pytest.param({"LAYOUTLOOP_TRAIN_EVERY": "0"}, "train_every", 0, id="never train by oneself"),
        pytest.param({"LAYOUTLOOP_ALLOW_OPEN_BIND": "False"}, "allow_open_bind", False, id="a boolean in capitals"),
    ],
)
def test_aliases(environ: dict[str, str], name: str, value: object) -> None:
    assert getattr(Settings.from_env(environ), name) == value


def test_the_file_of_the_key_is_not_resolved(tmp_path: Path) -> None:
    (tmp_path / "first").write_text(f"{JWT}\n")
    (tmp_path / "key").symlink_to("first")
    path = tmp_path / "key"
    assert Settings.from_env({"LABEL_STUDIO_API_KEY_FILE": f" {path} "}).label_studio_api_key == path
    assert Settings.from_env({"LABEL_STUDIO_API_KEY_FILE": " "}).label_studio_api_key == ""


@pytest.mark.parametrize("variable", ["LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"])
def test_the_key_comes_from_one_place(tmp_path: Path, variable: str) -> None:
    (tmp_path / "key").write_text(JWT)
    with pytest.raises(SettingsInvalid, match="LABEL_STUDIO_API_KEY_FILE is set, and so is LABEL_STUDIO_API_KEY"):
        Settings.from_env({"LABEL_STUDIO_API_KEY_FILE": str(tmp_path / "key"), variable: JWT})


def test_old_names_of_basic_auth() -> None:
    settings = Settings.from_env({"ML_SERVER_BASIC_AUTH_USER": "studio", "ML_SERVER_BASIC_AUTH_PASS": "key"})
    assert (settings.basic_auth_user, settings.basic_auth_pass) == ("studio", "key")


def test_names_that_other_parts_read_are_no_mistake() -> None:
    others = dict.fromkeys(READ_ELSEWHERE, "1") | {"LAYOUTLOOP_TRAIN_EPOCHS": "3", "PATH": "/bin"}
    assert Settings.from_env(others) == Settings()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        pytest.param({"LAYOUTLOOP_SCORE_TRESHOLD": "0.5"}, "LAYOUTLOOP_SCORE_TRESHOLD is no setting", id="mistyped"),
        pytest.param(
            {"LAYOUTLOOP_SCORE_TRESHOLD": ""}, "LAYOUTLOOP_SCORE_TRESHOLD is no setting", id="mistyped, empty"
        ),
        pytest.param(
            {"USE_REDIS": "true"}, "USE_REDIS means nothing here: REDIS_URL alone chooses Redis", id="old: USE_REDIS"
        ),
        pytest.param({"RQ_QUEUE_NAME": "q"}, "RQ_QUEUE_NAME means nothing here", id="old: RQ"),
        pytest.param({"LABEL_STUDIO_ML_BACKEND_V2": "0"}, "LABEL_STUDIO_ML_BACKEND_V2", id="old: protocol V1"),
        pytest.param({"LAYOUTLOOP_HOST": "0.0.0.0"}, "LAYOUTLOOP_HOST=0.0.0.0 is reachable", id="open bind"),  # noqa: S104
        pytest.param({"LAYOUTLOOP_HOST": "::"}, "LAYOUTLOOP_HOST=:: is reachable", id="open bind, IPv6"),
        pytest.param({"LAYOUTLOOP_HOST": "shim.lan"}, "LAYOUTLOOP_HOST=shim.lan is reachable", id="open bind, a name"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_HOST": "10.1.2.3"}, "TORCHSERVE_HOST=10.1.2.3 is", id="open TorchServe"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_HOST": "127.0.0.2"}, "TORCHSERVE_HOST=127.0.0.2 is", id="no keys there"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "https://nodes:7080"}, "TORCHSERVE_URL is like", id="nodes: https"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "http://nodes"}, "TORCHSERVE_URL is like", id="nodes: no port"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "http://a:99999"}, "TORCHSERVE_URL is like", id="nodes: port"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "http://a:1,b:2"}, "TORCHSERVE_URL is like", id="nodes: no scheme"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "http://a:1/x"}, "TORCHSERVE_URL is like", id="nodes: a path"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "http://a..b:7080"}, "TORCHSERVE_URL is like", id="nodes: no name"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": f"http://{'a' * 64}:1"}, "TORCHSERVE_URL is like", id="nodes: long"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_URL": "http://u:hidden@a:1"}, "got 'a:1'", id="nodes: a password"),
        pytest.param({"LAYOUTLOOP_NODE_SILENT_S": "0"}, "LAYOUTLOOP_NODE_SILENT_S is above 0", id="silent: at once"),
        pytest.param(
            {"MODEL_DIR": "memory://a", "REDIS_URL": "redis://b", "LAYOUTLOOP_NODE_SILENT_S": "14"},
            "LAYOUTLOOP_NODE_SILENT_S is at least 15 where MODEL_DIR is a URL, got 14",
            id="silent: too soon for a store at a URL",
        ),
        pytest.param({"LAYOUTLOOP_HOSTS": "shim.lan:9090"}, "LAYOUTLOOP_HOSTS has names", id="a name with a port"),
        pytest.param({"LAYOUTLOOP_HOSTS": "http://shim.lan"}, "LAYOUTLOOP_HOSTS has names", id="an address"),
        pytest.param({"BASIC_AUTH_USER": "studio"}, "BASIC_AUTH_USER and BASIC_AUTH_PASS belong", id="no password"),
        pytest.param({"BASIC_AUTH_PASS": "key"}, "BASIC_AUTH_USER and BASIC_AUTH_PASS belong", id="no user"),
        pytest.param({"LAYOUTLOOP_PORT": "ninety"}, "LAYOUTLOOP_PORT: ", id="port: a word"),
        pytest.param({"LAYOUTLOOP_PORT": "9090.0"}, "LAYOUTLOOP_PORT: ", id="port: a fraction"),
        pytest.param({"LAYOUTLOOP_PORT": "70000"}, "LAYOUTLOOP_PORT", id="port: too high"),
        pytest.param({"LAYOUTLOOP_TORCHSERVE_PORT": "-1"}, "LAYOUTLOOP_TORCHSERVE_PORT", id="port: negative"),
        pytest.param({"LAYOUTLOOP_SCORE_THRESHOLD": "1.5"}, "LAYOUTLOOP_SCORE_THRESHOLD", id="threshold: above 1"),
        pytest.param({"LAYOUTLOOP_SCORE_THRESHOLD": "nan"}, "LAYOUTLOOP_SCORE_THRESHOLD", id="threshold: nan"),
        pytest.param({"LAYOUTLOOP_SCORE_THRESHOLD": "0,5"}, "LAYOUTLOOP_SCORE_THRESHOLD: ", id="threshold: a comma"),
        pytest.param({"LAYOUTLOOP_DEADLINE_S": "0"}, "LAYOUTLOOP_DEADLINE_S", id="deadline: none"),
        pytest.param({"LAYOUTLOOP_DEADLINE_S": "nan"}, "LAYOUTLOOP_DEADLINE_S", id="deadline: nan"),
        pytest.param({"LAYOUTLOOP_DEADLINE_S": "inf"}, "LAYOUTLOOP_DEADLINE_S", id="deadline: for ever"),
        pytest.param({"LAYOUTLOOP_MAX_PREDICTS": "0"}, "LAYOUTLOOP_MAX_PREDICTS", id="predicts: none"),
        pytest.param({"LAYOUTLOOP_MAX_TASKS": "0"}, "LAYOUTLOOP_MAX_TASKS", id="tasks: none"),
        pytest.param({"LAYOUTLOOP_MAX_WAITING_PAGES": "-5"}, "LAYOUTLOOP_MAX_WAITING_PAGES", id="pages: negative"),
        pytest.param({"LAYOUTLOOP_OCR_WORKERS": "0"}, "LAYOUTLOOP_OCR_WORKERS", id="ocr workers: none"),
        pytest.param({"LAYOUTLOOP_PROJECT_WORKERS": "x"}, "LAYOUTLOOP_PROJECT_WORKERS: ", id="project workers: a word"),
        pytest.param({"LAYOUTLOOP_MAX_IMAGE_BYTES": "0"}, "LAYOUTLOOP_MAX_IMAGE_BYTES", id="image bytes: none"),
        pytest.param({"LAYOUTLOOP_MAX_IMAGE_BYTES": "32MB"}, "LAYOUTLOOP_MAX_IMAGE_BYTES: ", id="image bytes: a unit"),
        pytest.param({"LAYOUTLOOP_READ_ONLY_BOXES": "maybe"}, "LAYOUTLOOP_READ_ONLY_BOXES: 1 or 0", id="boolean"),
        pytest.param({"LAYOUTLOOP_IMAGE_NETWORKS": "10.0.0.1/8"}, "LAYOUTLOOP_IMAGE_NETWORKS: ", id="CIDR: host bits"),
        pytest.param({"LAYOUTLOOP_IMAGE_NETWORKS": "lan"}, "LAYOUTLOOP_IMAGE_NETWORKS: ", id="CIDR: a word"),
        pytest.param({"LAYOUTLOOP_TRAIN_EVERY": "-1"}, "LAYOUTLOOP_TRAIN_EVERY is 0", id="train every: negative"),
        pytest.param({"LAYOUTLOOP_IDLE_S": "-1"}, "LAYOUTLOOP_IDLE_S is 0", id="idle: negative"),
        pytest.param({"LAYOUTLOOP_IDLE_S": "nan"}, "LAYOUTLOOP_IDLE_S is 0", id="idle: not a number"),
        pytest.param({"LAYOUTLOOP_TRAIN_EVERY": "ten"}, "LAYOUTLOOP_TRAIN_EVERY: ", id="train every: a word"),
        pytest.param({"REDIS_URL": "jobs:6379"}, "REDIS_URL is like", id="Redis: no scheme"),
        pytest.param({"REDIS_URL": "http://:hidden@jobs"}, "REDIS_URL is like", id="Redis: http"),
        pytest.param({"REDIS_URL": "redis://:hidden"}, "REDIS_URL is like", id="Redis: no host"),
        pytest.param({"REDIS_URL": "redis://jobs:0"}, "REDIS_URL is like", id="Redis: port 0"),
        pytest.param({"REDIS_URL": "redis://jobs/hidden"}, "REDIS_URL is like", id="Redis: no database"),
        pytest.param({"REDIS_HOST": "jobs", "REDIS_PORT": "70000"}, "REDIS_PORT is between", id="Redis: port"),
        pytest.param({"REDIS_HOST": "jobs/hidden"}, "REDIS_URL is like", id="Redis: host with a path"),
        pytest.param({"LAYOUTLOOP_LOG_LEVEL": "LOUD"}, "LAYOUTLOOP_LOG_LEVEL", id="log level"),
        pytest.param({"LABEL_STUDIO_API_KEY_FILE": "hidden"}, "LABEL_STUDIO_API_KEY_FILE is the abso", id="key file"),
        pytest.param({"LABEL_STUDIO_URL": "localhost:8080"}, "LABEL_STUDIO_URL is like", id="address: no scheme"),
        pytest.param({"LABEL_STUDIO_URL": "ftp://studio"}, "LABEL_STUDIO_URL is like", id="address: ftp"),
        pytest.param({"LABEL_STUDIO_URL": "http://[::1"}, "LABEL_STUDIO_URL is like", id="address: half a bracket"),
        pytest.param({"LABEL_STUDIO_URL": "http://ls/?a=b"}, "LABEL_STUDIO_URL is like", id="address: a query"),
        pytest.param({"LABEL_STUDIO_URL": "http://me:hidden@ls"}, "LABEL_STUDIO_URL is like", id="address: a password"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_env(environ)
    assert sentence in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"LAYOUTLOOP_HOST": "127.0.0.5"}, id="loopback"),
        pytest.param({"LAYOUTLOOP_HOST": "::1"}, id="loopback, IPv6"),
        pytest.param({"LAYOUTLOOP_HOST": "localhost"}, id="loopback, by name"),
        pytest.param({"LAYOUTLOOP_HOST": "0.0.0.0", "LAYOUTLOOP_ALLOW_OPEN_BIND": "1"}, id="open on purpose"),  # noqa: S104
        pytest.param(
            {"LAYOUTLOOP_HOST": "10.0.0.4", "BASIC_AUTH_USER": "studio", "BASIC_AUTH_PASS": "key"}, id="with Basic auth"
        ),
    ],
)
def test_binds_that_are_allowed(environ: dict[str, str]) -> None:
    assert Settings.from_env(environ).host == environ["LAYOUTLOOP_HOST"]


def test_secrets_are_not_shown() -> None:
    settings = Settings(
        label_studio_api_key=JWT,
        basic_auth_user="studio",
        basic_auth_pass="open-sesame",
        redis_url="redis://:open-sesame@jobs",
    )
    assert JWT not in repr(settings)
    assert "open-sesame" not in repr(settings)


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]
