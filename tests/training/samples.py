"""Small annotated pages that a tiny model learns in seconds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from handler.page import Box, Page, Size, Word
from training.data.examples import Entity, Example, write_examples
from training.fit.plan import Plan

LABELS = ("total", "date")
_FILLER = ("invoice", "to", "the", "and", "page", "street", "thank", "you")


def make_example(task: int, labels: Sequence[str] = LABELS) -> Example:
    """A page with a total at the bottom and a date at the top, among other words."""
    rng = random.Random(task)
    words = [Word(rng.choice(_FILLER), Box(40 + 60 * i, 100, 90 + 60 * i, 115), line=1) for i in range(6)]
    date = Word(f"2026-{rng.randint(10, 12)}-{rng.randint(10, 28)}", Box(300, 20, 390, 35), line=0)
    amount = [Word("EUR", Box(300, 300, 340, 315), line=2), Word(f"{rng.randint(1, 99)}.50", Box(345, 300, 390, 315))]
    entities = (
        Entity(labels[0], Box(298, 298, 392, 317), (7, 8)),
        Entity(labels[1], Box(298, 18, 392, 37), (0,)),
    )
    return Example(task, 0, Page(Size(420, 340), "test", (date, *words, *amount)), entities)


def make_folder(folder: Path, *, training: int = 6, validation: int = 0, **plan: object) -> Path:
    """A folder that `training.fit.train` can work in."""
    folder.mkdir(parents=True, exist_ok=True)
    write_examples(folder / "training.jsonl", [make_example(task) for task in range(training)])
    write_examples(folder / "validation.jsonl", [make_example(1000 + task) for task in range(validation)])
    chosen = {"base": "scratch", "labels": LABELS, "epochs": 2, **plan}
    Plan(**chosen).write(folder)  # type: ignore[arg-type]
    return folder
