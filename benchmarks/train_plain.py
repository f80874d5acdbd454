"""Fine-tune a graft on synthetic invoices with a bare torch loop: the yardstick for the real trainer.

`python -m benchmarks.train_plain --pages 60 --ocr --out DIR` saves a checkpoint and prints entity F1 on unseen pages.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LayoutLMv3ForTokenClassification, PreTrainedTokenizerFast

from benchmarks.timing import machine
from demo.invoices import LABELS, LAYOUTS, GoldRegion, Invoice, make_invoice
from handler.page import Box, Size
from training.fit.graft import SPATIAL, graft, minilm_folder

NAMES = ["O"] + [f"{prefix}-{label}" for label in LABELS for prefix in "BI"]
MAX_TOKENS = 512
IGNORED = -100
UNSEEN_SEED = 1_000_000  # test pages never share a seed with training pages


@dataclass(frozen=True, slots=True)
class Example:
    """One page as the model sees it: words in reading order, boxes on the 0..1000 grid, ids of NAMES per word."""

    words: tuple[str, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    tags: tuple[int, ...]


def read_ocr(invoice: Invoice) -> list[tuple[str, Box]]:
    """Read a page with Tesseract (psm 3, English): words with boxes in pixels, in its reading order."""
    import pytesseract

    os.environ["OMP_THREAD_LIMIT"] = "1"
    found = pytesseract.image_to_data(invoice.image, output_type=pytesseract.Output.DICT)
    rows = zip(*(found[key] for key in ("text", "left", "top", "width", "height")), strict=True)
    return [(text.strip(), Box(x, y, x + w, y + h)) for text, x, y, w, h in rows if text.strip()]


def covered(word: Box, region: Box) -> float:
    """Return which share of the word's area lies in the region, 0 to 1; a word without area is never covered."""
    width = min(word.right, region.right) - max(word.left, region.left)
    height = min(word.bottom, region.bottom) - max(word.top, region.top)
    area = (word.right - word.left) * (word.bottom - word.top)
    return max(width, 0.0) * max(height, 0.0) / area if area else 0.0


def tag_words(boxes: Sequence[Box], regions: Sequence[GoldRegion]) -> list[int]:
    """Give each word to the smallest region covering more than half of it; B- for a region's first word, then I-."""
    by_size = sorted(regions, key=lambda r: (r.box.right - r.box.left) * (r.box.bottom - r.box.top))
    tags, begun = [], set()
    for box in boxes:
        owner = next((region for region in by_size if covered(box, region.box) > 0.5), None)
        tags.append(NAMES.index(f"{'I' if owner in begun else 'B'}-{owner.label}") if owner else 0)
        begun.add(owner)
    return tags


def to_grid(box: Box, page: Size) -> tuple[int, int, int, int]:
    """Convert pixels to the model's 0..1000 integer grid, clipped to the page."""
    lengths = (page.width, page.height, page.width, page.height)
    edges = zip((box.left, box.top, box.right, box.bottom), lengths, strict=True)
    x0, y0, x1, y1 = (min(max(int(1000 * edge / length), 0), 1000) for edge, length in edges)
    return x0, y0, x1, y1


def make_example(seed: int, layout: int, ocr: bool) -> Example:
    """Draw one page and turn it into an example, with Tesseract's words or with the drawn ones."""
    invoice = make_invoice(seed, layout)
    read = read_ocr(invoice) if ocr else [(word.text, word.box) for word in invoice.words]
    boxes = [box for _, box in read]
    grid = tuple(to_grid(box, Size(*invoice.image.size)) for box in boxes)
    return Example(tuple(text for text, _ in read), grid, tuple(tag_words(boxes, invoice.regions)))


def make_examples(first_seed: int, count: int, layouts: Sequence[int], ocr: bool, processes: int) -> list[Example]:
    """Make `count` examples, layouts taken in turn, on several processes."""
    with ProcessPoolExecutor(processes) as pool:
        seeds = range(first_seed, first_seed + count)
        chosen = [layouts[index % len(layouts)] for index in range(count)]
        return list(pool.map(make_example, seeds, chosen, [ocr] * count))


def encode(example: Example, tokenizer: PreTrainedTokenizerFast) -> dict[str, list[Any]]:
    """Cut the words into WordPieces, at most 512 with [CLS] and [SEP]; the tag stands on the first piece of a word."""
    encoding = tokenizer.backend_tokenizer.encode(list(example.words), is_pretokenized=True)
    ids, owners = encoding.ids, encoding.word_ids
    if len(ids) > MAX_TOKENS:  # keep the closing [SEP]
        ids, owners = [*ids[: MAX_TOKENS - 1], ids[-1]], [*owners[: MAX_TOKENS - 1], None]
    labels, boxes, before = [], [], None
    for owner in owners:
        boxes.append((0, 0, 0, 0) if owner is None else example.boxes[owner])
        labels.append(IGNORED if owner is None or owner == before else example.tags[owner])
        before = owner
    return {"input_ids": ids, "bbox": boxes, "labels": labels}


def collate(rows: Sequence[dict[str, list[Any]]], pad: int) -> dict[str, torch.Tensor]:
    """Pad to a multiple of 32, so that oneDNN meets few shapes: all (pages, tokens), the boxes (pages, tokens, 4)."""
    longest = min(math.ceil(max(len(row["input_ids"]) for row in rows) / 32) * 32, MAX_TOKENS)
    gaps = [longest - len(row["input_ids"]) for row in rows]
    paired = list(zip(rows, gaps, strict=True))
    return {
        "input_ids": torch.tensor([row["input_ids"] + [pad] * gap for row, gap in paired]),
        "attention_mask": torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
        "bbox": torch.tensor([row["bbox"] + [(0, 0, 0, 0)] * gap for row, gap in paired]),
        "labels": torch.tensor([row["labels"] + [IGNORED] * gap for row, gap in paired]),
    }


def smooth_boxes(model: LayoutLMv3ForTokenClassification) -> None:
    """Replace the random box embeddings by waves, so that near places look alike from the first step on.

    Half a cycle to 64 cycles over the 1024 rows (Vaswani et al. 2017, section 3.5), half as strong as the words.
    """
    embeddings = model.layoutlmv3.embeddings
    strength = embeddings.word_embeddings.weight.std().item() * 0.5 * math.sqrt(2)
    for name in SPATIAL:
        table = getattr(embeddings, name).weight
        rows, width = table.shape
        cycles = torch.logspace(-1, 6, width // 2, base=2)
        angles = torch.arange(rows)[:, None] / rows * cycles * 2 * math.pi
        with torch.no_grad():
            table.copy_(torch.cat([angles.sin(), angles.cos()], dim=1) * strength)


def groups(model: LayoutLMv3ForTokenClassification, rate: float, fresh_factor: float = 5) -> list[dict[str, Any]]:
    """Split the parameters: the copied ones learn at `rate`, box embeddings and head at `fresh_factor` times that."""
    fresh, copied = [], []
    for name, parameter in model.named_parameters():
        new = name.startswith("classifier") or any(part in name for part in SPATIAL)
        (fresh if new else copied).append(parameter)
    return [{"params": copied, "peak": rate}, {"params": fresh, "peak": rate * fresh_factor}]


def jitter(boxes: torch.Tensor, shift: float = 20, scale: float = 0.03) -> torch.Tensor:
    """Move and stretch each page a little, as another scan would: few pages then teach all rows of the box embeddings.

    Boxes are (pages, tokens, 4) on the 0..1000 grid; `shift` (grid units) and `scale` (a share) are the most
    per page and axis. All-zero boxes ([CLS], [SEP], padding) stay.
    """
    pages = boxes.shape[0]
    factor = 1 + (torch.rand(pages, 1, 2) * 2 - 1) * scale
    offset = (torch.rand(pages, 1, 2) * 2 - 1) * shift
    moved = (boxes * factor.repeat(1, 1, 2) + offset.repeat(1, 1, 2)).clamp(0, 1000).long()
    return torch.where(boxes.any(-1, keepdim=True), moved, boxes)


def one_cycle(spent: float, warm_up: float = 0.1) -> float:
    """Return the share of the peak rate, 0 to 1: linear up to `warm_up`, then down a half cosine; `spent` is 0 to 1."""
    if spent < warm_up:
        return 0.04 + 0.96 * spent / warm_up
    return 0.5 * (1 + math.cos(math.pi * (spent - warm_up) / (1 - warm_up)))


def train(
    model: LayoutLMv3ForTokenClassification,
    rows: list[dict[str, list[Any]]],
    *,
    steps: int,
    limit_s: float,
    pad: int = 0,
) -> int:
    """Train for at most `steps` steps or `limit_s` seconds; return the steps done.

    AdamW, clipping 1, bfloat16; one cycle over steps or time, whichever is further on: a slow machine also ends low.
    """
    optimizer, batch = torch.optim.AdamW(groups(model, 2e-4), fused=True), 4
    per_epoch, order = math.ceil(len(rows) / batch), list(range(len(rows)))
    started, losses = time.monotonic(), []
    model.train()
    for name, module in model.named_modules():
        if name.endswith("attention.self.dropout"):
            module.p = 0.0  # its random numbers alone take a quarter of the time on CPU
    for step in range(steps):
        if step % per_epoch == 0:
            random.shuffle(order)
        spent = max(step / steps, (time.monotonic() - started) / limit_s)
        if spent >= 1:
            return step
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * one_cycle(spent)
        at = step % per_epoch * batch
        inputs = collate([rows[index] for index in order[at : at + batch]], pad)
        inputs["bbox"] = jitter(inputs["bbox"])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{steps}: loss {sum(losses[-50:]) / 50:.4f}, {time.monotonic() - started:.0f} s")
    return steps


def entities(tags: Sequence[int]) -> set[tuple[str, int, int]]:
    """Return (label, first word, last word) of each entity; I- after anything but its own label begins a new one."""
    found: list[tuple[str, int, int]] = []
    for index, tag in enumerate(tags):
        prefix, _, label = NAMES[tag].partition("-")
        if prefix == "O":
            continue
        if prefix == "I" and found and found[-1][0] == label and found[-1][2] == index - 1:
            found[-1] = (label, found[-1][1], index)
        else:
            found.append((label, index, index))
    return set(found)


@torch.inference_mode()
def predict(model: LayoutLMv3ForTokenClassification, tokenizer: PreTrainedTokenizerFast, example: Example) -> list[int]:
    """Return one id of NAMES per word; words beyond 512 tokens get O."""
    model.train(False)
    row = encode(example, tokenizer)
    best = model(**collate([row], 0)).logits[0].argmax(-1).tolist()
    tags = [tag for tag, label in zip(best, row["labels"], strict=False) if label != IGNORED]
    return tags + [0] * (len(example.words) - len(tags))


def report(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
    """Print exact entity F1 per label and return it over all; pairs are (gold tags, predicted tags) per page."""
    total = 0.0
    for name in (*LABELS, "all"):
        gold, predicted = (
            {
                (page, *found)
                for page, pair in enumerate(pairs)
                for found in entities(pair[side])
                if name in (found[0], "all")
            }
            for side in (0, 1)
        )
        hits = len(gold & predicted)
        total = 2 * hits / max(len(gold) + len(predicted), 1)
        print(f"{name:15} F1 {total:.3f}  ({hits} right, {len(gold)} in gold, {len(predicted)} predicted)")
    return total


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_plain", description=__doc__)
    parser.add_argument("--pages", type=int, default=60, help="pages to learn from")
    parser.add_argument("--test-pages", type=int, default=28, help="unseen pages to measure on")
    parser.add_argument("--layouts", help="comma-separated layout numbers; all by default")
    parser.add_argument("--ocr", action="store_true", help="read words with Tesseract instead of taking the drawn ones")
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--limit-s", type=float, default=300, help="seconds of training at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, and processes for drawing and OCR")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    return parser.parse_args()


def main() -> None:
    """Draw, train, measure, save."""
    arguments = parse()
    layouts = [int(part) for part in arguments.layouts.split(",")] if arguments.layouts else list(range(LAYOUTS))
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    print(machine())
    started = time.monotonic()
    learned, unseen = (
        make_examples(arguments.seed + first, count, layouts, arguments.ocr, arguments.threads)
        for first, count in ((0, arguments.pages), (UNSEEN_SEED, arguments.test_pages))
    )
    print(f"{len(learned)} + {len(unseen)} pages in {time.monotonic() - started:.0f} s", flush=True)
    model, tokenizer = graft(minilm_folder(), LABELS)
    smooth_boxes(model)
    rows = [encode(example, tokenizer) for example in learned]
    print(f"tokens per page: at most {max(len(row['input_ids']) for row in rows)}", flush=True)
    started = time.monotonic()
    steps = arguments.epochs * math.ceil(len(rows) / 4)
    done = train(model, rows, steps=steps, limit_s=arguments.limit_s, pad=tokenizer.pad_token_id or 0)
    print(f"{done} steps in {time.monotonic() - started:.0f} s")
    report([(example.tags, predict(model, tokenizer, example)) for example in unseen])
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    print(f"saved in {arguments.out}")


if __name__ == "__main__":
    main()
