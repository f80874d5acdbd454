"""Steps per second of a training: the product's own trainer against the plain script, in one run, in turns.

`python -m benchmarks.training_speed [--pages 40] [--steps 100] [--block 20] [--model base]`. Pages are generated
invoices with their words as drawn; both sides start from one checkpoint without dropout. Ours is EntityTrainer with the
recipe's batch and rate, windows padded to the longest of the batch, without variation and jitter; plain is the loop of
`benchmarks/plain_training.py`: float32, AdamW with its defaults, every page padded to 512. After each block of our
steps the plain side makes the same ones, of the same pages in the same order, so that other work on the machine meets
both alike. The first block is not counted: it pays for what happens only once. This is done for every number type that
the product may train in; the losses tell whether both sides learn the same.

Evaluations and checkpoints along the way are not in these figures; `benchmarks/after_training.py` has a whole training.
On a machine that others use too, set OMP_WAIT_POLICY=PASSIVE, as the product does for its trainings.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from benchmarks.plain_training import PlainLoop, labels_of
from benchmarks.reference_training import RecordingCollator, RecordingTrainer
from benchmarks.timing import Clock, Spent, machine
from benchmarks.training_start import MODELS, check_alike, drawn_invoices, make_start, plain_rows
from demo.invoices import LABELS
from handler.tagging.tagger import TaggerSettings
from training.data.examples import Example
from training.fit.bases import RECIPES, Base, Recipe, make_base
from training.fit.machine import trains_in_bfloat16
from training.fit.trainer import trainer_arguments
from training.fit.windows import WindowCollator, Windows

GOAL = 1.5
"""Times the plain side's steps per second."""
SAME = {"float32": 1e-5, "bfloat16": 1e-2}
"""How far the losses of the first step may be apart, relative to the plain one."""
SAME_CURVE = 0.05
"""How far the means of whole blocks may be."""
COLUMNS = ("ours in", "steps/s ours", "plain", "times (lowest to highest)", "CPU s/step ours", "plain", "times by CPU")


@dataclass(frozen=True, slots=True)
class Block:
    """A few steps in a row on one side: how many, and what they took."""

    steps: int
    spent: Spent

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.spent.wall_s


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides of one run, block by block and step by step."""

    ours: tuple[Block, ...]
    plain: tuple[Block, ...]
    our_losses: tuple[float, ...]
    plain_losses: tuple[float, ...]


class Turns(TrainerCallback):
    """After each block of our steps stops our clock, and has the plain side make the same steps."""

    def __init__(self, block: int, plain_step: Callable[[int], float]) -> None:
        """Take the steps of a block, and what makes the plain side's n-th step and returns its loss."""
        self._block, self._plain_step = block, plain_step
        self._clock = Clock()
        self.ours: list[Block] = []
        self.plain: list[Block] = []
        self.plain_losses: list[float] = []

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        del args, state, control
        self._clock = Clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End our turn where the block is full."""
        del args, control
        if state.global_step % self._block:
            return
        self.ours.append(Block(self._block, self._clock.spent()))
        clock = Clock()
        self.plain_losses += [self._plain_step(len(self.plain_losses)) for _ in range(self._block)]
        self.plain.append(Block(self._block, clock.spent()))
        self._clock = Clock()


def run(
    folder: Path,
    recipe: Recipe,
    examples: Sequence[Example],
    rows: Sequence[dict[str, Tensor]],
    *,
    steps: int,
    block: int,
) -> Callable[[bool], Compared]:
    """Return what makes both sides' steps, ours in bfloat16 or not, each time from the checkpoint in `folder`."""

    def compare(bfloat16: bool) -> Compared:
        set_seed(0)
        base = make_base(str(folder), LABELS)
        windows = Windows(base, examples, labels_of(folder), "words")
        check_alike(windows, rows)
        collator = RecordingCollator(WindowCollator(base.tokenizer.pad_token_id or 0), windows)
        arguments = trainer_arguments(
            folder / "steps",
            learning_rate=recipe.learning_rate,
            epochs=1,
            batch=recipe.batch_pages,
            steps=steps,
            seed=0,
            keep_best=False,
        )
        loop = PlainLoop(folder, planned=steps, warmup=arguments.warmup_steps, learning_rate=recipe.learning_rate)
        turns = Turns(block, lambda step: loop.step([rows[number] for number in collator.order[step]]))
        arguments = replace(
            arguments, max_steps=steps, bf16=bfloat16, save_strategy="no", logging_strategy="no", disable_tqdm=True
        )
        trainer = _trainer(base, arguments, windows, collator, turns)
        trainer.train()
        return Compared(tuple(turns.ours), tuple(turns.plain), tuple(trainer.losses), tuple(turns.plain_losses))

    return compare


def _trainer(
    base: Base, arguments: TrainingArguments, windows: Windows, collator: RecordingCollator, turns: Turns
) -> RecordingTrainer:
    """Return the product's trainer; all weights learn at one rate, as on the plain side."""
    return RecordingTrainer(
        base,
        1.0,
        TaggerSettings(),
        (),
        args=arguments,
        train_dataset=windows,
        data_collator=collator,
        callbacks=[turns],
    )


def row_of(name: str, compared: Compared) -> str:
    """Return a row of the table: medians over the blocks, the first of which is not counted."""
    ours, plain = compared.ours[1:], compared.plain[1:]
    times = [mine.rate / theirs.rate for mine, theirs in zip(ours, plain, strict=True)]
    rates = [f"{statistics.median(one.rate for one in side):.2f}" for side in (ours, plain)]
    cpu_s = [statistics.median(one.spent.cpu_s / one.steps for one in side) for side in (ours, plain)]
    spread = f"**{statistics.median(times):.2f}** ({min(times):.2f} to {max(times):.2f})"
    return f"| {name} | {' | '.join(rates)} | {spread} | {cpu_s[0]:.2f} | {cpu_s[1]:.2f} | {cpu_s[1] / cpu_s[0]:.1f} |"


def curve_of(compared: Compared, block: int, dtype: str) -> str:
    """Return how far the two curves are apart.

    Both sides begin alike. Then Adam, which divides a gradient by its size, makes much of the rounding of small ones,
    and single steps drift apart while the curves do not: from there on the means of the blocks are compared.
    """
    ours, plain = np.array(compared.our_losses[: len(compared.plain_losses)]), np.array(compared.plain_losses)
    first = float(abs(ours[0] - plain[0]) / plain[0])
    means = [side.reshape(-1, block).mean(axis=1) for side in (ours, plain)]
    blocks = float((np.abs(means[0] - means[1]) / means[1]).max())
    sentence = (
        f"{dtype}: largest relative difference of the loss {first:.1e} in the first step, {blocks:.1e} in the "
        f"mean of {block}; {len(ours)} steps, ours {ours[0]:.3f} to {ours[-1]:.3f}, "
        f"plain {plain[0]:.3f} to {plain[-1]:.3f}"
    )
    assert first <= SAME[dtype], sentence
    assert blocks <= SAME_CURVE, sentence
    return sentence


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=MODELS, default="graft", help="the default base, or a random one of base size"
    )
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--block", type=int, default=20, help="steps of a turn")
    parser.add_argument("--dtypes", nargs="+", choices=("bfloat16", "float32"), default=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice (default)")
    given = parser.parse_args()
    if given.block < 1 or given.steps % given.block or given.steps // given.block < 2:
        parser.error("--steps is a multiple of --block, at least twice it: the first block is not counted")
    if "bfloat16" in given.dtypes and not trains_in_bfloat16():
        given.dtypes = ["float32"]
        print("this machine has no bfloat16 in hardware, so the product trains in float32 here")
    return given


def main() -> None:
    """Print the table and how far the curves are apart."""
    given = _given()
    if given.threads:
        torch.set_num_threads(given.threads)
    examples = drawn_invoices(given.pages)
    print(machine())
    recipe = RECIPES["graft" if given.model == "graft" else "checkpoint"]
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        make_start(given.model, folder)
        rows = plain_rows(folder, examples)
        lengths = [int(row["attention_mask"].sum()) for row in rows]
        print(
            f"{given.model}, {given.pages} pages of {min(lengths)} to {max(lengths)} tokens, batches of "
            f"{recipe.batch_pages}, goal {GOAL} times"
        )
        compare = run(folder, recipe, examples, rows, steps=given.steps, block=given.block)
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        sentences = []
        for dtype in given.dtypes:
            compared = compare(dtype == "bfloat16")
            print(row_of(dtype, compared), flush=True)
            sentences.append(curve_of(compared, given.block, dtype))
    print("", *sentences, sep="\n")


if __name__ == "__main__":
    main()
