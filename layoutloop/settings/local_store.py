"""Settings whose model store is on this disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from layoutloop.settings.serving import Settings
from layoutloop.store.mirror import readable


@contextmanager
def with_local_store(settings: Settings, place: Path | None = None) -> Iterator[Settings]:
    """Yield settings for a reader: its model store is on this disk, see `readable`."""
    with readable(settings.model_dir, place) as folder:
        yield replace(settings, model_dir=folder)
