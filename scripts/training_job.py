"""One training or restore in this process: what it works with, who is told how far it is, what comes of its errors."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from handler.errors import HandlerError
from shim.credentials import LabelStudioKey
from shim.errors import ImageUnavailable, JobsUnavailable, LayoutLoopError, Superseded
from shim.job_store import JobStore
from shim.jobs import Job
from shim.serving import project_model
from shim.settings import Settings
from shim.torchserve import InferenceClient, TokenFile
from training.bases import uses_image
from training.collect import Source
from training.compare import current_card
from training.errors import DatasetFailed, ExportFailed, ExportRefused, TrainingFailed
from training.export import LabelStudio, read_export
from training.packing import ArchiveFailed
from training.progress_file import Progress
from training.reading import FolderImages, Images, StudioImages, TorchServeReader
from training.restore import restore
from training.retrain import Outcome, Surroundings, Wish, retrain
from training.rollout import RolloutFailed
from training.settings import TrainSettings

logger = logging.getLogger(__name__)

_TELL_EVERY_S = 1.0
_INSIST_S = 600.0
_PAUSE_S = 1.0
_PASSES = (ExportFailed, DatasetFailed, TrainingFailed, ImageUnavailable)
"""What may be over after a pause: Label Studio or TorchServe is away, or a process was killed. Another try may do."""
_JOB_ID = re.compile(r"[0-9a-f]{12}")
_FAILURES = (LayoutLoopError, HandlerError, ArchiveFailed, RolloutFailed, OSError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Files:
    """Files that take Label Studio's place: its JSON export, the label config, a folder of images."""

    annotations: Path | None = None
    label_config: Path | None = None
    images: Path | None = None


class JobWatching:
    """Tells a job's record how far it is, not too often, and learns from it whether the job is still this process's."""

    def __init__(self, jobs: JobStore, job: Job) -> None:
        """Tell nothing yet."""
        self._jobs = jobs
        self._job = job
        self._told: tuple[str, float] = ("", float("-inf"))

    def step(self, name: str, done: int = 0, total: int = 0) -> None:
        """Note a step; how far it is at most once a second."""
        self._tell(name, done=done, total=total, epoch=0.0, epochs=0.0, eta_s=None)

    def progress(self, progress: Progress) -> None:
        """Note the training process."""
        self._tell(
            "train",
            done=progress.step,
            total=progress.steps,
            epoch=progress.epoch,
            epochs=float(progress.epochs),
            loss=progress.loss,
            eta_s=progress.eta_s,
            f1=progress.f1,
        )

    def still_mine(self) -> None:
        """Ask, and wait for an answer: without one nothing is put into service."""
        insist(lambda: self._jobs.check(self._job.id, self._job.attempt))

    def _tell(self, step: str, **figures: float | None) -> None:
        before, moment = self._told
        if step == before and time.monotonic() - moment < _TELL_EVERY_S:
            return
        self._told = (step, time.monotonic())
        try:
            self._jobs.update(self._job.id, self._job.attempt, step=step, **figures)
        except JobsUnavailable as error:
            logger.warning("progress cannot be told: %s", error)


class TerminalWatching:
    """Shows a person how far it is."""

    def __init__(self) -> None:
        """Begin with an empty bar."""
        self._bar = tqdm(desc="start", unit="", disable=None)

    def step(self, name: str, done: int = 0, total: int = 0) -> None:
        """Show a step."""
        self._bar.set_description(name)
        self._bar.total, self._bar.n = total or None, done
        self._bar.refresh()

    def progress(self, progress: Progress) -> None:
        """Show nothing: the Trainer has a bar of its own."""

    def still_mine(self) -> None:
        """Nobody else does it."""

    def close(self) -> None:
        """End the bar's line."""
        self._bar.close()


def do_job(jobs: JobStore, job_id: str, attempt: int, settings: Settings, training: TrainSettings) -> int:
    """Do what a worker claimed; 0 where the record has the outcome, else the worker tries again."""
    job = insist(lambda: jobs.check(job_id, attempt))
    _tidy(jobs, settings)
    watching = JobWatching(jobs, job)
    try:
        outcome = (
            _restore(job, settings, watching) if job.kind == "restore" else _retrain(job, settings, training, watching)
        )
    except Superseded as error:
        logger.warning("%s", error)
        return 1
    except _FAILURES as error:
        if isinstance(error, _PASSES) and not isinstance(error, ExportRefused):
            logger.warning("job %s: %s", job.id, error)
            print(error, file=sys.stderr)
            return 1
        reason = str(error)
        logger.warning("job %s fails: %s", job.id, reason)
        insist(lambda: jobs.fail(job_id, attempt, reason))
        shutil.rmtree(_folder(job, settings), ignore_errors=True)  # nobody goes on with it; the disk may be full
        return 0
    insist(
        lambda: jobs.finish(
            job_id,
            attempt,
            verdict=outcome.verdict,
            message=outcome.message,
            version=outcome.version,
            f1=outcome.f1,
        )
    )
    logger.info("job %s: %s. %s", job.id, outcome.verdict, outcome.message)
    return 0


def _tidy(jobs: JobStore, settings: Settings) -> None:
    """Delete the folders of jobs that ended without their process: given up after too many tries."""
    going_on = {job.id for job in insist(jobs.newest) if job.state in ("queued", "running")}
    for folder in (settings.home / "training").glob("project-*/*"):
        if _JOB_ID.fullmatch(folder.name) and folder.name not in going_on:
            shutil.rmtree(folder, ignore_errors=True)


def train_here(wish: Wish, files: Files, settings: Settings, training: TrainSettings) -> int:
    """Train for a person at a terminal, with no job record; 0 unless it failed."""
    watching = TerminalWatching()
    folder = settings.home / "training" / project_model(wish.project) / "here"
    try:
        with surroundings(wish, folder, files, settings, training) as around:
            outcome = retrain(wish, around, watching)
    except _FAILURES as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        watching.close()
    print(f"{outcome.verdict} {outcome.version} {outcome.message}".replace("  ", " "))
    return 0


@contextmanager
def surroundings(
    wish: Wish, folder: Path, files: Files, settings: Settings, training: TrainSettings
) -> Iterator[Surroundings]:
    """Open what a training works with, and close it.

    Raises:
        BaseUnavailable: the base cannot be loaded, which is found before any page is read.
    """
    key = LabelStudioKey(settings.label_studio_url, settings.label_studio_api_key)
    studio = LabelStudio(settings.label_studio_url, key)
    fetched = StudioImages(settings)
    images: Images = FolderImages(files.images, settings.max_image_bytes) if files.images else fetched
    card = current_card(settings.model_dir, wish.project) if wish.from_current else None
    read = TorchServeReader.from_settings(
        settings,
        images,
        language=training.language,
        psm=training.psm,
        thumbnail=card.uses_image if card else uses_image(training.base, training.image),
    )
    try:
        yield Surroundings(
            model_dir=settings.model_dir,
            folder=folder,
            settings=training,
            source=_source(wish.project, files, studio),
            read=read,
            images=images,
            client=inference(settings),
            threads=2 * settings.ocr_workers,
        )
    finally:
        fetched.close()
        studio.close()
        key.close()


def inference(settings: Settings) -> InferenceClient:
    """Return the client of this machine's TorchServe."""
    return InferenceClient(settings.torchserve_url, TokenFile(settings.key_file))


def insist(ask: Callable[[], T]) -> T:
    """Ask until the job records can be reached, for ten minutes at most.

    Raises:
        JobsUnavailable: they were away for longer.
    """
    until = time.monotonic() + _INSIST_S
    while True:
        try:
            return ask()
        except JobsUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)


def _source(project: int, files: Files, studio: LabelStudio) -> Source:
    def ask() -> tuple[str, Sequence[Mapping[str, Any]]]:
        if files.annotations is None or files.label_config is None:
            return studio.project(project).label_config, studio.export(project)
        return files.label_config.read_text(encoding="utf-8-sig"), read_export(files.annotations)

    return ask


def _retrain(job: Job, settings: Settings, training: TrainSettings, watching: JobWatching) -> Outcome:
    wish = Wish(
        job.project,
        force=bool(job.options.get("force")),
        dry_run=bool(job.options.get("dry_run")),
        from_current=bool(job.options.get("from_current")),
        least_new=settings.train_every if job.trigger == "annotations" else 0,
    )
    with surroundings(wish, _folder(job, settings), Files(), settings, training) as around:
        return retrain(wish, around, watching)


def _restore(job: Job, settings: Settings, watching: JobWatching) -> Outcome:
    version = str(job.options.get("version", ""))
    watching.step("rollout")
    new = restore(
        settings.model_dir,
        job.project,
        version,
        folder=_folder(job, settings),
        client=inference(settings),
        still_mine=watching.still_mine,
    )
    return Outcome("promoted", f"Version {version} is in service again, as {new}.", new)


def _folder(job: Job, settings: Settings) -> Path:
    return settings.home / "training" / project_model(job.project) / job.id
