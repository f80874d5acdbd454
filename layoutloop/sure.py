"""From which score on hardly a box is wrong: what a training measures, and a report and the dashboard say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sure:
    """From which score on hardly a box is wrong.

    Args:
        score: in hundredths.
        boxes: with this score or a higher one.
        wrong: of them.
        of: boxes in all.
    """

    score: float
    boxes: int
    wrong: int
    of: int

    @property
    def sentence(self) -> str:
        """What that is worth, for a person."""
        share, wrong = self.boxes / self.of, f"{self.wrong:,}" if self.wrong else "none"
        return f"at {self.score:.2f} and above, {share:.0%} of the boxes, {wrong} wrong of {self.boxes:,}"
