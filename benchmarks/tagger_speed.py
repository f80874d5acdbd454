"""Tagger from Page to Regions against the forward pass alone, on the same batches, in one run.

`python -m benchmarks.tagger_speed [--funsd DIR --sroie DIR --docbank DIR] [--repeats 5] [--threads 0]`. Pages are those
of `forward_speed`. "Forward alone" gets batches that were made beforehand; the Tagger tokenises, makes batches,
runs them and turns logits into regions. Sides take turns; medians. In the end each part is timed alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed_subjects import MODELS, PER_SET, add_page_options, given_pages
from benchmarks.timing import machine, timed
from handler.page import Page, TaggedPage
from handler.tagging.decoding import decode
from handler.tagging.tagger import Tagger, TaggerSettings

COLUMNS = (
    "model",
    "dtype",
    "pages",
    "windows",
    "forward pages/s",
    "Tagger pages/s",
    "Tagger / forward",
    "lowest, highest",
)


def parts(tagger: Tagger, pages: Sequence[Page]) -> str:
    """Return what each part takes where nothing overlaps, in CPU milliseconds a page."""
    encode = timed(lambda: [tagger.encoder.encode(page) for page in pages])
    jobs = [one for each in tagger.prepare(pages) for one in each.batches]
    collated = timed(lambda: [tagger.collate(each) for each in jobs])
    batches = [tagger.collate(each) for each in jobs]
    forward = timed(lambda: [tagger.model.logits(batch) for batch in batches])
    whole = timed(lambda: tagger.tag(pages))
    figures = {"encode": encode, "collate": collated, "forward": forward, "whole": whole}
    return ", ".join(f"{name} {1000 * spent.cpu_s / len(pages):.2f}" for name, spent in figures.items())


def check(tagger: Tagger, pages: Sequence[Page]) -> None:
    """See that the Tagger's regions are those of the logits that the forward pass gives for the same batches."""
    answers = iter(tagger.tag(pages))
    for prepared in tagger.prepare(pages):
        found = [np.full((len(page.words), len(tagger.labels.tags)), np.nan, np.float32) for page in prepared.pages]
        for jobs in prepared.batches:
            for job, logits in zip(jobs, tagger.model.logits(tagger.collate(jobs)), strict=True):
                found[job.page][job.window.words] = logits[job.window.positions]
        for page, logits in zip(prepared.pages, found, strict=True):
            answer = next(answers)
            assert isinstance(answer, TaggedPage)
            assert answer.regions == decode(page, logits, tagger.labels, tagger.prior)


def compare(name: str, tagger: Tagger, pages: Sequence[Page], repeats: int) -> str:
    """Return one row of the table."""
    jobs = [one for each in tagger.prepare(pages) for one in each.batches]
    batches = [tagger.collate(each) for each in jobs]
    windows = sum(map(len, jobs))
    check(tagger, pages)
    sides = (lambda: [tagger.model.logits(batch) for batch in batches], lambda: tagger.tag(pages))
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats):
        for side in (0, 1) if turn % 2 else (1, 0):
            times[side].append(timed(sides[side]).wall_s)
    forward, whole = (statistics.median(side) for side in times)
    ratios = sorted(one / other for one, other in zip(*times, strict=True))
    cells = (name, str(tagger.model.dtype).removeprefix("torch."), len(pages), windows, f"{len(pages) / forward:.2f}")
    spread = f"{ratios[0]:.2f}, {ratios[-1]:.2f}"
    return "| " + " | ".join(map(str, (*cells, f"{len(pages) / whole:.2f}", f"{forward / whole:.2f}", spread))) + " |"


def main() -> None:
    """Print the table and the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_page_options(parser)
    parser.add_argument("--pages", type=int, nargs="+", default=[1, 8, 3 * PER_SET])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice (default)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args()
    pages = list(islice(given_pages(args.funsd, args.sroie, args.docbank), max(args.pages)))
    print(machine())
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    spent = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            MODELS[name](Path(folder))
            tagger = Tagger.load(folder, TaggerSettings(dtype=args.dtype, threads=args.threads))
        tagger.tag(pages[:2])  # what costs time only once
        for count in args.pages:
            print(compare(name, tagger, pages[:count], args.repeats), flush=True)
        spent.append(f"{name}: {parts(tagger, pages)}")
    print(f"\n{torch.get_num_threads()} threads; CPU ms a page:", *spent, sep="\n")


if __name__ == "__main__":
    main()
