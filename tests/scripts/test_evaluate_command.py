from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from layoutloop.errors import ModelNotReady
from layoutloop.store.changes import add_to_load, flip
from layoutloop.store.manifest import VersionCard
from layoutloop.store.model_store import ModelStore
from scripts.evaluate import main
from tests.checkpoints import LABELS, make_checkpoint
from training.archive.archive import ProjectSettings, build_project
from training.archive.stored_models import stored_at, stored_version, unpack_checkpoint
from training.data.split import validation_tasks
from training.measure.scoring import Scores
from training.report.files import keep_report, read_report
from training.report.report import Report

TASKS = range(1, 13)
TEXT = "Invoice Total 12.50"
LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    + "".join(f'<Label value="{label}"/>' for label in (*LABELS, "never"))
    + "</RectangleLabels></View>"
)


@dataclass(frozen=True)
class Place:
    """A model store with two versions of project 7, and annotations as files."""

    model_dir: Path
    files: Path
    versions: tuple[str, str]
    archive: Path

    @property
    def arguments(self) -> list[str]:
        files = [*("--annotations", self.files / "export.json"), *("--label-config", self.files / "config.xml")]
        return [str(one) for one in (*files, "--images", self.files / "images", "--local-ocr")]


def _write_annotations(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    page = Image.new("RGB", (900, 200), "white")
    ImageDraw.Draw(page).text((50, 60), TEXT, fill="black", font=ImageFont.load_default(48))
    page.save(folder / "images" / "page.png")
    (folder / "config.xml").write_text(LABEL_CONFIG)
    box = {"x": 4, "y": 20, "width": 90, "height": 50, "rotation": 0}
    common = {"id": "a", "type": "rectanglelabels", "from_name": "label", "to_name": "image"}
    # All pages are equal and labelled in two ways, so that no model can have them all right.
    results = {task: common | {"value": box | {"rectanglelabels": [LABELS[task % 2]]}} for task in TASKS}
    tasks = [
        {"id": task, "data": {"image": "/data/upload/7/page.png"}, "annotations": [{"id": task, "result": [result]}]}
        for task, result in results.items()
    ]
    (folder / "export.json").write_text(json.dumps(tasks))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("evaluate")
    model_dir = folder / "model_store"
    versions = []
    for seed, labels in enumerate((LABELS, ("alien",))):
        checkpoint = make_checkpoint(folder / f"checkpoint-{seed}", labels=labels, outside_bias=-100.0)
        card = build_project(ModelStore(model_dir), 7, checkpoint, ProjectSettings(base_model="scratch"))
        versions.append(card.version)
    add_to_load(ModelStore(model_dir), "project-7", versions[1])
    flip(ModelStore(model_dir), "project-7", versions[1])
    _write_annotations(folder / "files")
    return Place(
        model_dir,
        folder / "files",
        (versions[0], versions[1]),
        ModelStore(model_dir).archive_path("project-7", versions[0]),
    )


@pytest.fixture
def place(built: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    model_dir = tmp_path / "model_store"
    shutil.copytree(built.model_dir, model_dir)
    monkeypatch.setenv("MODEL_DIR", str(model_dir))
    monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path / "home"))
    return Place(
        model_dir, built.files, built.versions, ModelStore(model_dir).archive_path("project-7", built.versions[0])
    )


def run(*arguments: object) -> int:
    return main([str(one) for one in arguments])


def _predicted(scores: Scores) -> set[str]:
    return {one.label for one in scores.labels if one.predicted}


def test_the_version_in_service_on_held_out_pages(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--project", 7, *place.arguments, "--json") == 0
    shown = capsys.readouterr()
    body = json.loads(shown.out)
    held_out = validation_tasks(TASKS).validation
    assert body["version"] == place.versions[1]
    assert {page["task"] for page in body["scores"]["pages"]} == held_out
    assert f"held out of training: {len(held_out)} of 12 annotated pages" in shown.err
    assert f"it is not known what project-7 {place.versions[1]} was trained on" in shown.err
    assert [one["label"] for one in body["scores"]["labels"]][:4] == [*LABELS, "never"]
    assert body["scores"]["overall"]["support"] == len(held_out)
    assert body["verdict"] is None


def test_two_versions_side_by_side_with_a_page(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = place.versions
    shutil.rmtree(place.model_dir / "project-7" / f"checkpoint-{first}")  # that one is kept as an archive alone
    arguments = ["--version", first, "--version", second, "--all-pages", "--out", tmp_path / "out"]
    assert run("--project", 7, *place.arguments, *arguments) == 0
    shown = capsys.readouterr().out
    assert f"{first} on 12 pages" in shown
    assert f"{second} on 12 pages" in shown
    report = read_report(tmp_path / "out" / f"evaluation-project-7-{first}.report.json")
    assert [one.version for one in report.compared] == [second]
    assert report.scores is not None
    assert _predicted(report.scores) <= set(LABELS), "each version is measured with its own checkpoint"
    assert _predicted(report.compared[0].scores) == {"alien"}
    assert report.reading_ceiling == 1
    assert report.engine is not None
    assert report.engine.startswith("rapidocr-")
    html = (tmp_path / "out" / f"evaluation-project-7-{first}.report.html").read_text()
    assert html.count("data:image/jpeg") == 6
    assert "Measured." in html


def test_pages_that_a_version_was_trained_on_are_not_held_out(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    natural = sorted(validation_tasks(TASKS).natural)
    assert natural, "else the test shows nothing"
    version = place.versions[1]
    forced = next(task for task in TASKS if task not in natural)
    report = Report("project-7", LABELS, version=version, trained_tasks=(natural[0],), held_out=(forced,))
    store = ModelStore(place.model_dir)
    assert keep_report(store, report) == store.report_path("project-7", version)
    assert run("--project", 7, *place.arguments, "--json") == 0
    shown = capsys.readouterr()
    assert {page["task"] for page in json.loads(shown.out)["scores"]["pages"]} == {*natural[1:], forced}
    assert "it is not known" not in shown.err


@pytest.mark.parametrize("by", ["project", "checkpoint"])
def test_the_split_is_that_of_the_trainings(place: Place, capsys: pytest.CaptureFixture[str], by: str) -> None:
    """It knows more than the reports of the versions that are measured: what trained any version, kept or not."""
    natural = sorted(validation_tasks(TASKS).natural)
    forced = next(task for task in TASKS if task not in natural)
    report = Report("project-7", LABELS, version=place.versions[1], trained_tasks=(), held_out=())
    keep_report(ModelStore(place.model_dir), report)
    split = {"trained": [task for task in TASKS if task not in (*natural[1:], forced)], "held_out": [forced]}
    (place.model_dir / "project-7" / "split.json").write_text(json.dumps(split))
    kept = place.model_dir / "project-7" / f"checkpoint-{place.versions[1]}"
    which = ["--project", 7] if by == "project" else ["--checkpoint", kept]
    assert run(*which, *place.arguments, "--json") == 0
    shown = capsys.readouterr()
    assert {page["task"] for page in json.loads(shown.out)["scores"]["pages"]} == {*natural[1:], forced}
    assert "it is not known" not in shown.err


def test_a_checkpoint_from_anywhere(place: Place, text_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--checkpoint", text_checkpoint, *place.arguments, "--all-pages", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["name"], body["version"]) == (text_checkpoint.name, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param([], "one of --project and --annotations is needed", id="nothing"),
        pytest.param(["--annotations", "x"], "needs --label-config", id="no labels"),
        pytest.param(["--annotations", "x", "--label-config", "y"], "name a --checkpoint", id="no model"),
        pytest.param(["--project", "7", "--version", "v", "--checkpoint", "c"], "give one", id="two models"),
        pytest.param(["--project", "7", "--images", "/nowhere"], "--images /nowhere is no folder", id="no images"),
        pytest.param(["--project", "7", "--all-pages", "--validation"], "not allowed with", id="two sets of pages"),
        pytest.param(["--project", "7", "--engines", "abbyy,rapidocr"], "found 'abbyy'", id="an unknown engine"),
        pytest.param(["--project", "7", "--engines", ""], "--engines takes rapidocr, ", id="no engine"),
        *(
            pytest.param(
                ["--project", "7", "--engines", "rapidocr", *flag],
                f"--engines measures no model and reads all annotated pages; leave {flag[0]} out",
                id=f"engines and {flag[0]}",
            )
            for flag in (
                ["--version", "v"],
                ["--checkpoint", "c"],
                ["--engine", "rapidocr"],
                ["--box-level", "lines"],
                ["--out", "d"],
                ["--validation"],
            )
        ),
    ],
)
def test_what_cannot_work_is_said_at_once(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--project", "8"], "project-8 has no model in service", id="no model"),
        pytest.param(
            ["--project", "7", "--version", "20200101T000000Z"], "has no version 20200101T000000Z; kept are 2"
        ),
        pytest.param(["--project", "7", "--checkpoint", "/nowhere"], "/nowhere is neither a checkpoint folder"),
        pytest.param(["--project", "7", "--checkpoint", __file__], "is no .mar archive"),
    ],
    ids=["no model", "no such version", "no such folder", "no archive"],
)
def test_what_is_not_there_is_said(
    place: Place, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, *place.arguments) == 1
    assert sentence in capsys.readouterr().err


def test_engines_are_compared_on_all_annotated_pages(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    engines = ("rapidocr", "pytesseract")
    assert run(*place.arguments, "--engines", ",".join(engines)) == 0
    shown = capsys.readouterr().out
    rows = {engine: next(line for line in shown.splitlines() if line.startswith(f"{engine}-")) for engine in engines}
    assert all("  12 of 12 (100.0%)" in row and "no texts to read" in row for row in rows.values())
    assert [row.split()[1] for row in rows.values()] == ["12", "12"]
    assert "reads these pages best" in shown.splitlines()[-1]


def test_engines_read_as_training_does_and_are_shown_as_json(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAYOUTLOOP_OCR_LANGUAGE", "eng+osd")
    monkeypatch.setenv("LAYOUTLOOP_TRAIN_PSM", "6")
    both = [*place.arguments, "--engines", "rapidocr,pytesseract", "--json", "--language", "eng"]
    assert run(*both) == 0
    names = [figures["engine"] for figures in json.loads(capsys.readouterr().out)]
    assert [name.rpartition("-")[2] for name in names] == ["psm3", "psm6"], "the mode is Tesseract's"
    arguments = [*place.arguments, "--engines", "pytesseract, pytesseract", "--json"]
    assert run(*arguments) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert figures["engine"].endswith("-eng+osd-psm6")
    assert (figures["pages"], figures["failed"], figures["boxes"], figures["with_word"]) == (12, 0, 12, 12)
    assert run(*arguments, "--language", "eng", "--psm", 4) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert figures["engine"].endswith("-eng-psm4"), "a flag comes first"


def test_versions_read_in_different_ways_are_not_mixed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = place.model_dir / "project-7" / f"project-7-{place.versions[0]}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"language": "deu"}))
    versions = ["--version", place.versions[0], "--version", place.versions[1]]
    assert run("--project", 7, *versions, *place.arguments) == 1
    assert "(rapidocr deu psm 3 and rapidocr eng psm 3); measure one at a time" in capsys.readouterr().err


def test_an_archive_gives_its_checkpoint_and_nothing_else(place: Place, tmp_path: Path) -> None:
    card = unpack_checkpoint(place.archive, tmp_path / "unpacked")
    assert card.version == place.versions[0]
    kept = place.model_dir / "project-7" / f"checkpoint-{card.version}"
    names = sorted(path.name for path in kept.iterdir())
    assert sorted(path.name for path in (tmp_path / "unpacked").iterdir()) == names
    assert all((tmp_path / "unpacked" / name).read_bytes() == (kept / name).read_bytes() for name in names)


def archive_of(path: Path, entries: dict[str, bytes], card: dict[str, Any] | None = None) -> Path:
    body = VersionCard("project-7", "20261123T000000Z", ("total",)).to_json() | (card or {})
    whole = {"card.json": json.dumps(body).encode(), "checkpoint/config.json": b"{}"}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (whole | {"checkpoint/model.safetensors": b"x"} | entries).items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../outside.json",
        "checkpoint/../../outside.json",
        "/checkpoint/outside.json",
        "checkpoint/deeper/outside.json",
        "checkpoint\\..\\outside.json",
        "checkpoint/..",
        "checkpoint/pytorch_model.bin",
        "checkpoint/optimizer.pt",
        "checkpoint/run.py",
        "handler/layoutlmv3_handler.py",
        "outside.json",
    ],
)
def test_only_the_checkpoints_own_files_are_written(tmp_path: Path, name: str) -> None:
    archive = archive_of(tmp_path / "a.mar", {name: b"outside"})
    unpack_checkpoint(archive, tmp_path / "in" / "folder")
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["a.mar", "in/folder/config.json", "in/folder/model.safetensors"]


@pytest.mark.parametrize(
    ("entries", "card", "says"),
    [
        pytest.param({"card.json": b"[]"}, {}, "cannot be measured", id="card of another kind"),
        pytest.param({"card.json": b"{"}, {}, "cannot be measured", id="damaged card"),
        pytest.param({}, {"box_level": "pages"}, "names the box level 'pages'", id="unknown box level"),
        pytest.param(
            {}, {"model": "../../project-7"}, r"names the model '\.\./\.\./project-7'", id="model with a path"
        ),
        pytest.param({}, {"model": "project-7/x"}, "names the model 'project-7/x'", id="model with a folder"),
        pytest.param({}, {"model": 7}, "cannot be measured", id="model that is no text"),
        pytest.param({}, {"version": "../../x"}, r"names the version '\.\./\.\./x'", id="version with a path"),
        pytest.param({}, {"version": ""}, "names the version ''", id="no version"),
        pytest.param({}, {"version": None}, "cannot be measured", id="version that is no text"),
    ],
)
def test_an_archive_that_is_not_ours(
    tmp_path: Path, entries: dict[str, bytes], card: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelNotReady, match=says):
        unpack_checkpoint(archive_of(tmp_path / "a.mar", entries, card), tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == [], "nothing is unpacked"


def test_an_archive_without_a_card_or_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", "{}")
    with pytest.raises(ModelNotReady, match=r"There is no item named 'card\.json'"):
        unpack_checkpoint(tmp_path / "a.mar", tmp_path / "folder")
    with zipfile.ZipFile(tmp_path / "ocr.mar", "w") as file:
        file.writestr("card.json", json.dumps(VersionCard("ocr", "20261123T000000Z").to_json()))
    with pytest.raises(ModelNotReady, match="is it the `ocr` archive"):
        unpack_checkpoint(tmp_path / "ocr.mar", tmp_path / "folder")


def test_a_card_of_a_later_release_is_understood(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.mar", {}, {"invented_later": 1, "language": "deu"})
    model = stored_at(archive, tmp_path / "folder")
    assert (model.name, model.version, model.folder) == ("project-7", "20261123T000000Z", tmp_path / "folder")
    assert model.card is not None
    assert model.card.language == "deu"


def test_a_kept_checkpoint_named_by_its_path_has_its_card(place: Place, tmp_path: Path) -> None:
    kept = place.model_dir / "project-7" / f"checkpoint-{place.versions[0]}"
    assert stored_at(kept, tmp_path) == stored_version(
        ModelStore(place.model_dir), "project-7", place.versions[0], tmp_path
    )
