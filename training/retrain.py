"""Annotations to the next version in service: collect, train, measure, decide, archive, roll out, report.

Each step leaves its result in the job's folder, so that a try after a crash goes on where the last one ended. What is
in service changes only in the last step, and there at one moment: the flip of `serving.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from handler.errors import HandlerError, OcrFailed
from handler.ocr_settings import TASK_ENGINE, engine_kind
from layoutloop.errors import BaseUnavailable, PageRejected
from layoutloop.store.locks import Held
from layoutloop.store.manifest import VersionCard, project_model
from layoutloop.store.path import StorePath
from layoutloop.store.transfer import folder_here
from training.archive.archive import ProjectSettings
from training.data.collect import Collected, TooFewNew, collect, read_split, reference_of
from training.data.dataset import build_examples
from training.data.examples import Example
from training.data.learned import remember
from training.fit.machine import this_machine
from training.fit.plan import Plan
from training.fit.process import run_training
from training.measure.calibration import calibrate
from training.measure.compare import Candidate, compare, kept_versions, rivals
from training.measure.gate import Verdict
from training.publish import Proof, Publisher, archived_version, prove
from training.report.drawing import Drawing, draw_worst
from training.report.files import keep_report, read_report
from training.report.report import Report
from training.request import ProgressListener, TrainingContext, TrainingOutcome, TrainingRequest
from training.retention import prune
from training.summary import Trained, make_report, timed, utc_now, verdict_of


def retrain(request: TrainingRequest, context: TrainingContext, listener: ProgressListener) -> TrainingOutcome:
    """Train a project's next version and put it into service if it is no worse; one at a time for each project.

    The job's folder stays: it proves what was done until the outcome is written down, and whoever does that deletes it.

    Raises:
        LayoutLoopError, OSError: what was in service still is.
    """
    context.folder.mkdir(parents=True, exist_ok=True)
    training = _Training(request, context, listener)
    with context.store.training_lock(request.project) as held:
        listener.still_mine()
        version = training.publisher.take_over()
        if version is not None:
            return training.finish_again(version)
        try:
            return training.conclude(training.train(), held)
        except TooFewNew as skipped:
            return TrainingOutcome("skipped", str(skipped))


@dataclass(frozen=True, slots=True)
class _Result:
    verdict: Verdict
    report: Report
    draw: Callable[[], tuple[Drawing, ...]]
    proof: Proof | None
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Training:
    """The steps of one training."""

    request: TrainingRequest
    context: TrainingContext
    listener: ProgressListener

    @property
    def name(self) -> str:
        """The project's model."""
        return project_model(self.request.project)

    @property
    def memory(self) -> StorePath:
        """The project's folder in the model store."""
        return self.context.store.folder(self.name)

    @property
    def publisher(self) -> Publisher:
        """Archives and promotes in the name of this job."""
        request, context = self.request, self.context
        still_mine = self.listener.still_mine
        return Publisher(context.store, request.project, context.folder, context.client, still_mine, request.untested)

    def finish_again(self, version: str) -> TrainingOutcome:
        """Finish what a try left that was cut off right after its flip."""
        report = read_report(self.context.store.report_path(self.name, version))
        self.finish(report.annotations)
        reason = report.verdict.reason if report.verdict else ""
        return TrainingOutcome("promoted", reason, version, report.scores.overall.f1 if report.scores else None)

    def finish(self, annotations: Mapping[str, str]) -> None:
        """Do what follows a promotion."""
        remember(self.memory, annotations)
        prune(self.context.store, self.request.project, self.context.settings.keep)

    def train(self) -> _Result:
        """Do everything up to the verdict."""
        context, seconds = self.context, dict[str, float]()
        started, before = utc_now(), context.store.current_card(self.name)
        with timed(seconds, "read pages"):
            collected = self.collect()
        plan = Plan.find(context.folder) or self.plan(collected.labels, before)
        with timed(seconds, "train"):
            self.listener.step("train")
            progress = run_training(context.folder, context.settings.processes, self.listener.progress)
        training, validation = read_split(context.folder)
        with timed(seconds, "evaluate"):
            self.listener.step("evaluate")
            checkpoint = context.folder / "checkpoint"
            reliability = calibrate(checkpoint, plan.box_level, validation, collected.label_map)
            measured = compare(
                Candidate(checkpoint, plan.box_level, validation, engine_kind(collected.engine)),
                rivals(context.store, self.request.project, archived_version(context.folder)),
                collected,
                partial(self.as_read_for, collected, validation),
                partial(self.listener.step, "evaluate"),
            )
            proof = prove(checkpoint, plan.box_level, [*validation, *training])
        verdict = verdict_of(measured, before.version if before else None, forced=self.request.force)
        trained = Trained(started, before, collected, plan, progress, training, validation, measured, reliability)
        report = make_report(self.request, context.settings, trained, verdict)
        return _Result(verdict, report, self.drawing(trained), proof, seconds)

    def collect(self) -> Collected:
        """Collect what is learned from."""
        self.listener.step("export")
        told = partial(self.listener.step, "read pages")
        build = partial(build_examples, read=self.context.read, progress=told, threads=self.context.threads)
        return collect(self.context.folder, self.memory, self.context.source, build, self.request.least_new)

    def plan(self, labels: tuple[str, ...], before: VersionCard | None) -> Plan:
        """Fix base, labels, recipe and seed; a later try goes on with what the first one planned.

        Raises:
            BaseUnavailable: there is no version to go on from.
        """
        context, settings = self.context, self.context.settings
        base, start = settings.base, None
        if self.request.from_current:
            kept = {one.card.version: one.checkpoint for one in kept_versions(context.store, self.request.project)}
            if before is None or before.version not in kept:
                raise BaseUnavailable("there is no version in service with a kept checkpoint to continue from")
            current = folder_here(kept[before.version], context.folder / "base")
            start, base = str(current.resolve()), before.base_model or base
        plan = Plan(
            base=base,
            labels=labels,
            box_level=settings.box_level,
            image=settings.image,
            continue_from=start,
            learning_rate=settings.learning_rate or None,
            batch_pages=settings.batch or None,
            epochs=settings.epochs or None,
            seed=settings.seed,
        )
        plan.write(context.folder)
        return plan

    def as_read_for(
        self, collected: Collected, validation: Sequence[Example], card: VersionCard
    ) -> list[Example | HandlerError]:
        """Return the validation pages as a version in service would be given them, or why its engine refuses one."""
        read = self.context.read.like(card)

        def outcome(example: Example) -> Example | HandlerError:
            if example.page.engine == TASK_ENGINE:
                return example  # the words that came with the task are every version's
            try:
                return replace(example, page=read(reference_of(collected, example)))
            except PageRejected as error:
                return OcrFailed(str(error))
            except HandlerError as error:
                return error

        with ThreadPoolExecutor(self.context.threads, thread_name_prefix="read-page") as pool:
            return list(pool.map(outcome, validation))

    def drawing(self, trained: Trained) -> Callable[[], tuple[Drawing, ...]]:
        """Return what draws the pages with the worst disagreements, some time after the verdict."""
        collected, measured = trained.collected, trained.measured
        return partial(
            draw_worst,
            trained.validation,
            measured.answers,
            measured.scores,
            lambda example: self.context.images(reference_of(collected, example)),
            label_map=collected.label_map,
        )

    def conclude(self, result: _Result, held: Held) -> TrainingOutcome:
        """Report; and where the verdict is for it, archive and promote."""
        verdict, annotations = result.verdict, result.report.annotations
        if self.request.dry_run or not verdict.promote:
            self.write(result, result.draw())
            if self.request.dry_run:
                return TrainingOutcome("dry run", verdict.reason, f1=verdict.f1_after)
            remember(self.memory, annotations)
            return TrainingOutcome("rejected", verdict.reason, f1=verdict.f1_after)
        with timed(result.seconds, "archive"):
            self.listener.step("archive")
            settings = self.archive_settings(result.report)
            version = self.publisher.archive(self.context.folder / "checkpoint", settings)
        result = replace(result, report=replace(result.report, version=version))
        self.write(result)  # whatever ends this process after the flip, the version in service has its report
        with timed(result.seconds, "rollout"):
            self.listener.step("rollout")
            self.publisher.put_into_service(version, result.proof, held)
        self.finish(annotations)
        # Last, for the pictures take seconds: a process that ends before leaves the report without them.
        self.write(result, result.draw())
        return TrainingOutcome("promoted", verdict.reason, version, verdict.f1_after)

    def write(self, result: _Result, drawings: Sequence[Drawing] = ()) -> None:
        """Write the report, with all durations so far."""
        report = replace(result.report, seconds=dict(result.seconds), ended=utc_now())
        keep_report(self.context.store, report, drawings)

    def archive_settings(self, report: Report) -> ProjectSettings:
        """Return how the candidate was trained and how it will run."""
        device = self.context.settings.device
        return ProjectSettings(
            language=report.language,
            psm=report.psm,
            box_level=report.box_level,
            base_model=report.base,
            device="gpu" if device == "gpu" or (device == "auto" and this_machine().device != "cpu") else "cpu",
            # Where all words came with their tasks, a page without any is read as the training would have read it.
            engine=self.context.read.engine if report.engine == TASK_ENGINE else report.engine,
        )
