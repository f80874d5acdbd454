"""A plain Label Studio ML back end, written the usual way; what `many_tasks.py` compares LayoutLoop with.

What it does as those made with label-studio-ml-backend do (its `_wsgi.py`, Dockerfile and examples, read, not copied):
one process, `gunicorn --preload --workers 1 --threads 8 --timeout 0`; `/predict` loops over the tasks; the image of
each is downloaded to a folder, where it is found again (`get_local_path`); nothing else is kept but the model. A page
is read by `pytesseract.image_to_data`, nothing set in the environment; the model is Hugging Face's, eager, float32,
every page padded to 512 tokens and cut there, as LayoutLMv3Processor is called in its notebook.

Where there is a choice that changes answers, it is ours, so that both sides can be compared: the page is grey, the
mode is Tesseract's default, the word's first token decides, B- begins a region and I- continues it.

Environment: PLAIN_CHECKPOINT, PLAIN_FOLDER (downloads), LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY.
"""

from __future__ import annotations

import hashlib
import os
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flask
import pytesseract
import requests
import torch
from PIL import Image
from transformers import AutoTokenizer, LayoutLMv3ForTokenClassification

MAX_TOKENS = 512
VERSION = "plain-1"

Words = list[tuple[str, tuple[int, int, int, int]]]
"""Text, and left, top, right, bottom in pixels."""


class PlainModel:
    """Predicts tasks one after the other."""

    def __init__(self, checkpoint: str, downloads: Path) -> None:
        """Load the checkpoint."""
        self._downloads = downloads
        self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        model: Any = LayoutLMv3ForTokenClassification.from_pretrained(checkpoint)
        self._model = model.eval()

    def predict(self, tasks: Sequence[dict[str, Any]], label_config: str) -> list[dict[str, Any]]:
        """Return one prediction a task; a task that fails fails the request, as it does there.

        `words_cut` is for the comparison: how many words lie behind the 512th token and were not looked at.
        """
        names = control_names(label_config)
        predictions = []
        for task in tasks:
            image = Image.open(self._download(task["data"][names["value"]])).convert("L")
            words = read_words(image)
            regions, words_cut = self._regions(words, image.size) if words else ([], 0)
            predictions.append(prediction_of(regions, names, image.size) | {"words_cut": words_cut})
        return predictions

    def _download(self, reference: str) -> Path:
        url = os.environ["LABEL_STUDIO_URL"] + reference
        path = self._downloads / hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()
        if not path.exists():
            headers = {"Authorization": f"Token {os.environ['LABEL_STUDIO_API_KEY']}"}
            answer = requests.get(url, headers=headers, timeout=60)
            answer.raise_for_status()
            path.write_bytes(answer.content)
        return path

    def _regions(self, words: Words, size: tuple[int, int]) -> tuple[list[tuple[str, float, Words]], int]:
        """Return label, score and words of each region; and how many words were cut off."""
        texts = [text for text, _ in words]
        encoding = self._tokenizer(
            texts,
            is_split_into_words=True,
            truncation=True,
            padding="max_length",
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        word_ids = encoding.word_ids(0)
        grid = [normalized(box, size) for _, box in words]
        bbox = torch.tensor([[grid[index] if index is not None else [0, 0, 0, 0] for index in word_ids]])
        with torch.no_grad():
            logits = self._model(
                input_ids=encoding["input_ids"], attention_mask=encoding["attention_mask"], bbox=bbox
            ).logits[0]
        first: dict[int, int] = {}
        for position, index in enumerate(word_ids):
            if index is not None:
                first.setdefault(index, position)
        probabilities = logits.softmax(-1)
        tags = {index: self._model.config.id2label[int(logits[position].argmax())] for index, position in first.items()}
        regions = self._joined(words, tags, {index: probabilities[position] for index, position in first.items()})
        return regions, len(words) - 1 - max(first, default=-1)

    def _joined(
        self, words: Words, tags: dict[int, str], probabilities: dict[int, torch.Tensor]
    ) -> list[tuple[str, float, Words]]:
        """Join B- and the I- that follow it; the score is the mean probability of the entity."""
        groups: list[tuple[str, list[int]]] = []
        before = "O"
        for index, tag in tags.items():
            name = tag[2:]
            if tag.startswith("I-") and before[2:] == name:
                groups[-1][1].append(index)
            elif tag != "O":
                groups.append((name, [index]))
            before = tag
        ids = self._model.config.label2id
        regions = []
        for name, members in groups:
            mine = [ids[f"B-{name}"], ids[f"I-{name}"]]
            score = sum(float(probabilities[index][mine].sum()) for index in members) / len(members)
            regions.append((name, score, [words[index] for index in members]))
        return regions


def read_words(image: Image.Image) -> Words:
    """Return the words that Tesseract finds, blank ones left out."""
    table = pytesseract.image_to_data(image, output_type=pytesseract.Output.DICT)
    columns = (table[name] for name in ("text", "left", "top", "width", "height"))
    rows = zip(*columns, strict=True)
    return [(text, (x, y, x + w, y + h)) for text, x, y, w, h in rows if text.strip()]


def normalized(box: tuple[int, int, int, int], size: tuple[int, int]) -> list[int]:
    """Return a box on the model's 0..1000 grid."""
    sides = (*size, *size)
    return [int(1000 * edge / side) for edge, side in zip(box, sides, strict=True)]


def control_names(label_config: str) -> dict[str, str]:
    """Return the names of the controls, of the image, and of its key in a task's data."""
    root = ElementTree.fromstring(label_config)  # noqa: S314  # Label Studio's own, as the framework parses it
    found = {tag: root.find(f".//{tag}") for tag in ("Labels", "Rectangle", "TextArea", "Image")}
    names = {tag: element.attrib["name"] for tag, element in found.items() if element is not None}
    image = found["Image"]
    assert image is not None
    return names | {"value": image.attrib["value"].removeprefix("$")}


def prediction_of(
    regions: Sequence[tuple[str, float, Words]], names: dict[str, str], size: tuple[int, int]
) -> dict[str, Any]:
    """Return what Label Studio draws for these regions."""
    width, height = size
    results: list[dict[str, Any]] = []
    for number, (label, score, words) in enumerate(regions):
        left, top = (min(box[side] for _, box in words) for side in (0, 1))
        right, bottom = (max(box[side] for _, box in words) for side in (2, 3))
        geometry = {
            "x": 100 * left / width,
            "y": 100 * top / height,
            "width": 100 * (right - left) / width,
            "height": 100 * (bottom - top) / height,
            "rotation": 0,
        }
        common = {
            "id": f"region-{number}",
            "to_name": names["Image"],
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": score,
        }
        text = {"text": [" ".join(text for text, _ in words)]}
        results += [
            {"from_name": names["Rectangle"], "type": "rectangle", "value": geometry, **common},
            {"from_name": names["Labels"], "type": "labels", "value": geometry | {"labels": [label]}, **common},
            {"from_name": names["TextArea"], "type": "textarea", "value": geometry | text, **common},
        ]
    score = min((score for _, score, _ in regions), default=0.0)
    return {"model_version": VERSION, "score": score, "result": results}


def make_app() -> flask.Flask:
    """Return the application; the model is loaded by the first predict, in the process that gunicorn forks."""
    app = flask.Flask(__name__)
    loading = threading.Lock()
    loaded: list[PlainModel] = []

    @app.post("/predict")
    def predict() -> flask.Response:
        body = flask.request.get_json()
        with loading:
            if not loaded:
                loaded.append(PlainModel(os.environ["PLAIN_CHECKPOINT"], Path(os.environ["PLAIN_FOLDER"])))
        results = loaded[0].predict(body["tasks"], body["label_config"])
        return flask.jsonify({"results": results, "model_version": VERSION})

    @app.post("/setup")
    def setup() -> flask.Response:
        return flask.jsonify({"model_version": VERSION})

    @app.get("/health")
    def health() -> flask.Response:
        return flask.jsonify({"status": "UP"})

    return app
