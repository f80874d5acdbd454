"""The command against far servers that answer as Label Studio and TorchServe do, and once with real Tesseract."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import OCR_MODEL, Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from scripts.dataset import main
from tests.far_servers import LEGACY_KEY, _Handler, serve
from tests.handler.image_files import CASES
from tests.handler.samples import encoded, rendered_page
from training.data.annotations import NO_LABEL, NOT_ANNOTATED, UNKNOWN_LABEL
from training.data.dataset import NOT_READ

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="Total"/><Label value="Number"/></RectangleLabels></View>'
)
VERSION = "20261122T083000Z"
PIXELS = (200, 100)


def drawn(label: str | None, x: float = 4, width: float = 22) -> dict[str, Any]:
    """Around the first word that `ocr` answers."""
    value = {"x": x, "y": 8, "width": width, "height": 14, "rotation": 0}
    labels = {} if label is None else {"rectanglelabels": [label]}
    return {"to_name": "image", "from_name": "label", "type": "rectanglelabels", "value": value | labels}


def task(identity: int, *results: Any, image: str | None = None, **more: Any) -> dict[str, Any]:
    one = {"id": 100 + identity, "result": list(results), "was_cancelled": False, "updated_at": "2026-11-23", **more}
    reference = image or f"/data/upload/7/0a1b2c3d-{identity}.png"
    return {"id": identity, "data": {"image": reference}, "annotations": [one]}


TASKS = [
    *(task(identity, drawn("Total")) for identity in range(1, 9)),
    task(9),
    task(10, drawn("Gone"), drawn(None)),
    task(11, drawn("Total"), was_cancelled=True),
    task(12, drawn("Total"), image="/data/upload/7/missing.png"),
    task(13, drawn("Number", 24, 24), image="/data/upload/7/turned.png"),
]


def label_studio(handler: _Handler) -> None:
    path = urlsplit(handler.path).path
    if handler.headers.get("Authorization") != f"Token {LEGACY_KEY}":
        handler.reply(401)
    elif path == "/api/projects/7/":
        handler.reply(200, json.dumps({"id": 7, "title": "Invoices", "label_config": CONFIG}).encode())
    elif path == "/api/projects/7/export":
        handler.reply(200, json.dumps(TASKS).encode())
    elif "/data/upload/" not in path or "missing" in path:
        handler.reply(404)
    else:
        handler.reply(200, picture(turned="turned" in path))


def picture(*, turned: bool = False) -> bytes:
    """A page of 200 x 100 pixels, or one that is upright only after its EXIF orientation was applied."""
    image = Image.new("RGB", (PIXELS[1], PIXELS[0]) if turned else PIXELS, "white")
    exif = Image.Exif()
    exif[274] = 6 if turned else 1
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def torchserve(handler: _Handler) -> None:
    words = [
        {"text": text, "box": [left, 10, left + 40, 20], "confidence": 0.5, "line": 0}
        for left, text in ((10, "Total"), (60, "12.50"))
    ]
    page = {
        "format": 1,
        "width": PIXELS[0],
        "height": PIXELS[1],
        "engine": "pytesseract-5.3.0-eng-psm3",
        "words": words,
    }
    handler.reply(200, json.dumps(page).encode(), Content_Type="application/json")


@dataclass(frozen=True)
class Instance:
    folder: Path
    out: Path


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """A running instance as the command finds it through the environment."""
    store = tmp_path / "store"
    write_manifest(ModelStore(store), OCR_MODEL, Manifest((VERSION,), VERSION))
    write_json(ModelStore(store).card_path(OCR_MODEL, VERSION), VersionCard(OCR_MODEL, VERSION).to_json())
    write_json(tmp_path / "torchserve" / "key_file.json", {"inference": {"key": "made-up"}})
    with serve("127.0.0.1", label_studio) as studio, serve("127.0.0.1", torchserve) as ocr:
        for name, value in {
            "LABEL_STUDIO_URL": f"http://127.0.0.1:{studio.port}",
            "LABEL_STUDIO_API_KEY": LEGACY_KEY,
            "MODEL_DIR": str(store),
            "LAYOUTLOOP_HOME": str(tmp_path),
            "LAYOUTLOOP_TORCHSERVE_PORT": str(ocr.port),
            "LAYOUTLOOP_OCR_WORKERS": "1",
        }.items():
            monkeypatch.setenv(name, value)
        yield Instance(tmp_path, tmp_path / "out" / "invoices")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_a_project_becomes_a_folder(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--project", 7, "--out", instance.out) == 0
    said = capsys.readouterr().out
    train, validation = (rows(instance.out / f"{split}.jsonl") for split in ("train", "validation"))
    assert len(train) + len(validation) == 11
    assert validation
    assert f"11 pages ({len(train)} to train, {len(validation)} to validate), 9 entities" in said
    for reason in (NOT_ANNOTATED, NOT_READ, UNKNOWN_LABEL, NO_LABEL):
        assert f"1 x {reason}\n" in said
    assert "task 12, page 0: Label Studio answered 404" in said
    for row in [*train, *validation]:
        with Image.open(instance.out / row["image_path"]) as image:
            assert (image.format, image.size, image.getexif()) == ("PNG", PIXELS, {})
    by_id = {row["id"]: row for row in [*train, *validation]}
    assert by_id["task-1-page-0"]["ner_tags"] == [1, 0]
    assert by_id["task-13-page-0"]["ner_tags"] == [0, 3]
    assert by_id["task-9-page-0"]["ner_tags"] == by_id["task-10-page-0"]["ner_tags"] == [0, 0]
    assert sorted(path.name for path in instance.out.iterdir()) == [
        "README.md",
        "funsd",
        "labels.json",
        "train.jsonl",
        "validation.jsonl",
    ]
    assert len(list(instance.out.glob("funsd/*/images/*.png"))) == 11


def test_the_split_is_that_of_the_trainings(instance: Instance) -> None:
    (instance.folder / "store" / "project-7").mkdir()
    (instance.folder / "store" / "project-7" / "split.json").write_text('{"trained": [], "held_out": [2, 3, 13]}')
    assert run("--project", 7, "--out", instance.out) == 0
    validation = {row["id"] for row in rows(instance.out / "validation.jsonl")}
    assert {"task-2-page-0", "task-3-page-0", "task-13-page-0"} <= validation


def test_files_and_real_tesseract(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither Label Studio nor TorchServe is asked: an export, its label config, a folder of images, OCR in place."""
    export, config, images = (instance.folder / name for name in ("export.json", "config.xml", "images"))
    images.mkdir()
    for identity in (1, 2):
        (images / f"{identity}.png").write_bytes(encoded(rendered_page()))
    export.write_text(json.dumps([task(identity, drawn("Number", 2, 96)) for identity in (1, 2)]))
    config.write_text(CONFIG, encoding="utf-8-sig")
    asked = ("--annotations", export, "--label-config", config, "--images", images, "--out", instance.out)
    assert run(*asked, "--local-ocr") == 0
    (first, *_) = [*rows(instance.out / "train.jsonl"), *rows(instance.out / "validation.jsonl")]
    tagged = [token for token, tag in zip(first["tokens"], first["ner_tags"], strict=True) if tag]
    assert tagged == ["Invoice", "number", "4711"]
    assert "# export\n" in (instance.out / "README.md").read_text()
    assert "2 pages" in capsys.readouterr().out


def test_a_page_on_its_side_is_written_as_its_text_runs(instance: Instance) -> None:
    export, config, images = (instance.folder / name for name in ("export.json", "config.xml", "images"))
    images.mkdir()
    upright = rendered_page()
    (images / "1.png").write_bytes(encoded(upright.transpose(Image.Transpose.ROTATE_90)))
    value = {"x": 0, "y": 0, "width": 40, "height": 100, "rotation": 0, "rectanglelabels": ["Number"]}
    result = {"to_name": "image", "from_name": "label", "type": "rectanglelabels", "value": value}
    export.write_text(json.dumps([task(1, result)]))
    config.write_text(CONFIG)
    given = ("--annotations", export, "--label-config", config, "--images", images, "--out", instance.out)
    assert run(*given, "--local-ocr", "--engine", "tesserocr") == 0
    (row,) = [*rows(instance.out / "train.jsonl"), *rows(instance.out / "validation.jsonl")]
    assert (row["width"], row["height"]) == upright.size
    assert row["tokens"][:3] == ["Invoice", "number", "4711"]
    lefts = [left for left, *_ in row["bboxes"][:3]]
    assert lefts == sorted(lefts)
    with Image.open(instance.out / row["image_path"]) as image:
        assert image.convert("L").tobytes() == upright.convert("L").tobytes()


def test_boxes_drawn_on_the_page_that_a_browser_shows_hold_their_words(instance: Instance) -> None:
    export = CASES / "exports" / "exif_xmp6_only"
    asked = ("--annotations", export / "export.json", "--label-config", export / "config.xml")
    assert run(*asked, "--images", CASES / "frame", "--out", instance.out, "--local-ocr") == 0
    (row,) = [*rows(instance.out / "train.jsonl"), *rows(instance.out / "validation.jsonl")]
    tagged = [token for token, tag in zip(row["tokens"], row["ner_tags"], strict=True) if tag]
    assert " ".join(tagged) == "Invoice number 48213 Date of issue 14 March 2024 Total amount due 1250.00"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--out", "new"], "one of --project and --annotations", id="neither"),
        pytest.param(["--out", "new", "--annotations", "a.json"], "needs --label-config", id="no label config"),
        pytest.param(["--out", "full", "--project", "7"], "is not an empty folder", id="a folder with something in it"),
        pytest.param(["--out", "full/file", "--project", "7"], "is not an empty folder", id="a file"),
        pytest.param(["--out", "new", "--project", "7", "--images", "gone"], "gone is no folder", id="no images"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--project", "8"], "the project does not exist", id="no such project"),
        pytest.param(["--project", "7", "--annotations", "gone.json"], "gone.json cannot be read", id="no such file"),
        pytest.param(
            ["--project", "7", "--label-config", "gone.xml"], "--label-config gone.xml cannot", id="no config"
        ),
        pytest.param(
            ["--project", "7", "--annotations", "empty.json"], "no task of the project is", id="empty project"
        ),
        pytest.param(["--project", "7", "--local-ocr", "--language", "xx"], "does not read xx", id="no such language"),
        pytest.param(["--project", "7", "--local-ocr", "--psm", "0"], "psm is one of", id="no such mode"),
        pytest.param(["--project", "7", "--images", "images"], "none of 12 annotated pages could be", id="no image"),
    ],
)
def test_what_fails_leaves_nothing_behind(
    arguments: list[str],
    sentence: str,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(instance.folder)
    (instance.folder / "empty.json").write_text("[]")
    (instance.folder / "images").mkdir()
    assert run(*arguments, "--out", instance.out) == 1
    assert sentence in capsys.readouterr().err
    assert not instance.out.exists()


def test_no_torchserve(instance: Instance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("LAYOUTLOOP_TORCHSERVE_PORT", str(free.getsockname()[1]))
    assert run("--project", 7, "--out", instance.out) == 1
    assert "start scripts/serve.sh" in capsys.readouterr().err
