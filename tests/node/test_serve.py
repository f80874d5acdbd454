from __future__ import annotations

import configparser
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml

from layoutloop.errors import SettingsInvalid
from layoutloop.processes.launch import program_environment
from layoutloop.processes.parts import PARTS, instance_lock, parse_parts, part_locks
from layoutloop.settings.java_memory import CLIENTS, bytes_in_flight
from layoutloop.settings.node import REPOSITORY, NodeSettings, note_path
from layoutloop.settings.serving import Settings
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from node.processes import INSTANCE, PART, instance_processes
from node.serve import SUPERVISOR_STOPS_S, make_folders, port_problem, private_tmp
from node.startup import WAITING, Startup, health, ready_line
from node.supervision import Instance, Program, programs, supervisor_config, torchserve_config
from node.supervisor_news import SupervisorNews, last_line
from rollout.readiness import note_of, readiness_problem
from scripts.serve import COMMANDS
from tests import far_servers

TEMPLATE = (REPOSITORY / "config.properties").read_text(encoding="utf-8")


def settings_in(home: Path, port: int = 9090, torchserve_port: int = 7080) -> NodeSettings:
    return NodeSettings(home=home, model_dir=home / "store", port=port, torchserve_port=torchserve_port)


def properties(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_defaults_lie_in_the_repository() -> None:
    settings = NodeSettings.from_env({"LAYOUTLOOP_HOME": "", "LAYOUTLOOP_PORT": ""})
    assert settings.home == REPOSITORY / "var"
    assert settings.model_dir == REPOSITORY / "model_store"
    assert settings.address == "http://127.0.0.1:9090"
    assert settings.torchserve_port == 7080


def test_the_environment_moves_everything(tmp_path: Path) -> None:
    environ = {
        "LAYOUTLOOP_HOME": str(tmp_path / "home"),
        "MODEL_DIR": str(tmp_path / "store"),
        "LAYOUTLOOP_HOST": "0.0.0.0",  # noqa: S104 -- never bound
        "LAYOUTLOOP_PORT": "19090",
        "LAYOUTLOOP_TORCHSERVE_PORT": "17080",
    }
    settings = NodeSettings.from_env(environ | {"BASIC_AUTH_USER": "labels", "BASIC_AUTH_PASS": "made up"})
    assert settings.environment() == environ
    assert [port for _, port, _, _ in settings.listening()] == [19090, 17080, 17081, 17082, 17083, 17084]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("LAYOUTLOOP_PORT", "nine", id="not a number"),
        pytest.param("LAYOUTLOOP_PORT", "70000", id="no such port"),
        pytest.param("LAYOUTLOOP_TORCHSERVE_PORT", "65535", id="no room for five ports"),
    ],
)
def test_a_bad_port_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{name}.*{value}"):
        NodeSettings.from_env({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("LAYOUTLOOP_CACHE_BYTES", "2GB", id="cache size with a unit"),
        pytest.param("LAYOUTLOOP_CACHE_DIR", "cache", id="relative cache folder"),
    ],
)
def test_settings_of_the_ocr_workers_are_checked_before_they_start(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{name} is .* got '{value}'"):
        NodeSettings.from_env({name: value})


def test_the_shim_may_not_have_one_of_torchserves_ports(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="LAYOUTLOOP_PORT=7084 is one of TorchServe's 5 ports, 7080 to 7084"):
        NodeSettings(home=tmp_path, model_dir=tmp_path, port=7084)


def test_a_mistyped_setting_of_the_shim_stops_the_start() -> None:
    with pytest.raises(SettingsInvalid, match="LAYOUTLOOP_TRESHOLD is no setting"):
        NodeSettings.from_env({"LAYOUTLOOP_TRESHOLD": "0.5"})


@pytest.mark.parametrize(
    ("host", "address"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:9090", id="loopback"),
        pytest.param("0.0.0.0", "http://127.0.0.1:9090", id="every IPv4 address"),  # noqa: S104
        pytest.param("::", "http://[::1]:9090", id="every IPv6 address"),
        pytest.param("10.1.2.3", "http://10.1.2.3:9090", id="one address"),
        pytest.param("labels.example", "http://labels.example:9090", id="a name"),
    ],
)
def test_the_address_to_paste(tmp_path: Path, host: str, address: str) -> None:
    settings = NodeSettings(home=tmp_path, model_dir=tmp_path, host=host)
    assert ready_line(settings).endswith(f"(Settings > Model): {address}")


def test_the_torchserve_configuration_is_complete(tmp_path: Path) -> None:
    rendered = properties(torchserve_config(settings_in(tmp_path, torchserve_port=17080), TEMPLATE, 2))
    assert rendered["inference_address"] == "http://127.0.0.1:17080"
    assert rendered["management_address"] == "http://127.0.0.1:17081"
    assert rendered["metrics_address"] == "http://127.0.0.1:17082"
    assert (rendered["grpc_inference_port"], rendered["grpc_management_port"]) == ("17083", "17084")
    assert rendered["allowed_urls"] == "^$"
    assert rendered["model_store"] == str(tmp_path / "torchserve" / "archives")
    assert Path(rendered["metrics_config"]).is_file()
    assert "load_models" not in rendered


@pytest.mark.parametrize(("workers", "heap"), [(1, 512), (2, 512), (4, 640), (12, 1408), (64, 6400)])
def test_javas_heap_follows_the_workers(tmp_path: Path, workers: int, heap: int) -> None:
    rendered = properties(torchserve_config(settings_in(tmp_path), TEMPLATE, workers))
    assert f"-Xmx{heap}m" in rendered["vmargs"].split()
    assert CLIENTS * bytes_in_flight(workers) < heap * 2**20


def test_javas_heap_has_room_for_all_clients_in_kubernetes() -> None:
    base = REPOSITORY / "deploy" / "kubernetes" / "base"
    parts = [part for name in ("shim", "trainer") for part in yaml.safe_load_all((base / f"{name}.yaml").read_text())]
    assert sum(part["spec"].get("replicas", 1) for part in parts if part["kind"] == "Deployment") <= CLIENTS


def test_a_path_is_spelled_for_java() -> None:
    rendered = properties(torchserve_config(settings_in(Path("/home/jürgen/a\\b")), TEMPLATE, 2))
    assert rendered["model_store"] == "/home/j\\u00fcrgen/a\\\\b/torchserve/archives"


def test_the_metrics_keep_what_torchserve_counts_itself() -> None:
    ours = yaml.safe_load((REPOSITORY / "deploy" / "torchserve" / "metrics.yaml").read_text())
    ts = Path(sys.prefix) / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/ts/configs"
    theirs = yaml.safe_load((ts / "metrics.yaml").read_text())
    assert ours["ts_metrics"] == theirs["ts_metrics"]
    listed = {metric["name"] for kind in ours["model_metrics"].values() for metric in kind}
    assert {"PagesRead", "PagesTagged", "Windows", "ItemErrors", "OcrSeconds", "BatchPages"} <= listed


def parsed(settings: NodeSettings, started: list[Program]) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(supervisor_config(settings, started))
    return parser


def test_the_supervisor_runs_four_programs(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    conf = parsed(settings, programs(Instance(settings, COMMANDS, {}), tmp_path / "t"))
    names = ("torchserve", "rollout", "shim", "trainer")
    assert conf.sections() == ["supervisord", *(f"program:{name}" for name in names)]
    assert conf["supervisord"]["nodaemon"] == "true"
    assert ("user" in conf["supervisord"]) == (os.geteuid() == 0), "else its log begins with CRIT for root"
    for name in names:
        section = conf[f"program:{name}"]
        assert section["autorestart"] == section["stopasgroup"] == section["killasgroup"] == "true"
        assert section["stdout_logfile"] == str(tmp_path / "logs" / f"{name}.log")
        assert section["stdout_logfile_maxbytes"] == "10MB"
    assert conf["program:shim"]["command"].endswith("-m shim")
    assert conf["program:trainer"]["command"].endswith("-m scripts.worker")
    assert [int(conf[f"program:{name}"]["priority"]) for name in names] == [1, 2, 3, 4]
    assert sum(int(conf[f"program:{name}"]["stopwaitsecs"]) for name in names) < SUPERVISOR_STOPS_S


def test_percent_signs_and_spaces_survive(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "50% of it")
    conf = parsed(settings, [Program("shim", ["/opt/my shim", "100%"], stop_wait_s=1)])
    section = conf["program:shim"]
    assert section["stdout_logfile"] % {} == str(settings.logs / "shim.log")
    assert shlex.split(section["command"] % {})[-3:] == ["--", "/opt/my shim", "100%"]


def test_torchserve_sees_no_keys(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "JAVA_HOME": "/opt/java",
        "PYTHONPATH": str(REPOSITORY),
        "LABEL_STUDIO_API_KEY": "secret",
        "REDIS_URL": "redis://:secret@localhost:6379/0",
        "OMP_NUM_THREADS": "1",
    }
    settings = settings_in(tmp_path)
    torchserve = programs(Instance(settings, COMMANDS, environ), tmp_path / "t")[0]
    show = [sys.executable, "-c", "import os; print('\\n'.join(sorted(os.environ)))"]
    launched = [sys.executable, "-m", "layoutloop.processes.launch", *torchserve.launch, "--", *show]
    seen = subprocess.run(launched, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True).stdout
    names = set(seen.split()) - {"LC_CTYPE"}  # Python's own addition where the locale is C
    paths = {"TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION", "LAYOUTLOOP_CACHE_DIR"}
    assert names == {"PATH", "JAVA_HOME", "LANG", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "PYTHONNOUSERSITE"} | paths


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"LAYOUTLOOP_PROJECT_WORKERS": "1"}, os.cpu_count(), id="all cores for the only worker"),
        pytest.param({"LAYOUTLOOP_PROJECT_WORKERS": str(os.cpu_count())}, 1, id="a core each"),
        pytest.param({"LAYOUTLOOP_PROJECT_WORKERS": "1", "OMP_NUM_THREADS": "3"}, 3, id="as chosen"),
    ],
)
def test_a_projects_workers_share_the_cores(tmp_path: Path, environ: dict[str, str], expected: int) -> None:
    """Workers that take all cores each wait for each other; archives leave the number to this variable."""
    launch = list(programs(Instance(settings_in(tmp_path), COMMANDS, environ), tmp_path / "t")[0].launch)
    keep, additions = launch[1].split(","), [option.removeprefix("--set=") for option in launch[2:]]
    assert int(program_environment(environ, keep, additions)["OMP_NUM_THREADS"]) == expected
    archived = yaml.safe_load((REPOSITORY / "handler" / "config" / "cpu.yaml").read_text())
    assert archived["handler"]["tagger"]["threads"] == 0


def test_a_chosen_page_cache_is_passed_on(tmp_path: Path) -> None:
    environ = {"LAYOUTLOOP_CACHE_DIR": "/srv/pages", "LANG": "de_DE.UTF-8"}
    launch = list(programs(Instance(settings_in(tmp_path), COMMANDS, environ), tmp_path / "t")[0].launch)
    keep, additions = launch[1].split(","), [option.removeprefix("--set=") for option in launch[2:]]
    chosen = program_environment(environ, keep, additions)
    assert (chosen["LAYOUTLOOP_CACHE_DIR"], chosen["LANG"]) == ("/srv/pages", "de_DE.UTF-8")


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that are free now."""
    start = 21000 + os.getpid() % 1000 * 10  # test processes side by side look in different places
    for first in range(start, start + 100 * count, count):
        if port_problem(NodeSettings(Path("/"), Path("/"), port=first + count, torchserve_port=first)) is None:
            return first
    pytest.fail("no free ports")


@pytest.mark.parametrize(
    ("offset", "use", "variable"),
    [
        pytest.param(5, "the shim", "LAYOUTLOOP_PORT", id="shim"),
        pytest.param(0, "TorchServe inference", "LAYOUTLOOP_TORCHSERVE_PORT", id="inference"),
        pytest.param(4, "TorchServe gRPC management", "LAYOUTLOOP_TORCHSERVE_PORT", id="last"),
    ],
)
def test_a_busy_port_is_named(tmp_path: Path, offset: int, use: str, variable: str) -> None:
    first = free_ports(5)
    settings = settings_in(tmp_path, port=first + 5, torchserve_port=first)
    with socket.create_server(("127.0.0.1", first + offset)):
        problem = port_problem(settings)
    assert problem is not None
    assert f"port {first + offset} on 127.0.0.1 ({use})" in problem
    assert "Address already in use" in problem
    assert f"set {variable} to" in problem


def test_a_busy_port_ends_the_command(tmp_path: Path) -> None:
    first = free_ports(5)
    environ = os.environ | settings_in(tmp_path, port=first + 5, torchserve_port=first).environment()
    with socket.create_server(("127.0.0.1", first + 5)):
        command = [sys.executable, "-m", "scripts.serve"]
        done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"port {first + 5} on 127.0.0.1" in done.stderr


def test_a_home_is_held_once(tmp_path: Path) -> None:
    with instance_lock(tmp_path) as first, instance_lock(tmp_path) as second:
        assert (first, second) == (True, False)
    with instance_lock(tmp_path) as third:
        assert third


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("torchserve,rollout,shim,trainer", ("torchserve", "rollout", "shim", "trainer"), id="all"),
        pytest.param("rollout, torchserve", ("torchserve", "rollout"), id="in the order they start"),
        pytest.param("trainer", ("trainer",), id="one"),
    ],
)
def test_parts(text: str, parts: tuple[str, ...]) -> None:
    assert parse_parts(text) == parts


@pytest.mark.parametrize("text", ["", "shims", "shim,", "torchserve rollout"])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="parts are some of torchserve, rollout, shim, trainer"):
        parse_parts(text)


def test_each_part_runs_once_in_a_home(tmp_path: Path) -> None:
    with part_locks(tmp_path, ("torchserve", "rollout")) as first, part_locks(tmp_path, ("shim",)) as second:
        assert (first, second) == (None, None)
        with part_locks(tmp_path, ("shim", "trainer")) as third:
            assert third == "shim"
    with part_locks(tmp_path, PARTS) as all_of_them:
        assert all_of_them is None


def test_only_what_runs_is_started_and_has_its_ports_checked(tmp_path: Path) -> None:
    first = free_ports(5)
    settings = settings_in(tmp_path, port=first + 5, torchserve_port=first)
    with socket.create_server(("127.0.0.1", first)):
        assert "TorchServe inference" in str(port_problem(settings, ("torchserve", "rollout")))
        assert port_problem(settings, ("shim", "trainer")) is None
    with socket.create_server(("127.0.0.1", first + 5)):
        assert "the shim" in str(port_problem(settings, ("shim",)))
        assert port_problem(settings, ("torchserve", "rollout", "trainer")) is None
    started = programs(Instance(settings, COMMANDS, {}, ("rollout", "trainer")), tmp_path / "t")
    conf = parsed(settings, started)
    assert conf.sections() == ["supervisord", "program:rollout", "program:trainer"]
    assert conf["supervisord"]["pidfile"] == str(tmp_path / "supervisord-rollout-trainer.pid"), "others have theirs"
    assert conf["supervisord"]["logfile"] == str(tmp_path / "logs" / "supervisord-rollout-trainer.log")


@pytest.mark.parametrize(
    ("parts", "folders"),
    [
        pytest.param(("shim",), {"home", "home/logs", "store"}, id="shim"),
        pytest.param(
            ("torchserve",),
            {"home", "home/logs", "home/torchserve", "home/torchserve/archives", "home/cache", "home/cache/pages"},
            id="torchserve",
        ),
        pytest.param(
            ("rollout",),
            {"home", "home/logs", "home/torchserve", "home/torchserve/archives", "store"},
            id="rollout",
        ),
    ],
)
def test_folders_of_what_runs(tmp_path: Path, parts: tuple[str, ...], folders: set[str]) -> None:
    make_folders(NodeSettings(home=tmp_path / "home", model_dir=tmp_path / "store"), parts)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == folders


def test_processes_of_other_parts_are_left_alone(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    marks = ({INSTANCE: str(tmp_path), PART: "shim"}, {INSTANCE: str(tmp_path), PART: "torchserve,rollout"})
    shim, node = [subprocess.Popen(sleep, env=os.environ | mark) for mark in marks]
    try:
        assert [one.pid for one in instance_processes(tmp_path, ("rollout",))] == [node.pid]
        assert [one.pid for one in instance_processes(tmp_path, ("shim", "trainer"))] == [shim.pid]
        assert {one.pid for one in instance_processes(tmp_path)} == {shim.pid, node.pid}
    finally:
        for process in (shim, node):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("host", "address", "without_keys"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", "false", id="loopback, with keys"),
        pytest.param("0.0.0.0", "0.0.0.0", "true", id="every address, without"),  # noqa: S104 -- never bound
        pytest.param("::", "[::]", "true", id="IPv6"),
    ],
)
def test_where_torchserve_listens(tmp_path: Path, host: str, address: str, without_keys: str) -> None:
    settings = NodeSettings(home=tmp_path, model_dir=tmp_path, torchserve_host=host)
    rendered = properties(torchserve_config(settings, TEMPLATE, 2))
    assert rendered["inference_address"] == f"http://{address}:7080"
    assert rendered["management_address"] == "http://127.0.0.1:7081"
    assert rendered["metrics_address"] == f"http://{address}:7082"
    assert rendered["disable_token_authorization"] == without_keys
    assert {rendered[f"grpc_{kind}_address"] for kind in ("inference", "management")} == {"127.0.0.1"}


def test_the_lines_of_what_is_ready(tmp_path: Path) -> None:
    node, settings = settings_in(tmp_path), Settings(home=tmp_path)
    with requests.Session() as session:
        both = Startup(node, settings, ("torchserve", "rollout"), session, readiness_problem)
        assert both.look() == (False, "waiting for the rollout watcher")
        write_json(note_path(tmp_path), note_of(ModelStore(tmp_path / "store"), {"ocr": ["1"]}, {}))
        assert both.look() == (True, f"TorchServe holds all that is in service: {node.node} is ready.")
        assert both.studio_problem() is None, "a node never asks Label Studio"
        assert Startup(node, settings, ("trainer",), session, readiness_problem).look() == (
            True,
            "The trainer waits for jobs.",
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        alone = Startup(node, Settings(torchserve_port=port), ("torchserve",), session, readiness_problem)
        assert alone.look() == (False, f"waiting for TorchServe at http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("away_s", "parts", "says"),
    [
        pytest.param(4, PARTS, "TorchServe is starting; it does not hold ocr 1 yet", id="a normal start"),
        pytest.param(60, PARTS, "TorchServe does not hold ocr 1 yet (torchserve: refused)", id="too long for a start"),
        pytest.param(None, PARTS, "waiting for the rollout watcher", id="before its first look"),
        pytest.param(60, ("shim", "trainer"), WAITING, id="TorchServe is elsewhere"),
    ],
)
def test_what_a_start_waits_for(tmp_path: Path, away_s: float | None, parts: tuple[str, ...], says: str) -> None:
    write_manifest(ModelStore(tmp_path / "store"), "ocr", Manifest(("1",), "1"))
    if away_s is not None:
        note = note_of(ModelStore(tmp_path / "store"), {}, {"torchserve": "refused"}, time.time() - away_s)
        write_json(note_path(tmp_path), note)
    body = json.dumps({"status": "UP", "ready": False}).encode()
    with requests.Session() as session, far_servers.serve("127.0.0.1", lambda asked: asked.reply(200, body)) as shim:
        startup = Startup(settings_in(tmp_path, shim.port), Settings(home=tmp_path), parts, session, readiness_problem)
        assert startup.look() == (False, says)


def test_a_deep_home_gets_a_short_temporary_folder(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / ("deep" * 20))
    settings.torchserve.mkdir(parents=True)
    with private_tmp(settings) as tmp:
        assert len(str(tmp)) < 60
        assert tmp.stat().st_mode & 0o777 == 0o700
    assert not tmp.exists()


def test_a_temporary_folder_left_behind_is_removed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / ("deep" * 20))
    settings.torchserve.mkdir(parents=True)
    with private_tmp(settings) as left, private_tmp(settings) as tmp:
        assert not left.exists()
        assert tmp.exists()


def test_a_program_that_ended_is_told_once(tmp_path: Path) -> None:
    log = tmp_path / "supervisord.log"
    log.write_text("2026-11-23 01:00:00,000 WARN exited: shim (exit status 9; not expected)\n")
    news = SupervisorNews(log)
    assert news.ended() == [], "what happened before this start is no news"
    (tmp_path / "shim.log").write_text("starting\nLABEL_STUDIO_URL must be a URL\n\n")
    with log.open("a") as stream:
        stream.write("2026-11-23 02:00:00,000 INFO spawned: 'shim' with pid 7\n")
        stream.write("2026-11-23 02:00:01,000 WARN exited: shim (exit status 2; not expected)\n")
    told = news.ended()
    assert len(told) == 1
    assert told[0].startswith("shim ended (exit status 2; not expected)")
    assert told[0].endswith("ends with: LABEL_STUDIO_URL must be a URL")
    assert news.ended() == []


def test_the_last_line_of_no_log_is_empty(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == ""


def test_nobody_answers_yet(tmp_path: Path) -> None:
    with requests.Session() as session:
        ready, state = health(session, f"http://127.0.0.1:{free_ports(5)}")
    assert not ready
    assert state.startswith("waiting for the shim")
