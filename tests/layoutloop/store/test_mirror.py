"""The copy of a model store that readers have, of one in memory and of one behind a real S3 API."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layoutloop.errors import ModelNotReady, StoreUnavailable
from layoutloop.settings.local_store import with_local_store
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import Manifest
from layoutloop.store.mirror import StoreMirror, readable
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import store_path
from layoutloop.torchserve.in_service import InServiceModels
from layoutloop.torchserve.inference import inference_client
from shim.app import create_app
from shim.health import read_health
from tests.object_store import ObjectStore, s3_environment

V1, V2 = "20261122T083000Z", "20261122T093000Z"
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with s3_environment(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("models")
        yield server


@pytest.fixture(params=["memory", "s3"])
def origin(request: pytest.FixtureRequest) -> Any:
    """An empty model store at a URL."""
    number = next(_NUMBERS)
    if request.param == "s3":
        request.getfixturevalue("bucket")
        return store_path(f"s3://models/mirrored-{number}")
    return store_path(f"memory://mirrored-{number}")


def put(origin: Any, name: str, text: str = "{}") -> None:
    (origin / name).write_bytes(text.encode())


def put_in_service(origin: Any, name: str) -> None:
    put(origin, f"{name}/{name}-{V1}.json", f'{{"model": "{name}", "version": "{V1}", "labels": []}}')
    put(origin, f"{name}/serving.json", f'{{"load": ["{V1}"], "current": "{V1}", "sha256": {{}}}}')


def put_out_of_reach(origin: Any, name: str) -> None:
    """Archive an object as S3's rules of age do: it is listed, and a GET is refused."""
    origin.fs.pipe_file(f"{origin.path}/{name}", b"{}", StorageClass="GLACIER")


def copies(mirror: StoreMirror) -> set[str]:
    """What the copy holds: files, and the folders of checkpoints."""
    return {path.relative_to(mirror.folder).as_posix() for path in mirror.folder.glob("*/*")}


def test_readers_get_what_they_need_and_no_more(origin: Any, tmp_path: Path) -> None:
    wanted = {
        "ocr/serving.json",
        f"project-7/project-7-{V1}.json",
        f"project-7/project-7-{V1}.report.html",
        f"project-7/checkpoint-{V1}",
        ".nodes/box-7080.json",
    }
    for name in wanted - {f"project-7/checkpoint-{V1}"}:
        put(origin, name)
    put(origin, f"project-7/checkpoint-{V1}/config.json")
    for name in (
        f"project-7/project-7-{V1}.mar",
        "project-7/.last-stamp",
        ".training/project-7/4f.json",
        "strange/a.json",
    ):
        put(origin, name)
    mirror = StoreMirror(origin, tmp_path / "copy")
    mirror.refresh()
    assert copies(mirror) == wanted
    assert list((mirror.folder / f"project-7/checkpoint-{V1}").iterdir()) == []
    assert mirror.is_whole


def test_what_changes_and_what_goes(origin: Any, tmp_path: Path) -> None:
    put(origin, "project-7/serving.json", '{"load": ["a"], "current": "a", "sha256": {}}')
    put(origin, f"project-7/project-7-{V1}.json")
    put(origin, f"project-7/checkpoint-{V1}/config.json")
    mirror = StoreMirror(origin, tmp_path / "copy")
    mirror.refresh()
    put(origin, "project-7/serving.json", '{"load": ["b", "a"], "current": "b", "sha256": {}}')
    (origin / f"project-7/project-7-{V1}.json").unlink()
    (origin / f"project-7/checkpoint-{V1}/config.json").unlink()
    mirror.refresh()
    assert ModelStore(mirror.folder).manifest("project-7") == Manifest(("b", "a"), "b")
    assert copies(mirror) == {"project-7/serving.json"}


def test_an_unchanged_file_is_left_alone(origin: Any, tmp_path: Path) -> None:
    put(origin, "ocr/serving.json")
    mirror = StoreMirror(origin, tmp_path / "copy")
    mirror.refresh()
    before = (mirror.folder / "ocr/serving.json").stat()
    assert abs(before.st_mtime - time.time()) < 60  # the store's time, which says when a project was asked
    mirror.refresh()
    assert (mirror.folder / "ocr/serving.json").stat().st_ino == before.st_ino


def test_marks_go_out_and_not_all_the_time(origin: Any, tmp_path: Path) -> None:
    shim = StoreMirror(origin, tmp_path / "shim")
    watcher = StoreMirror(origin, tmp_path / "watcher", ".nodes/box-7080.json")
    mark, seen = (one.folder / ".asked/project-7" for one in (shim, watcher))
    mark.parent.mkdir()
    mark.touch()
    shim.refresh()
    watcher.refresh()
    first = seen.stat().st_mtime_ns
    time.sleep(1.1)  # S3 tells whole seconds
    mark.touch()
    shim.refresh()
    watcher.refresh()
    assert seen.stat().st_mtime_ns == first  # within ten seconds one is enough


def test_a_node_s_report_goes_out_and_is_not_overwritten(origin: Any, tmp_path: Path) -> None:
    watcher = StoreMirror(origin, tmp_path / "watcher", ".nodes/box-7080.json")
    put(origin, ".nodes/box-7080.json", '"an older run"')
    put(origin, ".nodes/other-7080.json", '"another"')
    own = watcher.folder / ".nodes/box-7080.json"
    watcher.refresh()
    assert not own.exists()
    own.parent.mkdir(exist_ok=True)
    own.write_text('"now"')
    watcher.refresh()
    assert (origin / ".nodes/box-7080.json").read_text() == '"now"'
    assert copies(watcher) == {".nodes/box-7080.json"}  # with N nodes that look once a second it would be N x N reports


def test_what_is_being_written_here_is_left_alone(origin: Any, tmp_path: Path) -> None:
    watcher = StoreMirror(origin, tmp_path / "watcher", ".nodes/box-7080.json")
    half = watcher.folder / ".nodes/.new-4f2k"
    half.parent.mkdir()
    half.write_text("{")
    watcher.refresh()
    assert half.exists()
    assert not (origin / ".nodes/.new-4f2k").exists()


class Watched(StoreMirror):
    """Says after each portion of files what a shim would answer with then."""

    def __init__(self, origin: Any, folder: Path, asked: str) -> None:
        super().__init__(origin, folder)
        self.models = InServiceModels(ModelStore(folder), inference_client(Settings(model_dir=folder)))
        self.asked = asked
        self.answers: list[str] = []

    def look(self) -> None:
        try:
            model = self.models.in_service(self.asked).model
            self.answers.append(model.version if model else "cold start")
        except ModelNotReady as error:
            self.answers.append(str(error).split(";")[0])

    def _bring(self, names: list[str], found: Any) -> Any:
        self.look()
        return super()._bring(names, found)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        pytest.param("project-7", V1, id="a trained project"),
        pytest.param("project-999", "cold start", id="one that never was trained"),
    ],
)
def test_until_the_copy_is_whole_nothing_is_a_cold_start(asked: str, answer: str, tmp_path: Path) -> None:
    origin: Any = store_path(f"memory://mirrored-{next(_NUMBERS)}")
    for name in ("ocr", *(f"project-{number}" for number in range(7, 107))):
        put_in_service(origin, name)
    mirror = Watched(origin, tmp_path / "copy", asked)
    assert "`ocr`" not in " ".join(read_health(ModelStore(mirror.folder), tmp_path, has_key=True).missing)
    assert "first time" in read_health(ModelStore(mirror.folder), tmp_path, has_key=True).starting[0]
    mirror.refresh()
    assert len(mirror.answers) > 3
    assert set(mirror.answers) == {"the model store is being read for the first time"}
    mirror.look()
    assert mirror.answers[-1] == answer
    assert read_health(ModelStore(mirror.folder), tmp_path, has_key=True).starting == ()


@pytest.mark.parametrize(
    ("lost", "answers"),
    [
        pytest.param(f"project-7/project-7-{V1}.report.html", {"project-7": V1, "project-8": V1}, id="a report"),
        pytest.param(f"project-7/project-7-{V1}.json", {"project-7": "the card", "project-8": V1}, id="a card"),
        pytest.param(
            "project-7/serving.json",
            {"project-7": "the model store is being read for the first time", "project-8": V1},
            id="what is in service",
        ),
    ],
)
def test_one_file_that_cannot_be_read_stops_no_other(
    bucket: ObjectStore, lost: str, answers: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    origin: Any = store_path(f"s3://models/mirrored-{next(_NUMBERS)}")
    for name in ("ocr", "project-7", "project-8"):
        put_in_service(origin, name)
    put_out_of_reach(origin, lost)
    mirror = Watched(origin, tmp_path / "copy", "")
    for _ in range(2):
        if lost.endswith("serving.json"):
            with pytest.raises(StoreUnavailable, match=f"{lost} cannot be read"):
                mirror.refresh()
        else:
            mirror.refresh()
    for mirror.asked, answer in answers.items():
        mirror.look()
        assert mirror.answers[-1].startswith(answer)
    assert [record.getMessage().count(lost) for record in caplog.records] == [1]  # once, and not at each look
    assert mirror.is_whole == (not lost.endswith("serving.json"))


def test_what_was_copied_of_another_store_is_not_believed(origin: Any, tmp_path: Path) -> None:
    before: Any = store_path(f"memory://mirrored-{next(_NUMBERS)}")
    put_in_service(before, "ocr")
    StoreMirror(before, tmp_path / "copy").refresh()
    asked = Watched(before, tmp_path / "copy", "project-999")
    asked.look()
    mirror = Watched(origin, tmp_path / "copy", "project-999")
    mirror.look()
    mirror.refresh()
    mirror.look()
    assert asked.answers == ["cold start"]  # another run of the same MODEL_DIR
    first, now = mirror.answers
    assert first == "the model store is being read for the first time"
    assert now == f"model `ocr` is not in service in {origin}"  # and not the copy, whose place nobody knows


def test_what_a_full_disk_left_half_is_deleted(tmp_path: Path) -> None:
    origin: Any = store_path(f"memory://mirrored-{next(_NUMBERS)}")
    put(origin, "ocr/serving.json")
    mirror = StoreMirror(origin, tmp_path / "copy")
    (tmp_path / "copy/ocr/serving.json").mkdir(parents=True)  # nothing can be put in its place
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            mirror.refresh()
    assert not list(mirror.folder.glob(".new-*"))
    killed = mirror.folder / ".new-4f2k"
    killed.touch()
    StoreMirror(origin, tmp_path / "copy")
    assert not killed.exists()


def test_a_store_that_is_empty_of_a_sudden_is_not_believed(origin: Any, tmp_path: Path) -> None:
    put(origin, "ocr/serving.json")
    mirror = StoreMirror(origin, tmp_path / "copy")
    mirror.refresh()
    (origin / "ocr/serving.json").unlink()
    with pytest.raises(StoreUnavailable, match="suddenly empty"):
        mirror.refresh()
    assert ModelStore(mirror.folder).models() == ["ocr"]


def test_names_that_lead_elsewhere_are_not_followed(bucket: ObjectStore, tmp_path: Path) -> None:
    origin: Any = store_path("s3://models/strange")
    put(origin, "ocr/serving.json")
    for name in ("ocr/..json", "project-7/../../../out.json", ".nodes/../out.json"):
        origin.fs.pipe_file(f"models/strange/{name}", b"{}")
    mirror = StoreMirror(origin, tmp_path / "deep" / "copy")
    mirror.refresh()
    assert not list(tmp_path.rglob("out.json"))
    assert ModelStore(mirror.folder).models() == ["ocr"]


def test_while_the_store_is_away_the_copy_holds(tmp_path: Path) -> None:
    place = tmp_path / "copy"
    with s3_environment(tmp_path) as server:
        server.make_bucket("brief")
        origin: Any = store_path("s3://brief/store")
        with pytest.raises(StoreUnavailable), readable(store_path("s3://no-such-bucket/store"), tmp_path / "none"):
            pass
        put(origin, "ocr/serving.json")
        with readable(origin, place) as folder:
            assert ModelStore(folder).models() == ["ocr"]
        server.kill()
        with readable(origin, place) as folder:  # a new process, with what the earlier one left
            assert ModelStore(folder).models() == ["ocr"]
        with pytest.raises(StoreUnavailable, match="s3://brief/store"), readable(origin, tmp_path / "another"):
            pass


def test_a_folder_is_read_where_it_is(tmp_path: Path) -> None:
    settings = Settings(model_dir=tmp_path)
    with with_local_store(settings) as near:
        assert near.model_dir == tmp_path


def test_the_shim_shows_what_is_in_a_store_at_a_url(origin: Any, tmp_path: Path) -> None:
    put(origin, "ocr/serving.json", '{"load": ["a"], "current": "a", "sha256": {}}')
    settings = Settings(home=tmp_path, model_dir=origin, redis_url="redis://127.0.0.1:1/0")
    client = create_app(settings).test_client()
    end = time.monotonic() + 30
    while not (models := client.get("/health").get_json()["models"]):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert models == {"ocr": {"current": "a", "load": ["a"]}}
    put(origin, "ocr/serving.json", '{"load": ["b", "a"], "current": "b", "sha256": {}}')
    end = time.monotonic() + 30
    while client.get("/health").get_json()["models"]["ocr"]["current"] != "b":
        assert time.monotonic() < end
        time.sleep(0.1)
    put(origin, f"ocr/ocr-{V2}.json", f'{{"model": "ocr", "version": "{V2}", "labels": []}}')
    assert ModelStore(origin).card("ocr", V2).version == V2
