"""Labels with names that mean something elsewhere come through everything that a training and a prediction do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from handler.page import Box, Page, Region, Size, TaggedPage, Word
from handler.tagging.labels import LabelSet
from handler.wire import tagged_page_from_json, tagged_page_to_json
from layoutloop.store.manifest import VersionCard
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from layoutloop.studio.results import Rendering, regions_to_results
from training.data.annotations import labelled_boxes, select_pages
from training.data.dataset import build_examples
from training.data.examples import read_examples, write_examples
from training.data.formats import DatasetFolder, tagged_row
from training.measure.scoring import score

NAMES = (
    *("other", "O", "B-x", "x", "I-", "7", "0.5", "None", "all labels", "LABEL_0"),
    *("🧾", "a, b", '<b>"&', "Größe", "金額"),
)
PAGE = Page(
    Size(1000, 1000),
    "given",
    tuple(Word(f"w{index}", Box(100, 50 * index, 200, 50 * index + 40), 1.0, index) for index in range(len(NAMES) + 1)),
)
REGIONS = tuple(Region(name, PAGE.words[index].box, 0.9, f"w{index}", (index,)) for index, name in enumerate(NAMES))
LABELS = LabelSet.from_names(NAMES)


def config(kind: str) -> LabelConfig:
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in NAMES)
    controls = {
        "rectanglelabels": f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>',
        "ocr": f'<Labels name="label" toName="image">{labels}</Labels><Rectangle name="bbox" toName="image"/>',
    }
    return parse_label_config(f'<View><Image name="image" value="$image"/>{controls[kind]}</View>')


def accepted(served: LabelConfig) -> dict[str, Any]:
    """A task whose annotation is the prediction that was drawn, as an export has it."""
    results = regions_to_results(REGIONS, PAGE.size, Rendering(served, "v"))
    annotation = {"id": 1, "result": json.loads(json.dumps(results.items)), "was_cancelled": False}
    return {"id": 7, "data": {"image": "a.png"}, "annotations": [annotation]}


@pytest.mark.parametrize("kind", ["rectanglelabels", "ocr"])
def test_drawn_annotated_taught_and_found_again(kind: str, tmp_path: Path) -> None:
    served = config(kind)
    assert served.labels == NAMES
    selection = select_pages([accepted(served)], served)
    assert [box.label for box in labelled_boxes(selection.pages[0], served, PAGE.size, selection.left_out)] == [*NAMES]
    dataset = build_examples(selection, served, lambda _: PAGE, lambda _done, _total: None)
    assert not dataset.left_out.counts()
    write_examples(tmp_path / "training.jsonl", dataset.examples)
    (example,) = read_examples(tmp_path / "training.jsonl")
    assert [(entity.label, entity.words) for entity in example.entities] == [
        (name, (index,)) for index, name in enumerate(NAMES)
    ]
    found = score([example], [TaggedPage(REGIONS, 1)], NAMES)
    assert [(row.label, row.f1, row.support) for row in found.labels] == [(name, 1.0, 1) for name in NAMES]
    assert found.overall.f1 == 1.0


def test_the_classes_of_a_checkpoint() -> None:
    stored = json.loads(json.dumps({str(index): tag for index, tag in enumerate(LABELS.tags)}))
    again = LabelSet.from_id2label({int(index): tag for index, tag in stored.items()})
    assert again == LABELS
    assert [again.names[index] for index in again.name_ids() if index >= 0] == [name for name in NAMES for _ in "BI"]


def test_the_wire_and_the_card() -> None:
    tagged = TaggedPage(REGIONS, 1)
    body = json.loads(json.dumps(tagged_page_to_json(tagged, "v")))
    assert tagged_page_from_json(body, PAGE)[0].regions == tuple(REGIONS)
    card = VersionCard("project-7", "v", labels=NAMES)
    assert json.loads(json.dumps(card.to_json()))["labels"] == [*NAMES]


def test_every_export_tells_them_apart(tmp_path: Path) -> None:
    served = config("ocr")
    dataset = build_examples(select_pages([accepted(served)], served), served, lambda _: PAGE, lambda *_: None)
    layout = DatasetFolder(tmp_path, LABELS, frozenset())
    layout.write("Names", dataset.examples)
    form = json.loads((tmp_path / "funsd/training_data/annotations/task-7-page-0.json").read_text())["form"]
    assert [one["label"] for one in form] == [*NAMES, "other (no label)"]
    names = json.loads((tmp_path / "labels.json").read_text())
    row = json.loads((tmp_path / "train.jsonl").read_text())
    assert [names[tag] for tag in row["ner_tags"]] == [*(f"B-{name}" for name in NAMES), "O"]
    assert row == tagged_row(dataset.examples[0], LABELS, row["image_path"])
