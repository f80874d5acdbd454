"""What a box's score is worth on real receipts: calibration error and Brier score, before and after calibration.

`python -m benchmarks.score_calibration --data DIR --test DIR --work DIR` trains on 40 and on 80 pages of --data (SROIE,
words given, a box for each line) as a job does; every fifth of 50 or 100 pages is held out, chooses the best moment and
calibrates the scores. Nothing of --test is looked at before. Other ways to calibrate, fitted to the same held-out
boxes, stand beside it. What --work has of an earlier run is not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import expit, logit  # type: ignore[import-untyped]
from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from benchmarks.sroie import FIELDS, GIVEN, read_examples
from benchmarks.timing import machine
from benchmarks.training_data import train
from layoutloop.settings.training import MINILM_BASE
from training.data.examples import Example
from training.fit.plan import Plan
from training.measure.calibration import JudgedBox, fit_calibration, judge
from training.measure.reliability import curve_of, sure_from

ANNOTATED = (50, 100)
"""Pages, a fifth of which are held out."""
Way = Callable[[Sequence[JudgedBox], Sequence[JudgedBox]], NDArray[np.float64]]
"""Returns the scores of the second boxes, calibrated on the first."""


def split(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return the pages to learn from, and every fifth, which is held out."""
    held_out = [example for number, example in enumerate(examples) if number % 5 == 4]
    return [example for number, example in enumerate(examples) if number % 5 != 4], held_out


def checkpoint_of(folder: Path, examples: Sequence[Example], seed: int, box_level: str) -> Path:
    """Return a checkpoint that learned from four fifths of the pages; trained once for each folder."""
    if not (folder / "checkpoint").is_dir():
        learned, held_out = split(examples)
        train(folder, Plan(MINILM_BASE, FIELDS, box_level=box_level, seed=seed), learned, held_out)
    return folder / "checkpoint"


def _words(boxes: Sequence[JudgedBox]) -> NDArray[np.float64]:
    return np.array([box.evidence.words for box in boxes]).clip(1e-3, 1 - 1e-3)


def _right(boxes: Sequence[JudgedBox]) -> NDArray[np.float64]:
    return np.array([box.right for box in boxes], dtype=np.float64)


def _served(known: Sequence[JudgedBox], boxes: Sequence[JudgedBox]) -> NDArray[np.float64]:
    calibration = fit_calibration(known)
    return np.array([calibration.score(box.evidence) for box in boxes])


def _temperature(known: Sequence[JudgedBox], boxes: Sequence[JudgedBox]) -> NDArray[np.float64]:
    total, right = logit(_words(known)), _right(known)
    found = minimize_scalar(
        lambda heat: (np.logaddexp(0, total / heat) - right * total / heat).sum(), bounds=(0.2, 10), method="bounded"
    )
    return np.asarray(expit(logit(_words(boxes)) / found.x))


def _logistic(known: Sequence[JudgedBox], boxes: Sequence[JudgedBox]) -> NDArray[np.float64]:
    model = LogisticRegression().fit(logit(_words(known))[:, None], _right(known))
    return np.asarray(model.predict_proba(logit(_words(boxes))[:, None])[:, 1])


def _isotonic(known: Sequence[JudgedBox], boxes: Sequence[JudgedBox]) -> NDArray[np.float64]:
    model = IsotonicRegression(out_of_bounds="clip").fit(_words(known), _right(known))
    return np.asarray(model.predict(_words(boxes)))


WAYS: dict[str, Way] = {
    "before": lambda _, boxes: _words(boxes),
    "temperature": _temperature,
    "logistic": _logistic,
    "isotonic": _isotonic,
    "as served": _served,
}


def print_scores(known: Sequence[JudgedBox], boxes: Sequence[JudgedBox], name: str) -> None:
    """Print a row of a Markdown table for each way to calibrate on `known`, measured on `boxes`."""
    right = [box.right for box in boxes]
    for way, scores_of in WAYS.items():
        scores = scores_of(known, boxes).tolist()
        curve, sure = curve_of(scores, right), sure_from(scores, right)
        order = roc_auc_score(right, scores)
        print(
            f"| {name} | {way} | {curve.error:.3f} | {curve.brier:.3f} | {order:.3f} | "
            f"{sure.sentence if sure else 'none'} |",
            flush=True,
        )


def main() -> None:
    """Train, calibrate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="SROIE: box/, key/ and img/")
    parser.add_argument("--test", type=Path, required=True, metavar="DIR", help="likewise: the pages that are tested")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for the trainings")
    parser.add_argument("--annotated", type=int, nargs="+", default=ANNOTATED, help="pages, held-out ones among them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--box-level", default="lines")
    given = parser.parse_args()
    print(machine())
    learned, unseen = (read_examples(folder, GIVEN, given.work / "pages") for folder in (given.data, given.test))
    print("| pages, seed, boxes held out and tested | scores | ECE | Brier | AUC | sure |\n|---|---|---|---|---|---|")
    for pages in given.annotated:
        for seed in given.seeds:
            examples = learned[:pages]
            folder = given.work / f"calibration-{pages}-{given.box_level}-{seed}"
            checkpoint = checkpoint_of(folder, examples, seed, given.box_level)
            _, held_out = split(examples)
            known, boxes = (judge(checkpoint, given.box_level, some, {}) for some in (held_out, unseen))
            print_scores(known, boxes, f"{pages - len(held_out)}, {seed}, {len(known)} and {len(boxes)}")


if __name__ == "__main__":
    main()
