"""What a job trains: base, labels, recipe and seed, fixed at its first try."""

from __future__ import annotations

from layoutloop.errors import BaseUnavailable
from layoutloop.store.manifest import VersionCard
from layoutloop.store.transfer import folder_here
from training.fit.plan import Plan
from training.measure.compare import kept_versions
from training.request import TrainingContext, TrainingRequest


def plan_once(
    request: TrainingRequest, context: TrainingContext, labels: tuple[str, ...], before: VersionCard | None
) -> Plan:
    """Return what is trained; a later try goes on with what the first one planned.

    Args:
        request: whether to go on from the version in service instead of the base.
        context: the job's folder remembers the plan.
        labels: of the project, in order.
        before: the version in service.

    Raises:
        BaseUnavailable: there is no version to go on from.
    """
    planned = Plan.find(context.folder)
    if planned is not None:
        return planned
    settings, base, start = context.settings, context.settings.base, None
    if request.from_current:
        kept = {one.card.version: one.checkpoint for one in kept_versions(context.model_dir, request.project)}
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
