"""The gate: may a candidate take over? Pure: it reads no file and sends no request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measure.scoring import PageScore, Scores

MIN_PAGES = 5
"""Fewer validation pages than this decide nothing: one odd page would outweigh all that was learned."""
CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 20261123
_RESAMPLES_AT_ONCE = 100  # bounds memory: 100 x 10,000 pages are 8 MB


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says.

    Args:
        promote: whether the candidate takes over.
        reason: one sentence, with the figures.
        f1_before: of the model it was compared with, in [0, 1]; None where there was none.
        f1_after: of the candidate, in [0, 1]; None where there were no validation pages.
        probability: share of the resamples in which the candidate is worse; None where nothing was resampled.
    """

    promote: bool
    reason: str
    f1_before: float | None = None
    f1_after: float | None = None
    probability: float | None = None


def decide(
    candidate: Scores, best: Scores | None, *, forced: bool = False, name: str = "the model in service"
) -> Verdict:
    """Promote a candidate unless it is worse beyond chance.

    A candidate is worse when its entity F1 is lower and stays lower in at least 95 % of 2,000 resamples: a
    one-sided paired bootstrap. Each resample draws as many validation pages as there are, with replacement, the
    same pages for both models, and takes F1 from their summed counts. The method is that of Koehn, "Statistical
    Significance Tests for Machine Translation Evaluation" (EMNLP 2004); Berg-Kirkpatrick, Burkett and Klein, "An
    Empirical Investigation of Statistical Significance in NLP" (EMNLP 2012), try it on F1. Whole pages are drawn,
    because the entities of one page succeed and fail together.

    A candidate that answers no page at all is rejected, whatever it is compared with.

    Args:
        candidate: measured on the validation pages.
        best: the model to beat, measured on the same pages in the same order; None where there is none yet.
        forced: promote in any case, and say what that overrode.
        name: of the model to beat, for the sentence.

    Raises:
        ValueError: the two were not measured on the same pages.
    """
    if best is not None and _places(candidate) != _places(best):
        raise ValueError(f"the candidate and {name} must be measured on the same pages, in the same order")
    verdict = _verdict(candidate, best, name)
    if not forced:
        return verdict
    what = "the gate would have promoted it as well" if verdict.promote else "this overrides the gate"
    return Verdict(True, f"Forced; {what}. {verdict.reason}", verdict.f1_before, verdict.f1_after, verdict.probability)


def _verdict(candidate: Scores, best: Scores | None, name: str) -> Verdict:
    pages = len(candidate.pages)
    after = candidate.overall.f1 if pages else None
    before = best.overall.f1 if best is not None and pages else None
    failed = [page.error for page in candidate.pages if page.error is not None]
    if pages and len(failed) == pages:
        return Verdict(False, f"The candidate fails on each of the {_pages(pages)}: {failed[0]}", before, after)
    reason = _nothing_to_compare(candidate, best, name)
    if best is None or reason is not None:
        return Verdict(True, reason or "", before, after)
    probability = share_of_losses(candidate.pages, best.pages)
    lower = candidate.overall.f1 < best.overall.f1
    compared = f"F1 {candidate.overall.f1:.3f} against {best.overall.f1:.3f} of {name} on {_pages(pages)}"
    share = f"lower in {_percent(probability)} of {RESAMPLES:,} resamples of the pages"
    if lower and probability >= CONFIDENCE:
        reason = f"{compared}: worse, and not by chance ({share}; {CONFIDENCE:.0%} are enough to reject)."
        return Verdict(False, reason, before, after, probability)
    if lower:
        reason = f"{compared}: not worse beyond chance ({share}; {CONFIDENCE:.0%} would reject)."
    else:
        reason = f"{compared}: {'better' if candidate.overall.f1 > best.overall.f1 else 'as good'} ({share})."
    return Verdict(True, reason, before, after, probability)


def _nothing_to_compare(candidate: Scores, best: Scores | None, name: str) -> str | None:
    """Return why the candidate is promoted without a comparison; None where one is to be made."""
    pages = len(candidate.pages)
    figure = f"F1 {candidate.overall.f1:.3f} on {_pages(pages)}" if pages else "There are no validation pages"
    if best is None:
        return f"{figure}; there is no model to compare with yet."
    if not pages:
        return f"{figure}, so nothing was compared with {name}; annotate more pages to have some held out."
    if pages < MIN_PAGES:
        return (
            f"{figure}, against {best.overall.f1:.3f} of {name}; too few pages to reject anything "
            f"({MIN_PAGES} are needed)."
        )
    if not candidate.overall.support:
        return f"Nothing is marked on the {_pages(pages)}, so there is no F1 to compare with {name}."
    return None


def share_of_losses(candidate: Sequence[PageScore], best: Sequence[PageScore]) -> float:
    """Return the share of resamples of the pages in which the candidate's F1 is lower, in [0, 1].

    The resamples are the same in every call.
    """
    ours, theirs = _counts(candidate), _counts(best)
    generator = np.random.default_rng(_SEED)
    losses = 0
    for start in range(0, RESAMPLES, _RESAMPLES_AT_ONCE):
        rows = min(_RESAMPLES_AT_ONCE, RESAMPLES - start)
        drawn = generator.multinomial(len(ours), np.full(len(ours), 1 / len(ours)), size=rows)
        losses += int((_f1(drawn @ ours) < _f1(drawn @ theirs)).sum())
    return losses / RESAMPLES


def _f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (resamples,) F1 of (resamples, 2) counts: right, and marked plus predicted; 0 where there is nothing."""
    right, either = counts.T
    return np.asarray(2.0 * right / np.maximum(either, 1), dtype=np.float64)


def _counts(pages: Sequence[PageScore]) -> NDArray[np.int64]:
    return np.array([(page.right, page.gold + page.predicted) for page in pages], dtype=np.int64)


def _places(scores: Scores) -> list[tuple[int, int, int]]:
    return [(page.task, page.item, page.gold) for page in scores.pages]


def _pages(count: int) -> str:
    return "1 validation page" if count == 1 else f"{count:,} validation pages"


def _percent(share: float) -> str:
    """Write a share so that 0.9495 is not shown as the 95 % that it does not reach."""
    return f"{share:.1%}"
