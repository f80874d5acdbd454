"""What the loop is worth to the person who labels: rounds of ten invoices, a training after each.

`python -m benchmarks.annotation_rounds worth --pages-folder DIR --out FILE --plot FILE`: 60 invoices of 4 layouts, as
they come. Before a round is labelled, the model trained on all rounds before it draws its boxes. A box needed no
correction when it has the label and exactly the words of a gold box. Shown per round: the share of gold boxes that
were there so, and the share of drawn boxes that had to be changed or removed.

`python -m benchmarks.annotation_rounds order ...`: does it pay to label first what the model is least sure of? 120
invoices of all 14 layouts, as unevenly as vendors come. After ten random ones each round takes the ten pages with the
lowest prediction score (Label Studio's Data Manager sorts by it), or ten random ones; then F1 on 28 of all layouts.

The annotator makes no mistakes: what is labelled is the generator's gold. Each training is the product's own process
with its own split. Each result is appended to --out at once, and what stands there is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.invoice_pages import SEEN_LAYOUTS
from benchmarks.timing import machine
from benchmarks.training_data import Trained, invoices, train
from demo.invoices import LABELS, LAYOUTS
from demo.tasks import label_config
from handler.errors import HandlerError
from handler.page import TaggedPage
from handler.tagging.tagger import TaggerSettings
from layoutloop.settings.training import MINILM_BASE
from layoutloop.studio.label_config import parse_label_config
from layoutloop.studio.results import Rendering, regions_to_results, results_to_prediction
from training.data.examples import Example
from training.data.split import validation_tasks
from training.fit.plan import Plan
from training.measure.evaluate import tag_examples
from training.measure.scoring import score

ROUND = 10
WORTH_PAGES = 60
POOL_PAGES = 120
ORDER_ROUNDS = 3
ORDERS = ("least certain first", "random")
POOL_SEED, TEST_SEED, TEST_PAGES = 2_000_000, 1_000_100, 28
CONFIG = parse_label_config(label_config(LABELS))


@dataclass(frozen=True, slots=True)
class WorthRound:
    """One round of `worth`.

    Args:
        seed: of the training; it also picks the invoices.
        labelled: pages labelled before this round.
        gold: boxes on the round's pages.
        drawn: boxes that the model drew on them.
        right: drawn boxes that needed no correction.
    """

    seed: int
    labelled: int
    gold: int
    drawn: int
    right: int


@dataclass(frozen=True, slots=True)
class OrderRound:
    """Entity F1 on the test pages after `labelled` pages taken in an order."""

    seed: int
    order: str
    labelled: int
    f1: float
    layouts: int
    """How many of the 14 layouts are among the labelled pages."""


class Annotator:
    """Keeps what was labelled, and trains on it as a project's jobs do: what validates once validates for ever.

    Args:
        seed: of the trainings.
        epochs: instead of the recipe's.
    """

    def __init__(self, seed: int, epochs: int | None) -> None:
        """Begin with nothing labelled."""
        self.labelled: list[Example] = []
        self._held_out: frozenset[int] = frozenset()
        self._trained: frozenset[int] = frozenset()
        self._plan = Plan(MINILM_BASE, LABELS, epochs=epochs, seed=seed)

    def train(self, pages: Sequence[Example], folder: Path) -> Trained:
        """Label some more pages and train on all of them, in a folder that is emptied first."""
        self.labelled += pages
        tasks = [example.task for example in self.labelled]
        split = validation_tasks(tasks, self._held_out, frozenset(tasks) - self._trained)
        self._held_out |= split.forced
        self._trained |= split.training
        training = [example for example in self.labelled if example.task in split.training]
        validation = [example for example in self.labelled if example.task in split.validation]
        shutil.rmtree(folder, ignore_errors=True)
        return train(folder, self._plan, training, validation)


def draw_boxes(trained: Trained, pages: Sequence[Example]) -> list[TaggedPage | HandlerError]:
    """Return what the model draws."""
    return tag_examples(trained.checkpoint, pages, TaggerSettings())


def worth(seed: int, folder: Path, work: Path, epochs: int | None) -> Iterator[WorthRound]:
    """Label 60 invoices in rounds; yield what each round had to correct."""
    pages = invoices(seed * 1000, WORTH_PAGES, SEEN_LAYOUTS, folder)
    rounds = [pages[start : start + ROUND] for start in range(0, len(pages), ROUND)]
    annotator = Annotator(seed, epochs)
    yield WorthRound(seed, 0, sum(len(page.entities) for page in rounds[0]), 0, 0)
    for labelled, coming in pairwise(rounds):
        found = score(coming, draw_boxes(annotator.train(labelled, work), coming), LABELS).pages
        sums = (sum(getattr(page, what) for page in found) for what in ("gold", "predicted", "right"))
        yield WorthRound(seed, len(annotator.labelled), *sums)


def pool_layouts() -> list[int]:
    """Return the layout of each page of the pool: the first vendor sends most, the last a few (1/rank)."""
    chances = [1 / rank for rank in range(1, LAYOUTS + 1)]
    return random.Random(0).choices(range(LAYOUTS), chances, k=POOL_PAGES)


def prediction_score(example: Example, answer: TaggedPage | HandlerError) -> float:
    """Return the score that Label Studio gets for a page."""
    assert isinstance(answer, TaggedPage), answer
    drawn = regions_to_results(answer.regions, example.page.size, Rendering(CONFIG, "v"))
    return results_to_prediction([drawn])["score"]


def order(seed: int, folder: Path, work: Path, epochs: int | None) -> Iterator[OrderRound]:
    """Label ten random pages, then two more rounds in each order; yield F1 after each."""
    layouts = pool_layouts()
    pool = invoices(POOL_SEED, POOL_PAGES, layouts, folder)
    test = invoices(TEST_SEED, TEST_PAGES, range(LAYOUTS), folder)
    shuffled = random.Random(seed).sample(pool, len(pool))
    first = Annotator(seed, epochs)
    start = first.train(shuffled[:ROUND], work / "first")
    for name in ORDERS:
        annotator, trained, rest = copy.deepcopy(first), start, shuffled[ROUND:]
        for _ in range(ORDER_ROUNDS):
            f1 = score(test, draw_boxes(trained, test), LABELS).overall.f1
            known = {layouts[example.task] for example in annotator.labelled}
            yield OrderRound(seed, name, len(annotator.labelled), f1, len(known))
            if len(annotator.labelled) < ORDER_ROUNDS * ROUND:
                if name == ORDERS[0]:
                    rest = least_certain_first(trained, rest)
                trained, rest = annotator.train(rest[:ROUND], work / name), rest[ROUND:]


def least_certain_first(trained: Trained, pages: Sequence[Example]) -> list[Example]:
    """Sort pages as Label Studio does by prediction score, lowest first."""
    scores = {
        example.task: prediction_score(example, answer)
        for example, answer in zip(pages, draw_boxes(trained, pages), strict=True)
    }
    return sorted(pages, key=lambda example: scores[example.task])


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """Return what was measured before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure_missing(path: Path, seed: int, count: int, rounds: Callable[[], Iterator[Any]]) -> None:
    """Measure all rounds of a seed, unless they stand in the file; those of a run that was cut off are dropped."""
    before = read_rounds(path)
    if sum(one["seed"] == seed for one in before) >= count:
        return
    path.write_text("".join(json.dumps(one) + "\n" for one in before if one["seed"] != seed), encoding="utf-8")
    for one in rounds():
        print(one, flush=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(one)) + "\n")


def measure_worth(given: argparse.Namespace, work: Path) -> None:
    """Measure each seed that is missing."""
    for seed in given.seeds:
        measure_missing(
            given.out,
            seed,
            WORTH_PAGES // ROUND,
            lambda: worth(seed, given.pages_folder, work, given.epochs),  # noqa: B023 - called at once
        )


def measure_order(given: argparse.Namespace, work: Path) -> None:
    """Measure each seed that is missing."""
    for seed in given.seeds:
        measure_missing(
            given.out,
            seed,
            ORDER_ROUNDS * len(ORDERS),
            lambda: order(seed, given.pages_folder, work, given.epochs),  # noqa: B023 - called at once
        )


def show_worth(rounds: Sequence[dict[str, Any]], axes: Axes | None) -> None:
    """Print the table of `worth`, and draw it."""
    print("| labelled before | boxes there and right | drawn boxes to change or remove | seeds |\n|---|---|---|---|")
    shares = {}
    for labelled in sorted({one["labelled"] for one in rounds}):
        group = [one for one in rounds if one["labelled"] == labelled]
        shares[labelled] = mean(one["right"] / one["gold"] for one in group)
        wrong = mean((one["drawn"] - one["right"]) / max(1, one["drawn"]) for one in group)
        print(f"| {labelled} | {100 * shares[labelled]:.0f} % | {100 * wrong:.0f} % | {len(group)} |")
    if axes is not None:
        axes.bar([str(labelled) for labelled in shares], [100 * share for share in shares.values()], color="#0a5ac8")
        axes.set_xlabel("pages labelled before the round")
        axes.set_ylabel("boxes that needed no correction, %")
        axes.set_ylim(0, 100)


def show_order(rounds: Sequence[dict[str, Any]], axes: Axes | None) -> None:
    """Print the table of `order`, and draw it."""
    print("| order | labelled | F1 | lowest to highest | layouts seen | seeds |\n|---|---|---|---|---|---|")
    for name, colour in zip(ORDERS, ("#0a5ac8", "#8a5a00"), strict=True):
        points = {}
        for labelled in sorted({one["labelled"] for one in rounds}):
            group = [one for one in rounds if (one["order"], one["labelled"]) == (name, labelled)]
            if group:
                f1 = [one["f1"] for one in group]
                points[labelled] = (mean(f1), min(f1), max(f1))
                layouts = mean(one["layouts"] for one in group)
                print(
                    f"| {name} | {labelled} | {mean(f1):.3f} | {min(f1):.2f}-{max(f1):.2f} | {layouts:.1f} "
                    f"| {len(group)} |"
                )
        if axes is not None:
            axes.plot(list(points), [point[0] for point in points.values()], color=colour, marker="o", label=name)
            lowest, highest = ([point[which] for point in points.values()] for which in (1, 2))
            axes.fill_between(list(points), lowest, highest, color=colour, alpha=0.15, linewidth=0)
    if axes is not None:
        axes.set_xticks(sorted({one["labelled"] for one in rounds}))
        axes.set_xlabel("pages labelled")
        axes.set_ylabel("entity F1, all layouts alike")
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, fontsize=8)


def main() -> None:
    """Measure what is missing, print the table, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["worth", "order"])
    parser.add_argument("--pages-folder", type=Path, required=True, metavar="DIR", help="keeps pages as they were read")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="results, one JSON object a line")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's, for a quick look")
    parser.add_argument("--only-show", action="store_true", help="measure nothing")
    given = parser.parse_args()
    print(machine())
    if not given.only_show:
        with tempfile.TemporaryDirectory() as work:
            (measure_worth if given.what == "worth" else measure_order)(given, Path(work) / "training")
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots() if given.plot else None
    (show_worth if given.what == "worth" else show_order)(read_rounds(given.out), axes)
    if axes is not None:
        axes.grid(visible=True, axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        given.plot.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(given.plot, metadata={"Date": None} if given.plot.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
