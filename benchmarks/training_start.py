"""What both sides of `training_speed.py` start from: pages, a checkpoint without dropout, and each page as tokens."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoTokenizer,
    LayoutLMv3Config,
    LayoutLMv3ForTokenClassification,
    LayoutLMv3ImageProcessorPil,
    set_seed,
)

from benchmarks.invoice_pages import SEEN_LAYOUTS
from benchmarks.plain_training import MAX_TOKENS, labels_of
from benchmarks.speed_subjects import drawn_page, make_graft
from benchmarks.speed_subjects import make_base as make_base_size
from demo.invoices import LABELS, make_invoice
from handler.geometry import boxes_to_grid
from training.data.dataset import assign_words
from training.data.examples import Entity, Example
from training.fit.bases import make_base
from training.fit.windows import IGNORED, Windows


def drawn_invoices(count: int) -> list[Example]:
    """Return generated invoices of four layouts in turn with their words as drawn: no OCR."""
    examples = []
    for task in range(count):
        invoice = make_invoice(task, SEEN_LAYOUTS[task % len(SEEN_LAYOUTS)])
        page = drawn_page(invoice)
        holders = assign_words(page.words, [region.box for region in invoice.regions])
        entities = (Entity(one.label, one.box, held) for one, held in zip(invoice.regions, holders, strict=True))
        examples.append(Example(task, 0, page, tuple(entities)))
    return examples


def make_base_sized(folder: Path) -> None:
    """Save a random LayoutLMv3 of base size that looks at the image, with a head for an invoice's labels."""
    make_base_size(folder)
    base = make_base(str(folder), LABELS)
    base.model.save_pretrained(folder)


MODELS = {"graft": partial(make_graft, labels=LABELS), "base": make_base_sized}


def make_start(model: str, folder: Path) -> None:
    """Save the checkpoint from which both sides start; it has no dropout."""
    set_seed(0)
    MODELS[model](folder)
    config = LayoutLMv3Config.from_pretrained(folder)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    LayoutLMv3ForTokenClassification.from_pretrained(folder, config=config).save_pretrained(folder)


def plain_rows(folder: Path, examples: Sequence[Example]) -> list[dict[str, Tensor]]:
    """Return pages as a plain script encodes them for any fast tokenizer: 512 tokens each, what is longer is cut off.

    As Hugging Face's example for token classification does it (`is_split_into_words`, `word_ids`), with boxes beside.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    labels = labels_of(folder)
    eye: Any = None
    if LayoutLMv3Config.from_pretrained(folder).visual_embed:
        eye = LayoutLMv3ImageProcessorPil(apply_ocr=False)
    rows = []
    for example in examples:
        encoded = tokenizer(
            [word.text for word in example.page.words],
            is_split_into_words=True,
            truncation=True,
            padding="max_length",
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        row = {name: encoded[name][0] for name in ("input_ids", "attention_mask")}
        row |= _boxes_and_labels(example, encoded.word_ids(), example.tags(labels).tolist())
        if eye is not None:
            image = Image.open(io.BytesIO(example.page.thumbnail or b"")).convert("RGB")
            row["pixel_values"] = eye(image, return_tensors="pt")["pixel_values"][0]
        rows.append(row)
    return rows


def _boxes_and_labels(example: Example, words: Sequence[int | None], tags: Sequence[int]) -> dict[str, Tensor]:
    grid = boxes_to_grid([word.box for word in example.page.words], example.page.size).tolist()
    boxes = [[0, 0, 0, 0] if word is None else grid[word] for word in words]
    before = [None, *words[:-1]]
    labels = [IGNORED if word is None or word == last else tags[word] for word, last in zip(words, before, strict=True)]
    return {"bbox": torch.tensor(boxes), "labels": torch.tensor(labels)}


def check_alike(windows: Windows, rows: Sequence[dict[str, Tensor]]) -> None:
    """See that both sides learn from the same tokens.

    Raises:
        ValueError: a page has several windows, or is encoded otherwise on one side.
    """
    if len(windows) != len(rows):
        raise ValueError(f"{len(rows)} pages have {len(windows)} windows; only pages of one window compare")
    for number, row in enumerate(rows):
        ours, used = windows[number], int(row["attention_mask"].sum())
        pairs = ((ours.window.input_ids, "input_ids"), (ours.window.boxes, "bbox"), (ours.labels, "labels"))
        for array, name in pairs:
            if not np.array_equal(array, row[name][:used].numpy()):
                raise ValueError(f"page {number}: {name} differ between the sides")
