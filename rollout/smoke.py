"""A test request to a version just registered, before any other."""

from __future__ import annotations

import io
import json
import time
from typing import Any

from PIL import Image, ImageDraw

from handler.images import make_thumbnail
from handler.page import Box, Page, Size, Word
from handler.wire import FORMAT, page_to_json
from layoutloop.errors import TorchServeUnavailable
from layoutloop.store.manifest import OCR_MODEL
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.inference import InferenceClient, PageRequest

_TEXTS = ("Invoice", "Total", "12.50", "EUR")
_TIME_LIMIT_S = 60.0


def smoke_test(client: InferenceClient, store: ModelStore, model: str, version: str) -> None:
    """Send a small page to (model, version).

    Raises:
        LayoutLoopError: it does not answer, or not as the wire format says.
    """
    deadline = time.monotonic() + _TIME_LIMIT_S
    if model == OCR_MODEL:
        page = client.predict(PageRequest(model, version, _image(), "image/png"), deadline)
        _require(page.get("format") == FORMAT and page.get("words"), f"{model} {version} read no word", page)
        return
    page = page_to_json(_page(store.card(model, version).uses_image))
    answer = client.predict(PageRequest(model, version, json.dumps(page).encode(), "application/json"), deadline)
    _require(answer.get("format") == FORMAT, f"{model} {version} speaks another format", answer)
    _require(answer.get("model_version") == version, f"{model} {version} says that it is another version", answer)
    _require(isinstance(answer.get("regions"), list), f"{model} {version} answers no regions", answer)


def _require(right: object, sentence: str, answer: dict[str, Any]) -> None:
    if not right:
        raise TorchServeUnavailable(f"{sentence}: {str(answer)[:200]}")


def _image() -> bytes:
    image = Image.new("RGB", (600, 200), "white")
    draw = ImageDraw.Draw(image)
    draw.text((40, 70), " ".join(_TEXTS), fill="black", font_size=40)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _page(with_thumbnail: bool) -> Page:
    words = tuple(Word(text, Box(40 + 130 * i, 70, 160 + 130 * i, 110)) for i, text in enumerate(_TEXTS))
    thumbnail = make_thumbnail(Image.new("RGB", (600, 200), "white")) if with_thumbnail else None
    return Page(Size(600, 200), "smoke", words, thumbnail)
