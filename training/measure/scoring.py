"""Entity scores: what a model found on annotated pages against what people marked there.

A prediction is right when the page has a marked entity of the same label with exactly the same words. This is
what the person at the screen sees, so nothing is made easier for the model:

- a marked entity without words (the OCR engine read nothing there) is one that was missed;
- so is one that holds a word without a token, which no prediction can hold (see `handler.tagging.decoding`);
- two equal predictions where one entity is marked are one right and one wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support  # type: ignore[import-untyped]

from handler.errors import HandlerError
from handler.page import TaggedPage
from training.data.examples import Example, entities_of

MICRO = "all labels"
"""Name of the row that counts every entity alike, whatever its label."""

Key = tuple[str, tuple[int, ...]]
"""Label and words of an entity; or label and the number of its place, where boxes are compared."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well one label was found.

    Args:
        label: as the project names it; MICRO for all together.
        precision: share of the predicted entities that are right, in [0, 1]; 0 where none was predicted.
        recall: share of the marked entities that were found, in [0, 1]; 0 where none was marked.
        f1: harmonic mean of both, in [0, 1].
        support: marked entities.
        predicted: predicted entities.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True, slots=True)
class PageScore:
    """The counts of one page; the gate draws pages, so it needs them one by one.

    Args:
        task: Label Studio's task id.
        item: which page of the task, from 0.
        right: predictions that are right.
        gold: marked entities.
        predicted: predicted entities.
        error: why the model gave no answer; None where it did.
        other_box: marked entities that are not right, and share a word with a prediction of their label: the box is
            all that is wrong. None where boxes were compared, and in reports from before this was counted.
    """

    task: int
    item: int
    right: int
    gold: int
    predicted: int
    error: str | None = None
    other_box: int | None = None

    @property
    def wrong(self) -> int:
        """Marked entities that were missed, and predictions that are wrong."""
        return self.gold + self.predicted - 2 * self.right


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the marked entities; the three are all of them.

    Args:
        right: label and box as marked.
        other_box: the label as marked, around other words: the person moves edges.
        missed: nothing of that label is there: the person draws a box.
    """

    right: int
    other_box: int
    missed: int

    @classmethod
    def on(cls, pages: Iterable[PageScore]) -> Found | None:
        """Add up pages; None where one of them was counted without other boxes, or there is none."""
        counts = list(pages)
        if not counts or any(page.other_box is None for page in counts):
            return None
        right, other = (sum(getattr(page, name) for page in counts) for name in ("right", "other_box"))
        return cls(right, other, sum(page.gold for page in counts) - right - other)


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on one list of pages.

    Args:
        labels: every configured label in the given order, then every other one that was marked or predicted, sorted.
        overall: all entities counted alike (micro average).
        pages: in the order of the examples.
    """

    labels: tuple[LabelScore, ...]
    overall: LabelScore
    pages: tuple[PageScore, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Another version, measured on the same pages."""

    version: str
    scores: Scores


def score(
    examples: Sequence[Example],
    tagged: Sequence[TaggedPage | HandlerError],
    labels: Sequence[str],
    label_map: Mapping[str, str] | None = None,
) -> Scores:
    """Compare a model's answers with the annotations.

    A page that the model failed on counts as one without predictions, and keeps its error.

    Args:
        examples: annotated pages.
        tagged: the model's answer for each of them, in the same order.
        labels: the configured ones; each gets a row, also without any entity.
        label_map: model's label -> project's label (`predicted_values`); a label that is not in it stays as it is.

    Raises:
        ValueError: another number of answers than of pages.
    """
    if len(examples) != len(tagged):
        raise ValueError(f"{len(examples)} pages need as many answers, got {len(tagged)}")
    gold = [Counter((entity.label, entity.words) for entity in example.entities) for example in examples]
    found = [_predicted(answer, label_map or {}) for answer in tagged]
    scores = scores_of(examples, tagged, gold, found, labels)
    other = map(_other_box, gold, found)
    pages = (replace(page, other_box=count) for page, count in zip(scores.pages, other, strict=True))
    return replace(scores, pages=tuple(pages))


def scores_of(
    examples: Sequence[Example],
    tagged: Sequence[TaggedPage | HandlerError],
    gold: Sequence[Counter[Key]],
    found: Sequence[Counter[Key]],
    labels: Sequence[str],
) -> Scores:
    """Count what is equal in `gold` and `found`, which have one entry for each page, as `score` says."""
    places = list(_places(gold, found))
    others = sorted({label for place in places for label in place if label is not None} - set(labels))
    rows = _label_scores(places, [*dict.fromkeys(labels), *others])
    return Scores(
        labels=rows[:-1],
        overall=rows[-1],
        pages=tuple(map(_page_score, examples, tagged, gold, found)),
    )


def reading_ceiling(examples: Sequence[Example]) -> float | None:
    """Return the share of marked entities that have a word at all, in [0, 1]; None where none is marked.

    The rest is what the OCR engine lost: no model can find it.
    """
    read = [bool(entity.words) for example in examples for entity in example.entities]
    return sum(read) / len(read) if read else None


def _predicted(answer: TaggedPage | HandlerError, label_map: Mapping[str, str]) -> Counter[Key]:
    if isinstance(answer, HandlerError):
        return Counter()
    return Counter((entity.label, entity.words) for entity in entities_of(answer.regions, label_map))


def _page_score(
    example: Example, answer: TaggedPage | HandlerError, gold: Counter[Key], found: Counter[Key]
) -> PageScore:
    counts = PageScore(example.task, example.item, _right(gold, found).total(), gold.total(), found.total())
    return replace(counts, error=str(answer)) if isinstance(answer, HandlerError) else counts


def _right(gold: Counter[Key], found: Counter[Key]) -> Counter[Key]:
    return Counter({key: count for key, count in (gold & found).items() if key[1]})  # nothing is not equal to nothing


def _other_box(gold: Counter[Key], found: Counter[Key]) -> int:
    """Return how many marked entities are not right, though a word of them is predicted to have their label."""
    missed = gold - _right(gold, found)
    labelled = {(label, word) for label, words in found for word in words}
    return sum(count for (label, words), count in missed.items() if any((label, word) in labelled for word in words))


def _places(gold: Sequence[Counter[Key]], found: Sequence[Counter[Key]]) -> Iterator[tuple[str | None, str | None]]:
    """Yield what is marked and what is predicted at each distinct place, None for nothing.

    A place is one entity of one page: its label and words. Duplicates are places of their own. The two agree
    exactly where a prediction is right, so a classification score of the places is a score of the entities.
    """
    for ours, theirs in zip(gold, found, strict=True):
        right = _right(ours, theirs)
        yield from ((label, label) for label, _ in right.elements())
        yield from ((label, None) for label, _ in (ours - right).elements())
        yield from ((None, label) for label, _ in (theirs - right).elements())


def _label_scores(places: Sequence[tuple[str | None, str | None]], labels: Sequence[str]) -> tuple[LabelScore, ...]:
    """Return the scores of each label, then those of all together."""
    ids: dict[str | None, int] = {label: index for index, label in enumerate(labels)}
    # The last place is nothing twice, which is in no label: scikit-learn takes no empty list.
    pairs = np.array([[ids.get(one, -1) for one in place] for place in [*places, (None, None)]], dtype=np.int64)
    support, predicted = (np.bincount(side[side >= 0], minlength=len(labels)) for side in pairs.T)
    return (
        *(
            LabelScore(label, *values, int(support[index]), int(predicted[index]))
            for index, (label, values) in enumerate(zip(labels, _precision_recall_f1(pairs, len(labels)), strict=True))
        ),
        LabelScore(MICRO, *_micro(pairs, len(labels)), int(support.sum()), int(predicted.sum())),
    )


def _precision_recall_f1(pairs: NDArray[np.int64], labels: int) -> list[tuple[float, float, float]]:
    if not labels:
        return []
    marked, predicted = pairs.T
    table = precision_recall_fscore_support(marked, predicted, labels=range(labels), average=None, zero_division=0)
    return [(float(p), float(r), float(f1)) for p, r, f1 in zip(*table[:3], strict=True)]


def _micro(pairs: NDArray[np.int64], labels: int) -> tuple[float, float, float]:
    if not labels:
        return 0.0, 0.0, 0.0
    marked, predicted = pairs.T
    p, r, f1, _ = precision_recall_fscore_support(
        marked, predicted, labels=range(labels), average="micro", zero_division=0
    )
    return float(p), float(r), float(f1)
