"""What a base, a rate or a number of steps is worth on few real receipts: `python -m benchmarks.few_pages`.

`--data DIR --test DIR --work DIR --out FILE --base graft:minilm --base graft:FOLDER --pages 10,80` trains every side on
the same draws of the receipts of --data, words given, a box a line (`benchmarks.sroie`), and tests on the pages of
--test, of which none trains or chooses. Without --test the last 20 of each draw are tested: to tune on.
Each result is appended to --out at once, and what stands there is not measured again: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import mean

from benchmarks.sroie import FIELDS, GIVEN, read_examples
from benchmarks.timing import machine
from benchmarks.training_data import measure, train
from layoutloop.settings.training import MINILM_BASE
from training.data.examples import Example
from training.fit.plan import Plan
from training.measure.scoring import Found

HELD_OUT = 20
"""Pages of a draw that are tested where there is no --test."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    Args:
        base: what it starts from.
        pages: annotated receipts.
        draw: which ones, and the seed of the training.
        learning_rate: instead of the recipe's, or None.
        epochs: likewise.
        test: the folder that is tested; None for the last of the draw.
    """

    base: str
    pages: int
    draw: int
    learning_rate: float | None
    epochs: int | None
    test: str | None

    @property
    def side(self) -> str:
        """What is compared."""
        rate = "" if self.learning_rate is None else f", rate {self.learning_rate:g}"
        return f"{Path(self.base).name}{rate}" + ("" if self.epochs is None else f", {self.epochs} epochs")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run: exact F1, what became of the marked boxes, steps and seconds of its process."""

    run: Run
    f1: float
    right: int
    other_box: int
    missed: int
    steps: int
    seconds: float


def measure_run(run: Run, drawn: Sequence[Example], tested: Sequence[Example], work: Path) -> Result:
    """Train and measure one."""
    plan = Plan(run.base, FIELDS, "lines", learning_rate=run.learning_rate, epochs=run.epochs, seed=run.draw)
    folder = work / "few-pages"
    shutil.rmtree(folder, ignore_errors=True)
    trained = train(folder, plan, drawn[: run.pages], [])
    scores = measure(trained, plan, tested)
    found = Found.on(scores.pages)
    assert found is not None
    shutil.rmtree(folder)
    return Result(run, scores.overall.f1, *asdict(found).values(), trained.steps, trained.seconds)


def drawn_in_order(examples: Sequence[Example], draw: int) -> list[Example]:
    """Return all pages in a draw's order: its first 10 are among its first 20."""
    return random.Random(draw).sample(list(examples), len(examples))


def read_results(path: Path) -> list[Result]:
    """Return what was measured before; nothing where there is no file."""
    if not path.exists():
        return []
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    return [Result(**{**body, "run": Run(**body["run"])}) for body in bodies]


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield a Markdown table: mean of the draws, each of them, and the boxes of all draws together."""
    yield "| side | pages | F1 | each draw | right / other box / not found | steps | s |"
    yield "|---|---|---|---|---|---|---|"
    groups: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result.run.side, result.run.pages), []).append(result)
    for (side, pages), group in groups.items():
        boxes = (sum(getattr(one, name) for one in group) for name in ("right", "other_box", "missed"))
        each = ", ".join(f"{one.f1:.3f}" for one in group)
        pace = f"{mean(one.steps for one in group):.0f} | {mean(one.seconds for one in group):.0f}"
        f1 = mean(one.f1 for one in group)
        yield f"| {side} | {pages} | {f1:.3f} | {each} | {' / '.join(map(str, boxes))} | {pace} |"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="of SROIE: with box/, key/ and img/")
    parser.add_argument("--test", type=Path, metavar="DIR", help="likewise: the pages that are tested")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where it trains")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="results, one JSON object a line")
    parser.add_argument("--base", action="append", help=f"several times for several (default: {MINILM_BASE})")
    parser.add_argument("--rate", action="append", type=float, help="likewise (default: the recipe's)")
    parser.add_argument("--epochs", action="append", type=int, help="likewise (default: the recipe's)")
    parser.add_argument("--pages", type=_numbers, default=(10,), metavar="N,N,...")
    parser.add_argument("--draws", type=_numbers, default=(0, 1, 2), metavar="N,N,...")
    given = parser.parse_args()
    print(machine())
    examples = read_examples(given.data, GIVEN, given.work)
    test = read_examples(given.test, GIVEN, given.work) if given.test else None
    sides = product(given.draws, given.pages, given.base or [MINILM_BASE], given.rate or [None], given.epochs or [None])
    runs = [
        Run(base, pages, draw, rate, epochs, given.test and given.test.name)
        for draw, pages, base, rate, epochs in sides
    ]
    done = {result.run for result in read_results(given.out)}
    for run in (one for one in runs if one not in done):
        drawn = drawn_in_order(examples, run.draw)
        result = measure_run(run, drawn, drawn[-HELD_OUT:] if test is None else test, given.work)
        with open(given.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        print(f"{run.side}, {run.pages} pages, draw {run.draw}: {result.f1:.3f} ({result.seconds:.0f} s)", flush=True)
    print("\n".join(table([result for result in read_results(given.out) if result.run in runs])))


if __name__ == "__main__":
    main()
