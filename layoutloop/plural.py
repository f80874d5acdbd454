"""How many of something, in words for a person."""

from __future__ import annotations


def counted(number: float, one: str, many: str = "") -> str:
    """Return `1 page`, `1,200 pages`; `many` where that is not `one` with an s."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"
