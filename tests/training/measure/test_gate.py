from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from training.measure.gate import MIN_PAGES, RESAMPLES, Verdict, decide, share_of_losses
from training.measure.scoring import MICRO, LabelScore, PageScore, Scores

Counts = tuple[int, int, int]


def scores(*pages: Counts, error: str | None = None, tasks: Sequence[int] | None = None) -> Scores:
    """Scores of pages given as (right, gold, predicted)."""
    right, gold, predicted = (sum(page[index] for page in pages) for index in range(3))
    f1 = 2 * right / (gold + predicted) if gold + predicted else 0.0
    listed = tuple(
        PageScore(tasks[index] if tasks else index, 0, *page, error=error) for index, page in enumerate(pages)
    )
    overall = LabelScore(MICRO, right / max(predicted, 1), right / max(gold, 1), f1, gold, predicted)
    return Scores((), overall, listed)


GOOD: Counts = (9, 10, 10)
FAIR: Counts = (8, 10, 10)
BAD: Counts = (2, 10, 10)


@pytest.mark.parametrize(
    ("candidate", "best", "promote", "says"),
    [
        pytest.param([GOOD] * 20, [GOOD] * 20, True, "F1 0.900 against 0.900 of V on 20 validation pages: as good"),
        pytest.param([GOOD] * 20, [FAIR] * 20, True, "F1 0.900 against 0.800 of V on 20 validation pages: better"),
        pytest.param([FAIR] * 20, [GOOD] * 20, False, "worse, and not by chance (lower in 100.0% of 2,000 resamples"),
        pytest.param([GOOD] * 19 + [BAD], [GOOD] * 20, True, "not worse beyond chance (lower in 6"),
        pytest.param([FAIR, GOOD] * 10, [GOOD, (8, 10, 10)] * 9 + [GOOD, GOOD], True, "not worse beyond chance"),
        pytest.param([(0, 10, 0)] * 5, [BAD] * 5, False, "F1 0.000 against 0.200"),
        pytest.param([BAD] * 4, [GOOD] * 4, True, "F1 0.200 on 4 validation pages, against 0.900 of V; too few pages"),
        pytest.param([BAD], [GOOD], True, "on 1 validation page, against"),
        pytest.param([], [], True, "no validation pages, so nothing was compared with V"),
        pytest.param([(0, 0, 3)] * 9, [(0, 0, 0)] * 9, True, "Nothing is marked on the 9 validation pages"),
        pytest.param([(0, 0, 0)] * 4 + [GOOD], [(0, 0, 0)] * 4 + [GOOD], True, "as good (lower in 0.0%"),
    ],
    ids=[
        *("equal", "better", "worse everywhere", "worse on one page only", "worse by a little"),
        *("finds nothing", "too few", "one page", "none", "nothing marked", "empty pages among them"),
    ],
)
def test_decisions(candidate: list[Counts], best: list[Counts], promote: bool, says: str) -> None:
    verdict = decide(scores(*candidate), scores(*best), name="V")
    assert verdict.promote is promote
    assert says in verdict.reason
    assert verdict.reason.endswith(".")


def test_the_verdict_carries_its_figures() -> None:
    verdict = decide(scores(*[FAIR] * 20), scores(*[GOOD] * 20))
    assert (verdict.f1_before, verdict.f1_after, verdict.probability) == (0.9, 0.8, 1.0)
    assert decide(scores(GOOD), None) == Verdict(
        True, "F1 0.900 on 1 validation page; there is no model to compare with yet.", None, 0.9
    )
    assert decide(scores(), None).f1_after is None
    assert decide(scores(), None).reason.startswith("There are no validation pages; there is no model")


@pytest.mark.parametrize("best", [None, scores(GOOD), scores(*[GOOD] * 1)], ids=["no model yet", "a model", "again"])
def test_a_candidate_that_answers_nothing_is_rejected(best: Scores | None) -> None:
    """A loss of NaN leaves weights that answer no page; that must not go through as the first model."""
    verdict = decide(scores((0, 10, 0), error="the model's logits are not finite"), best)
    assert not verdict.promote
    assert "fails on each of the 1 validation page: the model's logits are not finite" in verdict.reason


@pytest.mark.parametrize(
    ("candidate", "best", "says"),
    [
        pytest.param([FAIR] * 20, [GOOD] * 20, "Forced; this overrides the gate. F1 0.800 against 0.900", id="worse"),
        pytest.param([GOOD] * 20, [FAIR] * 20, "Forced; the gate would have promoted it as well. F1 0.9", id="better"),
        pytest.param([BAD] * 2, [GOOD] * 2, "Forced; the gate would have promoted it as well. F1 0.2", id="too few"),
    ],
)
def test_force(candidate: list[Counts], best: list[Counts], says: str) -> None:
    plain = decide(scores(*candidate), scores(*best))
    forced = decide(scores(*candidate), scores(*best), forced=True)
    assert forced.promote
    assert forced.reason.startswith(says)
    assert forced.reason.endswith(plain.reason)
    assert (forced.f1_before, forced.probability) == (plain.f1_before, plain.probability)


@pytest.mark.parametrize(
    "best",
    [
        pytest.param(scores(GOOD, GOOD, tasks=[2, 1]), id="another order"),
        pytest.param(scores(GOOD), id="fewer"),
        pytest.param(scores(GOOD, GOOD, tasks=[1, 3]), id="another task"),
        pytest.param(scores(GOOD, (9, 11, 10), tasks=[1, 2]), id="annotated anew in between"),
        pytest.param(scores(), id="none"),
    ],
)
def test_other_pages_are_refused(best: Scores) -> None:
    with pytest.raises(ValueError, match="must be measured on the same pages"):
        decide(scores(GOOD, GOOD, tasks=[1, 2]), best)


def test_the_same_figures_give_the_same_verdict() -> None:
    pages = [(count % 10, 10, 10) for count in range(30)]
    first = decide(scores(*pages), scores(*[(5, 10, 10)] * 30))
    assert first == decide(scores(*pages), scores(*[(5, 10, 10)] * 30))


def test_the_share_is_that_of_the_draws() -> None:
    """One page in n is lost: the candidate is worse when that page is drawn at all, which is 1 - (1 - 1/n)^n."""
    pages = 10
    candidate, best = [*scores(*[GOOD] * (pages - 1), BAD).pages], [*scores(*[GOOD] * pages).pages]
    expected = 1 - (1 - 1 / pages) ** pages
    three_sigma = 3 * (expected * (1 - expected) / RESAMPLES) ** 0.5
    assert share_of_losses(candidate, best) == pytest.approx(expected, abs=three_sigma)
    assert share_of_losses(best, candidate) == 0


def test_chance_alone_rejects_about_one_equal_model_in_twenty() -> None:
    """Two models that are equally good: the rule may reject at most about 5 % of the trials (here 10 % of 200)."""
    generator = np.random.default_rng(7)
    rejected = 0
    for _ in range(200):
        ours, theirs = (
            scores(*((int(right), 10, 10) for right in generator.binomial(10, 0.8, size=15))) for _ in range(2)
        )
        rejected += not decide(ours, theirs).promote
    assert rejected <= 20


def test_a_real_loss_is_seen_with_few_pages() -> None:
    assert not decide(scores(*[BAD] * MIN_PAGES), scores(*[FAIR] * MIN_PAGES)).promote
