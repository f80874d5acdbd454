"""A pre-labelling that a promotion, a restore or an import queued: the tasks that people meet next, drawn anew."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import ExitStack, closing
from functools import partial

from layoutloop.connect.shim_address import ShimAddress
from layoutloop.errors import (
    JobsUnavailable,
    LayoutLoopError,
    ModelNotReady,
    NoModelYet,
    SettingsInvalid,
    ShimUnavailable,
    StudioRefused,
    StudioUnavailable,
    Superseded,
)
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore
from layoutloop.plural import counted
from layoutloop.prelabel.patience import Patience
from layoutloop.prelabel.removal import remove_older
from layoutloop.prelabel.run import Outcome, Prelabelling, portion_size
from layoutloop.prelabel.shim import ShimPredictions
from layoutloop.prelabel.storing import GENTLE
from layoutloop.settings.serving import Settings
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.client import open_studio
from layoutloop.studio.predictions import ProjectPredictions

logger = logging.getLogger(__name__)

_REQUESTS = 2
"""At a time: one is answered while the next waits. What a person opens meanwhile finds the workers soon."""
_TELL_EVERY_S = 1.0
_STUDIO_S = 120.0


class RecordListener:
    """Notes in the job's record how far it is; Superseded where the job is no longer this process's, or was stopped."""

    def __init__(self, jobs: JobStore, job: Job) -> None:
        self._jobs, self._job = jobs, job
        self._step, self._done, self._total = "draw", 0, 0
        self._trouble = ""
        self._began = time.monotonic()
        self._told = float("-inf")

    def step(self, name: str) -> None:
        """Begin another step."""
        self._step, self._done, self._total, self._began = name, 0, 0, time.monotonic()
        self._tell()

    def found(self, tasks: int) -> None:
        """Add tasks that are to be looked at."""
        self._total += tasks

    def answered(self, tasks: int, _pages: int, /) -> None:
        """Add tasks that were done; whatever was the matter is over."""
        self._done += tasks
        is_due = bool(self._trouble) or self._done >= self._total or time.monotonic() - self._told >= _TELL_EVERY_S
        self._trouble = ""
        if is_due:
            self._tell()

    def say(self, sentence: str) -> None:
        """Show what holds it up."""
        logger.warning("%s", sentence)
        self._trouble = sentence
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        left, took_s = max(0, self._total - self._done), time.monotonic() - self._began
        eta_s = left * took_s / self._done if self._done else None
        try:
            self._jobs.update(
                self._job.id,
                self._job.attempt,
                step=self._step,
                done=min(self._done, self._total),
                total=self._total,
                eta_s=eta_s,
                message=self._trouble,
            )
        except JobsUnavailable as error:
            logger.warning("progress cannot be noted: %s", error)


def do_prelabelling(jobs: JobStore, job_id: str, attempt: int, settings: Settings, shim: ShimAddress) -> int:
    """Do what a worker claimed; 0 where the record says what became of it, else the worker tries again."""
    try:
        _do(jobs, job_id, attempt, settings, shim)
    except (Superseded, JobsUnavailable) as error:
        logger.warning("%s", error)
        return 1
    return 0


def _do(jobs: JobStore, job_id: str, attempt: int, settings: Settings, shim: ShimAddress) -> None:
    try:
        job = jobs.check(job_id, attempt)
        message, version = _prelabel(job, settings, shim, RecordListener(jobs, job))
        jobs.finish(job_id, attempt, verdict="done", message=message, version=version)
        logger.info("job %s: %s", job_id, message)
    except (Superseded, JobsUnavailable):
        raise
    except NoModelYet:
        message = "Nothing to draw yet: the project has no model, and RectangleLabels cannot draw text without a label."
        jobs.finish(job_id, attempt, verdict="done", message=message)
    except LayoutLoopError as error:
        logger.warning("job %s: %s", job_id, error)
        end = jobs.wait if _is_temporary(error) else jobs.fail
        end(job_id, attempt, str(error))


def _is_temporary(error: LayoutLoopError) -> bool:
    if isinstance(error, StudioUnavailable):
        return not isinstance(error, StudioRefused) and (error.is_temporary or error.studio_status == 500)
    return isinstance(error, ShimUnavailable | ModelNotReady)


def _prelabel(job: Job, settings: Settings, address: ShimAddress, listener: RecordListener) -> tuple[str, str]:
    """Draw what waits; return what came of it in a sentence, and the version.

    Raises:
        LayoutLoopError: it cannot go on; what was stored stays.
    """
    if not settings.label_studio_api_key:
        raise SettingsInvalid(NO_KEY)
    with ExitStack() as opened:
        client = opened.enter_context(open_studio(settings.label_studio_url, settings.label_studio_api_key, _STUDIO_S))
        shim = opened.enter_context(closing(ShimPredictions(address, job.project, settings.deadline_s)))
        waiting = partial(ProjectPredictions, client, job.project, drafts=False)
        patience = Patience(listener.say)
        listener.step("draw")
        until = patience.call(lambda: waiting().last_of(settings.prelabel))
        studio = waiting(until=until)
        portion = portion_size(settings, patience.call(shim.node_count))
        outcome = Prelabelling(studio, shim, listener, portion, pace=GENTLE, requests=_REQUESTS).run()
        removed = 0
        if settings.prelabel_remove_old:
            listener.step("remove")
            removed = remove_older(studio, outcome.version, patience, listener)
    return _sentence(outcome, removed, more=until is not None), outcome.version.partition("-")[0]


def _sentence(outcome: Outcome, removed: int, *, more: bool) -> str:
    """Say what came of it, for the dashboard."""
    drawn = f"{counted(outcome.stored, 'waiting task')} got the boxes"
    parts = [f"{drawn if outcome.stored else 'no waiting task lacked the boxes'} of version {outcome.version}"]
    if outcome.elsewhere:
        parts.append(f"{counted(outcome.elsewhere, 'other')} were opened, annotated or deleted meanwhile")
    if outcome.failed:
        codes = Counter(sentence.partition(":")[0] for sentence in outcome.failed.values())
        kinds = ", ".join(f"{count:,} {code}" for code, count in codes.most_common(3))
        first = next(iter(outcome.failed.items()))
        parts.append(
            f"{counted(len(outcome.failed), 'task')} got none ({kinds}; task {first[0]}: {first[1].partition(': ')[2]})"
        )
    if removed:
        parts.append(f"{counted(removed, 'older prediction')} removed")
    if more:
        parts.append("later ones get theirs when they are opened (LAYOUTLOOP_PRELABEL)")
    return "; ".join(parts)
