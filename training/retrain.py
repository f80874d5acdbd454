"""Annotations to the next version in service: collect, train, measure, decide, archive, roll out, report.

Each step leaves its result in the job's folder, so that a try after a crash goes on where the last one ended. What is
in service changes only in the last step, and there at one moment: the flip of `serving.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from layoutloop.store.manifest import project_model
from layoutloop.store.writing import Held, training_lock
from training.archive.archive import ProjectSettings
from training.data.collect import Collected, TooFewNew, collect, read_split, reference_of
from training.data.examples import Example
from training.data.learned import learned, remember
from training.fit.machine import this_machine
from training.fit.plan import Plan
from training.fit.process import run_training
from training.measure.compare import Comparison, compare, current_card
from training.measure.gate import Verdict
from training.planning import plan_once
from training.publish import Proof, archive_once, archived_version, prove, put_into_service, take_over, was_promoted
from training.report.drawing import Drawing, draw_worst
from training.report.files import read_report, report_path, write_report
from training.report.report import Report
from training.request import Outcome, Surroundings, Watching, Wish
from training.retention import prune
from training.summary import make_report, timed, utc_now, verdict_of


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
    plan = plan_once(wish, around, collected.labels, before)
    with timed(seconds, "train"):
        watching.step("train")
        progress = run_training(around.folder, around.settings.processes, watching.progress)
    pages = read_split(around.folder)
    with timed(seconds, "evaluate"):
        measured, proof = _measure(wish, around, watching, plan, collected, pages)
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
    return _Result(verdict, report, _drawing(around, collected, measured, pages[1]), proof, seconds)


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


def _measure(
    wish: Wish,
    around: Surroundings,
    watching: Watching,
    plan: Plan,
    collected: Collected,
    pages: tuple[list[Example], list[Example]],
) -> tuple[Comparison, Proof | None]:
    """Return how good the candidate is, and what it answers for a page, to be compared with what TorchServe will say.

    Args:
        wish: whose project.
        around: where the candidate lies.
        watching: told how many models are measured.
        plan: what was trained.
        collected: the project's labels.
        pages: for training and for validation.
    """
    watching.step("evaluate")
    training, validation = pages
    checkpoint = around.folder / "checkpoint"
    measured = compare(
        around.model_dir,
        wish.project,
        checkpoint,
        plan.box_level,
        validation,
        collected,
        lambda done, total: watching.step("evaluate", done, total),
        archived_version(around.folder),
    )
    return measured, prove(checkpoint, plan.box_level, [*validation, *training])


def _drawing(
    around: Surroundings, collected: Collected, measured: Comparison, validation: Sequence[Example]
) -> Callable[[], tuple[Drawing, ...]]:
    """Return what draws the pages with the worst disagreements, some time after the verdict."""
    return partial(
        draw_worst,
        validation,
        measured.answers,
        measured.scores,
        lambda example: around.images(reference_of(collected, example)),
        label_map=collected.label_map,
    )


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
