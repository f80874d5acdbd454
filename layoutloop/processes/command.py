"""How every command ends: an error that is foreseen is one line on stderr and an exit status."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec

from layoutloop.errors import LayoutLoopError, SettingsInvalid

logger = logging.getLogger(__name__)

P = ParamSpec("P")

FAILED = 1
UNUSABLE = 2
"""argparse ends a command so whose flags cannot be used; a setting that cannot be used is the same to who calls."""


def as_command(main: Callable[P, int]) -> Callable[P, int]:
    """Let a command end with `error: <message>` on stderr where an error of the tree, or of the system, ends it.

    Args:
        main: returns the exit status.

    Returns:
        The command; its status is that of `main`, UNUSABLE for a setting that cannot be used, FAILED for every other
        error.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except LayoutLoopError as error:
            return _end(str(error), UNUSABLE if isinstance(error, SettingsInvalid) else FAILED)
        except OSError as error:
            return _end(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)

    return run


def _end(message: str, status: int) -> int:
    logger.debug("the command ends here", exc_info=True)
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - a command speaks to a person
    return status
