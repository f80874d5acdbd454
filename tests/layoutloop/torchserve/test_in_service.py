"""With which engine the pages of a project are read, and an `ocr` that reads with another one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from layoutloop.errors import ModelNotReady
from layoutloop.store.manifest import OCR_MODEL, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.in_service import InService, InServiceModels
from layoutloop.torchserve.inference import InferenceClient
from tests.far_servers import IMAGE, _Handler, serve

VERSION = "20261122T083000Z"
RAPIDOCR, PYTESSERACT = "rapidocr-3.10.0-eng-psm3", "pytesseract-5.3.0-eng-psm3"


def in_service(ocr: str, model: str | None, language: str = "eng", psm: int = 3) -> InService:
    """Cards whose names say how they read; a model of None is a cold start."""
    card = VersionCard("project-7", VERSION, ("total",), engine=model) if model else None
    return InService(VersionCard(OCR_MODEL, VERSION, engine=ocr, language=language, psm=psm), card)


@pytest.mark.parametrize(
    ("serving", "engine", "asked"),
    [
        pytest.param(in_service(RAPIDOCR, None), RAPIDOCR, None, id="cold start"),
        pytest.param(in_service(RAPIDOCR, RAPIDOCR), RAPIDOCR, "rapidocr", id="the engine of ocr"),
        pytest.param(
            in_service("rapidocr-3.11.0-eng-psm3", RAPIDOCR), "rapidocr-3.11.0-eng-psm3", "rapidocr", id="its release"
        ),
        pytest.param(in_service(RAPIDOCR, PYTESSERACT), PYTESSERACT, "pytesseract", id="the engine of its training"),
        pytest.param(
            in_service("rapidocr-3.10.0-deu+eng-psm1", PYTESSERACT, "deu+eng", 1),
            "pytesseract-5.3.0-deu+eng-psm1",
            "pytesseract",
            id="in the language and mode of ocr",
        ),
        pytest.param(
            in_service("rapidocr-3.10.0-eng-psm3", "pytesseract-5.3.0-dev-g12-eng-psm3"),
            "pytesseract-5.3.0-dev-g12-eng-psm3",
            "pytesseract",
            id="a release with dashes",
        ),
    ],
)
def test_the_engine_is_that_of_the_training(serving: InService, engine: str, asked: str | None) -> None:
    assert serving.engine == engine
    assert serving.reading.get("engine") == asked


@pytest.mark.parametrize(
    ("serving", "answered", "refused"),
    [
        pytest.param(in_service(RAPIDOCR, RAPIDOCR), RAPIDOCR, False, id="the same"),
        pytest.param(in_service(RAPIDOCR, PYTESSERACT), PYTESSERACT, False, id="the other of ocr's engines"),
        pytest.param(in_service(PYTESSERACT, RAPIDOCR), PYTESSERACT, True, id="an ocr of before there was a choice"),
        pytest.param(in_service(PYTESSERACT, None), PYTESSERACT, False, id="cold start"),
        pytest.param(in_service(RAPIDOCR, RAPIDOCR), None, False, id="an ocr that names none"),
    ],
)
def test_a_page_read_with_another_engine_is_refused(
    tmp_path: Path, serving: InService, answered: str | None, refused: bool
) -> None:
    page = {"format": 1, "width": 200, "height": 60, "words": []} | ({"engine": answered} if answered else {})

    def ocr(handler: _Handler) -> None:
        handler.reply(200, json.dumps(page).encode())

    with serve("127.0.0.1", ocr) as server:
        client = InferenceClient(f"http://127.0.0.1:{server.port}", None)
        models = InServiceModels(ModelStore(tmp_path), client)
        if refused:
            with pytest.raises(ModelNotReady, match=r"reads with pytesseract-5\.3\.0-eng-psm3, not with rapidocr"):
                models.read(IMAGE, serving, time.monotonic() + 10)
        else:
            assert models.read(IMAGE, serving, time.monotonic() + 10) == page
    sent = {name.lower(): value for name, value in server.seen[0].headers.items()}
    assert sent.get("x-layoutloop-engine") == serving.reading.get("engine")


@pytest.mark.parametrize(
    ("answered", "refused"),
    [
        pytest.param({"turn": 123.4567, "thumbnail": "cGl4ZWxz"}, False, id="turned as its words are"),
        pytest.param({"turn": 0, "thumbnail": "cGl4ZWxz"}, True, id="turned by nothing"),
        pytest.param({"thumbnail": "cGl4ZWxz"}, True, id="an ocr that turns no page"),
        pytest.param({"turn": "left", "thumbnail": "cGl4ZWxz"}, True, id="no turn"),
        pytest.param({}, False, id="no thumbnail"),
    ],
)
def test_a_thumbnail_that_lies_another_way_than_the_words_is_refused(
    tmp_path: Path, answered: dict[str, object], refused: bool
) -> None:
    page = {"format": 1, "width": 200, "height": 60, "words": [], **answered}

    def ocr(handler: _Handler) -> None:
        handler.reply(200, json.dumps(page).encode())

    with serve("127.0.0.1", ocr) as server:
        models = InServiceModels(ModelStore(tmp_path), InferenceClient(f"http://127.0.0.1:{server.port}", None))
        serving = in_service(RAPIDOCR, RAPIDOCR)
        if refused:
            with pytest.raises(
                ModelNotReady, match=r"the task's words say 123\.457; `python -m scripts\.archive --ocr`"
            ):
                models.picture(IMAGE, serving, time.monotonic() + 10, 123.4567)
        else:
            assert models.picture(IMAGE, serving, time.monotonic() + 10, 123.4567) == page
