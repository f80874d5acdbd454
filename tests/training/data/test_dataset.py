"""Words to boxes, and pages that fail. P numbers are those of the project's list of pitfalls."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from handler.errors import ImageTruncated, MachineFailed
from handler.ocr_settings import TASK_ENGINE
from handler.page import Box, Page, Size, Word
from handler.tagging.labels import LabelSet
from layoutloop.errors import (
    DatasetEmpty,
    DatasetFailed,
    DeadlineExceeded,
    ImageSourceUnreachable,
    ImageUnavailable,
    ModelNotReady,
    TorchServeUnavailable,
)
from layoutloop.studio.label_config import parse_label_config
from layoutloop.studio.rectangle import TiltedBox
from training.data.annotations import NO_LABEL, OWN_WORDS, UNKNOWN_LABEL, AnnotatedPage, select_pages
from training.data.dataset import DUPLICATE, NO_WORD, NOT_READ, Dataset, Read, assign_words, build_examples
from training.data.examples import Entity, engine_of
from training.data.page_readers import words_given

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="Total"/><Label value="Date"/></RectangleLabels></View>'
)


def word(left: float, top: float, right: float, bottom: float, text: str = "x") -> Word:
    return Word(text, Box(left, top, right, bottom))


LINE = tuple(word(10 + 20 * index, 10, 25 + 20 * index, 20, f"w{index}") for index in range(5))
"""Five words of 15 x 10 pixels, 20 pixels apart."""


@pytest.mark.parametrize(
    ("words", "boxes", "expected"),
    [
        pytest.param(LINE, [], [], id="no boxes"),
        pytest.param([], [Box(0, 0, 9, 9)], [()], id="no words"),
        pytest.param(LINE, [Box(0, 0, 200, 30)], [(0, 1, 2, 3, 4)], id="P18 one box of several words is one entity"),
        pytest.param(LINE, [Box(28, 8, 66, 22)], [(1, 2)], id="its words and no others"),
        pytest.param(LINE, [Box(10, 10, 17.5, 20)], [()], id="exactly half of a word is not most of it"),
        pytest.param(LINE, [Box(10, 10, 17.6, 20)], [(0,)], id="a little more than half is"),
        pytest.param(LINE, [Box(10.5, 12.5, 24, 17)], [(0,)], id="close around the ink of one"),
        pytest.param(LINE, [Box(10, 15.1, 100, 40)], [()], id="less than half of their height"),
        pytest.param(LINE, [Box(0, 0, 200, 30), Box(28, 8, 46, 22)], [(0, 2, 3, 4), (1,)], id="the smallest box"),
        pytest.param(LINE, [Box(28, 8, 46, 22), Box(0, 0, 200, 30)], [(1,), (0, 2, 3, 4)], id="in either order"),
        pytest.param(
            [word(0, 0, 10, 10)],
            [Box(0, 0, 6, 10), Box(4, 0, 10, 9.9)],
            [(), (0,)],
            id="both cover most of it: smaller",
        ),
        pytest.param([word(0, 0, 10, 10)], [Box(0, 0, 6, 10), Box(4, 0, 10, 10)], [(0,), ()], id="equal: the first"),
        pytest.param(LINE, [Box(400, 400, 500, 500)], [()], id="a box where nothing was read"),
        pytest.param(LINE, [Box(30, 15, 30, 15)], [()], id="a box without area"),
        pytest.param([word(5, 5, 5, 9)], [Box(0, 0, 10, 10)], [(0,)], id="a word without width: its centre"),
        pytest.param([word(5, 5, 5, 5)], [Box(5, 5, 5, 5)], [(0,)], id="a word without area in a box without area"),
        pytest.param([word(50, 5, 50, 9)], [Box(0, 0, 10, 10)], [()], id="its centre is elsewhere"),
        pytest.param(
            [*LINE[:2], word(10, 30, 25, 40)], [Box(0, 0, 27, 50)], [(0, 2)], id="in reading order, not by place"
        ),
    ],
)
def test_words_go_to_boxes(words: list[Word], boxes: list[Box], expected: list[tuple[int, ...]]) -> None:
    assert assign_words(words, boxes) == expected


def test_no_word_is_in_two_boxes_and_every_owner_is_the_smallest_that_holds_it() -> None:
    dice = random.Random(3)

    def box(most: int) -> Box:
        x, y = dice.randrange(100), dice.randrange(100)
        return Box(x, y, x + dice.randrange(most), y + dice.randrange(most))

    for _ in range(200):
        words = [Word("x", box(12)) for _ in range(dice.randrange(1, 30))]
        boxes = [box(60) for _ in range(dice.randrange(1, 9))]
        found = assign_words(words, boxes)
        owners = {index: owner for owner, indices in enumerate(found) for index in indices}
        assert sum(map(len, found)) == len(owners)
        assert all(list(indices) == sorted(indices) for indices in found)
        for index, one in enumerate(words):
            fitting = [number for number, other in enumerate(boxes) if holds(other, one.box)]
            best = min(fitting, key=lambda number: area(boxes[number]), default=None)
            assert owners.get(index) == best


def area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def holds(box: Box, of: Box) -> bool:
    across = max(0, min(box.right, of.right) - max(box.left, of.left))
    down = max(0, min(box.bottom, of.bottom) - max(box.top, of.top))
    x, y = (of.left + of.right) / 2, (of.top + of.bottom) / 2
    has_middle = box.left <= x <= box.right and box.top <= y <= box.bottom
    if area(of) == 0:
        return has_middle
    is_tight = across >= 0.75 * (of.right - of.left) and 3 * down >= of.bottom - of.top
    return across * down > area(of) / 2 or (has_middle and is_tight)


def drawn(label: str | None, left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    """A rectangle given in pixels of PAGE."""
    place = {"x": left / 2, "y": top, "width": (right - left) / 2, "height": bottom - top, "rotation": 0}
    value = place | ({} if label is None else {"rectanglelabels": [label]})
    return {"to_name": "image", "from_name": "label", "type": "rectanglelabels", "value": value}


PAGE = Page(Size(200, 100), "given", LINE)


def task(identity: int, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    one = {"id": 100 + identity, "result": list(results), "was_cancelled": False, "updated_at": "2026-11-23", **more}
    return {"id": identity, "data": {"image": f"{identity}.png"}, "annotations": [one]}


def nothing(done: int, total: int) -> None:
    """No progress is shown."""


def build(tasks: list[dict[str, Any]], read: Read = lambda _: PAGE, threads: int = 2) -> Dataset:
    return build_examples(select_pages(tasks, CONFIG), CONFIG, read, nothing, threads=threads)


def test_a_page_becomes_an_example() -> None:
    results = (drawn("Date", 28, 8, 66, 22), drawn("Total", 88, 8, 106, 22))
    (example,) = build([task(7, *results)]).examples
    assert (example.task, example.item, example.page) == (7, 0, PAGE)
    assert example.entities == (
        Entity("Date", Box(28, 8, 66, 22), (1, 2)),
        Entity("Total", Box(88, 8, 106, 22), (4,)),
    )
    labels = LabelSet.from_names(CONFIG.labels)
    assert [labels.tags[tag] for tag in example.tags(labels)] == ["O", "B-Date", "I-Date", "O", "B-Total"]


TILTED_LINES = tuple(
    Word(f"{line}{index}", Box(x - 14, y - 5, x + 14, y + 5), 0.9, line)
    for line in range(3)
    for index in range(5)
    for x, y in [(20 + 32 * index - 2 * line, 20 + 10 * line + 2.5 * index)]
)
"""Three lines of five words, 10 pixels apart, that fall by 10 pixels over their length: words touch those below."""
SLOPE = math.degrees(math.atan2(2.5, 32))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        pytest.param((4.5, 23.4, 160, 11, SLOPE), (5, 6, 7, 8, 9), id="the line"),
        pytest.param((163.2, 46.8, 160, 11, SLOPE + 180), (5, 6, 7, 8, 9), id="drawn from its other end"),
        pytest.param((164, 35.8, -160, 11, SLOPE), (5, 6, 7, 8, 9), id="flipped by its handles"),
        pytest.param((40, 26, 52, 12, SLOPE), (6, 7), id="a part of the line"),
        pytest.param((4, 12, 162, 46, 0), tuple(range(1, 15)), id="upright around all of them"),
        pytest.param((90, 60, 60, 11, -SLOPE), (), id="beside all of them"),
    ],
)
def test_a_tilted_box_holds_the_words_inside_it(
    box: tuple[float, float, float, float, float], words: tuple[int, ...]
) -> None:
    """The upright box around it would hold words of the lines above and below."""
    x, y, width, height, rotation = box
    result = drawn("Date", x, y, x + width, y + height)
    result["value"]["rotation"] = rotation
    anchor = drawn("Total", 4, 12, 32, 22)  # around the first word: a page without any word in a box is refused
    page = Page(Size(200, 100), "given", TILTED_LINES)
    (example,) = build([task(7, result, anchor)], lambda _: page).examples
    assert {entity.label: entity.words for entity in example.entities} == {"Date": words, "Total": (0,)}


def test_of_a_tilted_and_an_upright_box_the_smaller_has_the_word() -> None:
    inner = TiltedBox(26, 11, 20, 12, -3)
    assert assign_words(LINE, [Box(0, 0, 200, 30), inner]) == [(0, 2, 3, 4), (1,)]
    assert assign_words(LINE, [inner, Box(31, 11, 44, 19)]) == [(), (1,)]


@pytest.mark.parametrize(
    ("rotation", "kept"),
    [
        pytest.param(2.5, 1, id="the same"),
        pytest.param(362.5, 1, id="a full turn more"),
        pytest.param(-2.5, 2, id="the other way"),
        pytest.param(0, 2, id="upright"),
    ],
)
def test_a_tilted_box_drawn_twice_is_one(rotation: float, kept: int) -> None:
    first, second = drawn("Date", 28, 8, 106, 22), drawn("Date", 28, 8, 106, 22)
    first["value"]["rotation"], second["value"]["rotation"] = 2.5, rotation
    dataset = build([task(7, first, second)])
    assert len(dataset.examples[0].entities) == kept
    assert dataset.left_out[DUPLICATE].count == 2 - kept


def test_a_page_without_boxes_is_one_of_nothing() -> None:
    dataset = build([task(7, drawn("Date", 28, 8, 46, 22)), task(8)])
    assert [example.entities for example in dataset.examples][1] == ()
    assert not dataset.left_out.counts()


def test_a_box_without_words_stays_and_is_counted() -> None:
    dataset = build([task(7, drawn("Date", 28, 8, 46, 22), drawn("Total", 10, 60, 50, 80))])
    assert [entity.words for entity in dataset.examples[0].entities] == [(1,), ()]
    assert dataset.left_out[NO_WORD].examples == ('task 7, page 0: "Total" at [10, 60, 50, 80]',)


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        pytest.param(drawn("Date", 28, 8, 46, 22), 1, id="the same"),
        pytest.param(drawn("Date", 28.5, 7.2, 46.9, 22), 1, id="the same but for rounding"),
        pytest.param(drawn("Date", 28, 8, 48, 22), 2, id="a little wider"),
        pytest.param(drawn("Total", 28, 8, 46, 22), 2, id="another label"),
    ],
)
def test_a_box_drawn_twice_is_one(second: dict[str, Any], kept: int) -> None:
    dataset = build([task(7, drawn("Date", 28, 8, 46, 22), second)])
    (example,) = dataset.examples
    assert len(example.entities) == kept
    assert example.entities[0].words == (1,)
    assert dataset.left_out[DUPLICATE].count == 2 - kept


def test_pages_come_in_order_and_are_read_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=10)

    def read(page: AnnotatedPage) -> Page:
        together.wait()
        time.sleep(0.01 * (page.task % 3))
        return PAGE

    seen: list[tuple[int, int]] = []
    selection = select_pages([task(number, drawn("Date", 28, 8, 46, 22)) for number in range(1, 13)], CONFIG)
    dataset = build_examples(selection, CONFIG, read, lambda *one: seen.append(one), threads=4)
    assert [example.task for example in dataset.examples] == list(range(1, 13))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_pages_that_cannot_be_read_cost_themselves() -> None:
    gone = ImageUnavailable("Label Studio answered 404 for /data/upload/1/2.png")
    failures: dict[int, Exception] = {2: gone, 4: ImageTruncated("the PNG image is damaged")}

    def read(page: AnnotatedPage) -> Page:
        if page.task in failures:
            raise failures[page.task]
        return PAGE

    dataset = build([task(number, drawn("Date", 28, 8, 46, 22)) for number in range(1, 6)], read)
    assert [example.task for example in dataset.examples] == [1, 3, 5]
    assert dataset.left_out[NOT_READ].examples == (
        "task 2, page 0: Label Studio answered 404 for /data/upload/1/2.png",
        "task 4, page 0: the PNG image is damaged",
    )


def test_what_nobody_foresaw_is_not_hidden() -> None:
    def read(_: AnnotatedPage) -> Page:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build([task(1)], read)


def test_all_pages_fail() -> None:
    def read(page: AnnotatedPage) -> Page:
        raise ImageUnavailable(f"no image of task {page.task}")

    with pytest.raises(DatasetFailed, match=r"none of 12 annotated pages .*: task 1, page 0: no image of task 1$"):
        build([task(number) for number in range(1, 13)], read)


@pytest.mark.parametrize(
    "away", [TorchServeUnavailable, ModelNotReady, DeadlineExceeded, ImageSourceUnreachable, MachineFailed]
)
@pytest.mark.parametrize("good_before", [0, 5])
def test_a_server_that_is_away_is_not_waited_for_page_by_page(
    away: Callable[[str], Exception], good_before: int
) -> None:
    asked: list[int] = []

    def read(page: AnnotatedPage) -> Page:
        asked.append(page.task)
        if page.task <= good_before:
            return PAGE
        time.sleep(0.01)
        raise away("no answer")

    with pytest.raises(DatasetFailed, match="none of 8 pages in a row could be read; the last: no answer"):
        build([task(number) for number in range(1, 500)], read)
    time.sleep(0.4)
    assert len(asked) < good_before + 30, "those that waited are not read any more"


def test_that_the_last_page_is_read_does_not_make_up_for_the_others() -> None:
    def read(page: AnnotatedPage) -> Page:
        if page.task < 4:
            raise ImageSourceUnreachable("Label Studio answered 502")
        return PAGE

    with pytest.raises(DatasetFailed, match="3 of 4 annotated pages could not be read"):
        build([task(number, drawn("Date", 28, 8, 46, 22)) for number in range(1, 5)], read)


def every_other_fails(error: Exception) -> Read:
    def read(page: AnnotatedPage) -> Page:
        if page.task % 2:
            raise error
        return PAGE

    return read


@pytest.mark.parametrize(
    ("error", "pages", "fails"),
    [
        pytest.param(DeadlineExceeded("slow"), 40, False, id="for half of the pages"),
        pytest.param(DeadlineExceeded("slow"), 41, True, id="for more than half of them"),
        pytest.param(
            ImageSourceUnreachable("Label Studio answered 502"), 41, True, id="Label Studio, for more than half"
        ),
        pytest.param(ImageUnavailable("Label Studio answered 404"), 41, False, id="more than half are gone for good"),
    ],
)
def test_a_server_that_stumbles(error: Exception, pages: int, fails: bool) -> None:
    tasks = [task(number, drawn("Date", 28, 8, 46, 22)) for number in range(1, pages + 1)]
    if fails:
        with pytest.raises(DatasetFailed, match=f"21 of 41 annotated pages could not be read; the last: {error}"):
            build(tasks, every_other_fails(error))
        return
    dataset = build(tasks, every_other_fails(error))
    assert len(dataset.examples) == 20
    assert dataset.left_out.counts() == {NOT_READ: pages - 20}


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        pytest.param([], "no task of the project is annotated yet", id="an empty project"),
        pytest.param(
            [task(7, was_cancelled=True), task(8, was_cancelled=True)],
            "2 tasks were exported, 0 have an annotation that counts; the first: task 7 has 1 skipped",
            id="P24 everything was skipped",
        ),
        pytest.param(
            [task(7, parent_prediction=3), task(8, was_cancelled=True)],
            "0 have an annotation that counts: 1 annotation was made from predictions, and nobody .* press Update",
            id="only what was copied from predictions",
        ),
        pytest.param(
            [task(7) | {"data": {"text": "x"}}],
            '1 have an annotation that counts, and none of these has an image; the first: task 7 has no "image"',
            id="no image",
        ),
        pytest.param(
            [task(7), task(8)], "2 annotated pages were read .* draw boxes with the labels Total, Date", id="no box"
        ),
        pytest.param(
            [task(7, drawn("Gone", 28, 8, 46, 22)), task(8, drawn("Lost", 28, 8, 46, 22))],
            '2 boxes have labels that the label config does not have; the first: task 7, page 0: "Gone"',
            id="P18 unknown labels only",
        ),
        pytest.param([task(7, drawn(None, 28, 8, 46, 22))], f"1 x {NO_LABEL}", id="boxes without labels only"),
        pytest.param(
            [task(7, drawn("Date", 10, 60, 50, 80))], "no word was read inside any of 1 boxes", id="no word in any box"
        ),
    ],
)
def test_nothing_to_learn_from(tasks: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(DatasetEmpty, match=sentence):
        build(tasks)


def test_the_selections_own_counts_are_kept_and_not_changed() -> None:
    selection = select_pages([task(7, drawn("Date", 28, 8, 46, 22), drawn("Gone", 1, 1, 2, 2))], CONFIG)
    for _ in range(2):
        dataset = build_examples(selection, CONFIG, lambda _: PAGE, nothing)
        assert dataset.left_out.counts() == {UNKNOWN_LABEL: 1}
    assert not selection.left_out.counts()


def test_words_that_come_with_tasks_go_with_those_of_any_one_engine() -> None:
    """A page has one origin; the pages of a training may have two, for given words are exact."""
    results = (drawn("Total", 88, 8, 106, 22),)
    words = {"format": 1, "width": 200, "height": 100, "words": [{"text": "12.50", "box": [90, 10, 104, 20]}]}
    tasks = [task(1, *results), task(2, *results), task(3, *results)]
    tasks[0]["data"]["words"], tasks[1]["data"]["words"] = words, "a column of somebody's"

    def read(page: AnnotatedPage) -> Page:
        given = words_given(page, no_files)
        return given or replace(PAGE, engine="rapidocr-1.0-eng-psm3")

    dataset = build(tasks, read)
    assert [example.page.engine for example in dataset.examples] == [TASK_ENGINE, *["rapidocr-1.0-eng-psm3"] * 2]
    assert engine_of(dataset.examples) == "rapidocr-1.0-eng-psm3"
    assert engine_of(dataset.examples[:1]) == TASK_ENGINE
    assert [entity.words for entity in dataset.examples[0].entities] == [(0,)]
    assert dataset.left_out.counts() == {OWN_WORDS: 1}
    assert dataset.left_out[OWN_WORDS].examples[0].startswith('"words" in the data of task 2 is a text, neither')


def test_words_of_another_page_cost_that_page_alone() -> None:
    outside = {"format": 1, "width": 200, "height": 100, "words": [{"text": "x", "box": [300, 0, 310, 9]}]}
    tasks = [task(number, drawn("Total", 88, 8, 106, 22)) for number in (1, 2)]
    tasks[0]["data"]["words"] = outside
    dataset = build(tasks, lambda page: words_given(page, no_files) or PAGE)
    assert [example.task for example in dataset.examples] == [2]
    (sentence,) = dataset.left_out[NOT_READ].examples
    assert "task 1, page 0: " in sentence
    assert "word 0 at [300, 0, 310, 9] is outside of the page, which has 200 x 100 pixels" in sentence


def no_files(page: AnnotatedPage) -> bytes:
    raise AssertionError(page)
