from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from handler.page import Box, Page, Size, Word
from handler.tagging.labels import LabelSet
from handler.turn import words_of_picture
from training.data.examples import Entity, Example
from training.data.formats import DatasetFolder, funsd_form, tagged_row

LABELS = LabelSet.from_names(["Total", "Date"])
WORDS = tuple(
    Word(text, Box(left, top, left + 40, top + 9.6), 0.9, line)
    for text, left, top, line in (("Paid", 10, 10, 0), ("on", 60, 10, 0), ("May", 110, 10, 0), ("5", 160, 10, 0),
                                  ("EUR", 10, 50, 1), ("12.50", 60, 50, 1))
)  # fmt: skip
EXAMPLE = Example(
    7,
    1,
    Page(Size(200, 100), "pytesseract-5.3.0-eng-psm3", WORDS),
    (Entity("Date", Box(109, 9, 201.4, 21), (2, 3)), Entity("Total", Box(0, 80, 50, 95), ())),
)


def entry(number: int, label: str, box: list[int], *words: tuple[str, list[int]]) -> dict[str, Any]:
    text = " ".join(word for word, _ in words)
    listed = [{"text": word, "box": place} for word, place in words]
    return {"id": number, "label": label, "box": box, "text": text, "words": listed, "linking": []}


def test_a_page_in_funsds_layout() -> None:
    assert funsd_form(EXAMPLE) == {
        "form": [
            entry(0, "Date", [109, 9, 201, 21], ("May", [110, 10, 150, 20]), ("5", [160, 10, 200, 20])),
            entry(1, "Total", [0, 80, 50, 95]),
            entry(2, "other", [10, 10, 100, 20], ("Paid", [10, 10, 50, 20]), ("on", [60, 10, 100, 20])),
            entry(3, "other", [10, 50, 100, 60], ("EUR", [10, 50, 50, 60]), ("12.50", [60, 50, 100, 60])),
        ]
    }


def test_other_words_are_parted_by_an_entity_and_by_lines() -> None:
    example = Example(7, 0, EXAMPLE.page, (Entity("Date", Box(60, 10, 100, 20), (1,)),))
    found = [(one["label"], one["text"]) for one in funsd_form(example)["form"]]
    assert found == [("Date", "on"), ("other", "Paid"), ("other", "May 5"), ("other", "EUR 12.50")]


def test_text_of_an_entity_is_joined_as_its_script_is_written() -> None:
    words = tuple(Word(text, Box(10 * at, 0, 10 * at + 10, 10)) for at, text in enumerate("发票号码"))
    example = Example(7, 0, Page(Size(200, 100), "", words), (Entity("Number", Box(0, 0, 20, 10), (0, 1)),))
    assert [one["text"] for one in funsd_form(example)["form"]] == ["发票", "号码"]


@pytest.mark.parametrize(
    ("labels", "other"),
    [
        pytest.param(["Total", "Date"], "other", id="FUNSD's own"),
        pytest.param(["other", "Date"], "other (no label)", id="a label called so"),
        pytest.param(["OTHER", "Date"], "other (no label)", id="in other letters"),
        pytest.param(["other", "other (no label)"], "other (no label) (no label)", id="and the next one too"),
    ],
)
def test_words_of_no_entity_are_never_a_label_of_the_project(tmp_path: Path, labels: list[str], other: str) -> None:
    example = Example(7, 0, EXAMPLE.page, tuple(Entity(name, Box(9, 9, 50, 20), ()) for name in labels))
    layout = DatasetFolder(tmp_path, LabelSet.from_names(labels), frozenset())
    layout.write("x", [example])
    form = json.loads((tmp_path / "funsd" / "training_data" / "annotations" / "task-7-page-0.json").read_text())["form"]
    assert [one["label"] for one in form] == [*labels, other, other]
    assert f"words of no entity are `{other}` |" in (tmp_path / "README.md").read_text()


def test_a_page_as_a_row() -> None:
    assert tagged_row(EXAMPLE, LABELS, "a.png") == {
        "id": "task-7-page-1",
        "tokens": ["Paid", "on", "May", "5", "EUR", "12.50"],
        "bboxes": [[50, 100, 250, 196], [300, 100, 500, 196], [550, 100, 750, 196], [800, 100, 1000, 196],
                   [50, 500, 250, 596], [300, 500, 500, 596]],
        "ner_tags": [0, 0, 3, 4, 0, 0],
        "image_path": "a.png",
        "width": 200,
        "height": 100,
    }  # fmt: skip


def test_a_page_without_words() -> None:
    empty = Example(8, 0, Page(Size(10, 10), "e", ()), ())
    assert tagged_row(empty, LABELS, "a.png")["bboxes"] == []
    assert funsd_form(empty) == {"form": []}


def test_a_folder_of_both_layouts(tmp_path: Path) -> None:
    other = Example(9, 0, EXAMPLE.page, ())
    layout = DatasetFolder(tmp_path, LABELS, frozenset({9}))
    layout.write("Invoices\n2026", [EXAMPLE, other])
    assert layout.image_path(7, 1) == "funsd/training_data/images/task-7-page-1.png"
    texts = {split: (tmp_path / f"{split}.jsonl").read_text() for split in ("train", "validation")}
    rows = {split: [json.loads(line) for line in text.split("\n") if line] for split, text in texts.items()}
    assert rows == {
        "train": [tagged_row(EXAMPLE, LABELS, "funsd/training_data/images/task-7-page-1.png")],
        "validation": [tagged_row(other, LABELS, "funsd/testing_data/images/task-9-page-0.png")],
    }
    assert json.loads((tmp_path / "labels.json").read_text()) == ["O", "B-Total", "I-Total", "B-Date", "I-Date"]
    forms = sorted((tmp_path / "funsd").glob("*/annotations/*.json"))
    assert [str(path.relative_to(tmp_path / "funsd")) for path in forms] == [
        "testing_data/annotations/task-9-page-0.json",
        "training_data/annotations/task-7-page-1.json",
    ]
    assert json.loads(forms[1].read_text()) == funsd_form(EXAMPLE)
    card = (tmp_path / "README.md").read_text()
    assert "# Invoices 2026\n" in card
    assert "  - split: train\n    path: train.jsonl\n  - split: validation\n    path: validation.jsonl\n---" in card


def test_a_split_without_pages_is_not_offered(tmp_path: Path) -> None:
    DatasetFolder(tmp_path, LABELS, frozenset()).write("x", [EXAMPLE])
    assert (tmp_path / "validation.jsonl").read_text() == ""
    assert "path: validation.jsonl" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_is_written_as_its_text_runs(tmp_path: Path, turn: float) -> None:
    size = EXAMPLE.page.size
    picture = Size(size.height, size.width) if turn in (90, 270) else size
    entities = tuple(Entity(one.label, Box(60, 10, 100, 21), one.words) for one in EXAMPLE.entities)
    drawn = words_of_picture([Word("", entity.box) for entity in entities], size, turn, picture)
    words = tuple(Word(word.text, Box(*map(round, astuple(word.box))), 0.9, word.line) for word in WORDS)
    upright = Example(7, 1, Page(size, "given", words), entities)
    turned = Example(
        7,
        1,
        Page(picture, "given", words_of_picture(words, size, turn, picture), turn=turn),
        tuple(replace(entity, box=word.box) for entity, word in zip(entities, drawn, strict=True)),
    )
    DatasetFolder(tmp_path, LABELS, frozenset()).write("x", [turned])
    row = json.loads((tmp_path / "train.jsonl").read_text())
    assert row == tagged_row(upright, LABELS, row["image_path"])
    form = json.loads((tmp_path / "funsd/training_data/annotations/task-7-page-1.json").read_text())
    assert form == funsd_form(upright)
