"""`learned.json` in a project's folder of the model store: what its last training learned from, and could not read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone

from layoutloop.foreign_json import mapping_of, parse_json
from layoutloop.store.path import StorePath
from layoutloop.store.writing import write_json

logger = logging.getLogger(__name__)

UNREAD = "unread"
"""Stands for the moment of a page that was annotated and could not be read: whatever its moment is, it is new."""
_FILE = "learned.json"


def learned_before(memory: StorePath) -> dict[str, str]:
    """Return what a project's last training remembered; empty before the first.

    It is a `training.data.annotations.fingerprint`, with `UNREAD` for each page that was not learned from. A rejected
    training counts like a promoted one: the same annotations once more would be rejected once more.
    """
    path = memory / _FILE
    try:
        body = mapping_of(parse_json(path.read_bytes()), _FILE)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        logger.warning("%s cannot be understood (%s): every annotation counts as new once more", path, error)
        return {}
    return {annotation: str(moment) for annotation, moment in body.items()}


def remember(memory: StorePath, annotations: Mapping[str, str]) -> None:
    """Note in a project's folder what a training learned from."""
    write_json(memory / _FILE, dict(annotations))


def count_unread(known: Mapping[str, str]) -> int:
    """Return how many annotations have a page that could not be read."""
    return len({page.partition("/")[0] for page, moment in known.items() if moment == UNREAD})


def count_annotations(known: Mapping[str, str]) -> int:
    """Return how many annotations the last training saw, read or not."""
    return len({page.partition("/")[0] for page in known})


def newest_moment(known: Mapping[str, str]) -> datetime | None:
    """Return when the last of what was learned from had been changed; None where that is not known."""
    moments = []
    for text in set(known.values()) - {UNREAD}:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not read the Z
        except ValueError:
            return None
        moments.append(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))
    return max(moments, default=None)
