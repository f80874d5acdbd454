"""The command against a far server that answers as TorchServe does."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from layoutloop.settings.node import REPOSITORY
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import OCR_MODEL, Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.thresholds import Thresholds
from layoutloop.store.writing import write_json
from scripts.predict import certain, main
from tests.far_servers import _Handler, serve
from tests.handler.image_files import CASES
from tests.layoutloop.documents.pdf_files import INVOICE, lines, text_pdf
from tests.layoutloop.torchserve.test_inference import NO_WORKER

VERSION = "20261122T083000Z"


def wake_up(handler: _Handler) -> None:
    """Answer as an idle project's version does: the first ask finds no worker."""
    if sum(seen.target == handler.path for seen in handler.server.seen) == 1:
        handler.reply(503, json.dumps(NO_WORKER).encode())
        return
    regions = {"format": 1, "model_version": VERSION, "windows": 1, "regions": []}
    handler.reply(200, json.dumps(regions).encode(), Content_Type="application/json")


def read_page(handler: _Handler) -> None:
    """Answer the page's size and one line of text; refuse what is no image."""
    if "/project-" in handler.path:
        wake_up(handler)
        return
    try:
        width, height = Image.open(io.BytesIO(handler.server.seen[-1].body)).size
    except OSError:
        error = {"error": {"code": "image_unreadable", "message": "no image"}}
        handler.reply(422, json.dumps(error).encode(), Content_Type="application/json")
        return
    words = [
        {"text": text, "box": [left, 10, left + 40, 20], "confidence": 0.5, "line": 0}
        for left, text in ((10, "Total"), (60, "12.50"))
    ]
    page = {"format": 1, "width": width, "height": height, "engine": "pytesseract-5.3.0-eng-psm3", "words": words}
    handler.reply(200, json.dumps(page).encode(), Content_Type="application/json")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An instance whose `ocr` is in service."""
    store = tmp_path / "store"
    write_manifest(ModelStore(store), OCR_MODEL, Manifest((VERSION,), VERSION))
    write_json(ModelStore(store).card_path(OCR_MODEL, VERSION), VersionCard(OCR_MODEL, VERSION).to_json())
    write_json(tmp_path / "torchserve" / "key_file.json", {"inference": {"key": "made-up"}})
    with serve("127.0.0.1", read_page) as torchserve:
        monkeypatch.setenv("MODEL_DIR", str(store))
        monkeypatch.setenv("LAYOUTLOOP_HOME", str(tmp_path))
        monkeypatch.setenv("LAYOUTLOOP_TORCHSERVE_PORT", str(torchserve.port))
        monkeypatch.setenv("LAYOUTLOOP_OCR_WORKERS", "1")
        yield tmp_path


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    """Run the command; return its exit status and what it printed, decoded."""
    status = main([str(one) for one in arguments])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def image(path: Path, size: tuple[int, int] = (200, 60), pages: int = 1) -> Path:
    frames = [Image.new("RGB", size, "white") for _ in range(pages)]
    frames[0].save(path, **({"save_all": True, "append_images": frames[1:]} if pages > 1 else {}))
    return path


def test_every_page_is_a_line_in_order(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [image(instance / f"{number}.tiff", pages=number + 1) for number in range(4)]
    status, answers = ask(capsys, *files)
    assert status == 0
    expected = [(str(files[number]), page) for number in range(4) for page in range(1, number + 2)]
    assert [(one["file"], one["page"]) for one in answers] == expected
    regions = [{"label": None, "box": [10.0, 10.0, 100.0, 20.0], "score": 0.5, "text": "Total 12.50"}]
    assert all(one["regions"] == regions for one in answers)


def test_a_folder_gives_its_images_and_documents(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = instance / "scans"
    folder.mkdir()
    files = [image(folder / name) for name in ("a.png", "b.tif")]
    (folder / "export.json").write_text("[]")
    status, answers = ask(capsys, folder)
    assert (status, [one["file"] for one in answers]) == (0, [str(path) for path in files])


def test_an_idle_projects_model_is_waited_for(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = instance / "store"
    write_manifest(ModelStore(store), "project-7", Manifest((VERSION,), VERSION))
    write_json(
        ModelStore(store).card_path("project-7", VERSION), VersionCard("project-7", VERSION, ("total",)).to_json()
    )
    status, (answer,) = ask(capsys, image(instance / "page.png"), "--project", 7)
    assert (status, answer.get("model_version")) == (0, VERSION)
    assert (store / ".asked" / "project-7").is_file()


def test_a_file_that_cannot_be_read_costs_one_line(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = image(instance / "good.png")
    (instance / "empty.png").write_bytes(b"")
    (instance / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")
    (instance / "broken.png").write_bytes(b"\x89PNG nothing")
    late = instance / "late.tiff"
    Image.new("1", (50, 50)).save(
        late, compression="group4", save_all=True, append_images=[Image.new("1", (20_000, 20_000))]
    )
    names = ("empty.png", "broken.pdf", "late.tiff", "gone.png", "broken.png")
    status, answers = ask(capsys, *(instance / name for name in names), good)
    assert status == 1
    found = [(Path(one["file"]).name, one["page"], one.get("error", {}).get("code")) for one in answers]
    assert found == [
        ("empty.png", 1, "document_unreadable"),
        ("broken.pdf", 1, "document_unreadable"),
        ("late.tiff", 1, None),
        ("late.tiff", 2, "document_unreadable"),
        ("gone.png", 1, "document_unreadable"),
        ("broken.png", 1, "image_unreadable"),
        ("good.png", 1, None),
    ]
    assert answers[0]["error"]["message"] == f"{instance / 'empty.png'} is empty"


@pytest.mark.parametrize(("name", "size"), [("anim.gif", (1240, 900)), ("scan_with_thumb.tif", (1240, 900))])
def test_not_every_frame_is_a_page(
    instance: Path, capsys: pytest.CaptureFixture[str], name: str, size: tuple[int, int]
) -> None:
    status, answers = ask(capsys, CASES / "files" / name, "--draw", instance / "drawn")
    assert (status, [one["page"] for one in answers]) == (0, [1])
    with Image.open(instance / "drawn" / f"{name}-1.png") as page:
        assert page.size == size


def test_pages_are_drawn(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = ask(capsys, image(instance / "two.tiff", pages=2), "--draw", instance / "drawn" / "here")
    assert status == 0
    drawn = sorted((instance / "drawn" / "here").iterdir())
    assert [path.name for path in drawn] == ["two.tiff-1.png", "two.tiff-2.png"]
    with Image.open(drawn[0]) as page:
        assert page.size == (200, 60)
        assert page.getpixel((5, 5)) == (120, 120, 120)


def test_what_is_not_certain_enough_is_not_drawn() -> None:
    regions = [{"label": label, "score": 0.6} for label in ("total", "date", None)]
    assert certain(regions, Thresholds(0.5, {"total": 0.9})) == regions[1:]
    assert certain(regions, Thresholds(0.7)) == regions[2:]


def test_a_place_that_cannot_be_drawn_to_is_told(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = image(instance / "page.png")
    assert main([str(page), "--draw", str(page)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["regions"]
    assert "page 1 of" in said.err
    assert "cannot be drawn" in said.err


@pytest.mark.parametrize("dpi", ["0", "-72", "3000", "many"])
def test_a_resolution_that_makes_no_sense(dpi: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["page.pdf", "--dpi", dpi])
    assert "--dpi" in capsys.readouterr().err


def test_a_setting_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LAYOUTLOOP_OCR_WORKERS", "many")
    assert main(["page.png"]) == 2
    assert "LAYOUTLOOP_OCR_WORKERS" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(instance: Path) -> None:
    pages = image(instance / "many.tiff", pages=150)  # more than the pipe and the reader hold
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.predict", str(pages)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pipesize=4096,
    ) as predicting:
        assert predicting.stdout
        assert predicting.stderr
        first = predicting.stdout.readline()
        predicting.stdout.close()
        said = predicting.stderr.read()
    assert 150 * len(first) > 4 * 4096
    assert predicting.returncode == 1
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_a_pdfs_own_words_are_labelled(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The far `ocr` reads "Total 12.50" wherever it is sent to; a page that says just that shows its own box."""
    path = text_pdf(instance / "order.pdf", [lines(["Total 12.50"]), lines(INVOICE), lines(INVOICE, extra="3 Tr")])
    assert main([str(path), "--dpi", "144"]) == 0
    captured = capsys.readouterr()
    own, misread, hidden = [json.loads(line)["regions"] for line in captured.out.splitlines()]
    assert [(region["text"], region["box"][0]) for region in own] == [("Total 12.50", pytest.approx(80, abs=4))]
    assert [region["box"] for region in misread] == [region["box"] for region in hidden] == [[10, 10, 100, 20]]
    assert f"page 2 of {path} is read by OCR: its text is not what is seen: " in captured.err
    assert f"page 3 of {path} is read by OCR: none of its text is visible" in captured.err
    assert "of 3 pages of PDFs 1 with the file's own words, 2 by OCR" in captured.err
    assert main([str(path), "--dpi", "144", "--ocr"]) == 0
    assert all(json.loads(line)["regions"] == hidden for line in capsys.readouterr().out.splitlines())
