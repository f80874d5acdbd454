"""Which annotation of a task counts, and what it draws on each page. Pure: no file is read, nothing is requested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from handler.page import Size
from layoutloop.errors import TaskInvalid
from layoutloop.studio.drawn import RECTANGLES, DrawnRegion, LabelledBox, Result, drawn_regions, labelled_box, labels_of
from layoutloop.studio.label_config import LabelConfig, image_references
from layoutloop.studio.task_words import GivenPage, words_of_task
from training.data.left_out import LeftOut

NOT_ANNOTATED = "task without an annotation that counts"
UNTOUCHED = "annotation that was made from a prediction and that nobody has touched (its task still waits)"
NO_IMAGE = "task without an image"
OWN_WORDS = 'task whose "words" are no words of a page (its pages are read by OCR)'
NO_PAGE = "box on no page of its task"
NO_RECTANGLE = "shape that is no rectangle"
OTHER_CONTROL = "box of a control that is not served"
NO_NUMBERS = "box without usable numbers"
NO_LABEL = "box without a label"
UNKNOWN_LABEL = "box with a label that the label config does not have"
SEVERAL_LABELS = "further label of a box that has several"

_SHAPES = ("polygon", "ellipse", "brush", "keypoint", "vector", "bitmask")
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class AnnotatedPage:
    """One page of a task, with what the annotation that counts draws on it.

    Its boxes are in percent until the page was read: only the image that the annotator sees says how many
    pixels it has, `original_width` of an annotation may be missing or wrong (`labelled_boxes` converts).

    Args:
        task: Label Studio's task id.
        item: which page of the task, from 0.
        reference: the image, as the task's data names it.
        annotation: id of the annotation, as a string.
        updated_at: when it was last changed, as Label Studio writes it.
        drawn: the served controls' results of each rectangle (several where label and text are results of their own).
        words: those that the task brings for the page; None for a page that is to be read.
    """

    task: int
    item: int
    reference: str
    annotation: str
    updated_at: str
    drawn: tuple[tuple[Result, ...], ...]
    words: GivenPage | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a project's annotations say, before any image was read.

    Args:
        tasks: how many tasks the export holds.
        annotated: how many of them have an annotation that counts.
        pages: of those, in the order of the tasks.
        left_out: what could not be used.
    """

    tasks: int
    annotated: int
    pages: tuple[AnnotatedPage, ...]
    left_out: LeftOut


def select_pages(tasks: Sequence[Mapping[str, Any]], config: LabelConfig) -> Selection:
    """Return the pages of all annotated tasks.

    A page without boxes is a page of an annotated task like any other: a person looked and found nothing, also
    where only the other pages of the task have boxes.
    """
    left_out = LeftOut()
    pages: list[AnnotatedPage] = []
    annotated = 0
    for task in tasks:
        untouched = sum(map(_is_untouched, task["annotations"]))
        for _ in range(untouched):
            left_out.add(UNTOUCHED, f"task {task['id']}")
        annotation = annotation_that_counts(task)
        if annotation is None:
            if not untouched:
                left_out.add(NOT_ANNOTATED, f"task {task['id']} has {_what_it_has(task)}")
            continue
        annotated += 1
        try:
            references = image_references(task, config)
        except TaskInvalid as error:
            left_out.add(NO_IMAGE, str(error))
            continue
        given = words_of_task(task, config, len(references))
        if given.own_column:
            left_out.add(OWN_WORDS, given.own_column)
        drawn_on = _pages(int(task["id"]), annotation, references, config, left_out)
        pages += [replace(page, words=words) for page, words in zip(drawn_on, given.pages, strict=True)]
    return Selection(len(tasks), annotated, tuple(pages), left_out)


def annotation_that_counts(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the annotation of a task that training learns from; None where it has none.

    Skipped ones (`was_cancelled`) never count, drafts and predictions neither: they are not among the task's
    `annotations`. A prediction that a person submitted unchanged is an annotation; one that Label Studio copied into an
    annotation, and nobody has touched since, is not. Ground truth comes first, then the one changed last, by whichever
    annotator; the higher id where two were changed at once.
    """
    candidates = [
        annotation
        for annotation in task["annotations"]
        if isinstance(annotation, Mapping)
        and not annotation.get("was_cancelled")
        and not _is_untouched(annotation)
        and isinstance(annotation.get("result"), list)
    ]
    return max(candidates, key=_precedence, default=None)


def fingerprint(pages: Iterable[AnnotatedPage]) -> dict[str, str]:
    """Return what there is to learn from pages: whose it is -> when its annotation was last changed.

    The first page goes by the id of its annotation, "12"; the others of a document by "12/1", "12/2" and so on, for
    one of them may be unreadable while the others are learned from.
    """
    return {f"{page.annotation}/{page.item}" if page.item else page.annotation: page.updated_at for page in pages}


def count_new(before: Mapping[str, str], now: Mapping[str, str]) -> int:
    """Return how many annotations have something in `now` that is not in `before`; both are a `fingerprint`."""
    return len({page.partition("/")[0] for page, updated_at in now.items() if before.get(page) != updated_at})


def labelled_boxes(page: AnnotatedPage, config: LabelConfig, size: Size, left_out: LeftOut) -> list[LabelledBox]:
    """Return the boxes of a page in pixels, each with a label that the project has; count the others.

    Labels are those of the label config: an annotation may still name one by its value where an alias was added.
    """
    boxes = []
    place = f"task {page.task}, page {page.item}"
    for group in page.drawn:
        drawn = labelled_box(group, size)
        if isinstance(drawn, str):
            left_out.add(NO_NUMBERS, f"{place}: {_shown(group)}: {drawn}")
            continue
        label = config.project_label(drawn.label)
        if drawn.label is None:
            bare = f'a rectangle without a label of "{config.from_name}"; its words are taught as no entity'
            left_out.add(NO_LABEL, f"{place}: {bare}")
        elif label is None:
            known = ", ".join(config.labels)
            left_out.add(UNKNOWN_LABEL, f'{place}: "{drawn.label[:80]}"; the label config has {known}'[:400])
        else:
            for further in labels_of(group)[1:]:
                left_out.add(SEVERAL_LABELS, f'{place}: "{further[:80]}" beside "{drawn.label[:80]}", which counts')
            boxes.append(replace(drawn, label=label, item_index=page.item))
    return boxes


def _is_untouched(annotation: object) -> bool:
    """Whether *Create Annotations From Predictions* made an annotation, and no person has said anything about it since.

    Measured with Label Studio 1.23.2: it then has a `parent_prediction`, and neither a `lead_time`, which submitting
    and updating bring, nor an `updated_by`, which every way to save it leaves, the star of ground truth too.
    """
    return (
        isinstance(annotation, Mapping)
        and annotation.get("parent_prediction") is not None
        and annotation.get("lead_time") is None
        and annotation.get("updated_by") is None
        and not annotation.get("ground_truth")
    )


def _precedence(annotation: Mapping[str, Any]) -> tuple[bool, datetime, int]:
    identity = annotation.get("id")
    return bool(annotation.get("ground_truth")), _moment(annotation), identity if isinstance(identity, int) else 0


def _moment(annotation: Mapping[str, Any]) -> datetime:
    """Return when an annotation was last changed; long ago where it does not say."""
    text = annotation.get("updated_at") or annotation.get("created_at")
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))  # Python 3.10 does not read the Z
    except ValueError:
        return _LONG_AGO
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _what_it_has(task: Mapping[str, Any]) -> str:
    skipped = sum(isinstance(one, Mapping) and bool(one.get("was_cancelled")) for one in task["annotations"])
    return f"{skipped} skipped" if skipped else "none"


def _pages(
    task: int,
    annotation: Mapping[str, Any],
    references: Sequence[str],
    config: LabelConfig,
    left_out: LeftOut,
) -> list[AnnotatedPage]:
    drawn: list[list[tuple[Result, ...]]] = [[] for _ in references]
    for region in drawn_regions(annotation["result"], config):
        if not any(kind in RECTANGLES for kind in region.types):
            if any(kind.startswith(_SHAPES) for kind in region.types):
                shapes = f"{', '.join(region.types)}; only rectangles are learned from"
                left_out.add(NO_RECTANGLE, f"task {task}: {shapes}"[:400])
        elif not region.ours:
            drawn_with = f'drawn with {_controls(region)}; "{config.from_name}" is served'
            left_out.add(OTHER_CONTROL, f"task {task}: {drawn_with}"[:400])
        elif (item := _item(region.ours, len(references))) is None:
            found = [result.get("item_index") for result in region.ours]
            left_out.add(NO_PAGE, f"task {task} has {len(references)} pages, the box has item_index {found[0]!r:.40}")
        else:
            drawn[item].append(region.ours)
    identity = str(annotation.get("id") or f"of task {task}")
    updated_at = str(annotation.get("updated_at") or "")
    return [
        AnnotatedPage(task, item, reference, identity, updated_at, tuple(drawn[item]))
        for item, reference in enumerate(references)
    ]


def _controls(region: DrawnRegion) -> str:
    """Return the names of the controls that a region was drawn with."""
    return ", ".join(dict.fromkeys(f'"{result.get("from_name")}"' for result in region.results))


def _item(group: Sequence[Result], pages: int) -> int | None:
    """Return the page a rectangle is on; None where it says none of several pages, or one that is not there."""
    rectangles_first = sorted(group, key=lambda result: result.get("type") not in RECTANGLES)
    indices = (result.get("item_index") for result in rectangles_first)
    item = next((index for index in indices if index is not None), 0 if pages == 1 else None)
    if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < pages:
        return None
    return item


def _shown(group: Sequence[Result]) -> str:
    """Return the numbers of a rectangle as they stand in the annotation, short."""
    values = [result.get("value") for result in group if result.get("type") in RECTANGLES]
    value = values[0] if values and isinstance(values[0], Mapping) else {}
    return ", ".join(f"{key} {value.get(key)!r:.24}" for key in ("x", "y", "width", "height", "rotation"))
