"""The log of a program that runs for long: one event is one line, whatever foreign values are in it."""

from __future__ import annotations

import logging
import re
from types import TracebackType

LONGEST = 4000
"""Characters of one message; a request, a file or another program may put any number of them into a name."""
_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Ends of lines, commands to a terminal, changes of direction, and halves of characters."""

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLineFormatter(logging.Formatter):
    """Writes control characters of a message as escapes, so that no foreign value can look like a line of its own.

    The lines of a traceback are indented, for the same reason.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """Return the line of a record."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - likewise
        """Return a traceback."""
        return "\n".join(f"    {one_line(line)}" for line in super().formatException(ei).splitlines())


def one_line(text: str) -> str:
    """Return text on one line of at most `LONGEST` characters."""
    more = len(text) - LONGEST
    shown = text if more <= 0 else f"{text[:LONGEST]} ... ({more:,} more characters)"
    return _NOT_PRINTED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), shown)


def set_up_logging(level: str) -> None:
    """Log to standard error; never request bodies, and no addresses with signatures in them."""
    logging.basicConfig(level=level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its other levels print whole addresses
