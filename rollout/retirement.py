"""Versions leave `load` when no request can be waiting for them any more; each watcher then unloads them."""

from __future__ import annotations

import logging

from layoutloop.errors import LayoutLoopError
from layoutloop.moments import age_s
from layoutloop.store.changes import drop_from_load
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import store_access

logger = logging.getLogger(__name__)

RESPONSE_S = 40.0
"""The archives' responseTimeout: a worker may be at a page for so long after its request gave up."""


def retire(store: ModelStore, near: ModelStore, deadline_s: float) -> None:
    """Drop from `load` what left `current` longer ago than any request can last, and what was never promoted.

    Whoever promotes holds the lock all the while, so a candidate seen under the lock was left by a killed one.

    Args:
        store: the model store.
        near: the same, or its copy on this disk: which is looked into first.
        deadline_s: of a predict (LAYOUTLOOP_DEADLINE_S).
    """
    for name in near.models():
        try:
            if not _unused(near.manifest(name), deadline_s):
                continue
            with store_access(store.path), store.lock(name, wait=False) as held:
                drop_from_load(store, name, _unused(store.manifest(name), deadline_s), held)
        except (LayoutLoopError, OSError) as error:
            logger.info("%s is not tidied now: %s", name, error)


def _unused(serving: Manifest | None, deadline_s: float) -> set[str]:
    """Return the versions in `load` that no request can be waiting for."""
    if serving is None:
        return set()
    recent = {version for version, moment in serving.left.items() if age_s(moment) <= deadline_s + RESPONSE_S}
    return set(serving.load) - recent - {serving.current or ""}
