from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demo.sheet import GoldRegion
from demo.tasks import annotation_result, exported_task, label_config
from handler.page import Box, Page, Size, Word
from layoutloop.errors import ImageUnavailable
from training.data.annotations import AnnotatedPage
from training.data.collect import Collected, TooFewNew, collect, learned_before, read_split, reference_of, remember
from training.data.dataset import Read, build_examples
from training.data.split import position

SIZE = Size(200, 100)
LABELS = ("total", "date")


def page(_: AnnotatedPage | None = None) -> Page:
    return Page(SIZE, "test-1.0-eng-psm3", (Word("12.50", Box(10, 10, 40, 20)), Word("2026", Box(100, 10, 140, 20))))


def task(number: int) -> dict[str, Any]:
    regions = [GoldRegion("total", Box(8, 8, 42, 22), "12.50"), GoldRegion("date", Box(98, 8, 142, 22), "2026")]
    return exported_task(number, f"/data/upload/7/{number}.png", annotation_result(regions, SIZE.width, SIZE.height))


def collected(
    folder: Path,
    model_dir: Path,
    tasks: Sequence[Mapping[str, Any]],
    least_new: int = 0,
    known: Mapping[str, str] | None = None,
    read: Read = page,
) -> Collected:
    folder.mkdir(exist_ok=True)
    remember(model_dir / "project-7", known or {})
    build = partial(build_examples, read=read, progress=lambda _done, _total: None, threads=2)
    return collect(folder, model_dir / "project-7", lambda: (label_config(LABELS), tasks), build, least_new)


def test_pages_are_split_and_kept(tmp_path: Path) -> None:
    tasks = [task(number) for number in range(30)]
    first = collected(tmp_path / "job", tmp_path, tasks)
    training, validation = read_split(tmp_path / "job")
    assert {number for number in range(30) if position(number) < 0.2} <= {example.task for example in validation}
    assert len(training) + len(validation) == 30
    assert [entity.words for entity in training[0].entities] == [(0,), (1,)]
    assert first.labels == LABELS
    assert first.engine == "test-1.0-eng-psm3"
    assert reference_of(first, training[0]).reference == f"/data/upload/7/{training[0].task}.png"


def test_a_second_try_learns_from_the_same_pages(tmp_path: Path) -> None:
    first = collected(tmp_path / "job", tmp_path, [task(1), task(2)])
    again = collected(tmp_path / "job", tmp_path, [task(3)])
    assert again == first


def test_a_document_stays_on_its_side(tmp_path: Path) -> None:
    """P31: also one that was forced into validation because there was none, after others came that would do."""
    few = [number for number in range(200) if position(number) >= 0.2][:5]
    collected(tmp_path / "a", tmp_path, [task(number) for number in few])
    _, forced = read_split(tmp_path / "a")
    assert len(forced) == 1
    collected(tmp_path / "b", tmp_path, [task(number) for number in range(200)])
    training, validation = read_split(tmp_path / "b")
    assert forced[0].task in {example.task for example in validation}
    assert set(few) - {forced[0].task} <= {example.task for example in training}


@pytest.mark.parametrize(
    ("new", "least_new", "skips"),
    [
        pytest.param(2, 3, True, id="two of three"),
        pytest.param(3, 3, False, id="three of three"),
        pytest.param(0, 0, False, id="asked for by a person"),
    ],
)
def test_too_few_new_annotations(tmp_path: Path, new: int, least_new: int, skips: bool) -> None:
    tasks = [task(number) for number in range(4 + new)]
    before = {str(one["annotations"][0]["id"]): one["annotations"][0]["updated_at"] for one in tasks[:4]}
    if skips:
        with pytest.raises(TooFewNew, match="2 annotations are new since the last training; 3 start one"):
            collected(tmp_path / "job", tmp_path, tasks, least_new, before)
        assert not (tmp_path / "job" / "dataset.json").exists()
    else:
        collected(tmp_path / "job", tmp_path, tasks, least_new, before)


def test_copied_predictions_start_no_training(tmp_path: Path) -> None:
    tasks = [task(number) for number in range(4)]
    for one in tasks[:2]:
        one["annotations"][0] |= {"parent_prediction": 9, "lead_time": None, "updated_by": None}
    with pytest.raises(TooFewNew, match=r"2 annotations are new .*; 2 more were made from predictions and nobody"):
        collected(tmp_path / "job", tmp_path, tasks, least_new=3)


def all_but(*unreadable: int) -> Read:
    def read(one: AnnotatedPage) -> Page:
        if one.task in unreadable:
            raise ImageUnavailable(f"the image of task {one.task} is damaged")
        return page()

    return read


def test_what_could_not_be_read_was_not_learned(tmp_path: Path) -> None:
    tasks = [task(number) for number in range(1, 5)]
    first = collected(tmp_path / "job", tmp_path, tasks, read=all_but(2, 3))
    ids = {one["id"]: str(one["annotations"][0]["id"]) for one in tasks}
    assert set(first.annotations) == {ids[1], ids[4]}
    assert Collected.read(tmp_path / "job") == first


@pytest.mark.parametrize(
    ("before", "now", "more", "skipped"),
    [
        pytest.param((1, 2, 3), (), 0, None, id="a host that was away is back"),
        pytest.param((1, 2, 3), (1, 2, 3), 0, "0 annotations .*; 3 more cannot count", id="damaged for good"),
        pytest.param((1, 2, 3), (1, 2, 3), 2, "2 annotations .*; 3 more cannot count", id="and two that are new"),
        pytest.param((1, 2, 3), (1, 2, 3), 3, None, id="and three that are new"),
        pytest.param((1, 2, 3), (1, 2, 3), 1, "^1 annotation is new .*; 3 more cannot count", id="and one that is new"),
        pytest.param((1, 2, 3), (2, 3), 2, None, id="one of them is there again, and two are new"),
        pytest.param((), (1, 2, 3), 0, "0 annotations [^;]*; 3 start one [^;]*$", id="once learned, now away"),
        pytest.param((1, 2), (), 0, "2 annotations [^;]*; 3 start one [^;]*$", id="too few are back"),
    ],
)
def test_what_cannot_be_read_starts_no_training(
    tmp_path: Path, before: tuple[int, ...], now: tuple[int, ...], more: int, skipped: str | None
) -> None:
    """Else an image that stays damaged would start one training after the other."""
    tasks = [task(number) for number in range(1, 8)]
    known = collected(tmp_path / "a", tmp_path, tasks, read=all_but(*before)).annotations
    tasks += [task(number) for number in range(8, 8 + more)]
    if skipped is None:
        collected(tmp_path / "b", tmp_path, tasks, 3, known, all_but(*now))
        return
    split = (tmp_path / "project-7" / "split.json").read_text()
    with pytest.raises(TooFewNew, match=skipped):
        collected(tmp_path / "b", tmp_path, tasks, 3, known, all_but(*now))
    assert not any((tmp_path / "b").iterdir())
    assert (tmp_path / "project-7" / "split.json").read_text() == split


def test_what_was_learned_is_remembered(tmp_path: Path) -> None:
    seven, eight = tmp_path / "project-7", tmp_path / "project-8"
    assert learned_before(seven) == {}
    remember(seven, {"1": "2026-11-23"})
    assert learned_before(seven) == {"1": "2026-11-23"}
    assert learned_before(eight) == {}


def test_the_file_says_everything(tmp_path: Path) -> None:
    first = collected(tmp_path / "job", tmp_path, [task(1), {**task(2), "annotations": []}])
    assert json.loads((tmp_path / "job" / "dataset.json").read_text())["tasks"] == 1
    assert Collected.read(tmp_path / "job") == replace(first)
    assert sum(reason.count for reason in first.left_out.values()) == 1
