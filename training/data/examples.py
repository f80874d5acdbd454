"""One annotated page as training sees it: the words that `ocr` read, and which of them each drawn box holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.ocr_settings import TASK_ENGINE
from handler.page import Box, Page, Region
from handler.tagging.labels import OUTSIDE, LabelSet
from handler.wire import page_from_json, page_to_json


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing a person marked: a label, its box and the words in it.

    Args:
        label: as the project's annotations name it.
        box: pixels of the page as the annotator sees it, as drawn.
        words: indices into `Page.words`, ascending; empty where the OCR engine read nothing there.
    """

    label: str
    box: Box
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One annotated page.

    Args:
        task: Label Studio's task id; the split is made by it.
        item: which page of the task, from 0.
        page: as `ocr` read it, or as its words came with the task.
        entities: in the order of the annotation's boxes; no word is in two of them.
    """

    task: int
    item: int
    page: Page
    entities: tuple[Entity, ...]

    def tags(self, labels: LabelSet) -> NDArray[np.int64]:
        """Return (words,) class ids: B- on the first word of each entity, I- on the others in reading order, else O.

        An entity whose label is not in `labels` is O.
        """
        ids = {tag: index for index, tag in enumerate(labels.tags)}
        tags = np.full(len(self.page.words), ids[OUTSIDE], dtype=np.int64)
        for entity in self.entities:
            if entity.label in labels.names and entity.words:
                tags[list(entity.words)] = ids[f"I-{entity.label}"]
                tags[entity.words[0]] = ids[f"B-{entity.label}"]
        return tags


def engine_of(examples: Iterable[Example]) -> str:
    """Return what read the pages; TASK_ENGINE only where nothing was read, since all words came with the tasks."""
    engines = (example.page.engine for example in examples)
    return next((engine for engine in engines if engine != TASK_ENGINE), TASK_ENGINE)


def entities_of(regions: Iterable[Region], label_map: Mapping[str, str]) -> list[Entity]:
    """Return what a model found as a person would have marked it, in order; a region without a label marks nothing.

    Args:
        regions: the model's answer.
        label_map: model's label -> project's label (`predicted_values`); a label that is not in it stays as it is.
    """
    return [
        Entity(label_map.get(region.label, region.label), region.box, region.words)
        for region in regions
        if region.label is not None
    ]


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write one JSON object a line."""
    with open(path, "w", encoding="utf-8") as file:
        for example in examples:
            file.write(json.dumps(example_to_json(example), ensure_ascii=False) + "\n")


def read_examples(path: Path) -> list[Example]:
    """Read what `write_examples` wrote."""
    with open(path, encoding="utf-8") as file:
        return [_from_json(json.loads(line)) for line in file]


def pages_of(examples: Sequence[Example]) -> Iterator[Page]:
    """Yield the pages, in order."""
    return (example.page for example in examples)


def example_to_json(example: Example) -> dict[str, Any]:
    """Return what stands in a line of such a file."""
    return {
        "task": example.task,
        "item": example.item,
        "page": page_to_json(example.page),
        "entities": [
            {"label": entity.label, "box": list(astuple(entity.box)), "words": list(entity.words)}
            for entity in example.entities
        ],
    }


def _from_json(body: dict[str, Any]) -> Example:
    entities = tuple(
        Entity(entity["label"], Box(*entity["box"]), tuple(entity["words"])) for entity in body["entities"]
    )
    return Example(body["task"], body["item"], page_from_json(body["page"]), entities)
