"""The files by which a later attempt at a job knows what was done: each is written whole, and checked as it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from layoutloop.errors import TrainingRefused
from layoutloop.foreign_json import mapping_of, parse_json
from layoutloop.store.path import StorePath

T = TypeVar("T")


def read_job_file(path: StorePath, understand: Callable[[Mapping[str, Any]], T]) -> T | None:
    """Return what a file says; None where no attempt came so far.

    Args:
        path: of the file.
        understand: makes something of the JSON object in it; any error of its values is raised as a ValueError,
            KeyError, TypeError or AttributeError.

    Raises:
        TrainingRefused: it is damaged. To go on without it would do twice what was done.
    """
    try:
        return understand(mapping_of(parse_json(path.read_bytes()), path.name))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingRefused(
            f"{path}, which says how far this training came, cannot be understood ({error}): it is given up, and one "
            "that is started now begins anew"
        ) from error
