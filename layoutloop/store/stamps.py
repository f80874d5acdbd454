"""Stamps: how versions are called, by the UTC second in which they were begun, so that their names sort by age."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

_FORMAT = "%Y%m%dT%H%M%SZ"
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")


def is_stamp(version: str) -> bool:
    """Whether this is how versions are written; nothing else becomes part of a path."""
    return _STAMP.fullmatch(version) is not None


def moment_of(stamp: str) -> float | None:
    """Return the time that a version's stamp says, Unix seconds; None for a stamp that is no time."""
    try:
        return _time_of(stamp).timestamp()
    except ValueError:
        return None


def next_stamp(texts: Iterable[str]) -> str:
    """Return a stamp of now, or of the first second after all stamps in texts."""
    after = (_second_after(match[0]) for text in texts if (match := _STAMP.search(text)))
    return max([datetime.now(timezone.utc), *filter(None, after)]).strftime(_FORMAT)


def _second_after(stamp: str) -> datetime | None:
    """Return the next second; None for a stamp that is no time, as a file that someone else put there may be called."""
    try:
        return _time_of(stamp) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None


def _time_of(stamp: str) -> datetime:
    return datetime.strptime(stamp, _FORMAT).replace(tzinfo=timezone.utc)
