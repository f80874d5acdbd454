"""Archives built by the real torch-model-archiver from small random checkpoints."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.errors import CheckpointInvalid, HandlerError
from handler.ocr_settings import OcrSettings
from handler.tagging.box_prior import FILE as BOX_PRIOR
from handler.tagging.calibration import FILE as CALIBRATION
from handler.tagging.calibration import Calibration
from handler.tagging.layoutlm import load
from layoutloop.errors import ArchiveFailed
from layoutloop.store.changes import add_to_load, flip
from layoutloop.store.manifest import VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import sha256_of, write_json
from scripts.archive import main
from tests.checkpoints import LABELS, make_lilt_checkpoint, word_piece
from training.archive.archive import ProjectSettings, build_ocr, build_project, ocr_is_current
from training.archive.packing import HANDLER, handler_sha256
from training.archive.stored_models import unpack_checkpoint
from training.fit.box_prior import fit_prior

BASE = "graft:all-MiniLM-L6-v2"
SETTINGS = ProjectSettings("eng", psm=6, box_level="lines", base_model=BASE, engine="tesserocr-5.5.4-eng-psm6")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model_store")


@pytest.fixture(scope="module")
def card(store: Path, text_checkpoint: Path) -> VersionCard:
    """Of one archive that the tests below look into."""
    return build_project(ModelStore(store), 7, text_checkpoint, SETTINGS)


@pytest.fixture(scope="module")
def ocr_card(store: Path) -> VersionCard:
    return build_ocr(ModelStore(store), OcrSettings("pytesseract", psm=6))


def opened(store: Path, card: VersionCard) -> zipfile.ZipFile:
    return zipfile.ZipFile(ModelStore(store).archive_path(card.model, card.version))


def names(folder: Path) -> list[str]:
    """What lies there, less the notes of the store itself."""
    return sorted(path.name for path in folder.iterdir() if path.name not in (".lock", ".last-stamp"))


def handler_files() -> set[str]:
    return {f"handler/{path.relative_to(HANDLER)}" for path in HANDLER.rglob("*") if path.suffix in (".py", ".yaml")}


def test_a_project_archive_stands_alone(store: Path, card: VersionCard, text_checkpoint: Path) -> None:
    with opened(store, card) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    checkpoint = {f"checkpoint/{path.name}" for path in text_checkpoint.iterdir()}
    assert {"checkpoint/model.safetensors", "checkpoint/config.json", "checkpoint/tokenizer.json"} <= checkpoint
    own = {"MAR-INF/MANIFEST.json", "card.json", "layoutlmv3_handler.py", "model-config.yaml"}
    assert files == own | checkpoint | handler_files()


def test_a_lilt_is_archived_alike(tmp_path: Path) -> None:
    """Same files, same entry; out of the archive it is what it was, tokenizer included."""
    checkpoint, store = make_lilt_checkpoint(tmp_path / "lilt"), ModelStore(tmp_path / "store")
    card = build_project(store, 7, checkpoint, SETTINGS)
    assert (card.labels, card.uses_image) == (LABELS, False)
    with opened(tmp_path / "store", card) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    inside = {f"checkpoint/{path.name}" for path in checkpoint.iterdir()}
    own = {"MAR-INF/MANIFEST.json", "card.json", "layoutlmv3_handler.py", "model-config.yaml"}
    assert files == own | inside | handler_files()
    unpack_checkpoint(store.path / "project-7" / f"project-7-{card.version}.mar", tmp_path / "out")
    before, after = load(checkpoint, "cpu", "float32"), load(tmp_path / "out", "cpu", "float32")
    assert after.tokenizer.to_str() == before.tokenizer.to_str()
    for name, weight in before.model.state_dict().items():
        assert (after.model.state_dict()[name] == weight).all(), name


def test_a_lilt_with_the_tokenizer_of_another_text_half_is_not_archived(tmp_path: Path) -> None:
    checkpoint = make_lilt_checkpoint(tmp_path / "lilt")
    word_piece().save_pretrained(checkpoint)
    with pytest.raises(CheckpointInvalid, match="not that of the LiLT's text half"):
        build_project(ModelStore(tmp_path / "store"), 7, checkpoint, SETTINGS)
    assert not (tmp_path / "store").exists()


def test_the_ocr_archive_stands_alone(store: Path, ocr_card: VersionCard) -> None:
    with opened(store, ocr_card) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    assert files == {"MAR-INF/MANIFEST.json", "card.json", "ocr_handler.py", "model-config.yaml"} | handler_files()


@pytest.mark.parametrize("which", ["card", "ocr_card"])
def test_every_archive(store: Path, which: str, request: pytest.FixtureRequest) -> None:
    card: VersionCard = request.getfixturevalue(which)
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
    assert modes <= {0o600, 0o644}
    assert (manifest["model"]["modelName"], manifest["model"]["modelVersion"]) == (card.model, card.version)
    assert manifest["model"]["handler"] == ("ocr_handler.py" if card.model == "ocr" else "layoutlmv3_handler.py")
    assert manifest["model"]["configFile"] == "model-config.yaml"
    assert "minWorkers" not in config
    assert {"responseTimeout", "batchSize", "handler"} <= set(config)
    assert inside == card.to_json()
    assert code == {name: (HANDLER.parent / name).read_bytes() for name in code}


def test_the_card_of_a_project(store: Path, card: VersionCard) -> None:
    assert (card.model, card.labels, card.language, card.psm, card.box_level) == (
        "project-7",
        LABELS,
        "eng",
        6,
        "lines",
    )
    assert (card.base_model, card.uses_image, card.engine) == (BASE, False, SETTINGS.engine)
    assert (card.batch_size, card.handler_sha256, card.restored_from) == (1, handler_sha256(), None)
    assert ModelStore(store).card("project-7", card.version) == card
    with opened(store, card) as archive:
        config = yaml.safe_load(archive.read("model-config.yaml"))
    assert config["handler"]["tagger"]["box_level"] == "lines"
    ocr = config["handler"]["ocr"]
    assert (ocr["engine"], ocr["language"], ocr["psm"]) == ("tesserocr", "eng", 6)


def test_the_card_of_ocr(store: Path, ocr_card: VersionCard) -> None:
    assert (ocr_card.model, ocr_card.labels, ocr_card.psm) == ("ocr", (), 6)
    assert str(ocr_card.engine).startswith("pytesseract-")
    assert str(ocr_card.engine).endswith("-eng-psm6")
    assert ModelStore(store).card("ocr", ocr_card.version) == ocr_card


def test_the_checkpoint_is_kept_beside_it(store: Path, card: VersionCard, text_checkpoint: Path) -> None:
    version = card.version
    assert names(store / "project-7") == [
        f"checkpoint-{version}",
        f"project-7-{version}.json",
        f"project-7-{version}.mar",
    ]
    kept = store / "project-7" / f"checkpoint-{version}"
    assert {path.name for path in kept.iterdir()} == {path.name for path in text_checkpoint.iterdir()}
    assert {path.stat().st_mode & 0o777 for path in store.rglob("*") if path.is_file()} == {0o600}
    with opened(store, card) as archive:
        inside = archive.read("checkpoint/model.safetensors")
    assert inside == (text_checkpoint / "model.safetensors").read_bytes()


def test_of_a_trainers_folder_only_what_serving_needs_is_kept(tmp_path: Path, text_checkpoint: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(text_checkpoint, source / "checkpoint-10")
    shutil.copytree(text_checkpoint, source, dirs_exist_ok=True)
    for name in ("optimizer.pt", "training_args.bin", "trainer_state.json", "pytorch_model.bin", "README.md"):
        (source / name).write_bytes(b"of training")
    for name in ("merges.txt", "special_tokens_map.json"):
        (source / name).write_text("{}" if name.endswith(".json") else "")
    (source / "tokenizer_notes.json").mkdir()
    write_json(source / BOX_PRIOR, fit_prior([], LABELS).to_json())
    write_json(source / CALIBRATION, Calibration((1.0, 0.0, 0.0), 60).to_json())
    card = build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings())
    expected = {path.name for path in text_checkpoint.iterdir()}
    expected |= {"merges.txt", "special_tokens_map.json", BOX_PRIOR, CALIBRATION}
    assert set(names(tmp_path / "store" / "project-7" / f"checkpoint-{card.version}")) == expected
    with opened(tmp_path / "store", card) as archive:
        inside = {name for name in archive.namelist() if name.startswith("checkpoint/") and not name.endswith("/")}
    assert inside == {f"checkpoint/{name}" for name in expected}


@pytest.mark.parametrize("name", [BOX_PRIOR, CALIBRATION])
def test_what_was_learned_and_is_damaged_is_refused_before_anything_is_archived(
    tmp_path: Path, text_checkpoint: Path, name: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(text_checkpoint, source)
    (source / name).write_text("{")
    with pytest.raises(CheckpointInvalid, match=name):
        build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings())
    assert not (tmp_path / "store").exists()


def test_no_archive_is_ever_seen_without_its_card(tmp_path: Path) -> None:
    """Wherever a build is killed: a card alone is harmless, an archive alone cannot be served."""
    with ThreadPoolExecutor(1) as threads:
        building = threads.submit(build_ocr, ModelStore(tmp_path), OcrSettings())
        while not building.done():
            for path in tmp_path.glob("ocr/*.mar"):
                assert path.with_suffix(".json").exists()
    assert ModelStore(tmp_path).archive_path("ocr", building.result().version).exists()


def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    for name, age_s in ((".archiving-killed", 7200), (".archiving-at-work", 60)):
        (tmp_path / "ocr" / name / "staging").mkdir(parents=True)
        os.utime(tmp_path / "ocr" / name, (time.time() - age_s,) * 2)
    card = build_ocr(ModelStore(tmp_path), OcrSettings())
    assert names(tmp_path / "ocr") == [".archiving-at-work", f"ocr-{card.version}.json", f"ocr-{card.version}.mar"]


def put_into_service(store: Path, card: VersionCard) -> None:
    add_to_load(ModelStore(store), card.model, card.version)
    flip(ModelStore(store), card.model, card.version)


def test_a_project_goes_with_the_engine_in_service(tmp_path: Path, text_checkpoint: Path) -> None:
    """Its name ends in the language and mode that the project's pages are read with, not in those of `ocr`."""
    ocr = build_ocr(ModelStore(tmp_path), OcrSettings("pytesseract", psm=6))
    before = build_project(ModelStore(tmp_path), 7, text_checkpoint, ProjectSettings())
    put_into_service(tmp_path, ocr)
    after = build_project(ModelStore(tmp_path), 7, text_checkpoint, ProjectSettings())
    chosen = build_project(ModelStore(tmp_path), 7, text_checkpoint, ProjectSettings(engine="tesserocr-5.5.4-eng-psm3"))
    ModelStore(tmp_path).card_path("ocr", ocr.version).unlink()
    unknown = build_project(ModelStore(tmp_path), 7, text_checkpoint, ProjectSettings())
    assert (before.engine, unknown.engine) == ("rapidocr", "rapidocr"), "the default, which may be another one day"
    assert str(ocr.engine).endswith("-eng-psm6")
    assert after.engine == str(ocr.engine).replace("psm6", "psm3")
    assert chosen.engine == "tesserocr-5.5.4-eng-psm3"
    assert ModelStore(tmp_path).card("project-7", chosen.version) == chosen


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        pytest.param(("--psm", "6"), "psm 6 is a mode of Tesseract; .* set psm 3, or engine pytesseract", id="a mode"),
        pytest.param(("--language", "rus"), "rapidocr does not read rus; set engine pytesseract", id="a language"),
        pytest.param(("--engine", "pytesseract", "--psm", "2"), "psm is one of", id="a mode that nobody has"),
    ],
)
def test_what_no_page_could_be_read_for_is_not_archived(
    tmp_path: Path,
    text_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert main(["--project", "7", "--checkpoint", str(text_checkpoint), *flags]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f"error: engine, language and psm of the training pages: .*{sentence}", error)
    assert not (tmp_path / "project-7").exists()


def test_what_was_unpacked_can_be_loaded(store: Path, card: VersionCard, tmp_path: Path) -> None:
    with opened(store, card) as archive:
        archive.extractall(tmp_path)
    assert load(tmp_path / "checkpoint", device="cpu").labels.names == LABELS


def test_an_archive_made_again_from_its_kept_checkpoint(store: Path, card: VersionCard) -> None:
    kept = store / "project-7" / f"checkpoint-{card.version}"
    again = build_project(ModelStore(store), 70, kept, ProjectSettings(device="gpu", restored_from=card.version))
    assert (again.restored_from, again.labels, again.box_level) == (card.version, LABELS, "words")
    with opened(store, again) as archive:
        config = yaml.safe_load(archive.read("model-config.yaml"))
    assert (config["deviceType"], config["batchSize"]) == ("gpu", again.batch_size)
    assert again.batch_size > 1


def test_a_checkpoint_that_looks_at_the_image(store: Path, image_checkpoint: Path) -> None:
    assert build_project(ModelStore(store), 71, image_checkpoint, ProjectSettings()).uses_image


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
    card = build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings(labels=labels))
    assert card.labels == served
    assert (source / "config.json").read_text() == before
    with opened(tmp_path / "store", card) as archive:
        config = json.loads(archive.read("checkpoint/config.json"))
    assert len(config["id2label"]) == len(config["label2id"]) == 7


def two_classes(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint with a head of two classes, whose names transformers leaves out of config.json."""
    from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification

    shutil.copytree(checkpoint, folder)
    config = LayoutLMv3Config.from_pretrained(checkpoint, num_labels=2)
    LayoutLMv3ForTokenClassification(config).save_pretrained(folder)
    assert "id2label" not in json.loads((folder / "config.json").read_text())
    return folder


def test_labels_for_a_head_of_two_classes(tmp_path: Path, text_checkpoint: Path) -> None:
    source = two_classes(text_checkpoint, tmp_path / "source")
    assert build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings(labels=["O", "sum"])).labels == (
        "sum",
    )
    with pytest.raises(ArchiveFailed, match=r"3 labels make 7 classes .* head has 2"):
        build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings(labels=["a", "b", "c"]))
    with pytest.raises(CheckpointInvalid, match="untrained labels"):
        build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings())


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
            lambda at: (at / "config.json").write_text("[]"), ["a", "b", "c"], "cannot be understood", id="a list"
        ),
        pytest.param(
            lambda at: (at / "config.json").write_text('{"id2label": ["O"]}'),
            *(["a", "b", "c"], "cannot be understood"),
            id="names in a list",
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
        build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings(labels=labels))
    assert not (tmp_path / "store").exists()


def test_an_unreadable_model_store_says_so(tmp_path: Path, text_checkpoint: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="store"):
        build_project(ModelStore(tmp_path / "store"), 7, text_checkpoint, ProjectSettings())


def test_builds_at_the_same_time_do_not_meet(tmp_path: Path, text_checkpoint: Path) -> None:
    """Two of one project and two of `ocr`: four whole archives, four versions' files."""

    def project(_: int) -> VersionCard:
        return build_project(ModelStore(tmp_path), 7, text_checkpoint, ProjectSettings())

    def ocr(_: int) -> VersionCard:
        return build_ocr(ModelStore(tmp_path), OcrSettings())

    with ThreadPoolExecutor(4) as threads:
        building = [*(threads.submit(project, n) for n in range(2)), *(threads.submit(ocr, n) for n in range(2))]
        cards = [one.result(300) for one in building]
    assert len({(card.model, card.version) for card in cards}) == 4
    for card in cards:
        with opened(tmp_path, card) as archive:
            assert archive.testzip() is None
            assert json.loads(archive.read("card.json"))["version"] == card.version
        assert ModelStore(tmp_path).card(card.model, card.version) == card
    assert len(names(tmp_path / "project-7")) == 6
    assert len(names(tmp_path / "ocr")) == 4


def test_ocr_is_current(store: Path, ocr_card: VersionCard, tmp_path: Path) -> None:
    settings = OcrSettings("pytesseract", psm=6)
    assert not ocr_is_current(ModelStore(tmp_path), settings)
    copy = tmp_path / "ocr"
    copy.mkdir()
    for path in (
        ModelStore(store).archive_path("ocr", ocr_card.version),
        ModelStore(store).card_path("ocr", ocr_card.version),
    ):
        shutil.copy(path, copy)
    assert not ocr_is_current(ModelStore(tmp_path), settings)
    add_to_load(ModelStore(tmp_path), "ocr", ocr_card.version)
    assert not ocr_is_current(ModelStore(tmp_path), settings)
    flip(ModelStore(tmp_path), "ocr", ocr_card.version)
    assert ocr_is_current(ModelStore(tmp_path), settings)
    assert not ocr_is_current(ModelStore(tmp_path), OcrSettings("pytesseract", psm=3))
    path = ModelStore(tmp_path).card_path("ocr", ocr_card.version)
    write_json(path, ocr_card.to_json() | {"handler_sha256": "of another day"})
    assert not ocr_is_current(ModelStore(tmp_path), settings)
    path.unlink()
    assert not ocr_is_current(ModelStore(tmp_path), settings)
    write_json(path, ocr_card.to_json())
    ModelStore(tmp_path).archive_path("ocr", ocr_card.version).unlink()
    assert not ocr_is_current(ModelStore(tmp_path), settings)


def test_an_ocr_engine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match="xyz"):
        build_ocr(ModelStore(tmp_path), OcrSettings(language="xyz"))
    assert names(tmp_path / "ocr") == []


def test_the_digest_of_the_handler_is_that_of_what_travels(
    store: Path, card: VersionCard, ocr_card: VersionCard
) -> None:
    assert len(handler_sha256()) == 64
    assert card.handler_sha256 == ocr_card.handler_sha256 == handler_sha256()
    assert sha256_of(ModelStore(store).archive_path("ocr", ocr_card.version)) != card.handler_sha256


def project_in_service(store: Path, project: int, checkpoint: Path, settings: ProjectSettings) -> VersionCard:
    card = build_project(ModelStore(store), project, checkpoint, settings)
    put_into_service(store, card)
    return card


def test_refresh_stops_at_no_project(
    tmp_path: Path, text_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    settings = ProjectSettings(psm=6, box_level="lines", base_model="a base", engine="tesserocr-5.0.0-eng-psm6")
    gone, kept = (project_in_service(tmp_path, number, text_checkpoint, settings) for number in (7, 8))
    shutil.rmtree(tmp_path / "project-7" / f"checkpoint-{gone.version}")
    (tmp_path / "foo").mkdir()
    shutil.copy(tmp_path / "project-8" / "serving.json", tmp_path / "foo")
    (tmp_path / "project-6").mkdir()
    (tmp_path / "project-6" / "serving.json").write_text("{")
    assert main(["--refresh", "--untested"]) == 1
    errors = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == ["foo", "project-6", "project-7"]
    served = {name: ModelStore(tmp_path).manifest(name) for name in ("ocr", "project-7", "project-8")}
    assert served["ocr"] is not None, "the first, although the store had none"
    assert served["project-7"] is not None
    assert served["project-7"].current == gone.version
    assert served["project-8"] is not None
    new = ModelStore(tmp_path).card("project-8", str(served["project-8"].current))
    assert (new.restored_from, new.engine) == (kept.version, "tesserocr-5.0.0-eng-psm6")
    assert (new.psm, new.box_level, new.base_model) == (6, "lines", "a base")


@pytest.mark.parametrize(("options", "status"), [((), 1), (("--untested",), 0)], ids=["tested", "untested"])
def test_where_nothing_runs_a_project_goes_into_service_only_untested(
    tmp_path: Path, text_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], status: int
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert main(["--project", "7", "--checkpoint", str(text_checkpoint), "--serve", *options]) == status
    serving = ModelStore(tmp_path).manifest("project-7")
    assert bool(serving and serving.current) is (status == 0)
