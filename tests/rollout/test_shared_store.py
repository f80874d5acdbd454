"""A model store that machines share: a folder with locks in Redis, and URLs, the last of them behind a real S3 API."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layoutloop.errors import ArchiveFailed, LeaseLost, SettingsInvalid
from layoutloop.store.changes import add_to_load, flip, write_manifest
from layoutloop.store.manifest import Manifest, VersionCard
from layoutloop.store.mirror import StoreMirror
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import children, store_path
from layoutloop.store.redis_locks import Lease, Leases
from layoutloop.store.transfer import folder_here
from layoutloop.store.writing import write_json
from layoutloop.torchserve.in_service import InServiceModels
from layoutloop.torchserve.inference import InferenceClient
from layoutloop.torchserve.management import ManagementClient
from layoutloop.torchserve.tokens import TokenFile
from rollout.promotion import promote
from rollout.retirement import retire
from rollout.watcher import Watcher
from rollout.worker_counts import WorkerCounts
from tests.layoutloop.torchserve.test_management import open_management
from tests.object_store import ObjectStore, s3_environment
from tests.redis_server import RedisServer, redis_server
from training.archive.archive import ProjectSettings, build_project
from training.archive.stored_models import stored_version
from training.data.learned import learned_before, remember
from training.measure.compare import kept_versions
from training.publish import Publisher, archived_version, forget, was_promoted
from training.report.files import keep_report, read_report
from training.report.report import Report
from training.restore import restore
from training.retention import discard, prune

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "project-7"
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with s3_environment(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("models")
        yield server


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    return redis.new_url()


@pytest.fixture
def leases(redis_url: str) -> Iterator[Leases]:
    found = Leases.at(redis_url, seconds=3.0)
    yield found
    found.client.close()


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, leases: Leases, tmp_path: Path) -> ModelStore:
    """An empty model store."""
    if request.param == "folder":
        return ModelStore(tmp_path / "store", leases)
    if request.param == "memory":
        return ModelStore(store_path(f"memory://store-{next(_NUMBERS)}"), leases)
    return ModelStore(_in_bucket(request), leases)


@pytest.fixture(params=["folder", "s3"])
def built_store(request: pytest.FixtureRequest, leases: Leases, tmp_path: Path) -> ModelStore:
    """An empty model store, for tests that build real archives, which takes seconds."""
    return ModelStore(tmp_path / "store" if request.param == "folder" else _in_bucket(request), leases)


@pytest.fixture
def s3(request: pytest.FixtureRequest, leases: Leases) -> ModelStore:
    """An empty model store behind the S3 API."""
    return ModelStore(_in_bucket(request), leases)


def _in_bucket(request: pytest.FixtureRequest) -> Any:
    request.getfixturevalue("bucket")
    return store_path(f"s3://models/store-{next(_NUMBERS)}")


def build(store: ModelStore, checkpoint: Path) -> str:
    return build_project(store, 7, checkpoint, ProjectSettings()).version


def current(store: ModelStore, name: str = NAME) -> str | None:
    serving = store.manifest(name)
    return serving.current if serving else None


def names(store: ModelStore) -> set[str]:
    return {path.name for path in children(store.folder(NAME), "*") if not path.name.startswith(".")}


def publisher(store: ModelStore, folder: Path, still_mine: Callable[[], None] = lambda: None) -> Publisher:
    client = InferenceClient("http://127.0.0.1:9", TokenFile(folder / "no-key"))
    return Publisher(store, 7, folder, client, still_mine, untested=True)


def test_a_version_from_checkpoint_to_service_and_away(
    built_store: ModelStore, leases: Leases, text_checkpoint: Path, tmp_path: Path
) -> None:
    versions = [build(built_store, text_checkpoint) for _ in range(2)]
    assert versions == sorted(set(versions))
    for version in versions:
        keep_report(built_store, Report(NAME, ("total",), version=version))
        promote(built_store, NAME, version, untested=True)
    assert current(built_store) == versions[1]
    serving = built_store.manifest(NAME)
    assert serving is not None
    assert serving.past == (versions[0],)
    assert serving.number > 0
    assert [one.card.version for one in kept_versions(built_store, 7)] == versions[::-1]
    assert stored_version(built_store, NAME, None, tmp_path / "scratch").folder.joinpath("config.json").is_file()
    with built_store.lock(NAME) as held:
        write_manifest(built_store, NAME, Manifest((versions[1],), versions[1], past=serving.past), held)
    assert prune(built_store, 7, 1) == [versions[0]]
    assert names(built_store) == {
        "serving.json",
        f"checkpoint-{versions[1]}",
        *(f"{NAME}-{versions[1]}{suffix}" for suffix in (".mar", ".json", ".report.json", ".report.html")),
    }
    assert was_promoted(built_store, 7, versions[0])  # long gone, and remembered


def test_an_older_version_comes_back(
    built_store: ModelStore, leases: Leases, text_checkpoint: Path, tmp_path: Path
) -> None:
    old, new = (build(built_store, text_checkpoint) for _ in range(2))
    keep_report(built_store, Report(NAME, ("total",), version=old))
    promote(built_store, NAME, new, untested=True)
    version = restore(publisher(built_store, tmp_path / "job"), old)
    assert current(built_store) == version > new
    assert read_report(built_store.report_path(NAME, version)).restored_from == old
    mine, theirs = (folder_here(built_store.checkpoint_path(NAME, one), tmp_path / one) for one in (old, version))
    assert {path.name for path in mine.iterdir()} == {path.name for path in theirs.iterdir()} != set()


def test_what_failed_leaves_its_report(built_store: ModelStore, leases: Leases, text_checkpoint: Path) -> None:
    version = build(built_store, text_checkpoint)
    keep_report(built_store, Report(NAME, ("total",), version=version))
    discard(built_store, 7, version)
    assert names(built_store) == {f"failed-{version}.report.json", f"failed-{version}.report.html"}


def test_stamps_of_machines_that_ask_at_once_differ(store: ModelStore, leases: Leases) -> None:
    with ThreadPoolExecutor(4) as pool:
        stamps = list(pool.map(lambda _: store.new_stamp(NAME), range(8)))
    assert len(set(stamps)) == 8


def test_what_was_learned(store: ModelStore) -> None:
    assert learned_before(store.folder(NAME)) == {}
    remember(store.folder(NAME), {"12": "2026-11-22"})
    assert learned_before(store.folder(NAME)) == {"12": "2026-11-22"}


def test_a_url_without_redis_is_only_read(tmp_path: Path) -> None:
    url = ModelStore(store_path(f"memory://store-{next(_NUMBERS)}"))
    with pytest.raises(SettingsInvalid, match="set REDIS_URL"):
        url.lock(NAME)
    with pytest.raises(SettingsInvalid, match="set REDIS_URL"):
        url.new_stamp(NAME)


def archive(store: ModelStore, version: str) -> str:
    path = store.archive_path(NAME, version)
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(version.encode())
    return version


V1, V2, V3 = "20261122T083000Z", "20261122T093000Z", "20261122T103000Z"


def test_a_holder_that_lost_its_lease_flips_nothing(store: ModelStore, leases: Leases) -> None:
    archive(store, V1)
    archive(store, V2)
    with store.lock(NAME) as first:
        add_to_load(store, NAME, V1, first)
        leases.client.delete(f"layoutloop:store:lock:{NAME}")  # Redis was away for longer than the lease
        with store.lock(NAME, wait=False) as second:
            add_to_load(store, NAME, V2, second)
            with pytest.raises(LeaseLost):
                flip(store, NAME, V1, first)
            flip(store, NAME, V2, second)
    assert current(store) == V2


class EarlierHolder:
    """One whose Redis says that it holds the lock, though a later one has written: it stood still for an hour."""

    number = 3

    def check(self) -> None:
        """It passes."""


def test_an_earlier_number_is_refused(store: ModelStore) -> None:
    archive(store, V1)
    write_manifest(store, NAME, Manifest((V1,), None, number=4))
    with pytest.raises(LeaseLost, match="a later holder of project-7's lock"):
        flip(store, NAME, V1, EarlierHolder())
    assert current(store) is None


class Robbed(Leases):
    """Each of its leases is another's as soon as it is had, as after a long stop."""

    @contextmanager
    def hold(self, name: str, *, wait: bool = True, above: int = 0) -> Iterator[Lease]:
        """Hold a lease that is lost."""
        with super().hold(name, wait=wait, above=above) as lease:
            self.client.set(f"layoutloop:store:lock:{name}", "another")
            yield lease
        self.client.delete(f"layoutloop:store:lock:{name}")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda store: prune(store, 7, 0), id="prune"),
        pytest.param(lambda store: discard(store, 7, V1), id="discard"),
        pytest.param(lambda store: store.new_stamp(NAME), id="a stamp"),
    ],
)
def test_nothing_is_changed_under_a_lost_lease(
    store: ModelStore, leases: Leases, change: Callable[[ModelStore], object]
) -> None:
    archive(store, V1)
    write_json(store.card_path(NAME, V1), VersionCard(NAME, V1).to_json())
    with pytest.raises(LeaseLost):
        change(ModelStore(store.path, Robbed(leases.client, leases.place, leases.seconds)))
    assert {path.name for path in children(store.folder(NAME), "*")} == {f"{NAME}-{V1}.mar", f"{NAME}-{V1}.json"}


def test_two_machines_that_go_back_to_the_same_version_make_one(
    leases: Leases, text_checkpoint: Path, tmp_path: Path
) -> None:
    """The second comes while the first is about to promote what it archived."""
    store = ModelStore(tmp_path / "store", leases)
    old = build(store, text_checkpoint)
    promote(store, NAME, build(store, text_checkpoint), untested=True)

    def go_back(machine: str, still_mine: Callable[[], None]) -> str:
        return restore(publisher(store, tmp_path / machine / f"back-to-{old}", still_mine), old)

    with ThreadPoolExecutor(1) as pool:
        others: list[Future[str]] = []

        def meanwhile() -> None:
            others.append(pool.submit(go_back, "there", lambda: None))
            wait(others, timeout=1.0)

        version = go_back("here", meanwhile)
        assert others[0].result(30) == version
    assert current(store) == version
    assert len(children(store.folder(NAME), "*.mar")) == 3


def test_what_left_service_is_dropped_by_any_node(store: ModelStore, leases: Leases) -> None:
    for version in (V1, V2):
        archive(store, version)
        with store.lock(NAME) as held:
            add_to_load(store, NAME, version, held)
            flip(store, NAME, version, held)
    with store.lock(NAME) as held:
        write_manifest(store, NAME, Manifest((V2, V1), V2, left={V1: time.time() - 1000}), held)
        retire(store, store, 90.0)  # somebody promotes: another time
    assert store.manifest(NAME) == Manifest(
        (V2, V1), V2, left=pytest.approx({V1: time.time() - 1000}, abs=60), number=3
    )
    retire(store, store, 90.0)
    serving = store.manifest(NAME)
    assert serving is not None
    assert (serving.load, serving.current) == ((V2,), V2)


@pytest.mark.parametrize("promoted", [True, False], ids=["after the flip", "before the flip"])
def test_another_machine_takes_a_job_over(
    built_store: ModelStore, leases: Leases, text_checkpoint: Path, tmp_path: Path, promoted: bool
) -> None:
    here, there = tmp_path / "here" / "0123456789ab", tmp_path / "there" / "0123456789ab"
    here.mkdir(parents=True)
    version = publisher(built_store, here).archive(text_checkpoint, ProjectSettings())
    with built_store.lock(NAME) as held:
        add_to_load(built_store, NAME, version, held)
        if promoted:
            flip(built_store, NAME, version, held)
    publisher(built_store, there).take_over()
    assert archived_version(there) == (version if promoted else None)
    assert built_store.archive_path(NAME, version).is_file() == promoted
    forget(built_store, 7, there)
    publisher(built_store, tmp_path / "third" / "0123456789ab").take_over()
    assert archived_version(tmp_path / "third" / "0123456789ab") is None


def test_a_job_that_comes_back_learns_what_was_done_elsewhere(
    leases: Leases, text_checkpoint: Path, tmp_path: Path
) -> None:
    """Its first machine still has the folder of the first try."""
    store = ModelStore(tmp_path / "store", leases)
    here, there = tmp_path / "here" / "0123456789ab", tmp_path / "there" / "0123456789ab"
    here.mkdir(parents=True)
    there.mkdir(parents=True)
    first = publisher(store, here).archive(text_checkpoint, ProjectSettings())
    publisher(store, here).take_over()
    assert archived_version(here) == first
    publisher(store, there).take_over()
    second = publisher(store, there).archive(text_checkpoint, ProjectSettings())
    assert [one.card.version for one in kept_versions(store, 7)] == [second]
    promote(store, NAME, second, untested=True)
    publisher(store, here).take_over()
    assert archived_version(here) == second
    assert was_promoted(store, 7, second)


def test_an_upload_that_fails_says_so(bucket: ObjectStore, leases: Leases, text_checkpoint: Path) -> None:
    missing = ModelStore(store_path("s3://no-such-bucket/store"), leases)
    with pytest.raises(ArchiveFailed, match="cannot be uploaded to s3://no-such-bucket/store"):
        build_project(missing, 7, text_checkpoint, ProjectSettings(), version=V1)


def test_from_the_archive_to_the_node_and_the_shim(
    s3: ModelStore, leases: Leases, text_checkpoint: Path, tmp_path: Path
) -> None:
    """What one machine archives and promotes, a node loads and a shim asks for; what is deleted, both forget."""
    old = build(s3, text_checkpoint)
    promote(s3, NAME, old, untested=True)
    node, shim = StoreMirror(s3.path, tmp_path / "node", ".nodes/box.json"), StoreMirror(s3.path, tmp_path / "shim")
    with open_management(tmp_path / "torchserve") as fake, ThreadPoolExecutor(1) as pool:
        watcher = Watcher(
            store=s3,
            near=ModelStore(node.folder),
            archives=fake.archives,
            management=ManagementClient(fake.url, TokenFile(fake.key_file)),
            smoke=lambda _model, _version: None,
            workers=WorkerCounts(node.folder, ocr=1),
            node="box",
        )

        def look() -> None:
            node.refresh()
            assert watcher.converge(), watcher.errors
            watcher.report()
            node.refresh()

        look()
        assert fake.held() == {NAME: [old]}
        new = build(s3, text_checkpoint)
        promotion = pool.submit(promote, s3, NAME, new)
        while not promotion.done():
            look()
            time.sleep(0.2)
        promotion.result()
        look()
        assert (fake.held(), fake.default) == ({NAME: [old, new]}, {NAME: new})
        with s3.lock(NAME) as held:
            write_manifest(s3, NAME, Manifest((new,), new, {new: _digest(s3, new)}), held)
        assert prune(s3, 7, 1) == [old]
        look()
        assert fake.held() == {NAME: [new]}
    write_manifest(ModelStore(tmp_path / "plain"), "ocr", Manifest((V1,), V1))
    shim.refresh()
    copy = ModelStore(shim.folder)
    assert current(copy) == new
    assert copy.card(NAME, new).version == new
    assert not (shim.folder / NAME / f"{NAME}-{old}.json").exists()
    assert (
        InServiceModels(copy, InferenceClient("http://127.0.0.1:9", TokenFile(tmp_path / "none"))).store.path
        == shim.folder
    )


def test_commands_take_a_url(s3: ModelStore, redis_url: str, text_checkpoint: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "MODEL_DIR": str(s3.path), "REDIS_URL": redis_url, "LAYOUTLOOP_HOME": str(tmp_path)}

    def command(*words: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", *words], cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    checkpoint = ("--checkpoint", str(text_checkpoint))
    built = command("scripts.archive", "--project", "7", *checkpoint, "--serve", "--untested")
    version = current(s3)
    assert f"built {s3.path}/{NAME}/{NAME}-{version}.mar" in built
    assert f"{NAME}  {version}  current" in command("scripts.rollout", "--list")
    command("scripts.archive", "--refresh", "--untested")
    assert current(s3) != version
    again = command("scripts.rollout", "--project", "7", "--back-to", str(version), "--untested")
    assert f"in service again, as {current(s3)}" in again
    assert children(s3.path / ".training" / NAME, "*.json") == []


def _digest(store: ModelStore, version: str) -> str:
    serving = store.manifest(NAME)
    assert serving is not None
    return serving.sha256[version]


TRAINER = """
import sys, time
from pathlib import Path
from layoutloop.store.path import store_path
from layoutloop.torchserve.inference import InferenceClient
from layoutloop.torchserve.tokens import TokenFile
from training.archive.archive import ProjectSettings
from training.publish import Publisher
from layoutloop.store.model_store import ModelStore
from layoutloop.store.redis_locks import Leases

url, redis_url, project, folder, checkpoint, end = sys.argv[1:]
store, job = ModelStore(store_path(url), Leases.at(redis_url, seconds=3.0)), Path(folder)
job.mkdir(parents=True)
client = InferenceClient("http://127.0.0.1:9", TokenFile(job / "none"))
publisher = Publisher(store, int(project), job, client, lambda: None, untested=True)
with store.training_lock(int(project)) as held:
    print(f"began {time.time()}", flush=True)
    (job / "began").touch()
    while end == "together" and len(list(job.parents[1].glob("*/job/began"))) < 2:
        time.sleep(0.05)
    version = publisher.archive(Path(checkpoint), ProjectSettings())
    publisher.put_into_service(version, None, held)
    print(f"promoted {version}", flush=True)
    if end == "wait":
        time.sleep(600)
    print(f"ended {time.time()}", flush=True)
"""


def trainer(
    store: ModelStore, redis_url: str, project: int, folder: Path, checkpoint: Path, end: str
) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        TRAINER,
        str(store.path),
        redis_url,
        str(project),
        str(folder),
        str(checkpoint),
        end,
    ]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def said(process: subprocess.Popen[str]) -> dict[str, str]:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return dict(line.split(" ", 1) for line in output.splitlines())


@pytest.mark.parametrize("projects", [(7, 7), (7, 8)], ids=["one project", "two projects"])
def test_two_trainers(
    s3: ModelStore, redis_url: str, text_checkpoint: Path, tmp_path: Path, projects: tuple[int, int], leases: Leases
) -> None:
    """Trainers of one project wait for each other, those of two do not."""
    end = "go on" if projects[0] == projects[1] else "together"  # which would wait for ever if they did for each other
    started = [
        trainer(s3, redis_url, project, tmp_path / str(at) / "job", text_checkpoint, end)
        for at, project in enumerate(projects)
    ]
    first, second = sorted((said(process) for process in started), key=lambda one: float(one["began"]))
    waited = float(second["began"]) >= float(first["ended"])
    assert waited == (projects[0] == projects[1])
    if waited:
        serving = s3.manifest(NAME)
        assert serving is not None
        assert (serving.current, serving.past) == (second["promoted"], (first["promoted"],))
    else:
        assert {current(s3, f"project-{project}") for project in projects} == {first["promoted"], second["promoted"]}


def test_a_trainer_that_dies_after_its_flip_promotes_once(
    s3: ModelStore, redis_url: str, leases: Leases, text_checkpoint: Path, tmp_path: Path
) -> None:
    process = trainer(s3, redis_url, 7, tmp_path / "a" / "0123456789ab", text_checkpoint, "wait")
    assert process.stdout is not None
    told = [process.stdout.readline().split() for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    version = told[1][1]
    assert current(s3) == version
    there = tmp_path / "b" / "0123456789ab"
    publisher(s3, there).take_over()
    assert json.loads((there / "archived.json").read_text()) == {"version": version}
    assert was_promoted(s3, 7, version)
