"""The watcher and promotion, with a real model store and TorchServe's management faked at the socket."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from layoutloop.errors import ModelNotReady, NoNodeTried, RolloutFailed, StoreBusy, TorchServeUnavailable
from layoutloop.settings.node import REPOSITORY
from layoutloop.store.changes import add_to_load, drop_from_load, flip, write_manifest
from layoutloop.store.manifest import Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.transfer import clear_copies
from layoutloop.store.use_marks import asked_path
from layoutloop.store.writing import sha256_of, write_json
from layoutloop.torchserve.inference import InferenceClient
from layoutloop.torchserve.management import ManagementClient
from layoutloop.torchserve.tokens import TokenFile
from rollout.promotion import NO_WORKER, NOT_FETCHED, promote
from rollout.retirement import RESPONSE_S, retire
from rollout.smoke import smoke_test
from rollout.watcher import FETCH_AGAIN_S, WAKING_S, WORKERLESS_S, Watcher
from rollout.worker_counts import SETTLE_S, WorkerCounts
from tests.far_servers import Seen
from tests.layoutloop.torchserve.test_inference import Reply, start
from tests.layoutloop.torchserve.test_management import V1, V2, V3, FakeManagement, open_management

NODE = "box-7080"


class Site:
    """One model store, one TorchServe, one watcher between them."""

    def __init__(self, folder: Path, fake: FakeManagement) -> None:
        self.fake = fake
        self.model_dir = folder / "model_store"
        self.model_dir.mkdir()
        self.store = ModelStore(self.model_dir)
        self.smoked: list[tuple[str, str]] = []
        self.silly: set[str] = set()  # versions that answer nonsense
        self.watcher = self.make_watcher()

    def make_watcher(self, node: str = NODE) -> Watcher:
        return Watcher(
            store=self.store,
            near=self.store,
            archives=self.fake.archives,
            management=ManagementClient(self.fake.url, TokenFile(self.fake.key_file)),
            smoke=self._smoke,
            workers=WorkerCounts(self.model_dir, ocr=3, project=1, idle_s=1800),
            node=node,
        )

    def _smoke(self, model: str, version: str) -> None:
        self.smoked.append((model, version))
        if version in self.silly:
            raise TorchServeUnavailable(f"{model} {version} answers no regions")

    def archive(self, name: str, *versions: str) -> None:
        for version in versions:
            path = self.store.archive_path(name, version)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(f"archive of {name} {version}".encode())
            write_json(self.store.card_path(name, version), VersionCard(name, version, ("total",)).to_json())

    def ask_for(self, name: str, *versions: str, current: str | None = None) -> None:
        self.archive(name, *versions)
        for version in reversed(versions):
            add_to_load(self.store, name, version)
        if current:
            flip(self.store, name, current)

    def serving(self, name: str) -> Manifest:
        found = self.store.manifest(name)
        assert found is not None
        return found

    def report(self, node: str = NODE) -> dict[str, Any]:
        return dict(json.loads((self.model_dir / ".nodes" / f"{node}.json").read_text()))

    def asked(self, name: str, age_s: float = 0.0) -> None:
        """Somebody asked a project so long ago, and it was promoted before that."""
        for path in (asked_path(self.model_dir, name), self.model_dir / name / "serving.json"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
            os.utime(path, (time.time() - age_s,) * 2)

    def say(self, node: str, *holds: str, error: str = "", age_s: float = 0.0, name: str = "ocr") -> None:
        """A report of another node."""
        errors = {f"{name} {V2}": error} if error else {}
        now = time.time() - age_s
        body = {"node": node, "time": now, "checked": {name: now}, "holds": {name: list(holds)}, "errors": errors}
        write_json(self.model_dir / ".nodes" / f"{node}.json", body)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_management(tmp_path / "torchserve") as fake:
        yield Site(tmp_path, fake)


def test_an_empty_store_unloads_nothing(site: Site) -> None:
    """It may be a mount point without its mount."""
    site.fake.hold("project-7", V1)
    assert not site.watcher.converge()
    assert site.fake.calls == []
    assert "holds no model" in site.watcher.errors["torchserve"]
    assert list(site.store.live_nodes()) == [NODE]


def test_what_is_asked_for_is_loaded_current_first_and_made_default(site: Site) -> None:
    site.ask_for("project-7", V2, V1, current=V1)
    site.ask_for("ocr", V3, current=V3)
    assert site.watcher.converge()
    assert site.fake.calls == [
        f"POST /models?url=ocr-{V3}.mar&model_name=ocr&initial_workers=1&synchronous=true",
        f"PUT /models/ocr/{V3}?min_worker=3&max_worker=3&synchronous=false",
        f"POST /models?url=project-7-{V1}.mar&model_name=project-7&initial_workers=1&synchronous=true",
        f"POST /models?url=project-7-{V2}.mar&model_name=project-7&initial_workers=1&synchronous=true",
    ]
    assert site.smoked == [("ocr", V3), ("project-7", V1), ("project-7", V2)]
    assert site.fake.default == {"ocr": V3, "project-7": V1}
    report = site.report()
    assert (report["node"], report["errors"]) == (NODE, {})
    assert report["holds"] == {"ocr": [V3], "project-7": [V1, V2]}
    flip(site.store, "project-7", V2)
    assert site.watcher.converge()
    assert site.fake.default["project-7"] == V2


def test_what_is_right_already_is_left_alone(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    assert site.watcher.converge()
    site.fake.calls.clear()
    site.smoked.clear()
    assert site.watcher.converge()
    assert site.fake.calls == site.smoked == []
    assert site.make_watcher().converge()  # started again, it does not know whether the last one lived to ask
    assert site.fake.calls == []
    assert site.smoked == [("ocr", V1)]


def test_worker_counts_are_kept(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.fake.hold("ocr", V1, workers=1)
    assert site.watcher.converge()
    assert site.fake.calls == [f"PUT /models/ocr/{V1}?min_worker=3&max_worker=3&synchronous=true"]


def test_a_torchserve_that_starts_again_is_filled_again(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    assert site.watcher.converge()
    site.fake.models.clear()
    site.fake.default.clear()
    site.fake.new_keys("keys-of-the-next-start")
    assert site.watcher.converge()
    assert site.fake.held() == {"ocr": [V1]}


def test_no_torchserve_is_told_and_holds_nothing(tmp_path: Path) -> None:
    with open_management(tmp_path / "torchserve") as fake:
        site = Site(tmp_path, fake)
        site.ask_for("ocr", V1, current=V1)
        assert site.watcher.converge()
        assert site.report()["away_since"] is None
    watcher = site.make_watcher()
    assert not watcher.converge()
    assert "TorchServe does not answer" in watcher.errors["torchserve"]
    assert site.report()["holds"] == {}
    since = site.report()["away_since"]
    assert since == pytest.approx(time.time(), abs=30)
    assert not watcher.converge()
    watcher.report()
    assert site.report()["away_since"] == since


def test_an_archive_with_another_sha256_is_never_registered(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.ask_for("project-7", V2, V1, current=V1)
    site.store.archive_path("project-7", V2).write_bytes(b"something else")
    assert not site.watcher.converge()
    assert list(site.watcher.errors) == [f"project-7 {V2}"]
    assert "serving.json names" in site.watcher.errors[f"project-7 {V2}"]
    assert site.fake.held() == {"ocr": [V1], "project-7": [V1]}
    assert not any(V2 in call for call in site.fake.calls)
    assert not (site.fake.archives / f"project-7-{V2}.mar").exists()


def test_a_copy_that_was_changed_is_fetched_again(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    copy = site.fake.archives / f"ocr-{V1}.mar"
    copy.write_bytes(b"half of it")
    assert site.watcher.converge()
    assert sha256_of(copy) == site.serving("ocr").sha256[V1]


def test_a_store_that_is_away_for_a_moment_condemns_no_version(site: Site) -> None:
    site.ask_for("ocr", V2, V1, current=V1)
    archive = site.store.archive_path("ocr", V2)
    content = archive.read_bytes()
    archive.unlink()
    archive.mkdir()  # what can be seen and not be read
    assert not site.watcher.converge()
    assert site.watcher.errors[f"ocr {V2}"].startswith(f"{NOT_FETCHED}: ")
    assert site.fake.held() == {"ocr": [V1]}
    assert not list(site.fake.archives.glob("*.partial"))
    archive.rmdir()
    archive.write_bytes(content)
    assert not site.watcher.converge(), "not every second, for an archive may be large"
    time.sleep(FETCH_AGAIN_S)
    assert site.watcher.converge()
    assert site.fake.held() == {"ocr": [V1, V2]}


def test_an_archive_that_is_missing_is_told(site: Site) -> None:
    site.ask_for("ocr", V2, V1, current=V1)
    site.store.archive_path("ocr", V2).unlink()
    assert not site.watcher.converge()
    assert "No such file" in site.watcher.errors[f"ocr {V2}"]
    assert site.fake.held() == {"ocr": [V1]}


@pytest.mark.parametrize("how", ["does not load", "comes up too late", "answers nonsense", "somebody was faster"])
def test_a_broken_version_is_taken_away_and_told_and_others_load(site: Site, how: str) -> None:
    site.ask_for("ocr", V2, V1, current=V1)
    site.ask_for("project-7", V1, current=V1)
    if how == "does not load":
        site.fake.broken.add(V2)
    elif how == "comes up too late":
        site.fake.late.add(V2)
    elif how == "answers nonsense":
        site.silly.add(V2)
    else:
        site.fake.raced.add(V2)
    assert not site.watcher.converge()
    assert list(site.watcher.errors) == [f"ocr {V2}"]
    assert site.fake.held() == {"ocr": [V1], "project-7": [V1]}
    assert not (site.fake.archives / f"ocr-{V2}.mar").exists()
    assert site.report()["holds"] == {"ocr": [V1], "project-7": [V1]}
    assert site.report()["errors"] == site.watcher.errors


def test_a_broken_version_is_not_tried_every_second(site: Site) -> None:
    site.ask_for("ocr", V1)
    site.fake.broken.add(V1)
    for _ in range(3):
        assert not site.watcher.converge()
        assert "Failed to start workers" in site.watcher.errors[f"ocr {V1}"]
    assert sum(call.startswith("POST") for call in site.fake.calls) == 1


def test_what_nobody_asks_for_is_drained_and_the_default_goes_last(site: Site) -> None:
    site.fake.hold("ocr", V3, workers=3)
    site.ask_for("ocr", V3, current=V3)
    site.fake.hold("project-7", V2, V1)
    site.fake.models["project-7"][V1].pending = [0, 1]
    for version in (V1, V2):
        (site.fake.archives / f"project-7-{version}.mar").touch()
    began = time.monotonic()
    assert site.watcher.converge()
    assert time.monotonic() - began > 6  # two drains, three seconds each
    assert site.fake.calls == [f"DELETE /models/project-7/{V1}", f"DELETE /models/project-7/{V2}"]
    assert list(site.fake.archives.iterdir()) == []


def test_the_new_version_is_there_and_default_before_the_old_one_goes(site: Site) -> None:
    site.fake.hold("ocr", V1, workers=3)
    site.ask_for("ocr", V2, current=V2)
    assert site.watcher.converge()
    assert [call.split("?")[0] for call in site.fake.calls] == [
        "POST /models",
        f"PUT /models/ocr/{V2}",
        f"PUT /models/ocr/{V2}/set-default",
        f"DELETE /models/ocr/{V1}",
    ]


def test_a_version_that_cannot_be_unloaded_holds_up_no_other(site: Site) -> None:
    site.fake.hold("aaa", V1)
    site.fake.refused.add(f"DELETE /models/aaa/{V1}")
    site.ask_for("project-7", V1, current=V1)
    assert not site.watcher.converge()
    assert site.fake.held()["project-7"] == [V1]
    assert site.report()["holds"]["project-7"] == [V1]
    assert "no such luck" in str(site.watcher.errors)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"load": 5}'], ids=repr)
def test_a_damaged_serving_json_changes_nothing(site: Site, content: str) -> None:
    site.ask_for("project-7", V2, V1, current=V2)
    site.ask_for("ocr", V1, current=V1)
    assert site.watcher.converge()
    site.fake.calls.clear()
    (site.model_dir / "project-7" / "serving.json").write_text(content)
    assert not site.watcher.converge()
    retire(site.store, site.store, 90.0)
    assert "cannot be understood" in site.watcher.errors["project-7"]
    assert site.fake.calls == []
    assert site.report()["holds"] == {"ocr": [V1], "project-7": [V1, V2]}


def test_a_model_store_that_is_gone_unloads_nothing(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    assert site.watcher.converge()
    site.fake.calls.clear()
    shutil.rmtree(site.model_dir)
    for _ in range(2):
        assert not site.watcher.converge()
        retire(site.store, site.store, 90.0)
        site.watcher.report()
    assert "nothing is loaded or unloaded" in str(site.watcher.errors)
    assert site.fake.calls == []
    assert not site.model_dir.exists()


def test_promotion_without_any_node(site: Site) -> None:
    site.archive("ocr", V1, V2)
    with pytest.raises(RolloutFailed, match="no TorchServe runs that could try"):
        promote(site.store, "ocr", V1, timeout_s=0.6)
    assert (site.serving("ocr").load, site.serving("ocr").current) == ((), None)
    promote(site.store, "ocr", V1, untested=True)
    assert site.serving("ocr").load == (V1,)
    promote(site.store, "ocr", V2, untested=True)
    assert (site.serving("ocr").load, site.serving("ocr").current) == ((V2, V1), V2), (
        "the old one stays to fall back on"
    )


def test_a_version_whose_workers_are_gone_is_not_held_and_registered_anew(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    assert site.watcher.converge()
    site.fake.models["ocr"][V1].dead = True
    assert not site.watcher.converge()
    assert site.report()["holds"] == {"ocr": []}
    assert site.watcher.errors == {f"ocr {V1}": "it has no worker that is ready"}
    site.watcher._workerless["ocr", V1] -= WORKERLESS_S
    site.fake.calls.clear()
    assert not site.watcher.converge()
    assert site.watcher.converge()
    assert [call.split("?")[0] for call in site.fake.calls] == [
        f"DELETE /models/ocr/{V1}",
        "POST /models",
        f"PUT /models/ocr/{V1}",
    ]


def fall_asleep(site: Site, *names: str) -> None:
    """Have projects fall asleep that were asked a while ago; no test waits half an hour, nor for queues to settle."""
    for name in names:
        site.asked(name, age_s=7200)
        site.watcher.workers._seen.pop(name, None)
    site.watcher.converge()
    for key in site.watcher.workers._empty:
        site.watcher.workers._empty[key] -= SETTLE_S
    assert site.watcher.converge()


def test_an_idle_project_sleeps_and_comes_back_when_it_is_asked(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.ask_for("project-7", V1, current=V1)
    site.ask_for("project-8", V1, current=V1)
    site.asked("project-8")
    assert site.watcher.converge()
    assert site.report()["asleep"] == []
    site.fake.calls.clear()
    site.smoked.clear()
    fall_asleep(site, "project-7")
    assert site.fake.calls == [f"PUT /models/project-7/{V1}?min_worker=0&max_worker=0&synchronous=true"]
    site.watcher._workerless["project-7", V1] = -WORKERLESS_S
    assert site.watcher.converge()
    assert len(site.fake.calls) == 1
    report = site.report()
    assert (report["asleep"], report["holds"]["project-7"], report["errors"]) == (["project-7"], [V1], {})
    site.asked("project-7")
    site.fake.models["project-7"][V1].dead = True  # its worker takes a while
    for _ in range(2):
        assert site.watcher.converge()
        report = site.report()
        assert (report["asleep"], report["holds"]["project-7"], report["errors"]) == ([], [V1], {})
    assert site.fake.calls[1:] == [f"PUT /models/project-7/{V1}?min_worker=1&max_worker=1&synchronous=false"]
    assert site.smoked == []
    site.fake.models["project-7"][V1].dead = False
    assert site.watcher.converge()
    assert site.smoked == [("project-7", V1)]
    assert len(site.fake.calls) == 2


def test_a_worker_that_does_not_start_when_its_project_is_asked(site: Site) -> None:
    site.ask_for("project-7", V1, current=V1)
    assert site.watcher.converge()
    fall_asleep(site, "project-7")
    site.asked("project-7")
    site.fake.models["project-7"][V1].dead = True
    assert site.watcher.converge()
    site.watcher._workerless["project-7", V1] -= WAKING_S
    assert not site.watcher.converge()
    assert site.watcher.errors == {f"project-7 {V1}": "it has no worker that is ready"}
    site.watcher._workerless["project-7", V1] -= WORKERLESS_S
    site.fake.calls.clear()
    assert not site.watcher.converge()
    assert site.watcher.converge()
    assert [call.split("?")[0] for call in site.fake.calls] == [f"DELETE /models/project-7/{V1}", "POST /models"]


def test_what_is_queued_keeps_a_project_awake(site: Site) -> None:
    site.ask_for("project-7", V1, current=V1)
    site.asked("project-7", age_s=7200)
    site.fake.hold("project-7", V1)
    site.fake.models["project-7"][V1].pending = [5] * 20
    for _ in range(3):
        assert site.watcher.converge()
        site.watcher.workers._empty["project-7", V1] -= SETTLE_S
    assert (site.fake.calls, site.report()["asleep"]) == ([], [])


def test_a_torchserve_that_starts_again_starts_no_worker_of_an_idle_project(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.ask_for("project-7", V1, current=V1)
    site.asked("project-7", age_s=7200)
    assert site.watcher.converge()
    assert (
        site.fake.calls[-1]
        == f"POST /models?url=project-7-{V1}.mar&model_name=project-7&initial_workers=0&synchronous=true"
    )
    assert site.smoked == [("ocr", V1)]
    assert (site.report()["asleep"], site.report()["holds"]["project-7"]) == (["project-7"], [V1])
    site.asked("project-7")
    assert site.watcher.converge()
    assert site.watcher.converge()
    assert site.smoked == [("ocr", V1), ("project-7", V1)]


def test_a_new_version_of_an_idle_project_gets_its_workers_and_its_question(site: Site) -> None:
    site.ask_for("project-7", V1, current=V1)
    assert site.watcher.converge()
    fall_asleep(site, "project-7")
    site.smoked.clear()
    site.ask_for("project-7", V2)
    os.utime(site.model_dir / "project-7" / "serving.json", (5, 5))  # a promotion that takes longer than the idle time
    site.watcher.workers._seen.clear()
    assert site.watcher.converge()
    assert site.smoked == [("project-7", V2)]
    assert site.watcher.converge()
    assert site.smoked == [("project-7", V2), ("project-7", V1)]
    assert {one.workers for one in site.fake.models["project-7"].values()} == {1}


def test_a_project_that_does_not_wake_is_told_and_registered_anew(site: Site) -> None:
    site.ask_for("project-7", V1, current=V1)
    assert site.watcher.converge()
    fall_asleep(site, "project-7")
    site.silly.add(V1)
    site.asked("project-7")
    assert site.watcher.converge()
    assert not site.watcher.converge()
    assert site.watcher.errors == {f"project-7 {V1}": f"project-7 {V1} answers no regions"}
    assert (site.report()["asleep"], site.fake.held()) == ([], {})


@pytest.mark.parametrize("ask", [True, False], ids=["asked", "not asked"])
def test_the_next_look_comes_early_when_a_sleeping_project_is_asked(site: Site, ask: bool) -> None:
    site.ask_for("project-7", V1, current=V1)
    site.asked("project-7", age_s=7200)
    assert site.watcher.converge()
    asking = threading.Timer(0.2, site.asked, ["project-7"])
    if ask:
        asking.start()
    began = time.monotonic()
    site.watcher.wait(1.5)
    assert (time.monotonic() - began < 1.3) == ask
    if ask:
        asking.join()


def test_copies_that_nobody_asks_for_are_cleared(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.fake.archives.mkdir(exist_ok=True)
    for name in (f"ocr-{V1}.mar", f"ocr-{V2}.mar", f"project-7-{V1}.partial"):
        (site.fake.archives / name).touch()
    clear_copies(site.store, site.fake.archives)
    assert [path.name for path in site.fake.archives.iterdir()] == [f"ocr-{V1}.mar"]


def test_folders_in_the_place_of_archives_stop_nothing(site: Site) -> None:
    """The folder of archives may be a disk of its own, with its `lost+found`."""
    site.ask_for("ocr", V2, V1, current=V1)
    (site.fake.archives / "lost+found").mkdir(parents=True)
    clear_copies(site.store, site.fake.archives)
    (site.fake.archives / f"ocr-{V2}.mar").mkdir()
    assert not site.watcher.converge()
    assert site.watcher.holds == {"ocr": [V1]}
    assert list(site.watcher.errors) == [f"ocr {V2}"]
    drop_from_load(site.store, "ocr", {V2})
    assert site.watcher.converge()
    assert sorted(path.name for path in site.fake.archives.iterdir()) == [
        "lost+found",
        f"ocr-{V1}.mar",
        f"ocr-{V2}.mar",
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"load": ["../../../etc/passwd"], "current": null, "sha256": {}}', id="a path"),
        pytest.param('{"load": ["1"], "current": null, "sha256": {}}', id="no stamp"),
        pytest.param('{"load": 7, "current": null, "sha256": {}}', id="a number"),
    ],
)
def test_a_strange_serving_json_holds_up_no_other_model(site: Site, content: str) -> None:
    site.ask_for("ocr", V1, current=V1)
    (site.model_dir / "project-7").mkdir()
    (site.model_dir / "project-7" / "serving.json").write_text(content)
    assert not site.watcher.converge()
    assert site.watcher.holds == {"ocr": [V1], "project-7": []}
    assert [what.split()[0] for what in site.watcher.errors] == ["project-7"]
    retire(site.store, site.store, 90.0)


def test_promotion_through_a_running_watcher(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    assert site.watcher.converge()
    site.archive("ocr", V2)
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            site.watcher.converge()
            retire(site.store, site.store, 90.0)
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        promote(site.store, "ocr", V2, timeout_s=20)
    finally:
        stop.set()
        watching.join()
    assert site.watcher.converge()
    found = site.serving("ocr")
    assert (found.load, found.current) == ((V2, V1), V2)
    assert found.left[V1] == pytest.approx(time.time(), abs=30)
    assert site.fake.held() == {"ocr": [V1, V2]}
    assert site.fake.default["ocr"] == V2


def test_promotion_waits_for_every_live_node_and_for_no_silent_one(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.archive("ocr", V2)
    site.say("one-7080", V1)
    site.say("two-7080", V1)
    site.say("silent-7080", V1, age_s=45)
    with ThreadPoolExecutor(1) as threads:
        promoting = threads.submit(promote, site.store, "ocr", V2, timeout_s=20)
        while V2 not in site.serving("ocr").load:
            time.sleep(0.02)
        site.say("one-7080", V1, V2)
        time.sleep(1.2)
        assert not promoting.done()
        assert site.serving("ocr").current == V1
        with pytest.raises(StoreBusy), site.store.lock("ocr", wait=False):
            pass
        site.say("two-7080", V1, V2)
        promoting.result(20)
    assert site.serving("ocr").current == V2
    assert site.serving("ocr").load == (V2, V1)


@pytest.mark.parametrize(
    ("away_s", "loaded", "promoted"),
    [
        pytest.param(45, True, True, id="away for long, and another holds it"),
        pytest.param(5, True, False, id="away for a moment"),
        pytest.param(45, False, False, id="and nobody else holds it"),
    ],
)
def test_a_node_without_its_torchserve_holds_up_no_promotion(
    site: Site, away_s: float, loaded: bool, promoted: bool
) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.archive("ocr", V2)
    if loaded:
        site.say("one-7080", V1, V2, age_s=-5)
    report = {"time": time.time(), "away_since": time.time() - away_s, "checked": {}, "holds": {}, "errors": {}}
    write_json(site.model_dir / ".nodes" / "lame-7080.json", report)
    if promoted:
        promote(site.store, "ocr", V2, timeout_s=1)
    else:
        with pytest.raises(RolloutFailed, match="lame-7080 still did not hold"):
            promote(site.store, "ocr", V2, timeout_s=0.6)
    assert site.serving("ocr").current == (V2 if promoted else V1)


def test_an_archive_that_could_not_be_fetched_ends_no_promotion(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.archive("ocr", V2)
    site.say("one-7080", V1, error=f"{NOT_FETCHED}: stale file handle", age_s=-60)
    with pytest.raises(NoNodeTried, match=r"still did not hold .*stale file handle"):
        promote(site.store, "ocr", V2, timeout_s=0.6)


@pytest.mark.parametrize(
    ("error", "silent_s", "promoted"),
    [
        pytest.param(f"{NOT_FETCHED}: No space left on device", 0.3, True, id="for long, and another holds it"),
        pytest.param(f"{NOT_FETCHED}: stale file handle", 30, False, id="for a moment"),
        pytest.param(NO_WORKER, 0.3, False, id="its worker starts"),
    ],
)
def test_a_node_that_cannot_fetch_it_holds_up_no_promotion(
    site: Site, error: str, silent_s: float, promoted: bool
) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.archive("ocr", V2)
    site.say("one-7080", V1, V2, age_s=-5)
    later = time.time() + 60  # it is heard of all the time
    report = {"time": later, "silent_s": silent_s, "checked": {"ocr": later}, "holds": {"ocr": [V1]}}
    write_json(site.model_dir / ".nodes" / "full-7080.json", report | {"errors": {f"ocr {V2}": error}})
    if promoted:
        promote(site.store, "ocr", V2, timeout_s=5)
    else:
        with pytest.raises(NoNodeTried, match=f"full-7080 still did not hold .*{error}"):
            promote(site.store, "ocr", V2, timeout_s=1)
    assert site.serving("ocr").current == (V2 if promoted else V1)


def test_a_node_that_cannot_load_it_ends_the_promotion(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.archive("ocr", V2)
    before = site.serving("ocr")
    site.say("one-7080", V1, error="an error of an earlier attempt")
    with ThreadPoolExecutor(1) as threads:
        promoting = threads.submit(promote, site.store, "ocr", V2, timeout_s=20)
        while V2 not in site.serving("ocr").load:
            time.sleep(0.02)
        time.sleep(0.7)
        assert not promoting.done()
        site.say("one-7080", V1, error="Failed to start workers")
        with pytest.raises(RolloutFailed, match=f"one-7080 cannot serve ocr {V2}: Failed to start workers"):
            promoting.result(20)
    assert site.serving("ocr") == before


def test_a_node_that_never_gets_there_ends_the_promotion(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.archive("ocr", V2)
    before = site.serving("ocr")
    site.say("one-7080", V1)
    with pytest.raises(RolloutFailed, match=f"one-7080 still did not hold ocr {V2}"):
        promote(site.store, "ocr", V2, timeout_s=0.6)
    assert site.serving("ocr") == before


def test_a_failed_first_promotion_leaves_nothing_current(site: Site) -> None:
    site.archive("ocr", V2)
    site.say("one-7080")
    with pytest.raises(RolloutFailed):
        promote(site.store, "ocr", V2, timeout_s=0.6)
    assert (site.serving("ocr").load, site.serving("ocr").current) == ((), None)


@pytest.mark.parametrize("in_load", [True, False], ids=["still loaded", "not loaded any more"])
def test_versions_only_move_forward(site: Site, in_load: bool) -> None:
    site.ask_for("ocr", V2, current=V2)
    site.archive("ocr", V1)
    if in_load:
        write_manifest(site.store, "ocr", Manifest((V2, V1), V2, {}, {V1: time.time()}))
    before = site.serving("ocr")
    with pytest.raises(RolloutFailed, match=f"{V1} is older than {V2} and versions only move forward"):
        promote(site.store, "ocr", V1)
    assert site.serving("ocr") == before


def test_promoting_the_current_version_again_changes_nothing(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    site.say("one-7080", V1)
    before = site.serving("ocr")
    promote(site.store, "ocr", V1)
    assert site.serving("ocr") == before


def test_what_was_never_archived_is_not_promoted(site: Site) -> None:
    site.ask_for("ocr", V1, current=V1)
    before = site.serving("ocr")
    with pytest.raises(RolloutFailed, match=f"ocr has no archived version {V2}, only {V1}"):
        promote(site.store, "ocr", V2)
    site.archive("ocr", V2)
    site.store.card_path("ocr", V2).unlink()
    with pytest.raises(ModelNotReady, match="archive the checkpoint again"):
        promote(site.store, "ocr", V2)
    assert site.serving("ocr") == before


def test_a_damaged_serving_json_is_not_promoted_over(site: Site) -> None:
    site.archive("ocr", V2)
    (site.model_dir / "ocr" / "serving.json").write_text("{")
    with pytest.raises(ModelNotReady, match="cannot be understood"):
        promote(site.store, "ocr", V2)
    assert (site.model_dir / "ocr" / "serving.json").read_text() == "{"


@pytest.mark.parametrize("deadline_s", [10.0, 90.0, 600.0])
def test_versions_retire_when_no_request_can_last_any_more(site: Site, deadline_s: float) -> None:
    site.ask_for("ocr", V3, V2, V1, current=V3)
    serving = site.serving("ocr")
    longest_s = deadline_s + RESPONSE_S
    left = {V1: time.time() - longest_s - 1, V2: time.time() - longest_s + 45}
    write_manifest(site.store, "ocr", Manifest(serving.load, V3, serving.sha256, left))
    retire(site.store, site.store, deadline_s)
    assert site.serving("ocr").load == (V3, V2)
    assert site.serving("ocr").left == {V2: left[V2]}


def test_a_version_stays_as_long_as_the_slowest_archive_may_answer() -> None:
    configs = [yaml.safe_load(path.read_text()) for path in (REPOSITORY / "handler" / "config").glob("*.yaml")]
    assert max(config["responseTimeout"] for config in configs) == RESPONSE_S


def test_a_candidate_goes_only_when_whoever_promoted_it_is_gone(site: Site) -> None:
    site.ask_for("ocr", V2, V1, current=V1)
    with site.store.lock("ocr"):
        retire(site.store, site.store, 90.0)
        assert site.serving("ocr").load == (V2, V1)
    retire(site.store, site.store, 90.0)
    assert site.serving("ocr").load == (V1,)


def test_retiring_waits_for_whoever_changes_the_model(site: Site) -> None:
    site.ask_for("ocr", V2, V1, current=V2)
    serving = site.serving("ocr")
    write_manifest(site.store, "ocr", Manifest(serving.load, V2, serving.sha256, {V1: 5.0}))
    with site.store.lock("ocr"):
        began = time.monotonic()
        retire(site.store, site.store, 90.0)
        assert time.monotonic() - began < 1
        assert site.serving("ocr").load == (V2, V1)
    retire(site.store, site.store, 90.0)
    assert site.serving("ocr").load == (V2,)


REGIONS = {"format": 1, "model_version": V1, "windows": 1, "regions": []}
PAGE = {"format": 1, "words": [{"text": "Invoice"}]}


@pytest.mark.parametrize(
    ("model", "reply", "sentence"),
    [
        pytest.param("ocr", (200, PAGE), "", id="ocr reads"),
        pytest.param("ocr", (200, PAGE | {"words": []}), "read no word", id="ocr sees nothing"),
        pytest.param("ocr", (200, PAGE | {"format": 2}), "read no word", id="ocr speaks another format"),
        pytest.param("project-7", (200, REGIONS), "", id="project answers"),
        pytest.param("project-7", (200, REGIONS | {"format": 2}), "another format", id="project: another format"),
        pytest.param("project-7", (200, REGIONS | {"model_version": V2}), "another version", id="project: version"),
        pytest.param("project-7", (200, REGIONS | {"regions": None}), "no regions", id="project: no regions"),
        pytest.param("project-7", (500, {"error": {"code": "x", "message": "no tokens"}}), "no tokens", id="an error"),
    ],
)
def test_the_first_question_to_a_new_version(tmp_path: Path, model: str, reply: Reply, sentence: str) -> None:
    asked: list[Seen] = []

    def answer(seen: Seen) -> Reply:
        asked.append(seen)
        return reply

    write_json(
        ModelStore(tmp_path).card_path("project-7", V1),
        VersionCard("project-7", V1, ("total",), uses_image=True).to_json(),
    )
    with start(tmp_path / "key_file.json") as (fake, server):
        fake.models[model, V1] = answer
        client = InferenceClient(f"http://127.0.0.1:{server.port}", TokenFile(fake.key_file))
        if sentence:
            with pytest.raises(Exception, match=sentence):
                smoke_test(client, ModelStore(tmp_path), model, V1)
        else:
            smoke_test(client, ModelStore(tmp_path), model, V1)
    (seen,) = asked
    assert seen.body.startswith(b"\x89PNG") if model == "ocr" else "thumbnail" in json.loads(seen.body)
