from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from handler.errors import AnswerInvalid, HandlerError
from handler.page import Box, Page, Region, Size, TaggedPage, Word
from handler.tagging.decoding import WordLabels, joined_words
from handler.tagging.labels import LabelSet
from handler.tagging.tagger import TaggerSettings
from tests.checkpoints import LABELS, make_checkpoint
from training.data.examples import Entity, Example
from training.measure.evaluate import tag_examples
from training.measure.scoring import MICRO, Found, LabelScore, PageScore, Scores, reading_ceiling, score

BOX = Box(0, 0, 10, 10)
Marked = tuple[str, tuple[int, ...]]


def example(*entities: Marked, task: int = 1, item: int = 0, words: int = 8) -> Example:
    page = Page(Size(100, 100), "given", tuple(Word(f"word{index}", BOX) for index in range(words)))
    return Example(task, item, page, tuple(Entity(label, BOX, indices) for label, indices in entities))


def tagged(*regions: Marked) -> TaggedPage:
    return TaggedPage(tuple(Region(label, BOX, 0.9, "", indices) for label, indices in regions), 1)


def row(scores: Scores, label: str) -> LabelScore:
    return next(one for one in scores.labels if one.label == label)


@pytest.mark.parametrize(
    ("marked", "predicted", "counts"),
    [
        pytest.param([("total", (1, 2))], [("total", (1, 2))], (1, 1, 1), id="exact"),
        pytest.param([("total", (1, 2))], [("total", (1,))], (0, 1, 1), id="one word too few"),
        pytest.param([("total", (1, 2))], [("total", (1, 2, 3))], (0, 1, 1), id="one word too many"),
        pytest.param([("total", (1, 2))], [("date", (1, 2))], (0, 1, 1), id="another label"),
        pytest.param([("total", (1,))], [], (0, 1, 0), id="missed"),
        pytest.param([], [("total", (1,))], (0, 0, 1), id="made up"),
        pytest.param([], [], (0, 0, 0), id="nothing on either side"),
        pytest.param([("total", ())], [], (0, 1, 0), id="a box without words was missed"),
        pytest.param([("total", ())], [("total", ())], (0, 1, 1), id="no words are found by nothing"),
        pytest.param([("total", (1,))], [("total", (1,)), ("total", (1,))], (1, 1, 2), id="predicted twice"),
        pytest.param([("total", (1,)), ("total", (1,))], [("total", (1,))], (1, 2, 1), id="marked twice"),
        pytest.param([("total", ()), ("total", ())], [], (0, 2, 0), id="two boxes without words"),
        pytest.param(
            [("total", (1,)), ("total", (2,))], [("total", (2,)), ("total", (1,))], (2, 2, 2), id="order is nothing"
        ),
        pytest.param([("total", (1, 3))], [("total", (1,)), ("total", (3,))], (0, 1, 2), id="found in two pieces"),
    ],
)
def test_one_page(marked: list[Marked], predicted: list[Marked], counts: tuple[int, int, int]) -> None:
    scores = score([example(*marked)], [tagged(*predicted)], ["total", "date"])
    right, gold, found = counts
    assert [(page.right, page.gold, page.predicted, page.error) for page in scores.pages] == [(*counts, None)]
    assert scores.pages[0].wrong == gold - right + found - right
    assert (scores.overall.support, scores.overall.predicted) == (gold, found)
    assert scores.overall.precision == pytest.approx(right / found if found else 0)
    assert scores.overall.recall == pytest.approx(right / gold if gold else 0)
    assert scores.overall.f1 == pytest.approx(2 * right / (gold + found) if gold + found else 0)


@pytest.mark.parametrize(
    ("marked", "predicted", "counts"),
    [
        pytest.param([("total", (1, 2))], [("total", (1, 2))], (1, 0, 0), id="box right"),
        pytest.param([("total", (1, 2))], [("total", (2,))], (0, 1, 0), id="a word too few"),
        pytest.param([("total", (1, 2))], [("total", (0, 1, 2, 3))], (0, 1, 0), id="words too many"),
        pytest.param([("total", (1, 2))], [("date", (1, 2))], (0, 0, 1), id="another label is not found"),
        pytest.param([("total", (1, 2))], [("total", (3,))], (0, 0, 1), id="elsewhere is not found"),
        pytest.param([("total", (1,)), ("total", (2,))], [("total", (1, 2))], (0, 2, 0), id="two boxes in one"),
        pytest.param([("total", (1,)), ("total", (2, 3))], [("total", (1,)), ("total", (2,))], (1, 1, 0), id="both"),
        pytest.param([("total", ())], [("total", (1,))], (0, 0, 1), id="a box without words is not found"),
    ],
)
def test_what_became_of_the_marked_ones(
    marked: list[Marked], predicted: list[Marked], counts: tuple[int, int, int]
) -> None:
    scores = score([example(*marked)], [tagged(*predicted)], ["total", "date"])
    assert Found.on(scores.pages) == Found(*counts)


def test_what_was_not_counted_is_not_said() -> None:
    assert Found.on([]) is None
    assert Found.on([PageScore(1, 0, 1, 2, 3, other_box=1), PageScore(2, 0, 1, 2, 3)]) is None


def test_equal_words_of_different_pages_are_different_entities() -> None:
    scores = score([example(("total", (1,))), example(task=2)], [tagged(), tagged(("total", (1,)))], ["total"])
    assert scores.overall.f1 == 0
    assert [page.right for page in scores.pages] == [0, 0]


def test_every_configured_label_is_shown_and_every_other_one() -> None:
    """P20: seqeval leaves out what has no support, so a label that nobody marked would vanish from the report."""
    examples = [example(("total", (1,)), ("total", (2,)), ("old", (3,)))]
    scores = score(examples, [tagged(("total", (1,)), ("date", (4,)), ("alien", (5,)))], ["vendor", "total", "date"])
    assert scores.labels == (
        LabelScore("vendor", 0, 0, 0, 0, 0),
        LabelScore("total", 1, 0.5, pytest.approx(2 / 3), 2, 1),
        LabelScore("date", 0, 0, 0, 0, 1),
        LabelScore("alien", 0, 0, 0, 0, 1),
        LabelScore("old", 0, 0, 0, 1, 0),
    )
    assert scores.overall == LabelScore(MICRO, pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(1 / 3), 3, 3)


@pytest.mark.parametrize("labels", [[], ["total"]], ids=["no label", "one label"])
def test_no_pages(labels: list[str]) -> None:
    scores = score([], [], labels)
    assert [one.label for one in scores.labels] == labels
    assert scores.overall == LabelScore(MICRO, 0, 0, 0, 0, 0)
    assert scores.pages == ()


def test_a_page_that_failed_counts_as_nothing_predicted_and_keeps_its_error() -> None:
    examples = [example(("total", (1,)), task=task) for task in (1, 2)]
    scores = score(examples, [AnswerInvalid("not finite"), tagged(("total", (1,)))], ["total"])
    assert scores.pages == (PageScore(1, 0, 0, 1, 0, "not finite", 0), PageScore(2, 0, 1, 1, 1, None, 0))
    assert row(scores, "total") == LabelScore("total", 1, 0.5, pytest.approx(2 / 3), 2, 1)


def test_labels_of_the_model_are_mapped_to_the_projects() -> None:
    scores = score(
        [example(("Summe", (1,)), ("Datum", (2,)))],
        [tagged(("total", (1,)), ("Datum", (2,)), ("alien", (3,)))],
        ["Summe", "Datum"],
        {"total": "Summe", "Summe": "Summe"},
    )
    assert [(one.label, one.f1) for one in scores.labels] == [("Summe", 1), ("Datum", 1), ("alien", 0)]


def test_another_number_of_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="2 pages need as many answers, got 1"):
        score([example(), example()], [tagged()], ["total"])


@pytest.mark.parametrize(
    ("entities", "ceiling"),
    [
        pytest.param([[("a", (1,)), ("a", ())], [("b", (1, 2)), ("b", (3,))]], 0.75, id="a quarter was not read"),
        pytest.param([[("a", ())]], 0.0, id="nothing was read"),
        pytest.param([[], []], None, id="nothing is marked"),
        pytest.param([], None, id="no pages"),
    ],
)
def test_reading_ceiling(entities: list[list[Marked]], ceiling: float | None) -> None:
    assert reading_ceiling([example(*page) for page in entities]) == ceiling


def _random_tags(generator: np.random.Generator, names: Sequence[str], words: int) -> list[str]:
    """IOB2 tags without a repair to make: I-X only after B-X or I-X."""
    tags: list[str] = []
    for _ in range(words):
        going_on = [f"I-{tags[-1][2:]}"] * 2 if tags and tags[-1] != "O" else []
        tags.append(str(generator.choice(["O", "O", *(f"B-{name}" for name in names), *going_on])))
    return tags


def _spans(tags: Sequence[str], labels: LabelSet) -> list[Marked]:
    """The regions that our decoding makes of tags, so that this test compares what is served."""
    ids = np.array([labels.tags.index(tag) for tag in tags], dtype=np.int64)
    page = Page(Size(100, 100), "given", tuple(Word("x", BOX) for _ in tags))
    found = joined_words(page, WordLabels(ids, np.ones(len(tags), dtype=np.float32)), labels)
    return [(box.label, box.words) for box in found]


@pytest.mark.parametrize("seed", range(8))
def test_seqeval_agrees_where_entities_are_contiguous(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = LabelSet.from_names(["a", "b", "c", "never"])
    gold, found = ([_random_tags(generator, labels.names[:3], words) for words in (30, 1, 12, 30, 5)] for _ in range(2))
    for ours, theirs in zip(gold, found, strict=True):  # make half of the predictions right
        middle = len(ours) // 2
        theirs[:middle] = ours[:middle]
        theirs[middle] = theirs[middle].replace("I-", "B-")  # a broken sequence is where repairs differ
    examples = [example(*_spans(tags, labels), task=task, words=30) for task, tags in enumerate(gold)]
    scores = score(examples, [tagged(*_spans(tags, labels)) for tags in found], labels.names)
    table = precision_recall_fscore_support(gold, found, mode="strict", scheme=IOB2, average=None, zero_division=0)
    ours_by_label = [(one.precision, one.recall, one.f1, one.support) for one in scores.labels[:3]]
    assert ours_by_label == [pytest.approx(values) for values in zip(*table, strict=True)]
    overall = precision_recall_fscore_support(gold, found, mode="strict", scheme=IOB2, average="micro", zero_division=0)
    assert (scores.overall.precision, scores.overall.recall, scores.overall.f1) == pytest.approx(overall[:3])
    assert 0 < scores.overall.f1 < 1, "else the test shows nothing"
    assert scores.labels[3] == LabelScore("never", 0, 0, 0, 0, 0)


def test_a_real_checkpoint_scored_on_its_own_answers_is_perfect(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", outside_bias=-5.0)
    pages = [example(task=task, words=5 + task % 40) for task in range(70)]
    seen: list[tuple[int, int]] = []
    answers = tag_examples(
        checkpoint, pages, TaggerSettings(device="cpu"), lambda done, total: seen.append((done, total))
    )
    assert seen == [(64, 70), (70, 70)]
    marked = [
        replace(page, entities=tuple(Entity(region.label, region.box, region.words) for region in _regions(answer)))
        for page, answer in zip(pages, answers, strict=True)
    ]
    scores = score(marked, answers, LABELS)
    assert scores.overall.support > 0
    assert scores.overall.f1 == 1
    assert score([*marked[1:], marked[0]], answers, LABELS).overall.f1 < 1


def _regions(answer: TaggedPage | HandlerError) -> tuple[Region, ...]:
    assert isinstance(answer, TaggedPage)
    return answer.regions


def test_no_pages_need_no_checkpoint(tmp_path: Path) -> None:
    assert tag_examples(tmp_path / "nothing here", [], TaggerSettings()) == []
