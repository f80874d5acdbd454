from __future__ import annotations

import pytest

from training.measure.compare import Compared, Comparison
from training.measure.scoring import LabelScore, PageScore, Scores
from training.summary import verdict_of

CURRENT = "20261122T080000Z"


def scores(right: int) -> Scores:
    pages = tuple(PageScore(task, 0, right, 10, 10) for task in range(8))
    f1 = right / 10
    return Scores((), LabelScore("all labels", f1, f1, f1, 80, 80), pages)


@pytest.mark.parametrize(
    ("rivals", "unmeasured", "forced", "promotes", "said"),
    [
        pytest.param((), {}, False, True, "no model to compare with yet", id="the first one"),
        pytest.param((scores(9),), {}, False, False, "against 0.900 of version kept", id="worse than a kept one"),
        pytest.param((), {CURRENT: "no thumbnail"}, False, False, "could not be measured", id="nothing is known"),
        pytest.param((scores(2),), {CURRENT: "torn"}, False, False, "torn", id="better than an old one, still unknown"),
        pytest.param((), {CURRENT: "torn"}, True, True, "torn", id="forced, and said"),
        pytest.param(
            (scores(2),), {"older": "torn"}, False, True, "better", id="an old one that is torn does not matter"
        ),
    ],
)
def test_verdict_of(
    rivals: tuple[Scores, ...], unmeasured: dict[str, str], forced: bool, promotes: bool, said: str
) -> None:
    measured = Comparison(scores(5), [], tuple(Compared("kept", one) for one in rivals), unmeasured)
    verdict = verdict_of(measured, CURRENT, forced=forced)
    assert verdict.promote == promotes
    assert said in verdict.reason
