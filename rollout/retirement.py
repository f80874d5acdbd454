"""Versions leave `load` when no request can be waiting for them any more; each watcher then unloads them."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from layoutloop.errors import LayoutLoopError
from layoutloop.store.manifest import Manifest, models_in, read_manifest
from layoutloop.store.path import StorePath, store_access
from layoutloop.store.writing import drop_from_load, locked

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases

logger = logging.getLogger(__name__)

RETIRE_AFTER_S = 90.0 + 40.0
"""How long a version stays after it left `current`: the predict deadline plus the archives' responseTimeout."""


def retire(model_dir: StorePath, *, seen: Path | None = None, leases: Leases | None = None) -> None:
    """Drop from `load` what left `current` longer ago than any request can last, and what was never promoted.

    Whoever promotes holds the lock all the while, so a candidate seen under the lock was left by a killed one.

    Args:
        model_dir: the model store.
        seen: a copy of it on this disk, to look in first.
        leases: locks that machines share.
    """
    for name in models_in(seen or model_dir):
        try:
            if not _unused(read_manifest(seen or model_dir, name)):
                continue
            with store_access(model_dir), locked(model_dir, name, wait=False, leases=leases) as held:
                drop_from_load(model_dir, name, _unused(read_manifest(model_dir, name)), held)
        except (LayoutLoopError, OSError) as error:
            logger.info("%s is not tidied now: %s", name, error)


def _unused(serving: Manifest | None) -> set[str]:
    """Return the versions in `load` that no request can be waiting for."""
    if serving is None:
        return set()
    recent = {version for version, moment in serving.left.items() if time.time() - moment <= RETIRE_AFTER_S}
    return set(serving.load) - recent - {serving.current or ""}
