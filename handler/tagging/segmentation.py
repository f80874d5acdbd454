"""Logits to boxes with a learned prior: the division of a page into boxes that words and prior make most probable.

What is summed up is, in logarithms:

- for each word the probability of its label, B- and I- together, softened, since few pages make a model too sure;
- for each word how much more often words of its form are in boxes of the label than elsewhere;
- for each junction beside a word that is in a box the prior's probability that the box goes on, or that it does not;
- where a box goes on or another of its label begins, what the model's B- and I- say about that;
- for each label the prior's probability of so many boxes on a page.

`runs` maximises it, over the runs of words that may be in a box at all.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from handler.page import Page
from handler.tagging.box_prior import BoxPrior
from handler.tagging.calibration import Evidence
from handler.tagging.junctions import form_of, junctions
from handler.tagging.labels import LabelSet
from handler.tagging.runs import Divided, Run, climb, more_probable

LEAST = 0.005
"""Words of a line of which none is in a box with more probability are in none."""
TEMPERATURE = 2.0
FLOOR = 0.05
"""Share of a word's probability that is spread over all labels."""
PRIOR_WEIGHT = 2.0
TAG_WEIGHT = 0.5
"""Of what B- and I- say."""
FORM_WEIGHT = 1.0
COUNT_WEIGHT = 1.0
_TAG_FLOOR = 0.02


def segment(
    page: Page, logits: NDArray[np.float32], labels: LabelSet, prior: BoxPrior
) -> list[tuple[int, list[int], Evidence]]:
    """Return the boxes of a page in reading order: label, words, and what speaks for the box.

    Args:
        page: its words and lines.
        logits: (words, tags) of the first token of each word; NaN rows for words without a token.
        labels: the meaning of the second dimension.
        prior: of the same labels.
    """
    known = np.flatnonzero(~np.isnan(logits).any(axis=1))
    probabilities = _by_label(logits[known], labels, 1.0)
    runs = _runs(page, known, logits[known], labels, prior, _may_be_inside(page, known, probabilities))
    divided = climb([Divided.of(run) for run in runs], (COUNT_WEIGHT * prior.counts).tolist())
    boxes = [
        (label, slice(one.run.first + first, one.run.first + end)) for one in divided for label, first, end in one.spans
    ]
    on_page = Counter(label for label, _ in boxes)
    usual = {label: -more_probable(prior.counts[label].tolist(), count, -1) for label, count in on_page.items()}
    return [
        (label, known[place].tolist(), Evidence(float(probabilities[place, label + 1].mean()), usual[label]))
        for label, place in boxes
    ]


def _may_be_inside(page: Page, known: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (words,) booleans: whether a word, or another of its text line, is in a box with more than LEAST."""
    lines = np.array([page.words[word].line for word in known.tolist()], dtype=np.int64)
    return np.isin(lines, lines[1 - probabilities[:, 0] > LEAST])


def _by_label(logits: NDArray[np.float32], labels: LabelSet, temperature: float) -> NDArray[np.float64]:
    """Return (words, 1 + labels) probabilities: of being outside, then of each label."""
    tags = _softmax(logits / temperature)
    summed = np.zeros((len(logits), 1 + len(labels.names)))
    for tag, name in enumerate(labels.name_ids().tolist()):
        summed[:, name + 1] += tags[:, tag]
    return summed


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _runs(
    page: Page,
    known: NDArray[np.int64],
    logits: NDArray[np.float32],
    labels: LabelSet,
    prior: BoxPrior,
    inside: NDArray[np.bool_],
) -> list[Run]:
    """Return the runs of words that may be in a box; `known` are the page's words, `inside` says which of them."""
    softened = _by_label(logits, labels, TEMPERATURE)
    spread = np.log((1 - FLOOR) * softened + FLOOR / softened.shape[1])
    begin, stop, go_on = _edges(page, known, prior, inside)
    begins, continues = _tag_evidence(logits, labels)
    begin[:-1] += TAG_WEIGHT * begins
    go_on[:-1] += TAG_WEIGHT * continues
    gain = spread[:, 1:] - spread[:, :1]
    chosen = np.flatnonzero(inside)
    gain[chosen] += FORM_WEIGHT * prior.holds[:, [form_of(page.words[word].text) for word in known[chosen].tolist()]].T
    tables = [table.tolist() for table in (gain, begin, stop, go_on)]
    cut = np.flatnonzero(np.diff(inside, prepend=False, append=False)).tolist()
    return [
        Run(first, *(table[first:end] for table in tables[:2]), *(table[first : end + 1] for table in tables[2:]))
        for first, end in zip(cut[::2], cut[1::2], strict=True)
    ]


def _edges(
    page: Page, known: NDArray[np.int64], prior: BoxPrior, inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (words + 1, labels) of beginning with a word, of having stopped before it, of going on to it."""
    begin, stop, go_on = np.zeros((3, len(known) + 1, len(prior.labels)))
    after = np.flatnonzero(inside[:-1] | inside[1:]) + 1  # a junction stands at the word after it
    between = junctions(page, list(zip(known[after - 1].tolist(), known[after].tolist(), strict=True)))
    goes, came = between @ prior.goes_on.T, between @ prior.came_from.T
    begin[after], stop[after] = PRIOR_WEIGHT * _log_sigmoid(-came), PRIOR_WEIGHT * _log_sigmoid(-goes)
    go_on[after] = PRIOR_WEIGHT * (_log_sigmoid(goes) + _log_sigmoid(came))
    return begin, stop, go_on


def _tag_evidence(logits: NDArray[np.float32], labels: LabelSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (words, labels) logarithms of the shares that B- and I- have of each label; 0 for a head without them."""
    if not labels.is_bio:
        return np.zeros((len(logits), len(labels.names))), np.zeros((len(logits), len(labels.names)))
    tags, begins, names = _softmax(logits), labels.begins(), labels.name_ids()
    begun, continued = (
        np.stack([tags[:, chosen & (names == name)].sum(axis=1) for name in range(len(labels.names))], axis=1)
        + _TAG_FLOOR / 2
        for chosen in (begins, ~begins)
    )
    return np.log(begun / (begun + continued)), np.log(continued / (begun + continued))


def _log_sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.logaddexp(0.0, -values))
