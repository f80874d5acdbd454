"""An old version back into service: its checkpoint is archived again, under a new stamp.

Versions only move forward, because Label Studio skips tasks that already hold a prediction of the very same version.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from layoutloop.errors import ModelNotReady, RolloutFailed
from layoutloop.store.manifest import project_model, read_manifest
from layoutloop.store.path import StorePath
from layoutloop.store.transfer import folder_here
from layoutloop.store.writing import FILE_LOCK, TRAININGS, Held, is_stamp, locked
from layoutloop.torchserve.inference import InferenceClient
from training.archive.archive import ProjectSettings
from training.measure.compare import KeptVersion, kept_versions
from training.publish import archive_once, archived_version, put_into_service, take_over, was_promoted
from training.report.files import read_report, report_path, write_report

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases


def restore(
    model_dir: StorePath,
    project: int,
    version: str,
    *,
    folder: Path,
    client: InferenceClient,
    still_mine: Callable[[], None],
    untested: bool = False,
    leases: Leases | None = None,
) -> str:
    """Put an old version's checkpoint into service again, and return its new version.

    Does not wait for a training of the project: who goes back does not want to wait. What that training puts into
    service later comes after it. Of two machines that restore the same version, the second waits, and finds it done.

    Args:
        model_dir: the model store.
        project: Label Studio's id.
        version: a kept one that is not in service.
        folder: remembers the new version, so that a second try makes no third; the caller deletes it.
        client: of this machine's TorchServe.
        still_mine: raises Superseded where another process does this by now.
        untested: also where no TorchServe runs that could try it.
        leases: locks that machines share.

    Raises:
        RolloutFailed: it is not kept, or is in service, or the nodes cannot serve it.
        ArchiveFailed, CheckpointInvalid, LayoutLoopError: likewise what was in service still is.
    """
    if not is_stamp(version):
        raise RolloutFailed(f"a version is a stamp like 20261123T083000Z, got {version!r:.80}; see --list")
    with _job_lock(model_dir, project, folder, leases) as held:
        take_over(folder, model_dir, project, leases)
        done = _promoted(folder, model_dir, project)
        if done is not None:
            return done
        kept = _find(model_dir, project, version)  # before anything is made in the name of a version that is not there
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder_here(kept.checkpoint, folder / "checkpoint")
        done = archive_once(folder, checkpoint, model_dir, project, _settings(kept), version, leases)
        _copy_report(model_dir, project_model(project), version, done)
        put_into_service(
            model_dir,
            project,
            done,
            client=client,
            proof=None,
            still_mine=still_mine,
            untested=untested,
            leases=leases,
            held=held,
        )
    return done


def _job_lock(model_dir: StorePath, project: int, folder: Path, leases: Leases | None) -> AbstractContextManager[Held]:
    """Hold what two machines that restore the same version hold, one after the other.

    The second would take the archive that the first is about to promote for one that was left behind, and delete it.
    """
    if leases is None:
        return nullcontext(FILE_LOCK)
    return locked(model_dir, f"{TRAININGS}/{project_model(project)}/{folder.name}", leases=leases)


def _promoted(folder: Path, model_dir: StorePath, project: int) -> str | None:
    """Return the version that an earlier try put into service, if one did."""
    done = archived_version(folder)
    return done if done is not None and was_promoted(model_dir, project, done) else None


def _find(model_dir: StorePath, project: int, version: str) -> KeptVersion:
    name = project_model(project)
    serving = read_manifest(model_dir, name)
    if serving is not None and serving.current == version:
        raise RolloutFailed(f"{name} {version} is in service already")
    kept = kept_versions(model_dir, project)
    for one in kept:
        if one.card.version == version:
            return one
    versions = ", ".join(one.card.version for one in kept) or "none"
    raise RolloutFailed(f"{name} has no kept checkpoint of version {version}, only of {versions}")


def _settings(kept: KeptVersion) -> ProjectSettings:
    card = kept.card
    return ProjectSettings(
        card.language, card.psm, card.box_level, card.base_model, card.device, card.engine or card.engine_kind
    )


def _copy_report(model_dir: StorePath, name: str, version: str, new: str) -> None:
    """Give the new version the figures of the old one; an archive made by hand has none."""
    try:
        report = read_report(report_path(model_dir, name, version))
    except ModelNotReady:
        return
    write_report(model_dir / name, replace(report, version=new, restored_from=version))
