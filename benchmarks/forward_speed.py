"""The model alone: our forward pass against Hugging Face's eager one, on the same windows, in one run.

`python -m benchmarks.forward_speed [--funsd DIR --sroie DIR --docbank DIR] [--pages 1 8 32] [--repeats 3]`.
Pages are generated invoices, or the first 32 by name of each given set, taken in turn, with their words as annotated.
Both sides get batches of 8 windows made beforehand: ours sorted by length, Hugging Face's as they come, padded to 512
(as the well-known notebook does) and padded to the longest of the batch. Sides take turns; medians, and the lowest and
highest ratio of a turn. On a machine that others use too, set OMP_WAIT_POLICY=PASSIVE, or a thread that waits burns the
time of one that works.

With `--device cuda` each of `--batches 1 8 64` is one batch that already lies on the GPU, of so many windows as they
come; --pages is not used then. `benchmarks/forward_gpu.py` says what is printed there.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import torch

from benchmarks.forward_gpu import on_the_gpu
from benchmarks.forward_sides import BATCHES, COLUMNS, DTYPES, check, measure, rows_of, sides_of
from benchmarks.speed_subjects import MODELS, add_page_options, given_pages, jobs_of
from benchmarks.timing import machine
from handler.tagging.layoutlm import load


def on_the_cpu(args: argparse.Namespace) -> None:
    """Print the table and how far the answers are apart."""
    pages = list(islice(given_pages(args.funsd, args.sroie, args.docbank), max(args.pages)))
    print(f"{machine()}; {torch.backends.cpu.get_cpu_capability()}")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    checks = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            MODELS[name](Path(folder))
            models = {dtype: load(folder, "cpu", dtype) for dtype in args.dtypes}
        sides, loaded = sides_of(models), models["float32"]
        measure(sides, jobs_of(loaded, pages[:1])[:1], 1)  # what costs time only once
        for count in args.pages:
            jobs = jobs_of(loaded, pages[:count])
            spent, answers = measure(sides, jobs, args.repeats)
            print("\n".join(rows_of(sides, spent, len(jobs), (name, count, len(jobs)), count)), flush=True)
            checks.append(f"{name}, {count} pages: {check(sides, answers)}")
    print("\nLargest difference of a logit from eager float32 (goal in float32: 1e-4):", *checks, sep="\n")


def main() -> None:
    """Measure on one device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_page_options(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pages", type=int, nargs="+", default=[1, 8, 32], help="on the CPU")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="windows, on the GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice (default)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    args = parser.parse_args()
    if min(*args.pages, *args.batches, args.repeats) < 1 or "float32" not in args.dtypes:
        parser.error("--pages, --batches and --repeats are at least 1; float32 is what all else is compared with")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} finds no GPU here; install a torch built with CUDA")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device == "cuda":
        on_the_gpu(args)
    else:
        on_the_cpu(args)


if __name__ == "__main__":
    main()
