"""How much a project learns from how few pages: entity F1 after 5, 10, 20, 40 and 80 annotated invoices.

`python -m benchmarks.learning_curve --pages-folder DIR --out FILE --plot FILE` trains as a job does: the same process,
the same split. An annotated page is any page a person labelled, so those that the split holds out for validation count
among the N. The pages come from 4 layouts, read by a real OCR engine; F1 is measured on pages of these layouts that no
training saw, on all 14 layouts mixed, and on the 10 layouts that no training ever saw. A gold box in which no word was
read counts as missed. Controls are `scratch` (no pre-training) and `lookup` (each word gets the label that its text had
most often on the training pages).

Each result is appended to --out at once, and what stands there is not measured again: an interrupted run goes on.
After a change of the recipe (training/fit/bases.py) give another file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.invoice_pages import DEFAULT_ENGINE, SEEN_LAYOUTS, UNSEEN_LAYOUTS
from benchmarks.learning_plot import draw
from benchmarks.timing import machine
from benchmarks.training_data import invoices, measure, train
from demo.invoices import LABELS, LAYOUTS
from handler.ocr_settings import ENGINES
from handler.page import Page, TaggedPage
from handler.tagging.decoding import WordLabels, regions_of
from handler.tagging.labels import LabelSet
from layoutloop.settings.training import MINILM_BASE, SCRATCH
from training.data.examples import Example
from training.data.split import validation_tasks
from training.fit.plan import Plan
from training.measure.scoring import score

LOOKUP = "lookup"
BASES = (MINILM_BASE, SCRATCH, LOOKUP)
PAGES = (5, 10, 20, 40, 80)
SEEDS = (0, 1, 2)
MOST_PAGES = 80
TESTS: dict[str, tuple[int, int, Sequence[int]]] = {
    "seen": (1_000_000, 20, SEEN_LAYOUTS),
    "mixed": (1_000_100, 28, range(LAYOUTS)),
    "unseen": (1_000_200, 20, UNSEEN_LAYOUTS),
}
"""Name -> first seed, pages and layouts; no training page has such a seed."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is trained: `epochs` instead of the recipe's, or None; `engine` reads the pages."""

    base: str
    pages: int
    seed: int
    epochs: int | None = None
    engine: str = DEFAULT_ENGINE


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Args:
        run: what was trained.
        trained: annotated pages that trained.
        validated: annotated pages that were held out.
        steps: optimizer steps.
        seconds: of the training process.
        f1: entity F1 on each of TESTS.
    """

    run: Run
    trained: int
    validated: int
    steps: int
    seconds: float
    f1: dict[str, float]


def measure_run(run: Run, folder: Path, work: Path) -> Result:
    """Train and measure; `folder` keeps pages as they were read, `work` is where it trains."""
    annotated = _invoices(run.seed * 1000, MOST_PAGES, tuple(SEEN_LAYOUTS), folder, run.engine)[: run.pages]
    split = validation_tasks([example.task for example in annotated])
    training = [example for example in annotated if example.task in split.training]
    validation = [example for example in annotated if example.task in split.validation]
    tests = {
        name: _invoices(first, count, tuple(layouts), folder, run.engine)
        for name, (first, count, layouts) in TESTS.items()
    }
    if run.base == LOOKUP:
        began = time.monotonic()
        table = lookup_table(training)
        f1 = {name: lookup_f1(table, test) for name, test in tests.items()}
        return Result(run, len(training), len(validation), 0, time.monotonic() - began, f1)
    plan = Plan(run.base, LABELS, epochs=run.epochs, seed=run.seed)
    place = work / f"{run.base.replace(':', '-')}-{run.pages}-{run.seed}"
    shutil.rmtree(place, ignore_errors=True)
    trained = train(place, plan, training, validation)
    f1 = {name: measure(trained, plan, test).overall.f1 for name, test in tests.items()}
    shutil.rmtree(place)
    return Result(run, len(training), len(validation), trained.steps, trained.seconds, f1)


@cache
def _invoices(first_seed: int, count: int, layouts: tuple[int, ...], folder: Path, engine: str) -> list[Example]:
    return invoices(first_seed, count, layouts, folder, engine)


def lookup_table(training: Sequence[Example]) -> dict[str, str]:
    """Return word text -> the label that it had most often; words that were mostly outside are left out."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in training:
        labels = {word: entity.label for entity in example.entities for word in entity.words}
        for index, word in enumerate(example.page.words):
            seen[word.text][labels.get(index, "")] += 1
    most = {text: counts.most_common(1)[0][0] for text, counts in seen.items()}
    return {text: label for text, label in most.items() if label}


def lookup_f1(table: dict[str, str], test: Sequence[Example]) -> float:
    """Return entity F1 of a lookup; neighbours in reading order with the same label are one entity."""
    answers = [_looked_up(table, example.page) for example in test]
    return score(test, answers, LABELS).overall.f1


def _looked_up(table: dict[str, str], page: Page) -> TaggedPage:
    labels = LabelSet.from_names(LABELS)
    ids = {tag: index for index, tag in enumerate(labels.tags)}
    names = [table.get(word.text) for word in page.words]
    # I- after another label, or after none, begins an entity all the same (see handler.tagging.decoding).
    tags = np.array([0 if name is None else ids[f"I-{name}"] for name in names], dtype=np.int64)
    return TaggedPage(regions_of(page, WordLabels(tags, np.ones(len(tags), dtype=np.float32)), labels), 1)


def read_results(path: Path) -> list[Result]:
    """Return what was measured before; nothing where there is no file."""
    if not path.exists():
        return []
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    return [Result(**{**body, "run": Run(**body["run"])}) for body in bodies]


def measure_missing(runs: Sequence[Run], out: Path, folder: Path, work: Path) -> None:
    """Measure each run that is not in `out` yet, and append it there."""
    done = {result.run for result in read_results(out)}
    for run in runs:
        if run in done:
            continue
        result = measure_run(run, folder, work)
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        shares = ", ".join(f"{name} {f1:.3f}" for name, f1 in result.f1.items())
        print(
            f"{run.base}, {run.engine}, {run.pages} pages, seed {run.seed}: {shares} ({result.seconds:.0f} s)",
            flush=True,
        )


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a Markdown table: mean over seeds, and the lowest and highest."""
    yield f"| base | engine | pages | trained + held out | seeds | {' | '.join(TESTS)} | steps | s |"
    yield "|---|---|---|---|---|" + "---|" * (len(TESTS) + 2)
    groups: dict[tuple[str, str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result.run.base, result.run.engine, result.run.pages), []).append(result)
    for (base, engine, pages), group in groups.items():
        f1 = [_mean_and_range([result.f1[name] for result in group]) for name in TESTS]
        split = f"{group[0].trained} + {group[0].validated}"
        pace = f"{mean(one.steps for one in group):.0f} | {_seconds([one.seconds for one in group])}"
        yield f"| {base} | {engine} | {pages} | {split} | {len(group)} | {' | '.join(f1)} | {pace} |"


def _mean_and_range(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.2f}-{max(values):.2f})"


def _seconds(values: Sequence[float]) -> str:
    return f"{mean(values):.0f} (at most {max(values):.0f})"


def _place(run: Run, bases: Sequence[str], engines: Sequence[str]) -> tuple[int, int, int, int]:
    return bases.index(run.base), engines.index(run.engine), run.pages, run.seed


def _line(run: Run, engines: Sequence[str]) -> str:
    return run.base if len(engines) == 1 else f"{run.base}, {run.engine}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    """Measure what is missing, print the table, draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages-folder", type=Path, required=True, metavar="DIR", help="keeps pages as they were read")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="results, one JSON object a line")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    parser.add_argument("--base", action="append", help=f"several times for several (default: {', '.join(BASES)})")
    parser.add_argument("--engine", action="append", choices=ENGINES, help=f"likewise (default: {DEFAULT_ENGINE})")
    parser.add_argument("--pages", type=_numbers, default=PAGES, metavar="N,N,...")
    parser.add_argument("--seeds", type=_numbers, default=SEEDS, metavar="N,N,...")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's, for a quick look")
    parser.add_argument("--only-show", action="store_true", help="measure nothing")
    given = parser.parse_args()
    print(machine())
    # Seed by seed, so that an interrupted run has every point once before any twice.
    bases = given.base or BASES
    engines = given.engine or (DEFAULT_ENGINE,)
    runs = [
        Run(base, pages, seed, given.epochs, engine)
        for seed, engine, base, pages in product(given.seeds, engines, bases, given.pages)
    ]
    if not given.only_show:
        with tempfile.TemporaryDirectory() as work:
            measure_missing(runs, given.out, given.pages_folder, Path(work))
    wanted = [result for result in read_results(given.out) if result.run in runs]
    wanted.sort(key=lambda result: _place(result.run, bases, engines))
    print("\n".join(table(wanted)))
    if given.plot:
        given.plot.parent.mkdir(parents=True, exist_ok=True)
        draw([(_line(result.run, engines), result.run.pages, result.f1) for result in wanted], given.plot)


if __name__ == "__main__":
    main()
