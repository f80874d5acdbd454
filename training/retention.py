"""How much of a project's past is kept: the newest versions, with archive, checkpoint, card and report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from layoutloop.store.manifest import Manifest, project_model, read_manifest
from layoutloop.store.path import StorePath
from layoutloop.store.transfer import delete_version, rename
from layoutloop.store.writing import locked
from training.report.files import report_path

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases

logger = logging.getLogger(__name__)


def prune(model_dir: StorePath, project: int, keep: int, *, leases: Leases | None = None) -> list[str]:
    """Delete all but the newest `keep` versions; what is or was lately in service stays. Return what went.

    The caller holds no lock of the model.

    Raises:
        LeaseLost: another process may hold the lock by now; the rest stays.
    """
    name = project_model(project)
    folder = model_dir / name
    with locked(model_dir, name, leases=leases) as held:
        serving = read_manifest(model_dir, name) or Manifest()
        versions = sorted(
            {path.stem.removeprefix(f"{name}-") for path in folder.glob(f"{name}-*.mar")}
            | {path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")},
            reverse=True,
        )
        old = [version for version in versions[keep:] if version not in (*serving.load, serving.current)]
        for version in old:
            held.check()
            delete_version(model_dir, name, version)
            for path in _reports(model_dir, name, version):
                path.unlink(missing_ok=True)
    if old:
        logger.info("%s: deleted %s, the newest %d are kept", name, ", ".join(old), keep)
    return old


def discard(model_dir: StorePath, project: int, version: str, *, leases: Leases | None = None) -> None:
    """Delete a version that could not be put into service; its report stays, as `failed-<version>`.

    What is, or is to be, in service stays. The caller holds no lock of the model.

    Raises:
        LeaseLost: another process may hold the lock by now; the version stays.
    """
    name = project_model(project)
    with locked(model_dir, name, leases=leases) as held:
        serving = read_manifest(model_dir, name) or Manifest()
        if version in (*serving.load, serving.current):
            return
        held.check()
        delete_version(model_dir, name, version)
        for path in _reports(model_dir, name, version):
            if path.exists():
                rename(path, path.name.replace(f"{name}-", "failed-", 1))


def _reports(model_dir: StorePath, name: str, version: str) -> tuple[StorePath, StorePath]:
    report = report_path(model_dir, name, version)
    return report, report.with_suffix(".html")
