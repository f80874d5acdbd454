"""Annotated pages through a far server that answers as TorchServe's `ocr` does, and images out of a folder."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.errors import ImageTooLarge, ImageUnreadable, PageInvalid
from handler.images import ImageLimits
from handler.ocr_settings import TASK_ENGINE, OcrSettings
from handler.page import Box, Page, Size, Word
from handler.reading.reader import Reader
from layoutloop.errors import AddressRefused, ImageUnavailable, ModelNotReady, PageRejected, WordsInvalid
from layoutloop.settings.serving import Settings
from layoutloop.store.changes import write_manifest
from layoutloop.store.manifest import OCR_MODEL, Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import write_json
from layoutloop.studio.task_words import GivenPage
from tests.far_servers import IMAGE, LEGACY_KEY, LabelStudio, _Handler, _Server, serve
from tests.handler.samples import encoded, rendered_page
from training.data.annotations import AnnotatedPage
from training.data.page_readers import (
    FolderImages,
    LocalReader,
    StudioImages,
    TorchServeReader,
    torchserve_problem,
)

VERSION = "20261122T083000Z"
ENGINE = "pytesseract-5.3.0-deu-psm6"
WIRE = {
    **{"format": 1, "width": 200, "height": 60, "engine": ENGINE},
    "words": [{"text": "Total", "box": [10, 10, 50, 20], "confidence": 0.5, "line": 0}],
}
READ = Page(Size(200, 60), ENGINE, (Word("Total", Box(10, 10, 50, 20), 0.5, 0),))


def annotated(reference: str = "/data/upload/1/0a1b2c3d-page.png") -> AnnotatedPage:
    return AnnotatedPage(7, 0, reference, "1", "", ())


def answer_page(handler: _Handler) -> None:
    body = handler.server.seen[-1].body
    if body == b"no page":
        handler.reply(200, b'{"format": 1, "width": 0}')
    elif body == b"no image":
        handler.reply(422, b'{"error": {"code": "image_unreadable", "message": "these bytes are no image"}}')
    else:
        handler.reply(200, json.dumps(WIRE).encode())


@contextmanager
def torchserve(home: Path) -> Iterator[tuple[Settings, _Server]]:
    """An instance whose `ocr` is in service."""
    store = home / "store"
    write_manifest(ModelStore(store), OCR_MODEL, Manifest((VERSION,), VERSION))
    write_json(ModelStore(store).card_path(OCR_MODEL, VERSION), VersionCard(OCR_MODEL, VERSION).to_json())
    write_json(home / "torchserve" / "key_file.json", {"inference": {"key": "made-up"}})
    with serve("127.0.0.1", answer_page) as server:
        yield Settings(model_dir=store, home=home, torchserve_port=server.port), server


def test_a_page_is_read_as_the_shim_reads_it(tmp_path: Path) -> None:
    with torchserve(tmp_path) as (settings, server):
        read = TorchServeReader.from_settings(settings, lambda _: IMAGE, language="deu", psm=6, thumbnail=True)
        assert read(annotated()) == READ
    (seen,) = server.seen
    assert (seen.target, seen.body) == (f"/predictions/ocr/{VERSION}", IMAGE)
    asked = {name.lower(): value for name, value in seen.headers.items()}
    assert asked["x-layoutloop-engine"] == "pytesseract"
    assert asked["x-layoutloop-language"] == "deu"
    assert asked["x-layoutloop-psm"] == "6"
    assert asked["x-layoutloop-thumbnail"] == "1"


def test_a_reader_like_a_version_reads_with_its_engine(tmp_path: Path) -> None:
    with torchserve(tmp_path) as (settings, server):
        read = TorchServeReader.from_settings(settings, lambda _: IMAGE)
        other = read.like(VersionCard("project-7", VERSION, engine="tesserocr-5.5.4-fra-psm4", language="fra", psm=4))
        with pytest.raises(ModelNotReady, match=r"reads with pytesseract-5\.3\.0-deu-psm6, not with tesserocr"):
            other(annotated())
    asked = {name.lower(): value for name, value in server.seen[-1].headers.items()}
    assert [asked[f"x-layoutloop-{name}"] for name in ("engine", "language", "psm")] == ["tesserocr", "fra", "4"]


def test_what_the_handler_refuses_and_what_is_no_page(tmp_path: Path) -> None:
    with torchserve(tmp_path) as (settings, _):
        with pytest.raises(PageRejected, match="these bytes are no image"):
            TorchServeReader.from_settings(settings, lambda _: b"no image")(annotated())
        with pytest.raises(PageInvalid):
            TorchServeReader.from_settings(settings, lambda _: b"no page")(annotated())


def test_no_ocr_is_in_service(tmp_path: Path) -> None:
    settings = Settings(model_dir=tmp_path, home=tmp_path)
    with pytest.raises(ModelNotReady, match="`ocr` is not in service"):
        TorchServeReader.from_settings(settings, lambda _: IMAGE)(annotated())


def test_no_torchserve_is_running(tmp_path: Path) -> None:
    with torchserve(tmp_path) as (settings, _):
        assert torchserve_problem(settings) is None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    problem = torchserve_problem(Settings(torchserve_port=port))
    assert problem is not None
    assert f"no TorchServe answers on port {port}: start scripts/serve.sh" in problem


def test_the_local_reader_reads_with_tesseract() -> None:
    data = encoded(rendered_page())
    reader = Reader(OcrSettings(), ImageLimits(), None)
    page = LocalReader(lambda _: data, reader, thumbnail=True)(annotated())
    assert "4711" in [word.text for word in page.words]
    assert page.thumbnail is not None
    with pytest.raises(ImageUnreadable):
        LocalReader(lambda _: b"nothing", reader)(annotated())


def test_images_of_label_studio_come_with_the_key_and_the_task() -> None:
    studio = LabelStudio(cloud={"s3://bucket/a.png": ""})
    with serve("127.0.0.1", studio) as server:
        images = StudioImages(
            Settings(label_studio_url=f"http://127.0.0.1:{server.port}", label_studio_api_key=LEGACY_KEY)
        )
        assert images(annotated()) == IMAGE
        assert images(annotated("s3://bucket/a.png")) == IMAGE
        with pytest.raises(ImageUnavailable, match="404"):
            images(annotated("/data/upload/1/missing"))
        images.close()
    assert "/tasks/7/resolve/" in server.seen[1].target


def test_images_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "page.png").write_bytes(b"plain")
    (folder / "0a1b2c3d-both.png").write_bytes(b"with the prefix")
    (folder / "both.png").write_bytes(b"without")
    images = FolderImages(folder)
    assert images(annotated()) == b"plain"
    assert images(annotated("/data/upload/1/0a1b2c3d-both.png")) == b"with the prefix"
    assert images(annotated("both.png")) == b"without"
    inline = base64.b64encode(IMAGE).decode()
    assert images(annotated(f"data:image/png;base64,{inline}")) == IMAGE


@pytest.mark.parametrize(
    ("reference", "error", "sentence"),
    [
        pytest.param("0a1b2c3d-gone.png", ImageUnavailable, "has no file '0a1b2c3d-gone.png' or 'gone.png'", id="gone"),
        pytest.param("..", ImageUnavailable, "has no file '..'", id="P27 the folder above"),
        pytest.param("0a1b2c3d-..", ImageUnavailable, "has no file", id="P27 the folder above, as an upload"),
        pytest.param("%2e%2e%2fsecret.png", ImageUnavailable, "has no file 'secret.png'", id="P27 out by its path"),
        pytest.param("inner", ImageUnavailable, "has no file 'inner'", id="a folder"),
        pytest.param("link.png", AddressRefused, "is a link that leads out of", id="P27 out by a link"),
        pytest.param("large.png", ImageTooLarge, "has more than 10 bytes", id="too large"),
        pytest.param("a%00b.png", ImageUnavailable, "cannot be read from", id="a name with a NUL"),
        pytest.param("a" * 300, ImageUnavailable, "(cannot be read|has no file)", id="a name too long"),
        pytest.param("", ImageUnavailable, "has no file ''", id="no name"),
    ],
)
def test_images_that_are_not_in_the_folder(
    reference: str, error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "large.png").write_bytes(b"x" * 11)
    with pytest.raises(error, match=sentence):
        FolderImages(folder, max_bytes=10)(annotated(reference))


def test_words_that_come_with_the_task_are_taken_and_the_image_is_looked_at(tmp_path: Path) -> None:
    """A file of words is fetched as images are, at its own address and for its task."""
    fetched: list[tuple[int, str]] = []
    given = json.dumps({**WIRE, "engine": "azure", "words": [{"text": "Tota1", "box": [10, 10, 50, 20]}]}).encode()

    def files(page: AnnotatedPage) -> bytes:
        fetched.append((page.task, page.reference))
        return given if page.reference.endswith(".json") else IMAGE

    page = replace(annotated("page.png"), words=GivenPage(address="/data/upload/1/words.json"))
    with torchserve(tmp_path) as (settings, server):
        read = TorchServeReader.from_settings(settings, files, thumbnail=True)
        expected = Page(Size(200, 60), TASK_ENGINE, (Word("Tota1", Box(10, 10, 50, 20)),))
        assert read(page) == read.like(VersionCard("project-7", VERSION, engine="tesserocr-5"))(page) == expected
        with pytest.raises(WordsInvalid, match="a page of 60 x 200 pixels, and the image of this page has 200 x 60"):
            read(replace(page, words=GivenPage(content=json.dumps(WIRE | {"width": 60, "height": 200}).encode())))
    assert fetched[:2] == [(7, "/data/upload/1/words.json"), (7, "page.png")]
    for seen in server.seen:
        assert {name.lower(): value for name, value in seen.headers.items()}["x-layoutloop-words"] == "0"


def test_the_local_reader_takes_words_too(tmp_path: Path) -> None:
    image = rendered_page()
    wire = {"format": 1, "width": image.width, "height": image.height, "words": [{"text": "x", "box": [0, 0, 9, 9]}]}
    (tmp_path / "words.json").write_text(json.dumps(wire))
    (tmp_path / "page.png").write_bytes(encoded(image))
    read = LocalReader(FolderImages(tmp_path), Reader(OcrSettings(), ImageLimits(), None), thumbnail=True)
    page = read(replace(annotated("page.png"), words=GivenPage(address="/data/upload/1/0a1b2c3d-words.json")))
    assert (page.engine, [word.text for word in page.words]) == (TASK_ENGINE, ["x"])
    assert page.thumbnail is not None
    with pytest.raises(ImageUnavailable, match=r"the file of the page's words: .* has no file 'gone\.json'"):
        read(replace(annotated("page.png"), words=GivenPage(address="/data/upload/1/gone.json")))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_the_model_sees_the_image_as_its_words_run(tmp_path: Path, turn: int) -> None:
    """A black corner, top left where the page is level, in the picture that has to be turned for it."""
    level = Image.new("RGB", (300, 200), "white")
    level.paste("black", (0, 0, 100, 60))
    picture = level.rotate(turn, expand=True)  # counterclockwise, as Pillow counts
    (tmp_path / "page.png").write_bytes(encoded(picture))
    wire = WIRE | {"width": picture.width, "height": picture.height, "turn": turn}
    read = LocalReader(FolderImages(tmp_path), Reader(OcrSettings(), ImageLimits(), None), thumbnail=True)
    page = read(replace(annotated("page.png"), words=GivenPage(content=json.dumps(wire).encode())))
    assert page.thumbnail is not None
    with Image.open(io.BytesIO(page.thumbnail)) as thumbnail:
        dark = np.asarray(thumbnail.convert("L")) < 128
    rows, columns = np.nonzero(dark)
    assert (page.turn, rows.min(), columns.min()) == (turn, 0, 0)
    assert abs(rows.max() - 0.3 * 224) <= 2
    assert abs(columns.max() - 224 / 3) <= 2
