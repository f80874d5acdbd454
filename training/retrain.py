"""Annotations to the next version in service: collect, train, measure, decide, archive, roll out, report.

Each step leaves its result in the job's folder, so that a try after a crash goes on where the last one ended. What is
in service changes only in the last step, and there at one moment: the flip of `serving.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from handler.ocr_settings import engine_kind
from layoutloop.store.manifest import VersionCard, project_model
from layoutloop.store.writing import Held, training_lock
from training.archive.archive import ProjectSettings
from training.data.collect import Collected, TooFewNew, collect, read_split, reference_of
from training.data.examples import Example
from training.data.learned import learned, remember
from training.fit.machine import this_machine
from training.fit.plan import Plan
from training.fit.process import run_training
from training.measure.compare import Candidate, Comparison, compare, current_card, rivals
from training.measure.gate import Verdict
from training.planning import plan_once
from training.publish import Proof, archive_once, archived_version, prove, put_into_service, take_over, was_promoted
from training.report.drawing import Drawing, draw_worst
from training.report.files import read_report, report_path, write_report
from training.report.report import Report
from training.request import ProgressListener, TrainingContext, TrainingOutcome, TrainingRequest
from training.retention import prune
from training.summary import make_report, timed, utc_now, verdict_of


@dataclass(frozen=True, slots=True)
class _Result:
    verdict: Verdict
    report: Report
    draw: Callable[[], tuple[Drawing, ...]]
    proof: Proof | None
    seconds: dict[str, float]


def retrain(request: TrainingRequest, context: TrainingContext, listener: ProgressListener) -> TrainingOutcome:
    """Train a project's next version and put it into service if it is no worse; one at a time for each project.

    The job's folder stays: it proves what was done until the outcome is written down, and whoever does that deletes it.

    Raises:
        LayoutLoopError, OSError: what was in service still is.
    """
    context.folder.mkdir(parents=True, exist_ok=True)
    with training_lock(context.model_dir, request.project, leases=context.leases) as held:
        listener.still_mine()
        take_over(context.folder, context.model_dir, request.project, context.leases)
        version = archived_version(context.folder)
        if version is not None and was_promoted(context.model_dir, request.project, version):
            return _done_before(request, context, version)
        try:
            return _conclude(request, context, listener, _train(request, context, listener), held)
        except TooFewNew as skipped:
            return TrainingOutcome("skipped", str(skipped))


def _done_before(request: TrainingRequest, context: TrainingContext, version: str) -> TrainingOutcome:
    """Finish what a try left that was cut off right after its flip."""
    report = read_report(report_path(context.model_dir, project_model(request.project), version))
    remember(context.model_dir, request.project, report.annotations)
    prune(context.model_dir, request.project, context.settings.keep, leases=context.leases)
    reason = report.verdict.reason if report.verdict else ""
    return TrainingOutcome("promoted", reason, version, report.scores.overall.f1 if report.scores else None)


def _train(request: TrainingRequest, context: TrainingContext, listener: ProgressListener) -> _Result:
    """Do everything up to the verdict."""
    seconds: dict[str, float] = {}
    started, before = utc_now(), current_card(context.model_dir, request.project)
    with timed(seconds, "read pages"):
        collected = _collect(request, context, listener)
    plan = plan_once(request, context, collected.labels, before)
    with timed(seconds, "train"):
        listener.step("train")
        progress = run_training(context.folder, context.settings.processes, listener.progress)
    pages = read_split(context.folder)
    with timed(seconds, "evaluate"):
        measured, proof = _measure(request, context, listener, plan, collected, pages)
    verdict = verdict_of(measured, before.version if before else None, forced=request.force)
    report = make_report(
        request.project,
        context.settings,
        plan,
        collected,
        measured,
        progress,
        pages,
        before,
        verdict=verdict,
        dry_run=request.dry_run,
        started=started,
    )
    return _Result(verdict, report, _drawing(context, collected, measured, pages[1]), proof, seconds)


def _collect(request: TrainingRequest, context: TrainingContext, listener: ProgressListener) -> Collected:
    listener.step("export")
    return collect(
        context.folder,
        context.model_dir,
        request.project,
        context.source,
        context.read,
        least_new=request.least_new,
        known=learned(context.model_dir, request.project),
        progress=lambda done, total: listener.step("read pages", done, total),
        threads=context.threads,
    )


def _measure(
    request: TrainingRequest,
    context: TrainingContext,
    listener: ProgressListener,
    plan: Plan,
    collected: Collected,
    pages: tuple[list[Example], list[Example]],
) -> tuple[Comparison, Proof | None]:
    """Return how good the candidate is, and what it answers for a page, to be compared with what TorchServe will say.

    Args:
        request: whose project.
        context: where the candidate lies.
        listener: told how many models are measured.
        plan: what was trained.
        collected: the project's labels.
        pages: for training and for validation.
    """
    listener.step("evaluate")
    training, validation = pages
    checkpoint = context.folder / "checkpoint"
    measured = compare(
        Candidate(checkpoint, plan.box_level, validation, engine_kind(collected.engine)),
        rivals(context.model_dir, request.project, archived_version(context.folder)),
        collected,
        partial(_as_read_for, context, collected, validation),
        lambda done, total: listener.step("evaluate", done, total),
    )
    return measured, prove(checkpoint, plan.box_level, [*validation, *training])


def _as_read_for(
    context: TrainingContext, collected: Collected, validation: Sequence[Example], card: VersionCard
) -> list[Example]:
    """Return the validation pages as a version in service would be given them."""
    read = context.read.like(card)
    with ThreadPoolExecutor(context.threads, thread_name_prefix="read-page") as pool:
        pages = pool.map(lambda example: read(reference_of(collected, example)), validation)
        return [replace(example, page=page) for example, page in zip(validation, pages, strict=True)]


def _drawing(
    context: TrainingContext, collected: Collected, measured: Comparison, validation: Sequence[Example]
) -> Callable[[], tuple[Drawing, ...]]:
    """Return what draws the pages with the worst disagreements, some time after the verdict."""
    return partial(
        draw_worst,
        validation,
        measured.answers,
        measured.scores,
        lambda example: context.images(reference_of(collected, example)),
        label_map=collected.label_map,
    )


def _conclude(
    request: TrainingRequest, context: TrainingContext, listener: ProgressListener, result: _Result, held: Held
) -> TrainingOutcome:
    """Report; and where the verdict is for it, archive and promote."""
    verdict = result.verdict
    if request.dry_run or not verdict.promote:
        _write(context, result, result.draw())
        if request.dry_run:
            return TrainingOutcome("dry run", verdict.reason, f1=verdict.f1_after)
        remember(context.model_dir, request.project, result.report.annotations)
        return TrainingOutcome("rejected", verdict.reason, f1=verdict.f1_after)
    with timed(result.seconds, "archive"):
        listener.step("archive")
        settings, checkpoint = _archive_settings(context, result.report), context.folder / "checkpoint"
        version = archive_once(
            context.folder, checkpoint, context.model_dir, request.project, settings, leases=context.leases
        )
    result = replace(result, report=replace(result.report, version=version))
    _write(context, result)  # whatever ends this process after the flip, the version in service has its report
    with timed(result.seconds, "rollout"):
        listener.step("rollout")
        put_into_service(
            context.model_dir,
            request.project,
            version,
            client=context.client,
            proof=result.proof,
            still_mine=listener.still_mine,
            untested=request.untested,
            leases=context.leases,
            held=held,
        )
    remember(context.model_dir, request.project, result.report.annotations)
    prune(context.model_dir, request.project, context.settings.keep, leases=context.leases)
    # Last, for the pictures take seconds: a process that ends before leaves the report without them.
    _write(context, result, result.draw())
    return TrainingOutcome("promoted", verdict.reason, version, verdict.f1_after)


def _write(context: TrainingContext, result: _Result, drawings: Sequence[Drawing] = ()) -> None:
    report = replace(result.report, seconds=dict(result.seconds), ended=utc_now())
    write_report(context.model_dir / report.name, report, drawings, leases=context.leases)


def _archive_settings(context: TrainingContext, report: Report) -> ProjectSettings:
    return ProjectSettings(
        language=report.language,
        psm=report.psm,
        box_level=report.box_level,
        base_model=report.base,
        device="gpu" if _on_gpu(context) else "cpu",
        engine=report.engine,
    )


def _on_gpu(context: TrainingContext) -> bool:
    if context.settings.device != "auto":
        return context.settings.device == "gpu"
    return this_machine().device != "cpu"
