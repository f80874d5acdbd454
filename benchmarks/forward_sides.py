"""The two sides of the forward pass: ours and Hugging Face's eager one, on the same batches; see `forward_speed`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.speed_subjects import WindowJob
from benchmarks.timing import Spent, spread, timed
from handler.tagging.encoding import LENGTH_STEP, collate
from handler.tagging.layoutlm import LayoutLM

BATCH = 8
NOTEBOOK_LENGTH = 512
TOLERANCE = 1e-4
DTYPES = ("float32", "bfloat16")
BATCHES = (1, 8, 64)
COLUMNS = ("model", "pages", "windows", "side", "windows/s", "x eager float32", "x eager, same type", "CPU s/page")

Answers = list[NDArray[np.float32]]
"""The logits (answers, labels) of each window."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to run a model.

    Args:
        name: as the table says it.
        dtype: of its weights.
        ours: whether it is not Hugging Face's.
        run: jobs to the logits of each, in order.
    """

    name: str
    dtype: str
    ours: bool
    run: Callable[[Sequence[WindowJob]], Answers]


def fast_side(model: LayoutLM, dtype: str) -> Side:
    """Return our way: sorted by length, as `Tagger` does it with many pages."""

    def run(jobs: Sequence[WindowJob]) -> Answers:
        order = sorted(range(len(jobs)), key=lambda index: len(jobs[index][0].input_ids))
        answers: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            logits = model.logits(collate([jobs[index] for index in batch], model.pad_id, LENGTH_STEP))
            answers |= {index: row[jobs[index][0].positions] for index, row in zip(batch, logits, strict=True)}
        return [answers[index] for index in range(len(jobs))]

    return Side(f"ours, {dtype}", dtype, True, run)


def padded_inputs(model: LayoutLM, jobs: Sequence[WindowJob], multiple: int | None) -> dict[str, torch.Tensor]:
    """Return what a model gets, on its device: windows padded to a multiple (none exceeds 512), or to the longest."""
    batch = collate(jobs, model.pad_id, multiple or 1)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "bbox": batch.bbox}
    if batch.pixel_values is not None:
        inputs["pixel_values"] = batch.pixel_values.to(model.dtype)
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def eager_side(model: LayoutLM, dtype: str, length: int | None) -> Side:
    """Return Hugging Face's model, every window padded to `length`, or to the longest of its batch."""

    def run(jobs: Sequence[WindowJob]) -> Answers:
        answers: Answers = []
        for start in range(0, len(jobs), BATCH):
            some = jobs[start : start + BATCH]
            with torch.inference_mode():
                logits = model.model(**padded_inputs(model, some, length)).logits.float().numpy()
            answers += [row[window.positions] for row, (window, _) in zip(logits, some, strict=True)]
        return answers

    return Side(eager_name(dtype, length), dtype, False, run)


def eager_name(dtype: str, length: int | None) -> str:
    """Return what the table calls Hugging Face's model."""
    return f"eager, {dtype}, padded to {length or 'the longest'}"


def sides_of(models: dict[str, LayoutLM]) -> list[Side]:
    """Return all ways to run a checkpoint on the CPU; its models by number type."""
    sides = []
    for dtype, model in models.items():
        sides += [eager_side(model, dtype, NOTEBOOK_LENGTH), eager_side(model, dtype, None)]
        sides.append(fast_side(model.accelerated(), dtype))
    return sides


def in_turns(calls: Sequence[Callable[[], object]], repeats: int) -> list[list[Spent]]:
    """Make all calls in turn, each time from another one on; return what each took, turn by turn."""
    spent: list[list[Spent]] = [[] for _ in calls]
    for turn in range(repeats):
        for index in (*range(turn % len(calls), len(calls)), *range(turn % len(calls))):
            spent[index].append(timed(calls[index]))
    return spent


def measure(sides: Sequence[Side], jobs: Sequence[WindowJob], repeats: int) -> tuple[list[list[Spent]], list[Answers]]:
    """Run all sides in turn; return what each took, and the last answers."""
    answers: list[Answers] = [[] for _ in sides]

    def run(index: int) -> None:
        answers[index] = sides[index].run(jobs)

    return in_turns([partial(run, index) for index in range(len(sides))], repeats), answers


def check(sides: Sequence[Side], answers: Sequence[Answers], tolerance: float = TOLERANCE) -> str:
    """Return how far our answers are from eager float32; more than `tolerance` in float32 ends the run."""
    joined = [np.concatenate(each) for each in answers]
    reference = next(logits for side, logits in zip(sides, joined, strict=True) if side.dtype == "float32")
    sentences = []
    for side, logits in zip(sides, joined, strict=True):
        if side.ours or side.dtype != "float32":
            largest = float(np.abs(logits - reference).max())
            same = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
            sentences.append(f"{side.name}: {largest:.1e}, {same:.2%} the same label")
            assert not (side.ours and side.dtype == "float32") or largest <= tolerance, sentences[-1]
    return "; ".join(sentences)


def rows_of(
    sides: Sequence[Side], spent: Sequence[Sequence[Spent]], windows: int, first: Sequence[object], cpu_of: int
) -> Iterator[str]:
    """Yield the rows of one table: how many times the better eager side, turn by turn.

    Args:
        sides: in the order of `spent`.
        spent: by every side in each turn.
        windows: of a turn.
        first: cells before the side's name.
        cpu_of: by how many pages or windows the CPU seconds are divided.
    """
    walls = [[one.wall_s for one in each] for each in spent]
    best = {
        dtype: min(
            (wall for side, wall in zip(sides, walls, strict=True) if not side.ours and side.dtype == dtype),
            key=statistics.median,
        )
        for dtype in {side.dtype for side in sides}
    }
    for side, wall, each in zip(sides, walls, spent, strict=True):
        times = ([a / b for a, b in zip(best[dtype], wall, strict=True)] for dtype in ("float32", side.dtype))
        cpu_s = statistics.median(one.cpu_s for one in each) / cpu_of
        rate = f"{windows / statistics.median(wall):.2f}"
        cells = (*first, side.name, rate, *(spread(ratios, 1) for ratios in times), f"{cpu_s:.3f}")
        yield "| " + " | ".join(map(str, cells)) + " |"
