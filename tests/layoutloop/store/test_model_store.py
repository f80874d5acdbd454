from __future__ import annotations

import time
from pathlib import Path

import pytest

from layoutloop.errors import ModelNotReady
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import Manifest, VersionCard, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json

V1, V2 = "20261122T083000Z", "20261122T093000Z"
SERVING = Manifest(load=(V2, V1), current=V2, sha256={V1: "ab", V2: "cd"}, left={V1: 1795327242.5})
CARD = VersionCard(
    model="project-7",
    version=V1,
    labels=("total", "invoice date"),
    engine=None,
    language="deu+eng",
    psm=6,
    box_level="lines",
    uses_image=True,
    base_model="graft:all-MiniLM-L6-v2",
    batch_size=16,
    handler_sha256="ef" * 32,
    created="2026-11-22T08:30:00+00:00",
    restored_from=V2,
)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


def test_where_things_lie() -> None:
    store = ModelStore(Path("/store"))
    assert project_model(7) == "project-7"
    assert store.archive_path("project-7", V1) == Path(f"/store/project-7/project-7-{V1}.mar")
    assert store.card_path("project-7", V1) == Path(f"/store/project-7/project-7-{V1}.json")


@pytest.mark.parametrize("serving", [SERVING, Manifest()], ids=["full", "empty"])
def test_serving_comes_back_as_it_was_written(store: ModelStore, serving: Manifest) -> None:
    write_manifest(store, "project-7", serving)
    assert store.manifest("project-7") == serving


def test_what_never_was_in_service(tmp_path: Path, store: ModelStore) -> None:
    assert store.manifest("project-7") is None
    (tmp_path / "project-7").mkdir()
    assert store.manifest("project-7") is None


def test_a_file_from_before_left_was_kept(tmp_path: Path, store: ModelStore) -> None:
    write_json(tmp_path / "ocr" / "serving.json", {"load": [V1], "current": V1, "sha256": {V1: "ab"}})
    assert store.manifest("ocr") == Manifest((V1,), V1, {V1: "ab"})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"load": ["2026', id="half"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no fields"),
        pytest.param(b'{"load": null, "current": null, "sha256": {}}', id="load: null"),
        pytest.param(b'{"load": [], "current": null, "sha256": []}', id="sha256: a list"),
        pytest.param(b'{"load": [], "current": null, "sha256": {}, "left": {"v": "x"}}', id="left: a word"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"load": [], "current": "../../../etc/passwd", "sha256": {}}', id="current: a path"),
        pytest.param(b'{"load": ["../../../etc/passwd"], "current": null, "sha256": {}}', id="load: a path"),
        pytest.param(b'{"load": "abc", "current": null, "sha256": {}}', id="load: a word"),
        pytest.param(b'{"load": [], "current": 7, "sha256": {}}', id="current: a number"),
        pytest.param(b'{"load": [], "current": null, "sha256": {}, "left": []}', id="left: a list"),
        pytest.param(
            b'{"load": [], "current": null, "sha256": {}, "left": {"20261122T083000Z": Infinity}}', id="left: infinity"
        ),
        pytest.param(b'{"load": [], "current": null, "sha256": {}, "past": 7}', id="past: a number"),
        pytest.param(b'{"load": [], "current": null, "sha256": {}, "number": Infinity}', id="number: infinity"),
    ],
)
def test_a_file_that_cannot_be_understood_is_not_taken_for_none(
    tmp_path: Path, store: ModelStore, content: bytes
) -> None:
    (tmp_path / "ocr").mkdir()
    (tmp_path / "ocr" / "serving.json").write_bytes(content)
    with pytest.raises(ModelNotReady, match=r"ocr/serving\.json cannot be understood .* delete it and promote"):
        store.manifest("ocr")


def test_what_cannot_be_read_is_not_to_be_deleted(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "ocr" / "serving.json").mkdir(parents=True)
    with pytest.raises(
        ModelNotReady, match=r"ocr/serving\.json cannot be read now \(.*; see that the model store"
    ) as no:
        store.manifest("ocr")
    assert "delete" not in str(no.value)


@pytest.mark.parametrize("card", [CARD, VersionCard("ocr", V1)], ids=["full", "bare"])
def test_a_card_comes_back_as_it_was_written(store: ModelStore, card: VersionCard) -> None:
    write_json(store.card_path(card.model, card.version), card.to_json())
    assert store.card(card.model, card.version) == card


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="missing"),
        pytest.param([], id="a list"),
        pytest.param({}, id="no fields"),
        pytest.param({"model": "ocr", "version": V1, "labels": [], "colour": "red"}, id="a field of another time"),
        pytest.param({"model": "ocr", "version": V1, "labels": None}, id="labels: null"),
    ],
)
def test_a_card_that_cannot_be_read(store: ModelStore, body: object) -> None:
    if body is not None:
        write_json(store.card_path("ocr", V1), body)
    with pytest.raises(ModelNotReady, match="archive the checkpoint again"):
        store.card("ocr", V1)


def test_models_in_are_those_with_a_serving_json(tmp_path: Path, store: ModelStore) -> None:
    assert ModelStore(tmp_path / "missing").models() == []
    for name in ("project-12", "ocr", "project-7"):
        write_manifest(store, name, Manifest())
    (tmp_path / "project-8").mkdir()
    assert store.models() == ["ocr", "project-12", "project-7"]


def test_nodes_heard_of_lately(tmp_path: Path, store: ModelStore) -> None:
    assert store.live_nodes() == {}
    ages = {"fresh.example.org-7080": 0, "late-7080": 29, "silent-7080": 31}
    for node, age_s in ages.items():
        write_json(tmp_path / ".nodes" / f"{node}.json", {"time": time.time() - age_s, "holds": {}, "errors": {}})
    assert sorted(store.live_nodes()) == ["fresh.example.org-7080", "late-7080"]
    assert sorted(store.live_nodes(silent_s=10)) == ["fresh.example.org-7080"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"time": "noon"}', '{"time": null}'], ids=repr)
def test_a_report_that_is_none_is_left_out(
    tmp_path: Path, store: ModelStore, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".nodes").mkdir()
    (tmp_path / ".nodes" / "odd.json").write_text(content)
    assert store.live_nodes() == {}
    assert "odd.json is no report" in caplog.text


@pytest.mark.parametrize("version", ["../../../etc/passwd", "1", "", f"{V1}\n", "20261122T083000Z.mar"])
def test_no_path_is_made_of_what_is_no_stamp(store: ModelStore, version: str) -> None:
    for path_of in (store.archive_path, store.card_path, store.checkpoint_path, store.report_path):
        with pytest.raises(ModelNotReady, match="a version is a stamp like"):
            path_of("project-7", version)


@pytest.mark.parametrize("stamp", ["99999999T999999Z", "99991231T235959Z"], ids=["no time", "the last second"])
def test_a_strange_name_in_a_folder_stops_no_version(tmp_path: Path, store: ModelStore, stamp: str) -> None:
    (tmp_path / "project-7").mkdir()
    (tmp_path / "project-7" / f"project-7-{stamp}.mar").touch()
    (tmp_path / "project-7" / "project-7-old.mar").touch()
    assert store.new_stamp("project-7") < "9999"
    assert store.archived("project-7") == [stamp]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("batch_size", "x"), ("batch_size", True), ("psm", None), ("engine", 5), ("box_level", "pages")),
        *(("uses_image", 1), ("labels", "abc"), ("version", V2), ("model", "project-8"), ("timeout_s", "1")),
    ],
)
def test_a_card_with_a_wrong_field(store: ModelStore, field: str, value: object) -> None:
    write_json(store.card_path("project-7", V1), {**CARD.to_json(), field: value})
    with pytest.raises(ModelNotReady, match="archive the checkpoint again"):
        store.card("project-7", V1)
