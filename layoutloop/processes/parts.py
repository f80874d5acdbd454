"""The parts of a LayoutLoop, of which one command starts some: one machine runs all, a container one or two."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PARTS = ("torchserve", "rollout", "shim", "trainer")
"""In the order they start. `rollout` is the watcher that tells the TorchServe beside it what to hold."""


def parse_parts(text: str) -> tuple[str, ...]:
    """Return the parts that `torchserve,rollout` names, in the order they start.

    Raises:
        ValueError: one is unknown, or there is none.
    """
    named = {part.strip() for part in text.split(",")}
    if named - set(PARTS):
        raise ValueError(f"parts are some of {', '.join(PARTS)}; found {text!r}")
    return tuple(part for part in PARTS if part in named)


@contextmanager
def instance_lock(home: Path, name: str = "serve") -> Iterator[bool]:
    """Hold a lock of a home; False if another process has it."""
    with (home / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def part_locks(home: Path, parts: Sequence[str]) -> Iterator[str | None]:
    """Hold the locks of parts, so that each runs once in a home; the first that another process holds, or None."""
    with ExitStack() as held:
        yield next((part for part in parts if not held.enter_context(instance_lock(home, part))), None)
