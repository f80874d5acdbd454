"""Archives built by the real torch-model-archiver from small random checkpoints."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.errors import CheckpointInvalid, HandlerError
from handler.layoutlm import load
from handler.ocr import OcrSettings
from shim.serving import Card, archive_path, card_path, read_card
from tests.checkpoints import LABELS
from training.archive import (
    HANDLER,
    ArchiveFailed,
    ProjectSettings,
    build_ocr,
    build_project,
    handler_sha256,
    ocr_is_current,
)
from training.store import add_to_load, flip, sha256_of, write_json

SETTINGS = ProjectSettings(language="eng", psm=6, box_level="lines", base_model="graft:all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model_store")


@pytest.fixture(scope="module")
def card(store: Path, text_checkpoint: Path) -> Card:
    """Of one archive that the tests below look into."""
    return build_project(store, 7, text_checkpoint, SETTINGS)


@pytest.fixture(scope="module")
def ocr_card(store: Path) -> Card:
    return build_ocr(store, OcrSettings(psm=6))


def opened(store: Path, card: Card) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive_path(store, card.model, card.version))


def names(folder: Path) -> list[str]:
    """What lies there, less the notes of the store itself."""
    return sorted(path.name for path in folder.iterdir() if path.name not in (".lock", ".last-stamp"))


def handler_files() -> set[str]:
    return {f"handler/{path.relative_to(HANDLER)}" for path in HANDLER.rglob("*") if path.suffix in (".py", ".yaml")}


def test_a_project_archive_stands_alone(store: Path, card: Card, text_checkpoint: Path) -> None:
    with opened(store, card) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    checkpoint = {f"checkpoint/{path.name}" for path in text_checkpoint.iterdir()}
    assert {"checkpoint/model.safetensors", "checkpoint/config.json", "checkpoint/tokenizer.json"} <= checkpoint
    own = {"MAR-INF/MANIFEST.json", "card.json", "layoutlmv3_handler.py", "model-config.yaml"}
    assert files == own | checkpoint | handler_files()


def test_the_ocr_archive_stands_alone(store: Path, ocr_card: Card) -> None:
    with opened(store, ocr_card) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    assert files == {"MAR-INF/MANIFEST.json", "card.json", "ocr_handler.py", "model-config.yaml"} | handler_files()


@pytest.mark.parametrize("which", ["card", "ocr_card"])
def test_every_archive(store: Path, which: str, request: pytest.FixtureRequest) -> None:
    card: Card = request.getfixturevalue(which)
    with opened(store, card) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        config = yaml.safe_load(archive.read("model-config.yaml"))
        inside = json.loads(archive.read("card.json"))
        code = {name: archive.read(name) for name in handler_files()}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert not any("__pycache__" in entry.filename or entry.filename.endswith(".pyc") for entry in entries)
    modes = {entry.external_attr >> 16 & 0o777 for entry in entries if entry.filename != "MAR-INF/MANIFEST.json"}
    assert modes == {0o644}
    assert (manifest["model"]["modelName"], manifest["model"]["modelVersion"]) == (card.model, card.version)
    assert manifest["model"]["handler"] == ("ocr_handler.py" if card.model == "ocr" else "layoutlmv3_handler.py")
    assert manifest["model"]["configFile"] == "model-config.yaml"
    assert "minWorkers" not in config
    assert {"responseTimeout", "batchSize", "handler"} <= set(config)
    assert inside == card.to_json()
    assert code == {name: (HANDLER.parent / name).read_bytes() for name in code}


def test_the_card_of_a_project(store: Path, card: Card) -> None:
    assert (card.model, card.labels, card.language, card.psm, card.box_level) == (
        "project-7",
        LABELS,
        "eng",
        6,
        "lines",
    )
    assert (card.base_model, card.uses_image, card.engine) == ("graft:all-MiniLM-L6-v2", False, None)
    assert (card.batch_size, card.handler_sha256, card.restored_from) == (1, handler_sha256(), None)
    assert read_card(store, "project-7", card.version) == card
    with opened(store, card) as archive:
        config = yaml.safe_load(archive.read("model-config.yaml"))
    assert config["handler"]["tagger"]["box_level"] == "lines"
    assert (config["handler"]["ocr"]["language"], config["handler"]["ocr"]["psm"]) == ("eng", 6)


def test_the_card_of_ocr(store: Path, ocr_card: Card) -> None:
    assert (ocr_card.model, ocr_card.labels, ocr_card.psm) == ("ocr", (), 6)
    assert str(ocr_card.engine).startswith("pytesseract-")
    assert str(ocr_card.engine).endswith("-eng-psm6")
    assert read_card(store, "ocr", ocr_card.version) == ocr_card


def test_the_checkpoint_is_kept_beside_it(store: Path, card: Card, text_checkpoint: Path) -> None:
    version = card.version
    assert names(store / "project-7") == [
        f"checkpoint-{version}",
        f"project-7-{version}.json",
        f"project-7-{version}.mar",
    ]
    kept = store / "project-7" / f"checkpoint-{version}"
    assert {path.name for path in kept.iterdir()} == {path.name for path in text_checkpoint.iterdir()}
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o644}
    assert archive_path(store, "project-7", version).stat().st_mode & 0o044 == 0o044
    with opened(store, card) as archive:
        inside = archive.read("checkpoint/model.safetensors")
    assert inside == (text_checkpoint / "model.safetensors").read_bytes()


def test_what_was_unpacked_can_be_loaded(store: Path, card: Card, tmp_path: Path) -> None:
    with opened(store, card) as archive:
        archive.extractall(tmp_path)
    assert load(tmp_path / "checkpoint", device="cpu").labels.names == LABELS


def test_an_archive_made_again_from_its_kept_checkpoint(store: Path, card: Card) -> None:
    kept = store / "project-7" / f"checkpoint-{card.version}"
    again = build_project(store, 70, kept, ProjectSettings(device="gpu"), restored_from=card.version)
    assert (again.restored_from, again.labels, again.box_level) == (card.version, LABELS, "words")
    with opened(store, again) as archive:
        config = yaml.safe_load(archive.read("model-config.yaml"))
    assert (config["deviceType"], config["batchSize"]) == ("gpu", again.batch_size)
    assert again.batch_size > 1


def test_a_checkpoint_that_looks_at_the_image(store: Path, image_checkpoint: Path) -> None:
    assert build_project(store, 71, image_checkpoint, ProjectSettings()).uses_image


def unnamed(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint whose head has Hugging Face's numbers for names."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    count = len(config["id2label"])
    config["id2label"] = {str(index): f"LABEL_{index}" for index in range(count)}
    config["label2id"] = {f"LABEL_{index}": index for index in range(count)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("labels", "served"),
    [
        pytest.param(["sum", "when", "who"], ("sum", "when", "who"), id="three labels make seven classes"),
        pytest.param(["O", "a", "b", "c", "d", "e", "f"], ("a", "b", "c", "d", "e", "f"), id="one name per class"),
    ],
)
def test_labels_for_a_head_without_names(
    tmp_path: Path, text_checkpoint: Path, labels: list[str], served: tuple[str, ...]
) -> None:
    source = unnamed(text_checkpoint, tmp_path / "source")
    before = (source / "config.json").read_text()
    card = build_project(tmp_path / "store", 7, source, ProjectSettings(), labels=labels)
    assert card.labels == served
    assert (source / "config.json").read_text() == before
    with opened(tmp_path / "store", card) as archive:
        config = json.loads(archive.read("checkpoint/config.json"))
    assert len(config["id2label"]) == len(config["label2id"]) == 7


Breakage = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("breakage", "labels", "sentence"),
    [
        pytest.param(lambda _: None, ["sum", "when"], "2 labels make 5 classes .* head has 7", id="labels: too few"),
        pytest.param(lambda _: None, ["a", "b", "c", "d"], "4 labels make 9 classes", id="labels: too many"),
        pytest.param(lambda _: None, ["a", "a", "b"], "all different", id="labels: one twice"),
        pytest.param(lambda _: None, [], "at least one", id="labels: an empty file"),
        pytest.param(lambda _: None, None, "untrained labels .* --labels FILE", id="labels: none"),
        pytest.param(lambda at: (at / "config.json").unlink(), None, "no checkpoint folder", id="no config.json"),
        pytest.param(shutil.rmtree, None, "no checkpoint folder", id="no folder"),
        pytest.param(lambda at: (at / "config.json").write_text("{"), None, "no checkpoint", id="half a config.json"),
        pytest.param(
            lambda at: (at / "config.json").write_text("{"), ["a", "b", "c"], "config.json", id="half, with labels"
        ),
        pytest.param(
            lambda at: (at / "config.json").write_text('{"model_type": "bert"}'), None, "bert", id="another kind"
        ),
        pytest.param(
            lambda at: (at / "model.safetensors").unlink(), ["a", "b", "c"], "cannot be loaded", id="no weights"
        ),
        pytest.param(
            lambda at: (at / "model.safetensors").write_bytes(b"torn"),
            *(["a", "b", "c"], "cannot be loaded"),
            id="half of the weights",
        ),
        pytest.param(lambda at: (at / "tokenizer.json").unlink(), ["a", "b", "c"], "tokenizer", id="no tokenizer"),
    ],
)
def test_a_broken_checkpoint_leaves_nothing_behind(
    tmp_path: Path, text_checkpoint: Path, breakage: Breakage, labels: list[str] | None, sentence: str
) -> None:
    source = unnamed(text_checkpoint, tmp_path / "source")
    breakage(source)
    with pytest.raises((ArchiveFailed, CheckpointInvalid), match=sentence):
        build_project(tmp_path / "store", 7, source, ProjectSettings(), labels=labels)
    assert names(tmp_path / "store" / "project-7") == []


def test_an_unreadable_model_store_says_so(tmp_path: Path, text_checkpoint: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="store"):
        build_project(tmp_path / "store", 7, text_checkpoint, ProjectSettings())


def test_builds_at_the_same_time_do_not_meet(tmp_path: Path, text_checkpoint: Path) -> None:
    """Two of one project and two of `ocr`: four whole archives, four versions' files."""

    def project(_: int) -> Card:
        return build_project(tmp_path, 7, text_checkpoint, ProjectSettings())

    def ocr(_: int) -> Card:
        return build_ocr(tmp_path, OcrSettings())

    with ThreadPoolExecutor(4) as threads:
        building = [*(threads.submit(project, n) for n in range(2)), *(threads.submit(ocr, n) for n in range(2))]
        cards = [one.result(300) for one in building]
    assert len({(card.model, card.version) for card in cards}) == 4
    for card in cards:
        with opened(tmp_path, card) as archive:
            assert archive.testzip() is None
            assert json.loads(archive.read("card.json"))["version"] == card.version
        assert read_card(tmp_path, card.model, card.version) == card
    assert len(names(tmp_path / "project-7")) == 6
    assert len(names(tmp_path / "ocr")) == 4


def test_ocr_is_current(store: Path, ocr_card: Card, tmp_path: Path) -> None:
    settings = OcrSettings(psm=6)
    assert not ocr_is_current(tmp_path, settings)
    copy = tmp_path / "ocr"
    copy.mkdir()
    for path in (archive_path(store, "ocr", ocr_card.version), card_path(store, "ocr", ocr_card.version)):
        shutil.copy(path, copy)
    assert not ocr_is_current(tmp_path, settings)
    add_to_load(tmp_path, "ocr", ocr_card.version)
    assert not ocr_is_current(tmp_path, settings)
    flip(tmp_path, "ocr", ocr_card.version)
    assert ocr_is_current(tmp_path, settings)
    assert not ocr_is_current(tmp_path, OcrSettings(psm=3))
    path = card_path(tmp_path, "ocr", ocr_card.version)
    write_json(path, ocr_card.to_json() | {"handler_sha256": "of another day"})
    assert not ocr_is_current(tmp_path, settings)
    path.unlink()
    assert not ocr_is_current(tmp_path, settings)
    write_json(path, ocr_card.to_json())
    archive_path(tmp_path, "ocr", ocr_card.version).unlink()
    assert not ocr_is_current(tmp_path, settings)


def test_an_ocr_engine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match="xyz"):
        build_ocr(tmp_path, OcrSettings(language="xyz"))
    assert names(tmp_path / "ocr") == []


def test_the_digest_of_the_handler_is_that_of_what_travels(store: Path, card: Card, ocr_card: Card) -> None:
    assert len(handler_sha256()) == 64
    assert card.handler_sha256 == ocr_card.handler_sha256 == handler_sha256()
    assert sha256_of(archive_path(store, "ocr", ocr_card.version)) != card.handler_sha256
