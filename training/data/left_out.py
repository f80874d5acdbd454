"""What could not be used, counted by reason: nothing is ever left out in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MOST_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, and how often it occurred.

    Args:
        count: how often.
        examples: the first few as sentences.
    """

    count: int = 0
    examples: tuple[str, ...] = ()


class LeftOut:
    """Counts by reason, in the order in which the reasons first occurred."""

    def __init__(self) -> None:
        """Nothing is left out yet."""
        self._reasons: dict[str, Reason] = {}

    def __repr__(self) -> str:
        """Show the counts."""
        return f"LeftOut({self.counts()})"

    def add(self, reason: str, sentence: str) -> None:
        """Count one more; keep its sentence if it is among the first."""
        before = self[reason]
        kept = (*before.examples, sentence) if len(before.examples) < MOST_EXAMPLES else before.examples
        self._reasons[reason] = Reason(before.count + 1, kept)

    def add_all(self, other: LeftOut) -> None:
        """Take over what another counted."""
        for reason in other:
            before, more = self[reason], other[reason]
            examples = (*before.examples, *more.examples)[:MOST_EXAMPLES]
            self._reasons[reason] = Reason(before.count + more.count, examples)

    def __getitem__(self, reason: str) -> Reason:
        """Return how often a reason occurred, 0 for never."""
        return self._reasons.get(reason, Reason())

    def __iter__(self) -> Iterator[str]:
        """Yield the reasons."""
        return iter(self._reasons)

    def counts(self) -> dict[str, int]:
        """Return reason -> count."""
        return {reason: self[reason].count for reason in self}

    def to_json(self) -> dict[str, dict[str, int | list[str]]]:
        """Return reason -> `{"count": 3, "examples": ["task 7, page 0: ..."]}`, for a report."""
        return {reason: {"count": self[reason].count, "examples": list(self[reason].examples)} for reason in self}
