"""Examples as files that other programs know: FUNSD's folders, and the JSON lines of Hugging Face's `datasets`.

FUNSD (https://guillaumejaume.github.io/FUNSD/) has `training_data` and `testing_data`, each with `annotations/*.json`
and `images/*.png`; a file's `form` is a list of entities with box, label, text, words and links, the box of each word
in whole pixels, and what is no entity labelled `other`, unless the project has a label of that name. The JSON lines
have one page each, its boxes on LayoutLM's 0..1000 grid and its tags as class ids. Both have pages as their text runs,
which is what a model sees here (`handler.turn`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from handler.geometry import boxes_to_grid
from handler.joining import text_of
from handler.ocr_settings import TASK_ENGINE
from handler.page import Box, Page, Word
from handler.tagging.labels import LabelSet
from handler.turn import level_page
from layoutloop.plural import counted
from training.data.examples import Example

FOLDERS = {"train": "training_data", "validation": "testing_data"}
"""Our split's names -> FUNSD's."""

OTHER = "other"
"""FUNSD's label for words of no entity."""
_NO_LABEL = " (no label)"


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A folder that holds examples in both layouts, and their images once.

    Args:
        folder: which.
        labels: of the project.
        validation: task ids that validate.
    """

    folder: Path
    labels: LabelSet
    validation: Collection[int]

    def split_of(self, task: int) -> str:
        """Return `train` or `validation`."""
        return "validation" if task in self.validation else "train"

    def image_path(self, task: int, item: int) -> str:
        """Return where the image of a page belongs, relative to the folder."""
        return f"funsd/{FOLDERS[self.split_of(task)]}/images/{page_name(task, item)}.png"

    @property
    def other(self) -> str:
        """What FUNSD's layout calls words of no entity: `other`, and never a label of the project, in any case."""
        name, taken = OTHER, {label.casefold() for label in self.labels.names}
        while name in taken:
            name += _NO_LABEL
        return name

    def write(self, title: str, examples: Sequence[Example]) -> None:
        """Write everything but the images, which have their text level; the folder may hold them already."""
        for split, folder in FOLDERS.items():
            chosen = [level_example(example) for example in examples if self.split_of(example.task) == split]
            annotations = self.folder / "funsd" / folder / "annotations"
            annotations.mkdir(parents=True, exist_ok=True)
            (self.folder / "funsd" / folder / "images").mkdir(parents=True, exist_ok=True)
            for example in chosen:
                name = page_name(example.task, example.item)
                _write_json(annotations / f"{name}.json", funsd_form(example, self.other))
            with open(self.folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
                for example in chosen:
                    row = tagged_row(example, self.labels, self.image_path(example.task, example.item))
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        _write_json(self.folder / "labels.json", list(self.labels.tags))
        (self.folder / "README.md").write_text(_card(title, examples, self), encoding="utf-8")


def page_name(task: int, item: int) -> str:
    """Return the name of a page's files, without a suffix."""
    return f"task-{task}-page-{item}"


def level_example(example: Example) -> Example:
    """Return an example as the text of its page runs; an upright one as it is."""
    page = example.page
    drawn = level_page(replace(page, words=tuple(Word("", entity.box) for entity in example.entities))).words
    entities = tuple(replace(one, box=word.box) for one, word in zip(example.entities, drawn, strict=True))
    return replace(example, page=level_page(page), entities=entities)


def tagged_row(example: Example, labels: LabelSet, image_path: str) -> dict[str, Any]:
    """Return a page as one line of `train.jsonl`: boxes are whole numbers on the 0..1000 grid, tags are class ids."""
    page = example.page
    return {
        "id": page_name(example.task, example.item),
        "tokens": [word.text for word in page.words],
        "bboxes": boxes_to_grid([word.box for word in page.words], page.size).tolist(),
        "ner_tags": example.tags(labels).tolist(),
        "image_path": image_path,
        "width": page.size.width,
        "height": page.size.height,
    }


def funsd_form(example: Example, other: str = OTHER) -> dict[str, Any]:
    """Return a page as FUNSD's annotation: its entities in order, then the stretches of other words, line by line.

    Args:
        example: the page.
        other: label of the words of no entity.
    """
    groups = [(entity.label, entity.box, entity.words) for entity in example.entities]
    groups += [(other, _around(example.page, words), words) for words in _other_words(example)]
    form = [
        {
            "id": number,
            "label": label,
            "box": _whole(box),
            "text": text_of(example.page, words),
            "words": [
                {"text": example.page.words[word].text, "box": _whole(example.page.words[word].box)} for word in words
            ],
            "linking": [],
        }
        for number, (label, box, words) in enumerate(groups)
    ]
    return {"form": form}


def _other_words(example: Example) -> Iterator[tuple[int, ...]]:
    """Yield the words of no entity; those of one line that nothing stands between are together."""
    taken = {word for entity in example.entities for word in entity.words}
    words = example.page.words
    for (_, is_taken), group in groupby(range(len(words)), key=lambda word: (words[word].line, word in taken)):
        if not is_taken:
            yield tuple(group)


def _around(page: Page, words: Sequence[int]) -> Box:
    return Box.around(page.words[word].box for word in words)


def _whole(box: Box) -> list[int]:
    return [round(edge) for edge in astuple(box)]


def _write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _card(title: str, examples: Sequence[Example], layout: DatasetFolder) -> str:
    """Return a README with the header that `datasets.load_dataset` reads; it refuses to load an empty file."""
    counts = {split: sum(layout.split_of(one.task) == split for one in examples) for split in FOLDERS}
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split, count in counts.items() if count)
    entities = sum(len(example.entities) for example in examples)
    read = {example.page.engine for example in examples}
    engines = ", ".join(sorted(read - {TASK_ENGINE})) or "no engine"
    if came := sum(one.page.engine == TASK_ENGINE for one in examples):
        engines += f"; those of {counted(came, 'page')} came with their tasks"
    return f"""---
configs:
- config_name: default
  data_files:
{files}---

# {" ".join(title.split())}

{counted(counts["train"], "page")} to train on and {counts["validation"]} to validate on, {entities} entities.
The words were read by {engines}.
Exported from Label Studio by LayoutLoop. The split goes by document and is the one that its own training uses.

| where | what |
|---|---|
| `train.jsonl`, `validation.jsonl` | one page a line: tokens, boxes (0..1000 grid), class ids, path of the image |
| `labels.json` | names of the class ids, in order |
| `funsd/training_data`, `funsd/testing_data` | FUNSD's layout, in pixels; words of no entity are `{layout.other}` |
| `funsd/*/images` | pages as PNG |

A page on its side, upside down or tilted is turned so that its text is level, in image and boxes.
An entity whose box held no word has an empty list of words in FUNSD's layout, and no tag.

```python
import json
from datasets import load_dataset

pages = load_dataset("path/to/this/folder")
names = json.load(open("path/to/this/folder/labels.json"))
```
"""
