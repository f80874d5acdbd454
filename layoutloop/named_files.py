"""Files that a person names on a command line: what is wrong with one is a sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layoutloop.errors import FileUnusable


@contextmanager
def named_file(named: str, remedy: str, done: str = "read") -> Iterator[None]:
    """Turn what the system says of a file in the block into an error that names it.

    Args:
        named: the file or folder as the person named it: `--labels labels.txt`.
        remedy: what to do: `--labels takes a text file with one label a line`.
        done: what is done with it, `read` or `written`.

    Raises:
        FileUnusable: it cannot be read or written, or its text is not in UTF-8.
    """
    try:
        yield
    except OSError as error:
        raise FileUnusable(f"{named} cannot be {done}: {error.strerror or error}; {remedy}") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.start:,} is 0x{error.object[error.start]:02X}"
        raise FileUnusable(f"{named} cannot be read: it is no text in UTF-8 ({found}); {remedy}") from error


def read_named_text(option: str, path: Path, remedy: str) -> str:
    """Return the text of a file that an option names, without a byte order mark.

    Raises:
        FileUnusable: it cannot be read, or is not in UTF-8.
    """
    with named_file(f"{option} {path}", remedy):
        return path.read_text(encoding="utf-8-sig")
