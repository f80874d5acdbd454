"""Everything about one training, put together as its report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from layoutloop.settings.training import TrainSettings
from layoutloop.store.manifest import VersionCard, project_model
from training.data.collect import Collected
from training.data.examples import Example
from training.fit.bases import RECIPES, kind_of
from training.fit.machine import this_machine
from training.fit.plan import Plan
from training.fit.progress import Progress
from training.measure.compare import Comparison
from training.measure.gate import Verdict, decide
from training.measure.reliability import Reliability
from training.measure.scoring import reading_ceiling
from training.report.report import Report
from training.request import TrainingRequest


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate, and all that is known of it.

    Args:
        started: when its training began, UTC time in ISO 8601.
        before: the version that was in service then.
        collected: what it learned from.
        plan: what was trained.
        progress: the last of the training process.
        training: pages that it learned from.
        validation: pages that it was measured on.
        measured: it and kept versions.
        reliability: of its scores on the validation pages.
    """

    started: str
    before: VersionCard | None
    collected: Collected
    plan: Plan
    progress: Progress
    training: Sequence[Example]
    validation: Sequence[Example]
    measured: Comparison
    reliability: Reliability | None


def verdict_of(measured: Comparison, current: str | None, *, forced: bool) -> Verdict:
    """Return what the gate says about a candidate.

    A version in service that could not be measured on these pages is no reason to promote: nothing is known.

    Args:
        measured: candidate and kept versions.
        current: the version in service.
        forced: promote in any case.
    """
    best = measured.rivals[0] if measured.rivals else None
    how = ", each on the words of its own OCR engine and by boxes," if measured.box_scores else ""
    verdict = decide(
        measured.comparable,
        best.scores if best else None,
        forced=forced,
        name=f"version {best.version}{how}" if best else "",
    )
    why = measured.unmeasured.get(current or "")
    if why is None or not verdict.promote:
        return verdict
    sentence = f"Version {current}, which is in service, could not be measured on these pages: {why}"
    if forced:
        return Verdict(True, f"{verdict.reason} {sentence}", verdict.f1_before, verdict.f1_after)
    return Verdict(False, f"{sentence}; --force promotes all the same.", None, verdict.f1_after)


def make_report(request: TrainingRequest, settings: TrainSettings, trained: Trained, verdict: Verdict) -> Report:
    """Return the report of a training that has no version yet."""
    collected, plan, before = trained.collected, trained.plan, trained.before
    return Report(
        name=project_model(request.project),
        labels=collected.labels,
        verdict=verdict,
        dry_run=request.dry_run,
        scores=trained.measured.comparable if trained.validation else None,
        counted_by="boxes" if trained.measured.box_scores else "words",
        compared=trained.measured.rivals,
        reliability=trained.reliability,
        base=plan.base,
        base_kind="current" if plan.continue_from else kind_of(plan.base),
        settings=_settings(plan, trained.progress),
        new_labels=tuple(label for label in collected.labels if before and label not in before.labels),
        tasks=collected.tasks,
        trained_pages=len(trained.training),
        trained_tasks=tuple(sorted({example.task for example in trained.training})),
        validation_pages=len(trained.validation),
        held_out=collected.held_out,
        left_out=collected.left_out,
        annotations=collected.annotations,
        reading_ceiling=reading_ceiling([*trained.training, *trained.validation]),
        losses=tuple((float(step), loss) for step, loss in trained.progress.losses),
        f1s=tuple((epoch, f1) for epoch, f1 in trained.progress.f1s),
        engine=collected.engine,
        language=settings.language,
        psm=settings.psm,
        box_level=plan.box_level,
        machine=this_machine(),
        started=trained.started,
    )


def utc_now() -> str:
    """Return the time as reports write it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _settings(plan: Plan, progress: Progress) -> Mapping[str, Any]:
    """Return what was used, also where the plan leaves it to the recipe."""
    recipe = RECIPES[kind_of(plan.base)]
    return {
        "learning_rate": plan.learning_rate or recipe.learning_rate,
        "batch": plan.batch_pages or recipe.batch_pages,
        "epochs": progress.epochs,
        "steps": progress.steps,
        "image": plan.image,
        "seed": plan.seed,
    }


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long a step takes that does not fail."""
    began = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - began, 2)
