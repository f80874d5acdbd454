"""The first half of a training: a project's annotations become the files that the training process reads.

Everything is kept in the job's folder, so that a try that was cut off later goes on with the very same pages. What
later trainings must know is kept in the project's folder of the model store: which documents trained and which
validated (`split.json`), and which annotations the last one learned from (`learned.json`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from layoutloop.plural import counted
from layoutloop.store.path import StorePath
from layoutloop.store.writing import write_json
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from training.data.annotations import UNTOUCHED, AnnotatedPage, Selection, count_new, fingerprint, select_pages
from training.data.dataset import Dataset
from training.data.examples import Example, engine_of, read_examples, write_examples
from training.data.learned import UNREAD, learned_before
from training.data.left_out import Reason
from training.data.split import read_history, split_as_trained
from training.job_files import read_job_file

_FILE = "dataset.json"
Source = Callable[[], tuple[str, Sequence[Mapping[str, Any]]]]
"""Returns a project's label config (XML) and its exported tasks."""
Build = Callable[[Selection, LabelConfig], Dataset]
"""Reads the pages of a selection, see `training.data.dataset.build_examples`."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a training learns from, beside its pages.

    Args:
        labels: the project's, in config order.
        label_map: a model's label -> the project's.
        tasks: documents with a usable annotation.
        annotations: the `fingerprint` of all pages that are learned from, and `UNREAD` for each annotated page that
            could not be read; the next training counts what is new by it.
        held_out: documents forced into validation because too few fell there by themselves.
        left_out: what could not be used.
        engine: what read the pages, see `training.data.examples.engine_of`.
        references: `task/page` -> its image, to draw it in the report.
    """

    labels: tuple[str, ...]
    label_map: Mapping[str, str]
    tasks: int
    annotations: Mapping[str, str]
    held_out: tuple[int, ...]
    left_out: Mapping[str, Reason]
    engine: str
    references: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write it to a job's folder."""
        write_json(folder / _FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Collected | None:
        """Return what an earlier try collected; None where none came so far.

        Raises:
            TrainingRefused: the file is damaged.
        """
        return read_job_file(folder / _FILE, cls._from_json)

    @classmethod
    def _from_json(cls, body: Mapping[str, Any]) -> Collected:
        left_out = {reason: Reason(one["count"], tuple(one["examples"])) for reason, one in body["left_out"].items()}
        lists = {name: tuple(body[name]) for name in ("labels", "held_out")}
        maps = {name: dict(body[name].items()) for name in ("label_map", "annotations", "references")}
        return cls(**{**body, **lists, **maps, "left_out": left_out})


class TooFewNew(Exception):
    """Fewer annotations are new than start a training; the message says how many.

    An annotation is new until a training has learned from it as it is now. A page that could not be read was not
    learned from, so its annotation stays new, and counts as soon as the host of its image is back. But only what can
    be read now counts: an image that is damaged for good would otherwise start one training after the other, all
    without it. So where enough seems to be new, all pages are read before that is sure.
    """


def collect(folder: Path, memory: StorePath, source: Source, build: Build, least_new: int = 0) -> Collected:
    """Write `training.jsonl`, `validation.jsonl` and `dataset.json`, or find them there.

    Args:
        folder: of the job.
        memory: the project's folder in the model store.
        source: where annotations come from.
        build: reads their pages.
        least_new: go on only when so many annotations are new; 0 goes on in any case.

    Raises:
        TooFewNew: by `least_new`.
        LayoutLoopError: no annotations to be had, or none that can be used.
    """
    done = Collected.read(folder)
    if done is not None:
        return done
    xml, tasks = source()
    config = parse_label_config(xml)
    selection = select_pages(tasks, config)
    known = learned_before(memory)
    annotated = count_new(known, fingerprint(selection.pages))
    check_new = partial(_check_new, least_new=least_new, untouched=selection.left_out[UNTOUCHED].count)
    check_new(annotated)  # before anything is read: most that are skipped are skipped here
    dataset = build(selection, config)
    learned = fingerprint(_were_read(selection.pages, dataset.examples))
    check_new(new := count_new(known, learned), unread=annotated - new)
    forced = _write_pages(folder, memory, dataset.examples)
    collected = Collected(
        labels=config.labels,
        label_map=dict(config.label_map),
        tasks=len({example.task for example in dataset.examples}),
        annotations={**dict.fromkeys(fingerprint(selection.pages), UNREAD), **learned},
        held_out=tuple(sorted(forced)),
        left_out={reason: dataset.left_out[reason] for reason in dataset.left_out},
        engine=engine_of(dataset.examples),
        references={f"{page.task}/{page.item}": page.reference for page in selection.pages},
    )
    collected.write(folder)
    return collected


def read_split(folder: Path) -> tuple[list[Example], list[Example]]:
    """Return the training and the validation pages of a job's folder."""
    return read_examples(folder / "training.jsonl"), read_examples(folder / "validation.jsonl")


def reference_of(collected: Collected, example: Example) -> AnnotatedPage:
    """Return what is needed to fetch an example's image once more."""
    reference = collected.references[f"{example.task}/{example.item}"]
    return AnnotatedPage(example.task, example.item, reference, "", "", ())


def _check_new(new: int, least_new: int, *, unread: int = 0, untouched: int = 0) -> None:
    if new < least_new:
        more = f"; {unread} more cannot count while their pages cannot be read" if unread else ""
        more += f"; {untouched} more were made from predictions and nobody has touched them" if untouched else ""
        raise TooFewNew(
            f"{counted(new, 'annotation is', 'annotations are')} new since the last training; {least_new} start one "
            f"(LAYOUTLOOP_TRAIN_EVERY){more}"
        )


def _were_read(pages: Sequence[AnnotatedPage], examples: Sequence[Example]) -> list[AnnotatedPage]:
    """Return the pages that became examples."""
    read = {(example.task, example.item) for example in examples}
    return [page for page in pages if (page.task, page.item) in read]


def _write_pages(folder: Path, memory: StorePath, examples: Sequence[Example]) -> frozenset[int]:
    """Write the pages of both sides, and return the documents that were forced into validation.

    They are split by document, and that is remembered: what trained once never validates, what was held out stays
    held out.
    """
    path = memory / "split.json"
    split = split_as_trained(path, {example.task for example in examples})
    trained, held_out = read_history(path)
    write_json(path, {"trained": sorted(trained | split.training), "held_out": sorted(held_out | split.forced)})
    write_examples(folder / "training.jsonl", [one for one in examples if one.task not in split.validation])
    write_examples(folder / "validation.jsonl", [one for one in examples if one.task in split.validation])
    return split.forced
