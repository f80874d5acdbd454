"""Runs of words divided into boxes: each by itself exactly, then together by how many boxes a page has.

A run's best division is found by dynamic programming. How many boxes of a label a page has couples its runs; that is
climbed: a box is given up, joined to the one before, or made, while that gains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handler.tagging.box_prior import MOST_COUNTED

MOST_WORDS = 4000
"""So many words are divided again in the climb of one page: 20 ms. Receipts and forms need a tenth."""
_NEVER, _SURE = -1e9, 1e6

Span = tuple[int, int, int]
"""Label, first word and word after the last, within a run."""


@dataclass(frozen=True, slots=True)
class Run:
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

    def without(self, span: Span) -> Run:
        """Return a run in which no word of a box has its label."""
        label, first, end = span
        gain = [list(row) for row in self.gain]
        for word in range(first, end):
            gain[word][label] = _NEVER
        return replace(self, gain=gain)

    def joined(self, label: int, word: int) -> Run:
        """Return a run in which no box of a label begins with a word."""
        begin = list(self.begin)
        begin[word] = [_NEVER if one == label else row for one, row in enumerate(begin[word])]
        return replace(self, begin=begin)

    def with_one(self, label: int, taken: Sequence[Span]) -> Run | None:
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
class Divided:
    """A run, the same under what the climb decided so far, and its boxes.

    Args:
        run: as the model and the prior have it.
        decided: what is maximised.
        spans: its boxes.
    """

    run: Run
    decided: Run
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, run: Run, decided: Run | None = None) -> Divided:
        chosen = decided or run
        return cls(run, chosen, chosen.best())

    def moves(self, counts: Sequence[int], prior: Sequence[Sequence[float]]) -> Iterator[Divided]:
        """Yield this run with one box less, or two joined, of a label that pages have less often, and with one more."""
        for before, span in zip(((-1, 0, -1), *self.spans), self.spans, strict=False):
            label, first, _ = span
            if more_probable(prior[label], counts[label], -1) > 0:
                yield Divided.of(self.run, self.decided.without(span))
                if (label, first) == (before[0], before[2]):
                    yield Divided.of(self.run, self.decided.joined(label, first))
        for label, count in enumerate(counts):
            if more_probable(prior[label], count, 1) > 0:
                decided = self.decided.with_one(label, self.spans)
                if decided is not None:
                    yield Divided.of(self.run, decided)

    def against(self, other: Divided, counts: Sequence[int], prior: Sequence[Sequence[float]]) -> float:
        """Return by how much this is more probable than another division of the same run."""
        changes = [0] * len(counts)
        for sign, spans in ((1, self.spans), (-1, other.spans)):
            for label, _, _ in spans:
                changes[label] += sign
        gained = sum(
            more_probable(prior[label], counts[label], change) for label, change in enumerate(changes) if change
        )
        return gained + self.run.worth(self.spans) - self.run.worth(other.spans)


def climb(divided: Sequence[Divided], prior: Sequence[Sequence[float]]) -> list[Divided]:
    """Return the runs of a page with as many boxes of each label as is most probable, as far as single moves lead.

    Args:
        divided: each by itself.
        prior: for each label, logarithms of how probable so many boxes on a page are.
    """
    found, words = list(divided), 0
    while True:
        counts = [0] * len(prior)
        for one in found:
            for label, _, _ in one.spans:
                counts[label] += 1
        best, place, chosen = 0.0, 0, None
        for index, one in enumerate(found):
            for other in one.moves(counts, prior):
                words += len(one.run.gain)
                gain = other.against(one, counts, prior)
                if gain > best:
                    best, place, chosen = gain, index, other
                if words > MOST_WORDS:
                    return found
        if chosen is None:
            return found
        found[place] = chosen


def more_probable(prior: Sequence[float], count: int, change: int) -> float:
    """Return how much more probable another number of boxes is, as a logarithm.

    Args:
        prior: logarithms of how probable so many boxes of a label on a page are.
        count: boxes of the label.
        change: how many more.
    """
    return _logarithm(prior, count + change) - _logarithm(prior, count)


def _logarithm(prior: Sequence[float], count: int) -> float:
    """Return that of a number of boxes; above what is counted it falls on, but never rises."""
    beyond = max(count - MOST_COUNTED, 0)
    return prior[count - beyond] + beyond * min(prior[MOST_COUNTED] - prior[MOST_COUNTED - 1], 0.0)


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
