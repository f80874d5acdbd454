"""Annotated pages to examples: every page is read, and every word goes to the box that a person drew around it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass

import numpy as np

from handler.errors import MachineFailed
from handler.machine import is_of_machine, machine_failed
from handler.ocr_settings import TASK_ENGINE, engine_kind
from handler.page import Box, Page, Word
from layoutloop.errors import (
    DatasetEmpty,
    DatasetFailed,
    DeadlineExceeded,
    ImageSourceUnreachable,
    LayoutLoopError,
    ModelNotReady,
    SourcesUnreachable,
    TorchServeUnavailable,
)
from layoutloop.plural import counted
from layoutloop.studio.drawn import LabelledBox
from layoutloop.studio.label_config import LabelConfig
from layoutloop.studio.rectangle import TiltedBox, held
from training.data.annotations import (
    NO_IMAGE,
    NOT_ANNOTATED,
    UNKNOWN_LABEL,
    UNTOUCHED,
    AnnotatedPage,
    Selection,
    labelled_boxes,
)
from training.data.examples import Entity, Example
from training.data.left_out import LeftOut

NOT_READ = "page that cannot be read"
DUPLICATE = "box drawn twice"
NO_WORD = "box without a word (kept: it counts as not found)"

SAME_PLACE_PX = 1.0
"""Edges this close are one place; a box that was drawn once and accepted once differs by rounding."""

_TEMPORARY = (TorchServeUnavailable, ModelNotReady, DeadlineExceeded, ImageSourceUnreachable, MachineFailed)
"""What a page is not to blame for: another time it is read."""
_MISSED_IN_A_ROW = 8
_MISSED_SHARE = 0.5
"""Where more of the pages could not be read for that, what is left is no picture of the annotations."""

Read = Callable[[AnnotatedPage], Page]
ProgressCallback = Callable[[int, int], None]
"""Called with pages done and pages in all."""

PageResult = Page | LayoutLoopError
"""A page, or why there is none."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a project's annotations teach.

    Args:
        examples: in the order of the tasks and their pages.
        left_out: what could not be used, from the annotations on.
    """

    examples: tuple[Example, ...]
    left_out: LeftOut


def build_examples(
    selection: Selection, config: LabelConfig, read: Read, progress: ProgressCallback, *, threads: int = 4
) -> Dataset:
    """Read every page of a selection and give its words to its boxes.

    A page that cannot be read is counted and left out; the others go on.

    Args:
        selection: of `select_pages`.
        config: of the project, as it is now.
        read: the page of an image, called from several threads.
        progress: called from this thread.
        threads: pages that are read at a time.

    Raises:
        DatasetEmpty: nothing is annotated, or no box can be learned from; says what was found.
        DatasetFailed: not one page could be read, or two engines read them (words that came with tasks go with
            either); or TorchServe or what has the images was unreachable for 8 pages in a row, or for more than half.
    """
    if not selection.pages:
        raise DatasetEmpty(_nothing_annotated(selection))
    left_out = LeftOut()
    left_out.add_all(selection.left_out)
    with closing(_read_all(selection.pages, read, threads)) as outcomes:
        examples = _examples(outcomes, len(selection.pages), config, progress, left_out)
    if not examples:
        first = left_out[NOT_READ].examples[0]
        raise DatasetFailed(f"none of {len(selection.pages)} annotated pages could be read; the first: {first}")
    if len(kinds := sorted({engine_kind(example.page.engine) for example in examples} - {TASK_ENGINE})) > 1:
        raise DatasetFailed(
            f"pages were read by {' and '.join(kinds)}: another `ocr` came into service meanwhile; begin again"
        )
    if not any(entity.words for example in examples for entity in example.entities):
        raise DatasetEmpty(_no_box(examples, left_out, config))
    return Dataset(tuple(examples), left_out)


def assign_words(words: Sequence[Word], boxes: Sequence[Box | TiltedBox]) -> list[tuple[int, ...]]:
    """Return, for each box, the indices of its words, ascending.

    A word goes to the smallest box (by area; the first of equals) that holds it (`held`). A word that no box holds
    belongs to none.
    """
    places = [word.box for word in words]
    owner = np.full(len(places), -1, dtype=np.int64)
    smallest = np.full(len(places), np.inf)
    for index, box in enumerate(boxes):  # one at a time: (words, boxes) would be a gigabyte on the fullest pages
        size = box.area if isinstance(box, TiltedBox) else (box.right - box.left) * (box.bottom - box.top)
        fits = held(places, box) & (size < smallest)
        owner[fits], smallest[fits] = index, size
    return [tuple(np.flatnonzero(owner == index).tolist()) for index in range(len(boxes))]


def _examples(
    outcomes: Iterable[tuple[AnnotatedPage, PageResult]],
    total: int,
    config: LabelConfig,
    progress: ProgressCallback,
    left_out: LeftOut,
) -> list[Example]:
    examples: list[Example] = []
    missed = missed_in_a_row = 0
    for done, (page, outcome) in enumerate(outcomes, start=1):
        progress(done, total)
        if isinstance(outcome, Page):
            missed_in_a_row = 0
            examples.append(_example(page, outcome, config, left_out))
            continue
        left_out.add(NOT_READ, f"task {page.task}, page {page.item}: {outcome}")
        if not isinstance(outcome, _TEMPORARY):
            missed_in_a_row = 0
            continue
        missed, missed_in_a_row = missed + 1, missed_in_a_row + 1
        if missed_in_a_row >= _MISSED_IN_A_ROW:  # each of the others would wait its whole time for the same
            raise SourcesUnreachable(f"none of {missed_in_a_row} pages in a row could be read; the last: {outcome}")
        if missed > _MISSED_SHARE * total:
            raise SourcesUnreachable(f"{missed} of {total} annotated pages could not be read; the last: {outcome}")
    return examples


def _example(page: AnnotatedPage, read: Page, config: LabelConfig, left_out: LeftOut) -> Example:
    place = f"task {page.task}, page {page.item}"
    kept: list[LabelledBox] = []
    for drawn in labelled_boxes(page, config, read.size, left_out):
        if any(drawn.label == other.label and _same_place(drawn, other) for other in kept):
            left_out.add(DUPLICATE, f'{place}: "{drawn.label}" at {_shown(drawn.box)}')
        else:
            kept.append(drawn)
    entities = []
    for drawn, words in zip(kept, assign_words(read.words, [one.outline for one in kept]), strict=True):
        if not words:
            left_out.add(NO_WORD, f'{place}: "{drawn.label}" at {_shown(drawn.box)}')
        entities.append(Entity(drawn.label or "", drawn.box, words))
    return Example(page.task, page.item, read, tuple(entities))


def _same_place(one: LabelledBox, other: LabelledBox) -> bool:
    return all(abs(a - b) <= SAME_PLACE_PX for a, b in zip(_corners(one), _corners(other), strict=True))


def _corners(drawn: LabelledBox) -> list[float]:
    """Return eight numbers: the corners, the same ones whichever of them the rectangle was drawn from."""
    box = drawn.box
    upright = [(box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom)]
    return [edge for corner in sorted(drawn.tilted.corners if drawn.tilted else upright) for edge in corner]


def _read_all(
    pages: Sequence[AnnotatedPage], read: Read, threads: int
) -> Generator[tuple[AnnotatedPage, PageResult], None, None]:
    """Yield each page with what reading it gave, in order."""

    def outcome(page: AnnotatedPage) -> PageResult:
        try:
            return read(page)
        except LayoutLoopError as error:
            return error
        except (OSError, MemoryError) as error:
            if is_of_machine(error):
                return machine_failed(error)
            raise

    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-page")
    try:
        yield from zip(pages, pool.map(outcome, pages), strict=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _nothing_annotated(selection: Selection) -> str:
    if not selection.tasks:
        return "no task of the project is annotated yet; submit at least one annotation in Label Studio"
    left_out = selection.left_out
    counts = f"{selection.tasks} tasks were exported, {selection.annotated} have an annotation that counts"
    if left_out[NO_IMAGE].count:
        return f"{counts}, and none of these has an image; the first: {left_out[NO_IMAGE].examples[0]}"
    if untouched := left_out[UNTOUCHED].count:
        made = counted(untouched, "annotation was", "annotations were")
        return f"{counts}: {made} made from predictions, and nobody has touched them. Look at them and press Update"
    return f"{counts}; the first: {left_out[NOT_ANNOTATED].examples[0]}. Submit an annotation instead of skipping"


def _no_box(examples: Sequence[Example], left_out: LeftOut, config: LabelConfig) -> str:
    found = f"{len(examples)} annotated pages were read and not one box on them can be learned from"
    unknown = left_out[UNKNOWN_LABEL]
    if unknown.count:
        return (
            f"{found}: {unknown.count} boxes have labels that the label config does not have; the first: "
            f"{unknown.examples[0]}. Put the old labels back, or name them as alias of the new ones"
        )
    if any(example.entities for example in examples):
        return f"{found}: no word was read inside any of {left_out[NO_WORD].count} boxes; is it the right language?"
    others = "; ".join(f"{count} x {reason}" for reason, count in left_out.counts().items())
    labels = ", ".join(config.labels)
    return f"{found} ({others or 'no box is drawn'}); draw boxes with the labels {labels}"[:600]


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{edge:.0f}" for edge in astuple(box)) + "]"
