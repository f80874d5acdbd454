"""The rules by which jobs move, all pure: records and time are passed in.

A job's own record is the truth and the queue at once: whoever claims it, in one atomic change, runs it. So nothing can
be forgotten by a queue beside it.

    queued --claim--> running --finish--> done
      ^                  |----fail------> failed
      |-- retry, wait, release, requeue   (retry and requeue too, after `MAX_ATTEMPTS`; wait, after `MOST_AWAY`)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from layoutloop.errors import Overloaded, Superseded
from layoutloop.jobs.job import Job

LEASE_S = 60.0
"""A running job whose record was not touched for longer has lost its worker."""
MAX_ATTEMPTS = 5
MOST_AWAY = 16
"""Attempts that may meet somebody who is away: with the pauses between them, three quarters of an hour."""
RETRY_PAUSE_S = 5.0
"""Before the second attempt; doubled before each further one."""
LONGEST_PAUSE_S = 300.0
"""Where somebody is away."""
SKIP_PAUSE_S = 60.0
"""After annotations were too few to train with: each look costs Label Studio an export of the whole project."""
KEPT = 200
"""Finished jobs that are kept."""
MOST_QUEUED = 200
"""Waiting jobs; each change of the records reads them all."""

_PROGRESS = frozenset({"step", "done", "total", "epoch", "epochs", "loss", "eta_s", "f1"})

T = TypeVar("T")

Jobs = Mapping[str, Job]
"""Job records by id."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a rule wants done to the records, all of it or nothing.

    Args:
        result: for the caller.
        put: records to write.
        drop: ids of records to remove.
    """

    result: T
    put: tuple[Job, ...] = ()
    drop: tuple[str, ...] = ()


def submit(jobs: Jobs, wanted: Job) -> Change[Job]:
    """Queue a job, or return the one that already waits for the same: it will pick up all that came since.

    One that runs does not count, nor a training that read the annotations and waits for its next try: what came since
    is not in it. So a new job is queued beside that one, and at most one that has yet to read them waits for each
    project, kind and options.

    An explicit wish that joins a job of annotations makes it an explicit one, which is not skipped. It waits for
    nothing, and ends the pause of the same job's next try. Annotations wait for the rest of their burst, and until
    `SKIP_PAUSE_S` after a job of the project that was skipped.

    Raises:
        Overloaded: `MOST_QUEUED` jobs wait already.
    """
    if wanted.id in jobs:
        return Change(jobs[wanted.id])  # the answer to the first try was lost on the way
    waiting = [job for job in _oldest_first(jobs) if job.state == "queued"]
    same = [job for job in waiting if _wish(job) == _wish(wanted)]
    joined = next((job for job in same if _takes_all(job)), None)
    if joined is None and len(waiting) >= MOST_QUEUED:
        raise Overloaded(f"{len(waiting)} training jobs wait already; see that a worker runs, and ask again later")
    if wanted.trigger == "annotations":
        if joined is not None:
            return Change(joined)
        queued = replace(wanted, not_before=max(wanted.not_before, _next_look(jobs, wanted.project)))
        return Change(queued, put=(queued,))
    hurried = {job.id: _hurried(job, wanted) for job in same}
    if joined is not None:
        return Change(hurried[joined.id], put=tuple(hurried.values()))
    return Change(wanted, put=(*hurried.values(), wanted))


def claim(jobs: Jobs, worker: str, now: float, job_id: str | None = None) -> Change[Job | None]:
    """Give the oldest job that may start to a worker; None where there is none.

    One job per project runs at a time; several workers take different projects.

    Args:
        jobs: the records.
        worker: name of the worker.
        now: Unix seconds.
        job_id: only this job, whatever its `not_before` says.
    """
    busy = {job.project for job in jobs.values() if job.state == "running"}
    for job in _oldest_first(jobs):
        wanted = job.not_before <= now if job_id is None else job.id == job_id
        if job.state == "queued" and wanted and job.project not in busy:
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


def check(jobs: Jobs, job_id: str, attempt: int) -> Change[Job]:
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
    return Change(job)


def update(jobs: Jobs, job_id: str, attempt: int, now: float, progress: Mapping[str, object]) -> Change[Job]:
    """Note progress, or only a sign of life where `progress` is empty; a number that is not finite becomes None.

    Raises:
        Superseded: as `check`.
        ValueError: a name that is no field of progress.
    """
    unknown = set(progress) - _PROGRESS
    if unknown:
        raise ValueError(f"progress has the fields {sorted(_PROGRESS)}, got {sorted(unknown)}")
    job = check(jobs, job_id, attempt).result
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in progress.items()
    }
    changed: Job = replace(job, updated=now, **finite)  # type: ignore[arg-type]
    return Change(changed, put=(changed,))


def finish(jobs: Jobs, job_id: str, attempt: int, now: float, outcome: Mapping[str, object]) -> Change[Job]:
    """End a job that did its work; `outcome` has a verdict and may have a message, a version and an F1.

    Where it was skipped, the project's next job of annotations waits for `SKIP_PAUSE_S`.

    Raises:
        Superseded: as `check`.
    """
    job = check(jobs, job_id, attempt).result
    ended: Job = replace(job, state="done", updated=now, ended=now, eta_s=None, error="", **outcome)  # type: ignore[arg-type]
    change = _ended(jobs, ended)
    if ended.verdict != "skipped":
        return change
    later = tuple(
        replace(one, not_before=max(one.not_before, now + SKIP_PAUSE_S))
        for one in jobs.values()
        if one.project == job.project and one.state == "queued" and one.trigger == "annotations"
    )
    return replace(change, put=(*change.put, *later))


def fail(jobs: Jobs, job_id: str, attempt: int, now: float, error: str) -> Change[Job]:
    """End a job that cannot be done, and would not be by trying again.

    Raises:
        Superseded: as `check`.
    """
    job = check(jobs, job_id, attempt).result
    return _ended(jobs, replace(job, state="failed", updated=now, ended=now, eta_s=None, error=error))


def retry(jobs: Jobs, job_id: str, attempt: int, now: float, error: str, pause_s: float = RETRY_PAUSE_S) -> Change[Job]:
    """Queue a job whose attempt broke off; it fails instead when it was tried often enough.

    Raises:
        Superseded: as `check`.
    """
    job = _again(check(jobs, job_id, attempt).result, now, error, pause_s)
    return _ended(jobs, job) if job.state == "failed" else Change(job, put=(job,))


def wait(jobs: Jobs, job_id: str, attempt: int, now: float, error: str) -> Change[Job]:
    """Queue a job that met somebody who is away, without counting it as tried; it fails when that was so too often.

    Raises:
        Superseded: as `check`.
    """
    job = check(jobs, job_id, attempt).result
    job = replace(job, away=job.away + 1)
    if job.away >= MOST_AWAY:
        return _ended(jobs, _given_up(job, now, job.away, error))
    not_before = now + min(LONGEST_PAUSE_S, RETRY_PAUSE_S * 2 ** (job.away - 1))
    waits = replace(job, state="queued", updated=now, not_before=not_before, eta_s=None, error=error)
    return Change(waits, put=(waits,))


def release(jobs: Jobs, job_id: str, attempt: int, now: float) -> Change[Job]:
    """Queue a job whose attempt was ended on purpose, at once and without counting it as tried.

    Raises:
        Superseded: as `check`.
    """
    job = check(jobs, job_id, attempt).result
    interruptions = job.interruptions + 1
    released = replace(job, state="queued", updated=now, not_before=now, interruptions=interruptions, eta_s=None)
    return Change(released, put=(released,))


def requeue(jobs: Jobs, worker: str | None, now: float) -> Change[tuple[Job, ...]]:
    """Queue again every running job that lost its worker.

    Args:
        jobs: the records.
        worker: the caller's own name where it just started, so that what runs under it is lost; else None, and
            only jobs count that gave no sign of life for `LEASE_S`.
        now: Unix seconds.
    """
    lost = []
    for job in _oldest_first(jobs):
        own = worker is not None and job.worker == worker
        if job.state == "running" and (own or job.updated < now - LEASE_S):
            lost.append(_again(job, now, f"attempt {job.attempt} was lost: {job.worker} stopped without a word", 0.0))
    drop = _surplus({**jobs, **{job.id: job for job in lost}}.values())
    return Change(tuple(lost), put=tuple(job for job in lost if job.id not in drop), drop=drop)


def _wish(job: Job) -> tuple[object, ...]:
    return job.project, job.kind, job.options


def _takes_all(job: Job) -> bool:
    """Whether a waiting job will do all that is asked for until it begins; a restore depends on no annotations."""
    has_read_nothing = job.attempt == job.away and job.step in ("", "export")
    return has_read_nothing or job.kind == "restore"


def _hurried(job: Job, wanted: Job) -> Job:
    """Return a waiting job that an explicit wish for the same does not keep waiting."""
    trigger = wanted.trigger if job.trigger == "annotations" and _takes_all(job) else job.trigger
    not_before = min(job.not_before, wanted.not_before)
    return replace(job, trigger=trigger, not_before=not_before, updated=wanted.created)


def _next_look(jobs: Jobs, project: int) -> float:
    """Return when a project may be looked at for new annotations again; 0 where none was looked for in vain."""
    skipped = [job.ended or 0.0 for job in jobs.values() if job.project == project and job.verdict == "skipped"]
    return max(skipped) + SKIP_PAUSE_S if skipped else 0.0


def _again(job: Job, now: float, error: str, pause_s: float) -> Job:
    if job.tries >= MAX_ATTEMPTS:
        return _given_up(job, now, job.tries, error)
    not_before = now + pause_s * 2 ** (job.tries - 1)
    return replace(job, state="queued", updated=now, not_before=not_before, eta_s=None, error=error)


def _given_up(job: Job, now: float, attempts: int, error: str) -> Job:
    error = f"given up after {attempts} attempts; the last one: {error}"
    return replace(job, state="failed", updated=now, ended=now, eta_s=None, error=error)


def _ended(jobs: Jobs, ended: Job) -> Change[Job]:
    drop = _surplus({**jobs, ended.id: ended}.values())
    return Change(ended, put=() if ended.id in drop else (ended,), drop=drop)


def _surplus(jobs: Iterable[Job]) -> tuple[str, ...]:
    """Ids of ended jobs not to keep: beyond `KEPT`, and skipped ones but for each project's newest."""
    drop, kept, skipped = [], 0, set()
    for job in sorted(jobs, key=lambda one: (one.ended or 0.0, one.id), reverse=True):
        if job.state not in ("done", "failed"):
            continue
        if kept >= KEPT or (job.verdict == "skipped" and job.project in skipped):
            drop.append(job.id)
            continue
        kept += 1
        if job.verdict == "skipped":
            skipped.add(job.project)
    return tuple(drop)


def _oldest_first(jobs: Jobs) -> list[Job]:
    return sorted(jobs.values(), key=lambda job: (job.created, job.id))
