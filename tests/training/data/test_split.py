from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from layoutloop.errors import TrainingRefused
from training.data.split import Split, position, read_history, split_as_trained, validation_tasks

LOW = [task for task in range(1, 200) if position(task) < 0.2]
FIRST_LOW = [8, 9, 39]
POSITION_OF_7 = 0.47269306236209924
HIGH = [task for task in range(1, 200) if position(task) >= 0.2]


def id_sets(count: int = 300, seed: int = 0) -> Iterator[set[int]]:
    """Many projects: ids in a row, scattered, large, few and many."""
    dice = random.Random(seed)
    for _ in range(count):
        start, size = dice.choice([1, 50, 10**6, 10**12]), dice.choice([1, 2, 4, 5, 6, 9, 10, 11, 30, 99])
        if dice.random() < 0.5:
            yield set(range(start, start + size))
        else:
            yield {start + dice.randrange(10**6) for _ in range(size)}


def check(split: Split, tasks: set[int]) -> None:
    assert split.natural | split.forced | split.training == tasks
    assert len(split.natural) + len(split.forced) + len(split.training) == len(tasks)
    assert split.validation == split.natural | split.forced


def test_the_hash_is_what_it_will_always_be() -> None:
    """A change here would move pages that models were trained on into validation."""
    assert [task for task in LOW if task <= 40] == FIRST_LOW
    assert position(7) == pytest.approx(POSITION_OF_7, abs=1e-12)


def test_every_document_is_on_one_side_and_something_trains() -> None:
    for tasks in id_sets():
        split = validation_tasks(tasks)
        check(split, tasks)
        assert split.training
        if len(tasks) >= 5:
            assert len(split.validation) >= max(1, len(tasks) // 10)
        else:
            assert not split.forced


def test_about_a_fifth_validates() -> None:
    tasks = range(1, 10_001)
    assert len(validation_tasks(tasks).natural) == pytest.approx(2000, abs=120)


def test_no_document_ever_changes_sides() -> None:
    """P31: what was trained on never validates; what validates trains only where there is nothing else."""
    dice = random.Random(1)
    for tasks in id_sets(150, seed=2):
        waiting, present = sorted(tasks), set[int]()
        dice.shuffle(waiting)
        held_out, trained = frozenset[int](), frozenset[int]()
        while waiting:
            present |= set(waiting[-dice.randint(1, 4) :])
            waiting = [task for task in waiting if task not in present]
            if len(present) > 6 and dice.random() < 0.3:
                present.remove(dice.choice(sorted(present)))
            split = validation_tasks(present, held_out, fresh=present - trained)
            check(split, present)
            assert split.training
            assert not split.validation & trained
            assert held_out & split.training == frozenset() or len(split.training) == 1
            held_out |= split.forced
            trained |= split.training


def test_the_order_of_ids_does_not_matter() -> None:
    for tasks in id_sets(50):
        one, other = sorted(tasks), sorted(tasks, reverse=True)
        assert validation_tasks(one) == validation_tasks(other) == validation_tasks([*one, *other])


@pytest.mark.parametrize(
    ("tasks", "held_out", "fresh", "natural", "forced"),
    [
        pytest.param([], [], None, [], [], id="no documents"),
        pytest.param(HIGH[:1], [], None, [], [], id="one document trains"),
        pytest.param(LOW[:1], [], None, [], [], id="P31 one document trains, also where its hash says validation"),
        pytest.param(HIGH[:4], [], None, [], [], id="P31 four documents: too few to force one"),
        pytest.param(
            HIGH[:5], [], None, [], [min(HIGH[:5], key=position)], id="five documents: the one with the lowest hash"
        ),
        pytest.param(HIGH[:5], [], [HIGH[3]], [], [HIGH[3]], id="only one that was never trained on is forced in"),
        pytest.param(HIGH[:5], [], [], [], [], id="all were trained on: none is forced in"),
        pytest.param(HIGH[:3], [HIGH[1], 10**9], None, [], [HIGH[1]], id="forced once, forced for ever"),
        pytest.param(HIGH[:3], HIGH[:1], HIGH[1:3], [], [], id="forced once, but trained on in an emergency since"),
        pytest.param([*HIGH[:6], LOW[0]], [], None, [LOW[0]], [], id="enough by chance"),
        pytest.param([*HIGH[:6], LOW[0]], [LOW[0]], None, [], [LOW[0]], id="named once where both are true"),
        pytest.param(HIGH[:20], [], None, [], sorted(HIGH[:20], key=position)[:2], id="a tenth of twenty is two"),
        pytest.param([*HIGH[:3], LOW[0]], [], HIGH[:3], [], [], id="trained on in an emergency: stays on that side"),
    ],
)
def test_small_projects(
    tasks: list[int], held_out: list[int], fresh: list[int] | None, natural: list[int], forced: list[int]
) -> None:
    split = validation_tasks(tasks, held_out, fresh)
    assert (split.natural, split.forced) == (frozenset(natural), frozenset(forced))
    check(split, set(tasks))


def test_the_split_of_earlier_trainings(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    assert split_as_trained(path, HIGH[:5]) == validation_tasks(HIGH[:5])
    path.write_text(json.dumps({"trained": [*HIGH[:4], LOW[0]], "held_out": [HIGH[5]]}))
    split = split_as_trained(path, [*HIGH[:6], *LOW[:2]])
    assert (split.natural, split.forced) == (frozenset(LOW[1:2]), frozenset(HIGH[5:6]))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{}", '{"trained": 7, "held_out": []}', '{"trained": [NaN]}'])
def test_a_damaged_history_is_no_first_training(tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(TrainingRefused, match=r"split\.json, which says which documents ever trained"):
        read_history(tmp_path / "split.json")
