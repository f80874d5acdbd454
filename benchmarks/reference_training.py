"""Same as the reference: our training against a plain script, from one random LayoutLMv3 checkpoint, on FUNSD.

`python -m benchmarks.reference_training --data DIR [--image]` compares our side with `benchmarks/plain_training.py`:

- the loss of each step on identical batches: the real EntityTrainer shuffles, the plain loop is given the same pages
  in the same order; no dropout, float32, one learning rate, the same schedule. Only pages that fit one window take
  part, since the plain script would cut the others;
- entity F1 (seqeval) on the 30 test pages for three seeds, each side as it is: our training process with windows,
  bfloat16 where the machine has it, warm-up and cosine; the plain Trainer in float32 with its linear schedule.

`--funsd-default` reports the default base on the same pages instead.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from seqeval.metrics import f1_score  # type: ignore[import-untyped]
from torch import Tensor

from benchmarks.plain_training import BATCH, labels_of, make_checkpoint, plain_losses, plain_rows, plain_tags
from benchmarks.timing import machine
from benchmarks.training_data import FUNSD_LABELS, Trained, funsd, measure, split_funsd, train
from handler.errors import HandlerError
from handler.tagging.decoding import label_words
from handler.tagging.labels import OUTSIDE, LabelSet
from handler.tagging.tagger import Tagger, TaggerSettings
from layoutloop.settings.training import MINILM_BASE
from training.data.examples import Example, pages_of
from training.fit.bases import make_base
from training.fit.plan import Plan
from training.fit.trainer import EntityTrainer, trainer_arguments
from training.fit.windows import LabelledWindow, WindowCollator, Windows

LABELS = LabelSet.from_names(FUNSD_LABELS)
GOAL = 1e-3
STEPS = 50
RATES = (1e-5, 1e-3)
"""The notebook's, which moves random weights little, and one at which they learn."""


class RecordingTrainer(EntityTrainer):
    """The real trainer, which also keeps the loss of each step."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take what the real one takes."""
        super().__init__(*arguments, **named)
        self.losses: list[float] = []

    def compute_loss(self, *arguments: Any, **named: Any) -> Any:
        """Return what the Trainer returns."""
        loss: Any = super().compute_loss(*arguments, **named)
        self.losses.append(float(loss.detach()))
        return loss


class RecordingCollator:
    """The real collator, which also keeps which rows each batch was made of."""

    def __init__(self, collator: WindowCollator, windows: Windows) -> None:
        """Take the collator, and the rows it will be given."""
        self._collator = collator
        self._numbers = {id(windows[index]): index for index in range(len(windows))}
        self.order: list[list[int]] = []

    def __call__(self, rows: Sequence[LabelledWindow]) -> dict[str, Tensor]:
        """Return what the collator returns."""
        self.order.append([self._numbers[id(row)] for row in rows])
        return self._collator(rows)


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss of each step, on both sides."""

    ours: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def largest_difference(self) -> float:
        """Over all steps."""
        return float(np.abs(np.subtract(self.ours, self.plain)).max())


def compare_losses(folder: Path, examples: Sequence[Example], *, steps: int, learning_rate: float) -> Losses:
    """Train both sides for so many steps from the checkpoint in `folder`, on the same batches.

    Args:
        folder: without dropout.
        examples: pages of one window each, as `pages_alike` returns them; an even number.
        steps: a whole number of passes over the pages is made, and the first `steps` are compared.
        learning_rate: the peak.

    Raises:
        ValueError: a page takes several windows.
    """
    epochs = -(-steps * BATCH // len(examples))
    planned = epochs * len(examples) // BATCH
    labels = labels_of(folder)
    base = make_base(str(folder), labels.names)
    windows = Windows(base, examples, labels, "words")
    if len(windows) != len(examples):
        raise ValueError(f"{len(examples)} pages have {len(windows)} windows; only pages of one window compare")
    collator = RecordingCollator(WindowCollator(base.tokenizer.pad_token_id or 0), windows)
    arguments = trainer_arguments(
        folder / "steps",
        learning_rate=learning_rate,
        epochs=epochs,
        batch=BATCH,
        steps=planned,
        seed=0,
        keep_best=False,
    )
    trainer = RecordingTrainer(
        base,
        1.0,
        TaggerSettings(),
        (),
        args=replace(arguments, bf16=False, save_strategy="no", disable_tqdm=True, logging_strategy="no"),
        train_dataset=windows,
        data_collator=collator,
    )
    trainer.train()
    plain = plain_losses(
        folder,
        plain_rows(folder, examples),
        collator.order[:steps],
        planned=planned,
        warmup=arguments.warmup_steps,
        learning_rate=learning_rate,
    )
    return Losses(tuple(trainer.losses[:steps]), tuple(plain))


def pages_alike(folder: Path, examples: Sequence[Example]) -> list[Example]:
    """Return the pages of one window that both sides encode alike, token for token; prints how many there are."""
    labels = labels_of(folder)
    base = make_base(str(folder), labels.names)
    plain = plain_rows(folder, examples)
    several, alike = 0, []
    for example, row in zip(examples, plain, strict=True):
        windows = Windows(base, [example], labels, "words")
        several += len(windows) > 1
        if len(windows) == 1 and _is_same(windows[0], row):
            alike.append(example)
    print(f"{len(examples)} pages: {several} longer than a window, {len(alike)} encoded alike on both sides")
    return alike


def _is_same(ours: LabelledWindow, plain: dict[str, Tensor]) -> bool:
    used = int(plain["attention_mask"].sum())
    pairs = (
        (ours.window.input_ids, plain["input_ids"]),
        (ours.window.boxes, plain["bbox"]),
        (ours.labels, plain["labels"]),
    )
    return all(np.array_equal(mine, theirs[:used].numpy()) for mine, theirs in pairs)


def our_tags(trained: Trained, test: Sequence[Example]) -> list[list[str | None]]:
    """Return the tag of each test word as serving would decide; None for a word without a token."""
    labels = labels_of(trained.checkpoint)
    answers: list[list[str | None]] = []
    for logits in Tagger.load(trained.checkpoint).word_logits(list(pages_of(test))):
        if isinstance(logits, HandlerError):
            raise logits
        chosen = label_words(logits, labels).tags.tolist()
        answers.append([labels.tags[tag] if tag >= 0 else None for tag in chosen])
    return answers


def seqeval_f1(
    test: Sequence[Example], answers: Sequence[Sequence[str | None]], *, only_answered: bool = False
) -> float:
    """Return micro entity F1; words without an answer are outside, or left out with `only_answered`."""
    gold, found = [], []
    for example, tags in zip(test, answers, strict=True):
        names = [LABELS.tags[tag] for tag in example.tags(LABELS)]
        kept = [pair for pair in zip(names, tags, strict=True) if pair[1] is not None or not only_answered]
        gold.append([name for name, _ in kept])
        found.append([tag or OUTSIDE for _, tag in kept])
    return float(f1_score(gold, found))


def compare_f1(folder: Path, examples: Sequence[Example], *, epochs: int, learning_rate: float, seeds: int) -> None:
    """Print entity F1 of both sides for each seed."""
    training, test = split_funsd(examples)
    print(f"F1 after {epochs} epochs of {len(training)} pages, {len(test)} test pages, peak rate {learning_rate:g}")
    print(
        "| seed | ours | s | plain | plain, without the words it cut off | s |\n|---|---|---|---|---|---|", flush=True
    )
    for seed in range(seeds):
        plan = Plan(str(folder), FUNSD_LABELS, learning_rate=learning_rate, batch_pages=BATCH, epochs=epochs, seed=seed)
        place = folder.parent / f"ours-{seed}"
        trained = train(place, plan, training, [])
        ours = seqeval_f1(test, our_tags(trained, test))
        shutil.rmtree(place)
        began = time.monotonic()
        plain = plain_tags(folder, training, test, epochs=epochs, learning_rate=learning_rate, seed=seed)
        seconds = time.monotonic() - began
        shares = f"{seqeval_f1(test, plain):.3f} | {seqeval_f1(test, plain, only_answered=True):.3f}"
        print(f"| {seed} | {ours:.3f} | {trained.seconds:.0f} | {shares} | {seconds:.0f} |", flush=True)


def print_losses(folder: Path, examples: Sequence[Example]) -> None:
    """Print the largest difference of the two losses for each learning rate.

    Raises:
        AssertionError: it is above the goal.
    """
    alike = pages_alike(folder, split_funsd(examples)[0])
    for rate in RATES:
        losses = compare_losses(folder, alike[: len(alike) // 2 * 2], steps=STEPS, learning_rate=rate)
        print(
            f"rate {rate:g}: largest difference of the loss over {len(losses.ours)} steps "
            f"{losses.largest_difference:.1e} (goal {GOAL:g}), from {losses.ours[0]:.4f} to {losses.ours[-1]:.4f}"
        )
        assert losses.largest_difference <= GOAL


def print_default(work: Path, examples: Sequence[Example], base: str) -> None:
    """Print entity F1 of a base trained as a project's would be, with no page held out."""
    training, test = split_funsd(examples)
    plan = Plan(base, FUNSD_LABELS)
    trained = train(work / "default", plan, training, [])
    scores = measure(trained, plan, test)
    print(f"{base}, {len(training)} pages, {trained.steps} steps in {trained.seconds:.0f} s, {len(test)} test pages:")
    for row in (*scores.labels, scores.overall):
        print(
            f"  {row.label}: precision {row.precision:.3f}, recall {row.recall:.3f}, F1 {row.f1:.3f} of {row.support}"
        )
    print(f"  seqeval: F1 {seqeval_f1(test, our_tags(trained, test)):.3f}")


def main() -> None:
    """Run the comparison, or the default base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="FUNSD: annotations/ and images/")
    parser.add_argument("--image", action="store_true", help="with the image branch")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=RATES[1], help="of the F1 comparison")
    parser.add_argument("--seeds", type=int, default=3, help="of the F1 comparison; 0 for the losses alone")
    parser.add_argument("--funsd-default", action="store_true", help="report the default base instead")
    parser.add_argument("--base", default=MINILM_BASE, help="that --funsd-default trains")
    given = parser.parse_args()
    print(machine())
    examples = funsd(given.data, image=given.image)
    texts = [word.text for page in pages_of(examples) for word in page.words]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if given.funsd_default:
            print_default(work, examples, given.base)
            return
        still, start = (
            make_checkpoint(folder, texts, FUNSD_LABELS, image=given.image, dropout=dropout, wide=96, layers=2)
            for folder, dropout in ((work / "still", 0.0), (work / "start", 0.1))
        )
        print_losses(still, examples)
        if given.seeds:
            compare_f1(start, examples, epochs=given.epochs, learning_rate=given.learning_rate, seeds=given.seeds)


if __name__ == "__main__":
    main()
