"""How much of a project's past is kept: the newest versions, with archive, checkpoint, card and report."""

from __future__ import annotations

import logging
from typing import Any

from layoutloop.store.manifest import Manifest, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import StorePath
from layoutloop.store.stamps import is_stamp
from layoutloop.store.transfer import delete_version

logger = logging.getLogger(__name__)


def prune(store: ModelStore, project: int, keep: int) -> list[str]:
    """Delete all but the newest `keep` versions; what is or was lately in service stays. Return what went.

    Only a version with archive and card counts. What killed builds left goes when it is older than all that are kept:
    a newer one may be a build that goes on.

    The caller holds no lock of the model.

    Raises:
        LeaseLost: another process may hold the lock by now; the rest stays.
    """
    name = project_model(project)
    with store.lock(name) as held:
        serving = store.manifest(name) or Manifest()
        archived = store.archived(name)
        whole = [one for one in reversed(archived) if store.card_path(name, one).is_file()]
        checkpoints = {path.name.removeprefix("checkpoint-") for path in store.folder(name).glob("checkpoint-*")}
        oldest_kept = min(whole[:keep], default="")
        left_behind = {one for one in checkpoints.union(archived) if is_stamp(one) and one < oldest_kept}
        old = sorted(left_behind.union(whole).difference(whole[:keep], serving.load, {serving.current}), reverse=True)
        for version in old:
            held.check()
            delete_version(store, name, version)
            for path in _reports(store, name, version):
                path.unlink(missing_ok=True)
    if old:
        logger.info("%s: deleted %s, the newest %d are kept", name, ", ".join(old), keep)
    return old


def discard(store: ModelStore, project: int, version: str) -> None:
    """Delete a version that could not be put into service; its report stays, as `failed-<version>`.

    What is, or is to be, in service stays. The caller holds no lock of the model.

    Raises:
        LeaseLost: another process may hold the lock by now; the version stays.
    """
    name = project_model(project)
    with store.lock(name) as held:
        serving = store.manifest(name) or Manifest()
        if version in (*serving.load, serving.current):
            return
        held.check()
        delete_version(store, name, version)
        for path in _reports(store, name, version):
            if path.exists():
                target: Any = path.with_name(path.name.replace(f"{name}-", "failed-", 1))  # of the same kind as path
                path.rename(target)


def _reports(store: ModelStore, name: str, version: str) -> tuple[StorePath, StorePath]:
    report = store.report_path(name, version)
    return report, report.with_suffix(".html")
