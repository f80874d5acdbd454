"""Logits to boxes with a learned prior: the division of a page into boxes that words and prior make most probable.

What is summed up is, in logarithms:

- for each word the probability of its label, B- and I- together, softened, since few pages make a model too sure;
- for each junction beside a word that is in a box the prior's probability that the box goes on, or that it does not;
- where a box goes on or another of its label begins, what the model's B- and I- say about that;
- for each label the prior's probability of so many boxes on a page.

The first three are maximised exactly, by dynamic programming over the runs of words that may be in a box at all. The
last couples the whole page; it is climbed: a box is given up, joined to the one before or made while that gains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handler.page import Page
from handler.tagging.box_prior import MOST_COUNTED, BoxPrior
from handler.tagging.junctions import form_of, junctions
from handler.tagging.labels import LabelSet

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
_NEVER, _SURE = -1e9, 1e6
_MOST_MOVES = 12

Span = tuple[int, int, int]
"""Label, first word and word after the last, within a run."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring words of which each may be in a box. All are lists over words, then over labels.

    Args:
        first: position of its first word among the words that have a token.
        gain: logarithm of the word's probability of a label, minus that of being outside.
        begin: of beginning a box with a word.
        stop: of ending the box at the word before; one entry more, for the end of the run.
        go_on: of going on from the word before; likewise.
    """

    first: int
    gain: list[list[float]]
    begin: list[list[float]]
    stop: list[list[float]]
    go_on: list[list[float]]

    def best(self) -> tuple[Span, ...]:
        """Return the boxes with the highest sum, in order; none where nothing is better than outside."""
        labels = range(len(self.gain[0]))
        outside, inside = 0.0, [_NEVER] * len(labels)
        came: list[tuple[int, list[bool]]] = []
        for gain, begin, stop, go_on in zip(self.gain, self.begin, self.stop, self.go_on, strict=False):
            before, base = -1, outside
            for label in labels:
                left = inside[label] + stop[label]
                if left > base:
                    before, base = label, left
            begun = [base + begin[label] for label in labels]
            continued = [inside[label] + go_on[label] for label in labels]
            goes_on = [continued[label] >= begun[label] for label in labels]
            inside = [max(begun[label], continued[label]) + gain[label] for label in labels]
            outside = base
            came.append((before, goes_on))
        last, total = -1, outside
        for label in labels:
            if inside[label] + self.stop[-1][label] > total:
                last, total = label, inside[label] + self.stop[-1][label]
        return tuple(_spans(came, last))

    def worth(self, spans: Sequence[Span]) -> float:
        """Return the sum of some boxes, in order; 0 for none."""
        return sum(
            self.begin[first][label]
            + sum(self.gain[word][label] for word in range(first, end))
            + sum(self.go_on[word][label] for word in range(first + 1, end))
            + self.stop[end][label]
            for label, first, end in spans
        )

    def without(self, span: Span) -> _Run:
        """Return a run in which no word of a box has its label."""
        label, first, end = span
        gain = [list(row) for row in self.gain]
        for word in range(first, end):
            gain[word][label] = _NEVER
        return replace(self, gain=gain)

    def joined(self, label: int, word: int) -> _Run:
        """Return a run in which no box of a label begins with a word."""
        begin = list(self.begin)
        begin[word] = [_NEVER if one == label else row for one, row in enumerate(begin[word])]
        return replace(self, begin=begin)

    def with_one(self, label: int, taken: Sequence[Span]) -> _Run | None:
        """Return a run in which the words of the best box of a label that is not taken have no other label."""
        found = self._most_probable(label, {word for one, *span in taken if one == label for word in range(*span)})
        if found is None:
            return None
        gain = [list(row) for row in self.gain]
        for word in range(*found):
            gain[word] = [_NEVER] * len(gain[word])
            gain[word][label] = _SURE  # outside gains nothing, so the word is never left out
        return replace(self, gain=gain)

    def _most_probable(self, label: int, taken: set[int]) -> tuple[int, int] | None:
        best, found, value, start = _NEVER, None, _NEVER, 0
        for word, gain in enumerate(self.gain):
            begun, continued = self.begin[word][label], value + self.go_on[word][label]
            if word in taken:
                value = _NEVER
                continue
            if continued < begun:
                start = word
            value = max(begun, continued) + gain[label]
            if value + self.stop[word + 1][label] > best:
                best, found = value + self.stop[word + 1][label], (start, word + 1)
        return found if best > _NEVER / 2 else None


@dataclass(frozen=True, slots=True)
class _Divided:
    """A run, the same under what the climb decided so far, and its boxes.

    Args:
        run: as the model and the prior have it.
        decided: what is maximised.
        spans: its boxes.
    """

    run: _Run
    decided: _Run
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, run: _Run, decided: _Run | None = None) -> _Divided:
        chosen = decided or run
        return cls(run, chosen, chosen.best())

    def moves(self, counts: Sequence[int], prior: Sequence[Sequence[float]]) -> Iterator[_Divided]:
        """Yield this run with one box less, or two joined, of a label that pages have less often, and with one more."""
        for before, span in zip(((-1, 0, -1), *self.spans), self.spans, strict=False):
            label, first, _ = span
            if _more(prior[label], counts[label], -1) > 0:
                yield _Divided.of(self.run, self.decided.without(span))
                if (label, first) == (before[0], before[2]):
                    yield _Divided.of(self.run, self.decided.joined(label, first))
        for label, count in enumerate(counts):
            if _more(prior[label], count, 1) > 0:
                decided = self.decided.with_one(label, self.spans)
                if decided is not None:
                    yield _Divided.of(self.run, decided)

    def against(self, other: _Divided, counts: Sequence[int], prior: Sequence[Sequence[float]]) -> float:
        """Return by how much this is more probable than another division of the same run."""
        changes = [0] * len(counts)
        for sign, spans in ((1, self.spans), (-1, other.spans)):
            for label, _, _ in spans:
                changes[label] += sign
        gained = sum(_more(prior[label], counts[label], change) for label, change in enumerate(changes) if change)
        return gained + self.run.worth(self.spans) - self.run.worth(other.spans)


def segment(
    page: Page, logits: NDArray[np.float32], labels: LabelSet, prior: BoxPrior
) -> list[tuple[int, list[int], list[float]]]:
    """Return the boxes of a page in reading order: label, words, and each word's probability of the label.

    Args:
        page: its words and lines.
        logits: (words, tags) of the first token of each word; NaN rows for words without a token.
        labels: the meaning of the second dimension.
        prior: of the same labels.
    """
    known = np.flatnonzero(~np.isnan(logits).any(axis=1))
    probabilities = _by_label(logits[known], labels, 1.0)
    runs = _runs(page, known, logits[known], labels, prior, _may_be_inside(page, known, probabilities))
    found = []
    for one in _climb([_Divided.of(run) for run in runs], COUNT_WEIGHT * prior.counts):
        for label, first, end in one.spans:
            place = slice(one.run.first + first, one.run.first + end)
            found.append((label, known[place].tolist(), probabilities[place, label + 1].tolist()))
    return found


def _may_be_inside(page: Page, known: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (words,) booleans: whether a word, or another of its text line, is in a box with more than LEAST."""
    lines = np.array([page.words[word].line for word in known.tolist()], dtype=np.int64)
    return np.isin(lines, lines[1 - probabilities[:, 0] > LEAST])


def _climb(divided: list[_Divided], counted: NDArray[np.float64]) -> list[_Divided]:
    prior = counted.tolist()
    for _ in range(_MOST_MOVES):
        counts = [0] * len(prior)
        for one in divided:
            for label, _, _ in one.spans:
                counts[label] += 1
        moves = [
            (other.against(one, counts, prior), place, other)
            for place, one in enumerate(divided)
            for other in one.moves(counts, prior)
        ]
        gain, place, chosen = max(moves, key=lambda move: move[0], default=(0.0, 0, None))
        if chosen is None or gain <= 0:
            break
        divided[place] = chosen
    return divided


def _more(prior: Sequence[float], count: int, change: int) -> float:
    """Return how much more probable another number of boxes is, as a logarithm."""
    return prior[min(count + change, MOST_COUNTED)] - prior[min(count, MOST_COUNTED)]


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
) -> list[_Run]:
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
        _Run(first, *(table[first:end] for table in tables[:2]), *(table[first : end + 1] for table in tables[2:]))
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
    """Return (words, labels) logarithms of the shares that B- and I- have of each label."""
    tags = _softmax(logits) + _TAG_FLOOR / 2
    begins, names = labels.begins(), labels.name_ids()
    shares = []
    for chosen in (begins, ~begins):
        shares.append(
            np.stack([tags[:, chosen & (names == name)].sum(axis=1) for name in range(len(labels.names))], axis=1)
        )
    return np.log(shares[0] / (shares[0] + shares[1])), np.log(shares[1] / (shares[0] + shares[1]))


def _log_sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.logaddexp(0.0, -values))


def _spans(came: Sequence[tuple[int, list[bool]]], last: int) -> Iterator[Span]:
    """Follow the best way back to the start, and yield its boxes from the first."""
    spans: list[Span] = []
    label, end = last, len(came)
    for word in range(len(came) - 1, -1, -1):
        before, goes_on = came[word]
        if label >= 0 and goes_on[label]:
            continue
        if label >= 0:
            spans.append((label, word, end))
        label, end = before, word
    return reversed(spans)
