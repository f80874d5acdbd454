"""An old version back into service: its checkpoint is archived again, under a new stamp.

Versions only move forward, because Label Studio skips tasks that already hold a prediction of the very same version.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from layoutloop.errors import ModelNotReady, RolloutFailed
from layoutloop.store.locks import FILE_LOCK, Held
from layoutloop.store.model_store import TRAININGS
from layoutloop.store.stamps import is_stamp
from layoutloop.store.transfer import folder_here
from training.archive.archive import ProjectSettings
from training.measure.compare import KeptVersion, kept_versions
from training.publish import Publisher
from training.report.files import keep_report, read_report


def restore(publisher: Publisher, version: str) -> str:
    """Put an old version's checkpoint into service again, and return its new version.

    Does not wait for a training of the project: who goes back does not want to wait. What that training puts into
    service later comes after it. Of two machines that restore the same version, the second waits, and finds it done.

    Args:
        publisher: of the project; its folder makes that a second try makes no third version. The caller deletes it.
        version: a kept one that is not in service.

    Raises:
        RolloutFailed: it is not kept, or is in service, or the nodes cannot serve it.
        ArchiveFailed, CheckpointInvalid, LayoutLoopError: likewise what was in service still is.
    """
    if not is_stamp(version):
        raise RolloutFailed(f"a version is a stamp like 20261123T083000Z, got {version!r:.80}; see --list")
    with _job_lock(publisher) as held:
        if done := publisher.take_over():
            return done
        kept = _find(publisher, version)  # before anything is made in the name of a version that is not there
        publisher.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder_here(kept.checkpoint, publisher.folder / "checkpoint")
        done = publisher.archive(checkpoint, ProjectSettings.of(kept.card))
        _copy_report(publisher, version, done)
        publisher.put_into_service(done, None, held)
    return done


def _job_lock(publisher: Publisher) -> AbstractContextManager[Held]:
    """Hold what two machines that restore the same version hold, one after the other.

    The second would take the archive that the first is about to promote for one that was left behind, and delete it.
    """
    if publisher.store.leases is None:
        return nullcontext(FILE_LOCK)
    return publisher.store.lock(f"{TRAININGS}/{publisher.model}/{publisher.folder.name}")


def _find(publisher: Publisher, version: str) -> KeptVersion:
    store, name = publisher.store, publisher.model
    manifest = store.manifest(name)
    if manifest is not None and manifest.current == version:
        raise RolloutFailed(f"{name} {version} is in service already")
    kept = kept_versions(store, publisher.project)
    for one in kept:
        if one.card.version == version:
            return one
    versions = ", ".join(one.card.version for one in kept) or "none"
    raise RolloutFailed(f"{name} has no kept checkpoint of version {version}, only of {versions}")


def _copy_report(publisher: Publisher, version: str, new: str) -> None:
    """Give the new version the figures of the old one; an archive made by hand has none."""
    try:
        report = read_report(publisher.store.report_path(publisher.model, version))
    except ModelNotReady:
        return
    keep_report(publisher.store, replace(report, version=new, restored_from=version))
