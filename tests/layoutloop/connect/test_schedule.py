"""When each project is looked at in Label Studio; times are seconds on a clock of the test's own."""

from __future__ import annotations

import pytest

from layoutloop.connect.schedule import Pace, RecheckSchedule

PACE = Pace(settled_s=300.0, first_s=1.0, again_s=15.0, longest_s=600.0)
A, B = "20261123T083000Z", "20261123T091500Z"


@pytest.fixture
def plan() -> RecheckSchedule:
    """Project 7 has a version in service, 8 and 9 have none; all were looked at, and all was right."""
    made = RecheckSchedule(PACE)
    made.note_stamps({7: A})
    made.note_projects({7: "x", 8: "x", 9: "x"}, 1.0)
    for project in (7, 8, 9):
        made.settle(project, 1.0)
    return made


def test_at_the_start_one_after_the_other_the_connected_ones_first() -> None:
    plan = RecheckSchedule(PACE)
    assert not plan.note_stamps({50: A})
    plan.note_projects(dict.fromkeys(range(40, 60), "x"), 1.0, first=frozenset({55}))
    order = []
    for second in range(20):
        (project,) = plan.due(1.0 + second)
        order.append(project)
        plan.settle(project, 1.0 + second)
    assert order[:2] == [50, 55]
    assert sorted(order) == list(range(40, 60))
    assert plan.due(21.0) == []


def test_what_is_right_is_looked_at_again_much_later(plan: RecheckSchedule) -> None:
    assert plan.due(300.9) == []
    assert plan.due(301.0) == [7]


@pytest.mark.parametrize(
    ("stamps", "due"),
    [
        pytest.param({7: A}, [], id="the same"),
        pytest.param({7: B}, [7], id="another version"),
        pytest.param({7: B, 8: A}, [7, 8], id="two at once"),
        pytest.param({}, [7], id="taken out of service"),
    ],
)
def test_another_version_is_due_at_once(plan: RecheckSchedule, stamps: dict[int, str], due: list[int]) -> None:
    assert plan.note_stamps(stamps) == bool(due)
    assert plan.due(2.0) == due
    assert not plan.note_stamps(stamps)


@pytest.mark.parametrize(
    ("projects", "due"),
    [
        pytest.param({7: "x", 8: "x", 9: "x"}, [], id="the same"),
        pytest.param({7: "x", 8: "y", 9: "x"}, [8], id="edited"),
        pytest.param({7: "x", 8: "x", 9: "x", 10: "x"}, [10], id="a new one"),
        pytest.param({7: "x"}, [], id="deleted"),
    ],
)
def test_an_edit_is_due(plan: RecheckSchedule, projects: dict[int, str], due: list[int]) -> None:
    plan.note_projects(projects, 61.0)
    assert plan.due(61.0) == due
    plan.note_projects(projects, 121.0)
    assert plan.due(121.0) == due


def test_a_deleted_project_is_never_due_again(plan: RecheckSchedule) -> None:
    plan.note_projects({7: "x", 8: "x"}, 61.0)
    for project in (7, 8):
        plan.settle(project, 61.0)
    assert plan.due(301.0) == []


@pytest.mark.parametrize(
    ("another_version", "pauses"),
    [
        pytest.param(True, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600], id="the shim is behind"),
        pytest.param(False, [15, 30, 60, 120, 240, 480, 600, 600], id="something else"),
    ],
)
def test_what_does_not_come_right_is_looked_at_ever_later(
    plan: RecheckSchedule, another_version: bool, pauses: list[float]
) -> None:
    if another_version:
        plan.note_stamps({7: B})
    assert [plan.check_again(7, 2.0) for _ in pauses] == pauses
    assert plan.due(300.0) == []
    plan.note_projects({7: "y", 8: "x", 9: "x"}, 300.0)
    assert plan.due(300.0) == [7]
    assert plan.check_again(7, 300.0) == 15.0


def test_another_version_that_could_not_be_told_stays_first(plan: RecheckSchedule) -> None:
    plan.note_stamps({7: B})
    plan.note_projects({7: "y", 8: "y", 9: "y"}, 2.0)
    assert plan.due(2.0) == [7, 8]
    assert plan.check_again(7, 2.0) == PACE.first_s


def test_a_project_that_is_gone_is_asked_for_seldom(plan: RecheckSchedule) -> None:
    plan.note_stamps({7: A, 20: A})
    assert plan.due(2.0) == [20]
    plan.forget(20, 2.0)
    plan.note_projects({7: "x", 8: "x", 9: "x"}, 3.0)
    for project in (7, 8, 9):
        plan.settle(project, 500.0)
    assert plan.due(601.0) == []
    assert plan.due(602.0) == [20]
