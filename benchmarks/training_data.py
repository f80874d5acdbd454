"""What the benchmarks of training share: annotated pages as Examples, and one training as the product does it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from benchmarks.invoice_pages import DEFAULT_ENGINE, read_invoices
from handler.errors import HandlerError
from handler.images import ImageLimits, make_thumbnail, open_page
from handler.page import Box, Page, Size, TaggedPage, Word
from handler.tagging.box_prior import BoxPrior
from handler.tagging.decoding import decode
from handler.tagging.tagger import Tagger, TaggerSettings
from training.data.dataset import assign_words
from training.data.examples import Entity, Example, write_examples
from training.fit.plan import Plan
from training.fit.process import run_training
from training.measure.evaluate import tag_examples
from training.measure.scoring import Scores, score

FUNSD_LABELS = ("header", "question", "answer")
"""FUNSD's fourth kind, `other`, is O, as in every published script."""
FUNSD_TRAINING_PAGES = 119
"""The first by name train; the other 30 test."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One training, finished.

    Args:
        checkpoint: its folder.
        seconds: of the training process, from its start to its end.
        steps: optimizer steps that were taken.
    """

    checkpoint: Path
    seconds: float
    steps: int


def train(folder: Path, plan: Plan, training: Sequence[Example], validation: Sequence[Example]) -> Trained:
    """Train in a new folder exactly as a job does: the same files, the same process.

    Raises:
        TrainingFailed: the process ended without a checkpoint; what it printed says why.
    """
    folder.mkdir(parents=True)
    plan.write(folder)
    write_examples(folder / "training.jsonl", training)
    write_examples(folder / "validation.jsonl", validation)
    began = time.monotonic()
    progress = run_training(folder, 1, lambda _: None)
    return Trained(folder / "checkpoint", time.monotonic() - began, progress.step)


def measure(trained: Trained, plan: Plan, examples: Sequence[Example], dtype: str = "auto") -> Scores:
    """Score a training's checkpoint on pages as a report does."""
    answers = tag_examples(trained.checkpoint, examples, TaggerSettings(dtype=dtype, box_level=plan.box_level))
    return score(examples, answers, plan.labels)


def both_decoders(trained: Trained, plan: Plan, examples: Sequence[Example]) -> tuple[float, float]:
    """Return F1 of a checkpoint's boxes with what was learned about boxes, and of the same logits word by word."""
    tagger = Tagger.load(trained.checkpoint, TaggerSettings(box_level=plan.box_level))
    pages = [example.page for example in examples]
    logits = tagger.word_logits(pages)

    def f1(prior: BoxPrior | None) -> float:
        answers = [
            one if isinstance(one, HandlerError) else TaggedPage(decode(page, one, tagger.labels, prior), 1)
            for page, one in zip(pages, logits, strict=True)
        ]
        return score(examples, answers, plan.labels).overall.f1

    return f1(tagger.prior), f1(None)


def invoices(
    first_seed: int, count: int, layouts: Sequence[int], folder: Path, engine: str = DEFAULT_ENGINE
) -> list[Example]:
    """Return generated invoices as a project's annotated pages; `folder` keeps what the engine read.

    The gold boxes are the generator's. One that no word was read in stays, as an entity without words: it is missed.
    """
    examples = []
    for task, (page, regions) in enumerate(read_invoices(first_seed, count, layouts, folder, engine)):
        holders = assign_words(page.words, [region.box for region in regions])
        entities = (Entity(region.label, region.box, words) for region, words in zip(regions, holders, strict=True))
        examples.append(Example(task, 0, page, tuple(entities)))
    return examples


def funsd(folder: Path, *, image: bool = False) -> list[Example]:
    """Return the FUNSD pages by name, with words and word boxes as annotated; blank words are left out.

    Text lines are rows of words by their height on the page: the annotated groups would tell where entities end.

    Args:
        folder: with `annotations/*.json` and `images/*.png`.
        image: give each page its thumbnail; a damaged image is then named and its page left out.

    Raises:
        FileNotFoundError: no annotations are there.
    """
    paths = sorted((folder / "annotations").glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no annotations/*.json in {folder}; give the folder of FUNSD")
    examples = []
    for task, path in enumerate(paths):
        try:
            size, thumbnail = _size_and_thumbnail(folder / "images" / f"{path.stem}.png", image)
        except HandlerError as error:
            print(f"left out: {path.stem}: {error}", file=sys.stderr)
            continue
        words, entities = _form(json.loads(path.read_text(encoding="utf-8"))["form"])
        examples.append(Example(task, 0, Page(size, "funsd", words, thumbnail), entities))
    return examples


def split_funsd(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return the training pages and the test pages of `funsd`; a page that was left out moves no other."""
    training = [example for example in examples if example.task < FUNSD_TRAINING_PAGES]
    return training, [example for example in examples if example.task >= FUNSD_TRAINING_PAGES]


def _size_and_thumbnail(path: Path, image: bool) -> tuple[Size, bytes | None]:
    if image:
        opened = open_page(path.read_bytes(), ImageLimits())
        return Size(*opened.size), make_thumbnail(opened)
    with Image.open(path) as header:  # the size stands in the header, also of the image that is damaged
        return Size(*header.size), None


def _form(groups: Sequence[dict[str, object]]) -> tuple[tuple[Word, ...], tuple[Entity, ...]]:
    words: list[Word] = []
    entities: list[Entity] = []
    for group in groups:
        first = len(words)
        words += [
            Word(word["text"], Box.from_corners(*word["box"]))
            for word in group["words"]  # type: ignore[attr-defined]
            if word["text"].strip()
        ]
        if group["label"] in FUNSD_LABELS and len(words) > first:
            box = Box.around(word.box for word in words[first:])
            entities.append(Entity(str(group["label"]), box, tuple(range(first, len(words)))))
    return tuple(_in_rows(words)), tuple(entities)


def _in_rows(words: Sequence[Word]) -> list[Word]:
    """Return the words, in order, with the number of their row: a word whose middle is below a row begins the next."""
    numbers, row, bottom = dict[int, int](), 0, -1.0
    for index in sorted(range(len(words)), key=lambda one: words[one].box.top + words[one].box.bottom):
        box = words[index].box
        if (box.top + box.bottom) / 2 > bottom:
            row, bottom = row + 1, box.bottom
        numbers[index] = row
    return [replace(word, line=numbers[index]) for index, word in enumerate(words)]
