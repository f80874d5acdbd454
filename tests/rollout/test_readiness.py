from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from layoutloop.settings.node import REPOSITORY, NodeSettings, note_path
from layoutloop.settings.serving import Settings
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from layoutloop.torchserve.management import ManagementClient
from layoutloop.torchserve.tokens import TokenFile
from rollout.process import ELSEWHERE_S, LOST_AFTER_S, STUCK_S, WatcherProcess, forget_lost_nodes
from rollout.promotion import NO_WORKER, NOT_FETCHED
from rollout.readiness import missing_versions, note_of, readiness_problem
from rollout.watcher import Watcher
from rollout.worker_counts import WorkerCounts

OLD, NEW, NEXT = "20261121T080000Z", "20261122T080000Z", "20261123T080000Z"


@pytest.mark.parametrize(
    ("serving", "held", "missing"),
    [
        pytest.param(Manifest((NEW,), NEW), [NEW], [], id="the current one"),
        pytest.param(Manifest((NEW,), NEW), [], [NEW], id="nothing"),
        pytest.param(
            Manifest((NEW, OLD), NEW, left={OLD: 1.0}), [NEW], [OLD], id="one that requests may still ask for"
        ),
        pytest.param(Manifest((NEW, OLD), NEW, left={OLD: 1.0}), [NEW, OLD], [], id="both"),
        pytest.param(Manifest((NEXT, NEW), NEW), [NEW], [], id="a candidate that is tried makes no node unready"),
        pytest.param(Manifest((NEXT,), None), [], [], id="nothing was promoted yet"),
    ],
)
def test_what_a_node_lacks(tmp_path: Path, serving: Manifest, held: list[str], missing: list[str]) -> None:
    write_manifest(ModelStore(tmp_path), "project-7", serving)
    assert missing_versions(ModelStore(tmp_path), {"project-7": held}) == [
        f"project-7 {version}" for version in missing
    ]


def test_a_file_that_cannot_be_understood_takes_no_node_out(tmp_path: Path) -> None:
    write_manifest(ModelStore(tmp_path), "ocr", Manifest((NEW,), NEW))
    (tmp_path / "project-7").mkdir()
    (tmp_path / "project-7" / "serving.json").write_text("{")
    assert missing_versions(ModelStore(tmp_path), {}) == [f"ocr {NEW}"]


HOLDS = {"ocr": [NEW]}
FULL = f"{NOT_FETCHED}: No space left on device"


@pytest.mark.parametrize(
    ("holds", "errors", "missing"),
    [
        pytest.param({"ocr": [NEW]}, {f"project-7 {NEW}": "no tokens"}, [], id="a project that failed here"),
        pytest.param({"ocr": [NEW]}, {f"project-7 {OLD}": "x"}, [f"project-7 {NEW}"], id="another version failed"),
        pytest.param({"ocr": [NEW]}, {"project-7": "x"}, [f"project-7 {NEW}"], id="not tried yet"),
        pytest.param({"project-7": [NEW]}, {f"ocr {NEW}": "no eng"}, [f"ocr {NEW}"], id="ocr that failed"),
        pytest.param({}, {"torchserve": "away"}, [f"ocr {NEW}", f"project-7 {NEW}"], id="no TorchServe"),
        pytest.param({"ocr": [NEW]}, {f"project-7 {NEW}": NO_WORKER}, [], id="its worker died on all nodes"),
        pytest.param({"ocr": [NEW]}, {f"project-7 {NEW}": FULL}, [], id="an archive that no node could fetch"),
        pytest.param({"project-7": [NEW]}, {f"ocr {NEW}": NO_WORKER}, [f"ocr {NEW}"], id="ocr without a worker"),
    ],
)
def test_one_bad_project_takes_no_node_out(
    tmp_path: Path, holds: dict[str, list[str]], errors: dict[str, str], missing: list[str]
) -> None:
    for name in ("ocr", "project-7"):
        write_manifest(ModelStore(tmp_path / "store"), name, Manifest((NEW,), NEW))
    note = note_of(ModelStore(tmp_path / "store"), holds, errors)
    assert note["missing"] == missing
    write_json(note_path(tmp_path), note)
    assert (readiness_problem(Settings(home=tmp_path)) is None) == (not missing)


@pytest.mark.parametrize("why", ["no tokens", NO_WORKER, FULL], ids=["fails", "no worker", "not fetched"])
@pytest.mark.parametrize(
    ("other", "age_s", "version", "missing"),
    [
        pytest.param("other-7080", 1.0, NEW, [f"project-7 {NEW}"], id="another node holds it"),
        pytest.param("other-7080", 1.0, OLD, [], id="another holds another version"),
        pytest.param("other-7080", 45.0, NEW, [], id="one that is silent held it"),
        pytest.param("own", 1.0, NEW, [], id="this node held it before"),
    ],
)
def test_what_fails_on_this_node_alone_takes_it_out(
    tmp_path: Path, other: str, age_s: float, version: str, missing: list[str], why: str
) -> None:
    node = NodeSettings(home=tmp_path, model_dir=tmp_path / "store")
    for name in ("ocr", "project-7"):
        write_manifest(ModelStore(node.model_dir), name, Manifest((NEW,), NEW))
    report = {"time": time.time() - age_s, "holds": {"project-7": [version]}, "errors": {}}
    write_json(tmp_path / "store" / ".nodes" / f"{node.node if other == 'own' else other}.json", report)
    watcher = watcher_of(node)
    watcher.holds, watcher.errors = {"ocr": [NEW]}, {f"project-7 {NEW}": why}
    process = WatcherProcess(watcher, node, Settings(home=tmp_path))
    process.look_elsewhere()
    process.note()
    assert json.loads(note_path(tmp_path).read_text())["missing"] == missing


@pytest.mark.parametrize(
    ("errors", "age_s", "known"),
    [
        pytest.param({}, ELSEWHERE_S, False, id="nothing is wrong here"),
        pytest.param({f"project-7 {NEW}": "no tokens"}, ELSEWHERE_S, True, id="asked"),
        pytest.param({f"project-7 {NEW}": "no tokens"}, 1.0, False, id="it was asked lately"),
    ],
)
def test_a_note_asks_nobody(tmp_path: Path, errors: dict[str, str], age_s: float, known: bool) -> None:
    node = NodeSettings(home=tmp_path, model_dir=tmp_path / "store")
    report = {"time": time.time(), "holds": {"project-7": [NEW]}, "errors": {}}
    write_json(tmp_path / "store" / ".nodes" / "other-7080.json", report)
    watcher = watcher_of(node)
    watcher.errors = errors
    process = WatcherProcess(watcher, node, Settings(home=tmp_path), _looked_elsewhere=time.monotonic() - age_s)
    process.note()
    assert process.elsewhere == set()
    process.look_elsewhere()
    assert process.elsewhere == ({f"project-7 {NEW}"} if known else set())


@pytest.mark.parametrize("stuck", [False, True], ids=["loads a large model", "hangs"])
def test_a_watcher_that_hangs_is_no_live_node(tmp_path: Path, stuck: bool) -> None:
    node = NodeSettings(home=tmp_path, model_dir=tmp_path / "store")
    write_manifest(ModelStore(node.model_dir), "ocr", Manifest((NEW,), NEW))
    watcher, ended = watcher_of(node), threading.Event()
    watcher.stepped -= STUCK_S + 1 if stuck else STUCK_S - 60
    process = WatcherProcess(watcher, node, Settings(home=tmp_path, node_silent_s=0.3))
    heart = threading.Thread(target=process._heartbeat, args=(ended,))
    heart.start()
    time.sleep(0.5)
    ended.set()
    heart.join()
    assert list(ModelStore(tmp_path / "store").live_nodes()) == ([] if stuck else [node.node])
    assert note_path(tmp_path).exists() != stuck
    watcher.converge()
    assert time.monotonic() - watcher.stepped < 60


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        pytest.param({"holds": HOLDS}, None, id="ready"),
        pytest.param({"holds": HOLDS, "errors": {"project-7 x": "odd"}}, None, id="ready, with a broken candidate"),
        pytest.param({"holds": HOLDS, "missing": ["ocr 1", "project-7 2"]}, "not hold ocr 1, project-7 2", id="lacks"),
        pytest.param({"missing": ["ocr 1"], "errors": {"torchserve": "away"}}, "torchserve: away", id="no TorchServe"),
        pytest.param(
            {"missing": ["ocr 1"], "errors": {"torchserve": "away"}, "away_since": -4},
            "TorchServe is starting; it does not hold ocr 1 yet",
            id="it starts",
        ),
        pytest.param(
            {"missing": ["ocr 1"], "errors": {"torchserve": "away"}, "away_since": -600},
            "torchserve: away",
            id="away for longer than a start takes",
        ),
        pytest.param({"holds": HOLDS, "time": -40}, "last heard of 40 s ago", id="silent"),
        pytest.param({}, "holds no model", id="an empty store"),
        pytest.param({"holds": []}, "holds no model", id="holds nothing"),
        pytest.param({"time": None}, "cannot be read", id="no time"),
        pytest.param(None, "has not looked yet, or does not run", id="no note"),
    ],
)
def test_readiness(tmp_path: Path, note: dict[str, Any] | None, problem: str | None) -> None:
    if note is not None:
        age = note.get("time", 0)
        when = {"time": None if age is None else time.time() + age}
        when |= {"away_since": time.time() + note["away_since"]} if "away_since" in note else {}
        write_json(note_path(tmp_path), {"holds": {}, "missing": [], "errors": {}} | note | when)
    found = readiness_problem(Settings(home=tmp_path))
    assert found is None if problem is None else problem in (found or "")


def watcher_of(node: NodeSettings) -> Watcher:
    """The watcher of a node whose TorchServe is not there."""
    folder = node.home / "store"
    store, archives = ModelStore(folder), node.home / "archives"
    nobody = ManagementClient("http://127.0.0.1:1", TokenFile(node.home / "key_file.json"))
    return Watcher(store, store, archives, nobody, lambda *_: None, WorkerCounts(folder, ocr=1), node.node)


def test_what_a_watcher_notes_while_its_torchserve_starts(tmp_path: Path) -> None:
    node = NodeSettings(home=tmp_path, model_dir=tmp_path / "store")
    write_manifest(ModelStore(node.model_dir), "ocr", Manifest((NEW,), NEW))
    watcher = watcher_of(node)
    assert not watcher.converge()
    settings = Settings(home=tmp_path)
    WatcherProcess(watcher, node, settings).note()
    assert readiness_problem(settings) == f"TorchServe is starting; it does not hold ocr {NEW} yet"
    watcher.away_since = time.time() - settings.node_silent_s - 1
    WatcherProcess(watcher, node, settings).note()
    assert "torchserve: TorchServe does not answer: " in (readiness_problem(settings) or "")


def test_the_time_a_node_may_be_silent_is_a_setting(tmp_path: Path) -> None:
    write_json(note_path(tmp_path), note_of(ModelStore(tmp_path), HOLDS, {}) | {"time": time.time() - 40})
    assert readiness_problem(Settings(home=tmp_path, node_silent_s=60)) is None


def test_the_probe_is_light_and_its_exit_status_tells(tmp_path: Path) -> None:
    environ = os.environ | {"LAYOUTLOOP_HOME": str(tmp_path), "MODEL_DIR": str(tmp_path / "store")}
    heavy = {"torch", "numpy", "PIL", "requests", "flask", "redis"}
    program = f"import sys; from scripts.rollout import main; status = main(['--ready']); heavy = {heavy}; "
    program += "print(sorted(heavy & set(sys.modules))); sys.exit(status)"

    def probe() -> tuple[int, list[str]]:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    assert probe() == (1, ["the rollout watcher of this node has not looked yet, or does not run", "[]"])
    write_json(note_path(tmp_path), note_of(ModelStore(tmp_path / "store"), HOLDS, {}))
    assert probe() == (0, ["ready", "[]"])


def test_reports_of_lost_nodes_are_deleted_after_a_day(tmp_path: Path) -> None:
    ages = {"lost-7080": LOST_AFTER_S + 60, "silent-7080": LOST_AFTER_S - 60, "fresh-7080": 1.0}
    for node, age in ages.items():
        write_json(tmp_path / ".nodes" / f"{node}.json", {"node": node, "time": time.time() - age})
    (tmp_path / ".nodes" / "broken.json").write_text("{")
    forget_lost_nodes(ModelStore(tmp_path))
    left = sorted(path.stem for path in (tmp_path / ".nodes").iterdir())
    assert left == ["broken", "fresh-7080", "silent-7080"]
    forget_lost_nodes(ModelStore(tmp_path / "nobody reported yet"))
