"""Annotations to the next version in service: collect, train, measure, decide, archive, roll out, report.

Each step leaves its result in the job's folder, so that a try after a crash goes on where the last one ended. What is
in service changes only in the last step, and there at one moment: the flip of `serving.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from shim.serving import Card, project_model
from shim.store_path import StorePath
from shim.torchserve import InferenceClient
from training.archive import ProjectSettings
from training.child import run_training
from training.collect import Collected, Source, TooFewNew, collect, read_split, reference_of
from training.compare import compare, current_card, kept_versions
from training.dataset import Read
from training.deploy import Proof, archive_once, archived_version, prove, put_into_service, take_over, was_promoted
from training.drawing import Drawing, draw_worst
from training.errors import BaseUnavailable
from training.gate import Verdict
from training.keep import prune
from training.learned import learned, remember
from training.machine import this_machine
from training.plan import Plan
from training.progress_file import Progress
from training.reading import Images
from training.report import Report, read_report, report_path, write_report
from training.settings import TrainSettings
from training.store import Held, training_lock
from training.summary import make_report, timed, utc_now, verdict_of
from training.transfer import folder_here

if TYPE_CHECKING:
    from training.leases import Leases


class Watching(Protocol):
    """Who is told how far a training is; each method raises Superseded where another process does this job by now."""

    def step(self, name: str, done: int = 0, total: int = 0) -> None:
        """Take note of a step, and perhaps of how far it is."""

    def progress(self, progress: Progress) -> None:
        """Take note of the training process."""

    def still_mine(self) -> None:
        """Take note of nothing."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Args:
        project: Label Studio's id.
        force: into service whatever the gate says.
        dry_run: everything but archive and rollout.
        from_current: go on from the version in service instead of the base.
        least_new: skip where fewer annotations are new; 0 never skips.
        untested: also where no TorchServe runs that could try it.
    """

    project: int
    force: bool = False
    dry_run: bool = False
    from_current: bool = False
    least_new: int = 0
    untested: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a training works with.

    Args:
        model_dir: the model store.
        folder: of this job.
        settings: of training.
        source: where the annotations come from.
        read: reads a page.
        images: fetches a page's image once more, for the report.
        client: of this machine's TorchServe.
        threads: pages read at a time.
        leases: locks that machines share.
    """

    model_dir: StorePath
    folder: Path
    settings: TrainSettings
    source: Source
    read: Read
    images: Images
    client: InferenceClient
    threads: int = 4
    leases: Leases | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it, in a word and in a sentence; with the version where there is a new one."""

    verdict: Literal["promoted", "rejected", "skipped", "dry run"]
    message: str
    version: str = ""
    f1: float | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    verdict: Verdict
    report: Report
    draw: Callable[[], tuple[Drawing, ...]]
    proof: Proof | None
    seconds: dict[str, float]


def retrain(wish: Wish, around: Surroundings, watching: Watching) -> Outcome:
    """Train a project's next version and put it into service if it is no worse; one at a time for each project.

    The job's folder stays: it proves what was done until the outcome is written down, and whoever does that deletes it.

    Raises:
        LayoutLoopError, HandlerError, ArchiveFailed, RolloutFailed, OSError: what was in service still is.
    """
    around.folder.mkdir(parents=True, exist_ok=True)
    with training_lock(around.model_dir, wish.project, leases=around.leases) as held:
        watching.still_mine()
        take_over(around.folder, around.model_dir, wish.project, around.leases)
        version = archived_version(around.folder)
        if version is not None and was_promoted(around.model_dir, wish.project, version):
            return _done_before(wish, around, version)
        try:
            return _conclude(wish, around, watching, _train(wish, around, watching), held)
        except TooFewNew as skipped:
            return Outcome("skipped", str(skipped))


def _done_before(wish: Wish, around: Surroundings, version: str) -> Outcome:
    """Finish what a try left that was cut off right after its flip."""
    report = read_report(report_path(around.model_dir, project_model(wish.project), version))
    remember(around.model_dir, wish.project, report.annotations)
    prune(around.model_dir, wish.project, around.settings.keep, leases=around.leases)
    reason = report.verdict.reason if report.verdict else ""
    return Outcome("promoted", reason, version, report.scores.overall.f1 if report.scores else None)


def _train(wish: Wish, around: Surroundings, watching: Watching) -> _Result:
    """Do everything up to the verdict."""
    seconds: dict[str, float] = {}
    started, before = utc_now(), current_card(around.model_dir, wish.project)
    with timed(seconds, "read pages"):
        collected = _collect(wish, around, watching)
    plan = _plan(wish, around, collected, before)
    with timed(seconds, "train"):
        watching.step("train")
        progress = run_training(around.folder, around.settings.processes, watching.progress)
    pages = training, validation = read_split(around.folder)
    checkpoint = around.folder / "checkpoint"
    with timed(seconds, "evaluate"):
        watching.step("evaluate")
        measured = compare(
            around.model_dir,
            wish.project,
            checkpoint,
            plan.box_level,
            validation,
            collected,
            lambda done, total: watching.step("evaluate", done, total),
        )
        proof = prove(checkpoint, plan.box_level, [*validation, *training])
    verdict = verdict_of(measured, before.version if before else None, forced=wish.force)
    report = make_report(
        wish.project,
        around.settings,
        plan,
        collected,
        measured,
        progress,
        pages,
        before,
        verdict=verdict,
        dry_run=wish.dry_run,
        started=started,
    )
    draw = partial(
        draw_worst,
        validation,
        measured.answers,
        measured.scores,
        lambda example: around.images(reference_of(collected, example)),
        label_map=collected.label_map,
    )
    return _Result(verdict, report, draw, proof, seconds)


def _collect(wish: Wish, around: Surroundings, watching: Watching) -> Collected:
    watching.step("export")
    return collect(
        around.folder,
        around.model_dir,
        wish.project,
        around.source,
        around.read,
        least_new=wish.least_new,
        known=learned(around.model_dir, wish.project),
        progress=lambda done, total: watching.step("read pages", done, total),
        threads=around.threads,
    )


def _plan(wish: Wish, around: Surroundings, collected: Collected, before: Card | None) -> Plan:
    """Return what is trained; a later try goes on with what the first one planned."""
    planned = Plan.find(around.folder)
    if planned is not None:
        return planned
    settings, base, start = around.settings, around.settings.base, None
    if wish.from_current:
        kept = {one.card.version: one.checkpoint for one in kept_versions(around.model_dir, wish.project)}
        if before is None or before.version not in kept:
            raise BaseUnavailable("there is no version in service with a kept checkpoint to continue from")
        current = folder_here(kept[before.version], around.folder / "base")
        start, base = str(current.resolve()), before.base_model or base
    plan = Plan(
        base=base,
        labels=collected.labels,
        box_level=settings.box_level,
        image=settings.image,
        continue_from=start,
        learning_rate=settings.learning_rate or None,
        batch_pages=settings.batch or None,
        epochs=settings.epochs or None,
        seed=settings.seed,
    )
    plan.write(around.folder)
    return plan


def _conclude(wish: Wish, around: Surroundings, watching: Watching, result: _Result, held: Held) -> Outcome:
    """Report; and where the verdict is for it, archive and promote."""
    verdict = result.verdict
    if wish.dry_run or not verdict.promote:
        _write(around, result, result.draw())
        if wish.dry_run:
            return Outcome("dry run", verdict.reason, f1=verdict.f1_after)
        remember(around.model_dir, wish.project, result.report.annotations)
        return Outcome("rejected", verdict.reason, f1=verdict.f1_after)
    with timed(result.seconds, "archive"):
        watching.step("archive")
        settings, checkpoint = _archive_settings(around, result.report), around.folder / "checkpoint"
        version = archive_once(
            around.folder, checkpoint, around.model_dir, wish.project, settings, leases=around.leases
        )
    result = replace(result, report=replace(result.report, version=version))
    _write(around, result)  # whatever ends this process after the flip, the version in service has its report
    with timed(result.seconds, "rollout"):
        watching.step("rollout")
        put_into_service(
            around.model_dir,
            wish.project,
            version,
            client=around.client,
            proof=result.proof,
            still_mine=watching.still_mine,
            untested=wish.untested,
            leases=around.leases,
            held=held,
        )
    remember(around.model_dir, wish.project, result.report.annotations)
    prune(around.model_dir, wish.project, around.settings.keep, leases=around.leases)
    # Last, for the pictures take seconds: a process that ends before leaves the report without them.
    _write(around, result, result.draw())
    return Outcome("promoted", verdict.reason, version, verdict.f1_after)


def _write(around: Surroundings, result: _Result, drawings: Sequence[Drawing] = ()) -> None:
    report = replace(result.report, seconds=dict(result.seconds), ended=utc_now())
    write_report(around.model_dir / report.name, report, drawings, leases=around.leases)


def _archive_settings(around: Surroundings, report: Report) -> ProjectSettings:
    return ProjectSettings(
        language=report.language,
        psm=report.psm,
        box_level=report.box_level,
        base_model=report.base,
        device="gpu" if _on_gpu(around) else "cpu",
        engine=report.engine,
    )


def _on_gpu(around: Surroundings) -> bool:
    if around.settings.device != "auto":
        return around.settings.device == "gpu"
    return this_machine().device != "cpu"
