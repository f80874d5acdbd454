"""The rules by which jobs move, all pure: records and time are passed in.

A job's record is the queue too: the worker that claims it, in one atomic change, runs it. No second queue can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from layoutloop.errors import Overloaded, Superseded
from layoutloop.jobs.job import Job, Lane

LEASE_S = 60.0
"""A running job whose record was not touched for longer has lost its worker."""
CONFIRM_S = 10.0
"""For so long its record must be seen untouched as well: a clock that jumps an hour makes all running jobs look old."""
MAX_ATTEMPTS = 5
MAX_WAITS = 16
"""Attempts that may find a service down: with the pauses between them, three quarters of an hour."""
RETRY_PAUSE_S = 5.0
"""Before the second attempt; doubled before each further one."""
LONGEST_PAUSE_S = 300.0
"""While a service is down."""
SKIP_PAUSE_S = 60.0
"""After annotations were too few to train with: a check may cost Label Studio an export of the whole project."""
KEPT = 200
"""Finished jobs that are kept."""
MOST_QUEUED = 200
"""Waiting jobs of a lane; each change of the records reads them all."""
MOST_UNKNOWN = 50
"""Waiting jobs, after which none is queued for a project that nothing here knows: anyone may name any number."""

NEWER = "A newer version was put into service; another pre-labelling draws the waiting tasks anew."

_PROGRESS = frozenset({"step", "done", "total", "epoch", "epochs", "loss", "eta_s", "f1", "message"})
_BURSTS = ("annotations", "tasks")

T = TypeVar("T")

Jobs = Mapping[str, Job]
"""Job records by id."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a rule changes in the records, all of it or nothing.

    Args:
        result: for the caller.
        put: records to write.
        drop: ids of records to remove.
    """

    result: T
    put: tuple[Job, ...] = ()
    drop: tuple[str, ...] = ()


def submit(jobs: Jobs, wanted: Job, room: int = MOST_QUEUED) -> Change[Job]:
    """Queue a job, or return the one that already waits for the same: it will use all that came since.

    A running job does not count, nor a training that has read the annotations and waits for its next attempt: what
    came since is not in it. So a new job is queued beside that one, and for each project, kind and options at most one
    waits that has yet to read them.

    A person's request that joins a job of annotations turns it into one that is not skipped, without a wait, and ends
    the pause before the same job's next attempt. Annotations wait for the rest of their burst, and until
    `SKIP_PAUSE_S` after a skipped job of the project. New tasks wait likewise. The pre-labelling that follows a
    promotion ends the one that runs, which draws what is out of service.

    Args:
        jobs: the records.
        wanted: the job.
        room: so many may wait, itself among them.

    Raises:
        Overloaded: as many jobs wait already.
    """
    if wanted.id in jobs:
        return Change(jobs[wanted.id])  # Redis did it, but its answer to the first try was lost
    waiting = [job for job in _oldest_first(jobs) if job.state == "queued" and job.lane == wanted.lane]
    same = [job for job in waiting if _request(job) == _request(wanted)]
    joined = next((job for job in same if _takes_all(job)), None)
    if joined is None and len(waiting) >= room:
        raise Overloaded(f"{len(waiting)} {wanted.lane} jobs wait already; see that a worker runs, and try again later")
    if wanted.trigger in _BURSTS and joined is not None:
        return Change(joined)
    if wanted.trigger == "annotations":
        skipped = (one.ended for one in jobs.values() if (one.project, one.verdict) == (wanted.project, "skipped"))
        next_check = max((ended or 0.0 for ended in skipped), default=-SKIP_PAUSE_S) + SKIP_PAUSE_S
        wanted = replace(wanted, not_before=max(wanted.not_before, next_check))
        return Change(wanted, put=(wanted,))
    hurried = {job.id: _hurried(job, wanted) for job in same}
    outdated = _outdated(jobs, wanted)
    if joined is not None:
        return Change(hurried[joined.id], put=(*hurried.values(), *outdated))
    return Change(wanted, put=(*hurried.values(), *outdated, wanted))


def followed(jobs: Jobs, change: Change[T], wanted: Job) -> Change[T]:
    """Return a change that queues a job too, in the same step; it is left out where too many wait."""
    left = {job_id: job for job_id, job in jobs.items() if job_id not in change.drop}
    try:
        queued = submit({**left, **{job.id: job for job in change.put}}, wanted)
    except Overloaded:
        return change
    return replace(change, put=(*change.put, *queued.put))


def claim(
    jobs: Jobs, worker: str, now: float, job_id: str | None = None, lane: Lane = "training"
) -> Change[Job | None]:
    """Give the oldest job that may start to a worker; None where there is none.

    One training or restore of a project runs at a time, and several workers take different projects. Pre-labellings run
    one at a time: all of them import into one Label Studio.

    Args:
        jobs: the records.
        worker: name of the worker.
        now: Unix seconds.
        job_id: only this job, whatever its `not_before` says. One that is further off than any pause lasts was noted
            before the clock was moved back, and holds nobody up.
        lane: of the job.
    """
    running = [job for job in jobs.values() if job.state == "running" and job.lane == lane]
    busy = {job.project for job in running}
    if lane == "prelabelling" and running:
        return Change(None)
    for job in _oldest_first(jobs):
        is_due = not now < job.not_before <= now + LONGEST_PAUSE_S
        wanted = is_due if job_id is None else job.id == job_id
        if job.state == "queued" and job.lane == lane and wanted and job.project not in busy:
            fresh = Job(job.id, job.project, job.kind, job.trigger, job.created, job.options)  # without old progress
            claimed = replace(
                fresh,
                state="running",
                attempt=job.attempt + 1,
                interruptions=job.interruptions,
                away=job.away,
                worker=worker,
                started=now,
                updated=now,
                error=job.error,
            )
            return Change(claimed, put=(claimed,))
    return Change(None)


def check(jobs: Jobs, job_id: str, attempt: int) -> Job:
    """Return the running job.

    Raises:
        Superseded: this attempt is not the one that runs (any more).
    """
    job = jobs.get(job_id)
    if job is None:
        raise Superseded(f"job {job_id} has no record any more; stop")
    if job.attempt != attempt:
        raise Superseded(f"attempt {attempt} of job {job_id} is over: {job.worker} began attempt {job.attempt}; stop")
    if job.state != "running":
        raise Superseded(f"job {job_id} does not run: its record says {job.state}; stop")
    return job


def progressed(job: Job, now: float, progress: Mapping[str, object]) -> Job:
    """Return a running job with its progress; a number that is not finite becomes None.

    Raises:
        ValueError: a name that is no field of progress.
    """
    unknown = set(progress) - _PROGRESS
    if unknown:
        raise ValueError(f"progress has the fields {sorted(_PROGRESS)}, got {sorted(unknown)}")
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in progress.items()
    }
    return replace(job, updated=now, **finite)  # type: ignore[arg-type]


def ended(job: Job, now: float, **outcome: str | float) -> Job:
    """Return a job at its end; `outcome` has its state, and what came of it."""
    return replace(job, updated=now, ended=now, eta_s=None, **outcome)  # type: ignore[arg-type]


def stopped(job: Job, now: float, message: str) -> Job:
    """Return a job that is wanted no more: its process is refused from now on, and ends."""
    return ended(job, now, state="done", verdict="stopped", message=message, error="")


def released(job: Job, now: float) -> Job:
    """Return a job whose attempt was ended on purpose: queued, and that attempt does not count."""
    return _queued(job, now, 0.0, interruptions=job.interruptions + 1)


def retried(job: Job, now: float, error: str, pause_s: float) -> Job:
    """Return a job whose attempt broke off: queued after a pause that grows, or failed after `MAX_ATTEMPTS`."""
    if job.tries >= MAX_ATTEMPTS:
        return _given_up(job, now, job.tries, error)
    return _queued(job, now, pause_s * 2 ** (job.tries - 1), error=error)


def postponed(job: Job, now: float, error: str) -> Job:
    """Return a job that needs a service which is down: queued, not counted as a try; failed after `MAX_WAITS`."""
    job = replace(job, away=job.away + 1)
    if job.away >= MAX_WAITS:
        return _given_up(job, now, job.away, error)
    return _queued(job, now, min(LONGEST_PAUSE_S, RETRY_PAUSE_S * 2 ** (job.away - 1)), error=error)


def move(jobs: Jobs, *moved: Job) -> Change[tuple[Job, ...]]:
    """Write the new records of jobs; where some have ended, the oldest of those that had are dropped.

    After a skipped one, the project's next job of annotations waits for `SKIP_PAUSE_S`.
    """
    later = tuple(
        replace(one, not_before=max(one.not_before, job.updated + SKIP_PAUSE_S))
        for job in moved
        if job.verdict == "skipped"
        for one in jobs.values()
        if (one.project, one.state, one.trigger) == (job.project, "queued", "annotations")
    )
    put = (*moved, *later)
    drop = _surplus({**jobs, **{job.id: job for job in put}}.values())
    return Change(moved, put=tuple(job for job in put if job.id not in drop), drop=drop)


def requeue(jobs: Jobs, worker: str | None, lost: Container[Job], now: float) -> Change[tuple[Job, ...]]:
    """Queue again every running job that lost its worker.

    Args:
        jobs: the records.
        worker: the caller's own name where it has just started, so that what runs under it is lost; else None.
        lost: records of other workers' jobs that are lost if they still are as they were.
        now: Unix seconds.
    """
    gone = (
        retried(job, now, f"attempt {job.attempt} was lost: {job.worker} stopped without a report", 0.0)
        for job in _oldest_first(jobs)
        if job.state == "running" and (job in lost or job.worker == worker)
    )
    return move(jobs, *gone)


def _request(job: Job) -> tuple[object, ...]:
    return job.project, job.kind, job.options


def _takes_all(job: Job) -> bool:
    """Whether a waiting job will use all that comes until it begins; only a training reads annotations before."""
    has_read_nothing = job.attempt == job.away and job.step in ("", "export")
    return has_read_nothing or job.kind != "retrain"


def _hurried(job: Job, wanted: Job) -> Job:
    """Return a waiting job without its wait, since a person wants the same now."""
    trigger = wanted.trigger if job.trigger in _BURSTS and _takes_all(job) else job.trigger
    not_before = min(job.not_before, wanted.not_before)
    return replace(job, trigger=trigger, not_before=not_before, updated=wanted.created)


def _outdated(jobs: Jobs, wanted: Job) -> tuple[Job, ...]:
    """Return the pre-labelling that runs, ended, where a newer version went into service."""
    return tuple(
        stopped(job, wanted.created, NEWER)
        for job in jobs.values()
        if (job.project, job.kind, job.state) == (wanted.project, "prelabel", "running")
        and wanted.trigger == "promotion"
    )


def _queued(job: Job, now: float, pause_s: float, **changes: str | int) -> Job:
    return replace(job, state="queued", updated=now, not_before=now + pause_s, eta_s=None, **changes)  # type: ignore[arg-type]


def _given_up(job: Job, now: float, attempts: int, error: str) -> Job:
    return ended(job, now, state="failed", error=f"given up after {attempts} attempts; the last one: {error}")


def _surplus(jobs: Iterable[Job]) -> tuple[str, ...]:
    """Ids of ended jobs not to keep: beyond `KEPT`, and skipped ones and pre-labellings but for a project's newest."""
    drop, kept, single = [], 0, set()
    for job in sorted(jobs, key=lambda one: (one.ended or 0.0, one.id), reverse=True):
        if job.state not in ("done", "failed"):
            continue
        is_single = job.verdict == "skipped" or job.kind == "prelabel"
        if kept >= KEPT or (is_single and (job.project, job.lane) in single):
            drop.append(job.id)
            continue
        kept += 1
        single |= {(job.project, job.lane)} if is_single else set()
    return tuple(drop)


def _oldest_first(jobs: Jobs) -> list[Job]:
    return sorted(jobs.values(), key=lambda job: (job.created, job.id))
