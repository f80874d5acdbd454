"""One training or restore in this process: what it works with, who is told how far it is, what comes of its errors."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.machine import is_of_machine
from layoutloop.errors import (
    DatasetFailed,
    DeadlineExceeded,
    ImageSourceUnreachable,
    ImageUnavailable,
    JobsUnavailable,
    LayoutLoopError,
    ModelNotReady,
    NoNodeTried,
    SourcesUnreachable,
    StoreUnavailable,
    StudioRefused,
    StudioUnavailable,
    Superseded,
    TorchServeUnavailable,
    TrainingFailed,
)
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore
from layoutloop.named_files import named_file
from layoutloop.settings.local_store import with_local_store
from layoutloop.settings.serving import Settings
from layoutloop.settings.training import TrainSettings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import children, store_access
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.export import export_project, read_export, read_label_config, read_project
from layoutloop.torchserve.inference import inference_client
from training.data.collect import Source
from training.data.page_readers import FolderImages, Images, StudioImages, TorchServeReader, torchserve_problem
from training.fit.bases import uses_image
from training.measure.compare import kept_versions
from training.publish import Publisher, archived_version, forget
from training.request import TrainingContext, TrainingOutcome, TrainingRequest
from training.restore import restore
from training.retention import discard
from training.retrain import retrain
from training.worker.how_pages_are_read import reading_of
from training.worker.listeners import JobListener, TerminalListener, insist

logger = logging.getLogger(__name__)

_UNREACHABLE = (ImageSourceUnreachable, TorchServeUnavailable, StoreUnavailable, SourcesUnreachable, NoNodeTried)
"""TorchServe, the model store or what has the images is down or unreachable: it may be back in a while."""
_PASSES = (
    *(StudioUnavailable, ImageUnavailable, DatasetFailed, TrainingFailed, JobsUnavailable),
    *(ModelNotReady, DeadlineExceeded),
)
"""What may be over after a pause: a process was killed, a version is loaded. Another try may do."""
_JOB_FOLDER = re.compile(r"[0-9a-f]{12}|.+\.gone")
_FAILURES = (LayoutLoopError, OSError)


@dataclass(frozen=True, slots=True)
class Files:
    """Files that take Label Studio's place: its JSON export, the label config, a folder of images."""

    annotations: Path | None = None
    label_config: Path | None = None
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Trainer:
    """What the trainings of this process work with.

    Args:
        settings: where everything is.
        training: how it is trained.
        store: the model store.
    """

    settings: Settings
    training: TrainSettings
    store: ModelStore

    def folder(self, project: int, name: str) -> Path:
        """Return the folder of a job."""
        return self.settings.home / "training" / project_model(project) / name

    def forget(self, project: int, folder: Path) -> None:
        """Delete what proves how far a job came, here and where other machines look."""
        delete_folder(folder)
        forget(self.store, project, folder)


def do_job(jobs: JobStore, job_id: str, attempt: int, trainer: Trainer) -> int:
    """Do what a worker claimed; 0 where the record says what became of it, else the worker tries again."""
    job = insist(lambda: jobs.check(job_id, attempt))
    _tidy(jobs, trainer.settings)
    listener = JobListener(jobs, job)
    try:
        with store_access(trainer.store.path):
            outcome = (_restore if job.kind == "restore" else _retrain)(job, trainer, listener)
    except Superseded as error:
        logger.warning("%s", error)
        return 1
    except _FAILURES as error:
        reason = str(error)
        if _is_unreachable(error) or (isinstance(error, _PASSES) and not isinstance(error, StudioRefused)):
            logger.warning("job %s: %s", job.id, reason)
            again = jobs.wait if _is_unreachable(error) else jobs.retry
            insist(lambda: again(job_id, attempt, reason))
            return 0
        logger.warning("job %s fails: %s", job.id, reason)
        _give_up(job, trainer)  # first, because the disk may be full
        insist(lambda: jobs.fail(job_id, attempt, reason))
        return 0
    insist(
        lambda: jobs.finish(
            job_id,
            attempt,
            verdict=outcome.verdict,
            message=outcome.message,
            version=outcome.version,
            f1=outcome.f1,
            prelabel=outcome.verdict == "promoted" and bool(trainer.settings.prelabel),
        )
    )
    # Not before the outcome is written down: until then the folder is the proof of what was done.
    trainer.forget(job.project, trainer.folder(job.project, job.id))
    logger.info("job %s: %s. %s", job.id, outcome.verdict, outcome.message)
    return 0


def _tidy(jobs: JobStore, settings: Settings) -> None:
    """Delete the folders of jobs that ended without their process: given up after too many tries."""
    going_on = {job.id for job in insist(jobs.newest) if job.state in ("queued", "running")}
    for folder in (settings.home / "training").glob("project-*/*"):
        if _JOB_FOLDER.fullmatch(folder.name) and folder.name not in going_on:
            shutil.rmtree(folder, ignore_errors=True)


def _give_up(job: Job, trainer: Trainer) -> None:
    """Delete what a job that failed for good made, but for its report; what cannot be deleted now stays."""
    folder = trainer.folder(job.project, job.id)
    try:
        if (version := archived_version(folder)) is not None:
            discard(trainer.store, job.project, version)
    except _FAILURES as error:
        logger.warning("what job %s archived stays in the model store: %s", job.id, error)
    trainer.forget(job.project, folder)


def delete_folder(folder: Path) -> None:
    """Delete a job's folder, which at no moment is half there under its name."""
    if folder.is_dir():
        gone = folder.with_name(f"{folder.name}.gone")
        folder.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)


def train_here(request: TrainingRequest, files: Files, trainer: Trainer) -> None:
    """Train for a person at a terminal, with no job record, and say what came of it.

    Raises:
        LayoutLoopError, OSError: what was in service still is.
    """
    if problem := torchserve_problem(trainer.settings):
        raise TorchServeUnavailable(problem)
    name = f"here-{_fingerprint(request, files, trainer.training)}"
    listener = TerminalListener()
    folder = trainer.folder(request.project, name)
    if folder.exists():
        print(f"going on where an earlier try was cut off, with its pages ({folder})", file=sys.stderr)
    try:
        with store_access(trainer.store.path), training_context(request, folder, files, trainer) as context:
            outcome = retrain(request, context, listener)
    except _FAILURES as error:
        trainer.forget(request.project, folder)
        if isinstance(error, DatasetFailed) and files.annotations is not None and files.images is None:
            hint = "--images DIR takes the images from a folder, by their file names"
            raise type(error)(f"{error}; {hint}") from error
        raise
    finally:
        listener.close()
    trainer.forget(request.project, folder)
    print(f"{outcome.verdict} {outcome.version} {outcome.message}".replace("  ", " "))
    reports = children(trainer.store.folder(project_model(request.project)), "*.report.html")
    print(f"report: {max(reports, key=lambda path: path.stat().st_mtime)}", file=sys.stderr)


def _fingerprint(request: TrainingRequest, files: Files, training: TrainSettings) -> str:
    """Return 12 hex digits of all that a training here depends on: only an equal one goes on with its folder."""
    stats = [
        path and _stat(option, path)
        for option, path in (("--annotations", files.annotations), ("--label-config", files.label_config))
    ]
    return hashlib.sha256(repr((request, files, training, stats)).encode()).hexdigest()[:12]


def _stat(option: str, path: Path) -> tuple[int, int]:
    with named_file(f"{option} {path}", "it is a file that is there and that you may read"):
        return path.stat().st_size, path.stat().st_mtime_ns


def _is_unreachable(error: Exception) -> bool:
    """Whether a wait may mend it: something is down, or this machine's disk is full."""
    is_down = isinstance(error, _UNREACHABLE) or (isinstance(error, StudioUnavailable) and error.is_temporary)
    return is_down or is_of_machine(error)


@contextmanager
def training_context(
    request: TrainingRequest, folder: Path, files: Files, trainer: Trainer
) -> Iterator[TrainingContext]:
    """Open what a training works with, and close it.

    Raises:
        BaseUnavailable: the base cannot be loaded, which is found before any page is read.
        StudioUnavailable: Label Studio does not know the project, or does not answer.
    """
    settings, store, training = trainer.settings, trainer.store, trainer.training
    training, engine = reading_of(store, request, training)
    with (
        open_studio(settings.label_studio_url, settings.label_studio_api_key) as studio,
        closing(StudioImages(settings)) as fetched,
        with_local_store(settings) as near,
    ):
        images: Images = FolderImages(files.images, settings.max_image_bytes) if files.images else fetched
        read = TorchServeReader.from_settings(
            near,
            images,
            engine=engine,
            language=training.language,
            psm=training.psm,
            thumbnail=_needs_images(store, request, training),
        )
        if files.annotations is None and not folder.exists():
            read_project(studio, request.project)  # before there are folders in its name
        yield TrainingContext(
            store=store,
            folder=folder,
            settings=training,
            source=_source(request.project, files, studio),
            read=read,
            images=images,
            client=inference_client(settings),
            threads=2 * settings.ocr_workers,
        )


def _needs_images(store: ModelStore, request: TrainingRequest, training: TrainSettings) -> bool:
    """Whether the candidate, or any version that it will be measured against, looks at the page's image."""
    kept = any(one.card.uses_image for one in kept_versions(store, request.project))
    return kept or (not request.from_current and uses_image(training.base, training.image))


def _source(project: int, files: Files, studio: StudioClient) -> Source:
    def ask() -> tuple[str, Sequence[Mapping[str, Any]]]:
        if files.annotations is None or files.label_config is None:
            return read_project(studio, project).label_config, export_project(studio, project)
        return read_label_config(files.label_config), read_export(files.annotations)

    return ask


def _retrain(job: Job, trainer: Trainer, listener: JobListener) -> TrainingOutcome:
    request = TrainingRequest(
        job.project,
        force=bool(job.options.get("force")),
        dry_run=bool(job.options.get("dry_run")),
        from_current=bool(job.options.get("from_current")),
        least_new=trainer.settings.train_every if job.trigger == "annotations" else 0,
    )
    with training_context(request, trainer.folder(job.project, job.id), Files(), trainer) as context:
        return retrain(request, context, listener)


def _restore(job: Job, trainer: Trainer, listener: JobListener) -> TrainingOutcome:
    version = str(job.options.get("version", ""))
    listener.step("rollout")
    folder, client = trainer.folder(job.project, job.id), inference_client(trainer.settings)
    new = restore(Publisher(trainer.store, job.project, folder, client, listener.still_mine), version)
    return TrainingOutcome("promoted", f"Version {version} is in service again, as {new}.", new)
