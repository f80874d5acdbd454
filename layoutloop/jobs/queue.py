"""The jobs of an installation: the rules of `rules.py` applied to shared records, at the time of the clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from layoutloop.errors import JobNotFound, RequestInvalid
from layoutloop.jobs import rules
from layoutloop.jobs.job import DEBOUNCE_S, IMPORT_S, Job, JobVerdict, Kind, Lane, Scalar, Trigger
from layoutloop.jobs.records import BUSY_S, Records, open_records
from layoutloop.jobs.rules import RETRY_PAUSE_S, Jobs
from layoutloop.moments import age_s

_BURST_S = {"annotations": DEBOUNCE_S, "tasks": IMPORT_S}


class JobStore:
    """What the shim, the worker and a training process call; every method is one atomic step.

    Every method may raise `JobsUnavailable`; those that name an attempt may raise `Superseded`, and a process that gets
    it stops working on the job.

    Args:
        records: where they are stored.
        clock: Unix seconds.
        ticks: seconds that nobody moves.
    """

    def __init__(
        self, records: Records, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep the records; nothing is opened yet."""
        self._records = records
        self._clock = clock
        self._ticks = ticks
        self._silent: list[tuple[Job, float]] = []  # and since when each is seen so

    def submit(
        self,
        project: int,
        kind: Kind,
        trigger: Trigger,
        options: Mapping[str, Scalar | None] | None = None,
        *,
        is_known: bool = True,
    ) -> Job:
        """Queue a job, or join the one that already waits for the same; options that are off are left out.

        Args:
            project: Label Studio's id.
            kind: of the job.
            trigger: what queues it.
            options: of the job.
            is_known: whether anything but the request speaks of the project; for others there is less room.

        Raises:
            Overloaded: too many jobs wait already.
        """
        now = self._clock()
        chosen = {name: value for name, value in (options or {}).items() if value is not None and value is not False}
        wanted = replace(_new(project, kind, trigger, now), options=chosen)
        room = rules.MOST_QUEUED if is_known else rules.MOST_UNKNOWN
        return self._records.change(lambda jobs: rules.submit(jobs, wanted, room))

    def claim(self, worker: str, job_id: str | None = None, lane: Lane = "training") -> Job | None:
        """Take the oldest job of a lane that may start (or only `job_id`); None where there is none."""
        now = self._clock()
        return self._records.change(lambda jobs: rules.claim(jobs, worker, now, job_id, lane))

    def check(self, job_id: str, attempt: int) -> Job:
        """Return the job if this attempt still runs it; called right before anything that cannot be undone."""
        return rules.check(self._records.read(job_id), job_id, attempt)

    def update(self, job_id: str, attempt: int, **progress: str | int | float | None) -> Job:
        """Note progress (step, done, total, epoch, epochs, loss, eta_s, f1, message); without, that the worker runs."""
        return self._move(job_id, attempt, lambda job, now: rules.progressed(job, now, progress), alone=True)

    def finish(
        self,
        job_id: str,
        attempt: int,
        *,
        verdict: JobVerdict,
        message: str,
        version: str = "",
        f1: float | None = None,
        prelabel: bool = False,
    ) -> Job:
        """End a job that did its work, whatever its verdict; in the same step a pre-labelling may be queued."""
        outcome = {"state": "done", "error": "", "verdict": verdict, "message": message, "version": version}
        measured = {} if f1 is None else {"f1": f1}
        follower: Kind | None = "prelabel" if prelabel else None
        return self._move(
            job_id, attempt, lambda job, now: rules.ended(job, now, **outcome, **measured), follower=follower
        )

    def stop(self, job_id: str, message: str) -> Job:
        """End a pre-labelling that waits or runs; one that has ended stays as it is.

        Raises:
            JobNotFound: there is no such job.
            RequestInvalid: it is another kind of job.
        """
        now = self._clock()

        def rule(jobs: Jobs) -> rules.Change[Job]:
            job = _find(jobs, job_id)
            if job.kind != "prelabel":
                raise RequestInvalid(
                    f"job {job_id} is no pre-labelling: only these can be stopped, nothing else breaks"
                )
            if job.state not in ("queued", "running"):
                return rules.Change(job)
            change = rules.move(jobs, rules.stopped(job, now, message))
            return rules.Change(change.result[0], change.put, change.drop)

        return self._records.change(rule)

    def fail(self, job_id: str, attempt: int, error: str) -> Job:
        """End a job that would fail again, with a sentence that says what to do."""
        return self._move(job_id, attempt, lambda job, now: rules.ended(job, now, state="failed", error=error))

    def retry(self, job_id: str, attempt: int, error: str, pause_s: float = RETRY_PAUSE_S) -> Job:
        """Queue a job whose attempt broke off, after a pause that grows; it fails after `MAX_ATTEMPTS`."""
        return self._move(job_id, attempt, lambda job, now: rules.retried(job, now, error, pause_s))

    def wait(self, job_id: str, attempt: int, error: str) -> Job:
        """Queue a job that needs a service which is down, after a pause that grows; it fails after `MAX_WAITS`."""
        return self._move(job_id, attempt, lambda job, now: rules.postponed(job, now, error))

    def release(self, job_id: str, attempt: int) -> Job:
        """Queue a job whose attempt was ended on purpose; that attempt does not count."""
        return self._move(job_id, attempt, rules.released)

    def requeue(self, worker: str | None = None, lane: Lane = "training") -> tuple[Job, ...]:
        """Queue again what lost its worker, called now and then; `worker` is the caller's name where it just started.

        Of other workers a job is lost once two calls, `CONFIRM_S` apart, find it silent and untouched. Only those of
        the caller's lane: the worker of the other on this machine cannot write either while this one cannot.
        """
        now, tick = self._clock(), self._ticks()
        known = self._silent
        since = [
            (job, next((begin for one, begin in known if one == job), tick))
            for job in self._records.read().values()
            if job.state == "running" and job.lane == lane and age_s(job.updated, now) > rules.LEASE_S
        ]
        self._silent = since
        lost = [job for job, begin in since if tick - begin >= rules.CONFIRM_S]
        return self._records.change(lambda jobs: rules.requeue(jobs, worker, lost, now))

    def get(self, job_id: str) -> Job:
        """Return one job.

        Raises:
            JobNotFound: there is none.
        """
        return _find(self._records.read(job_id), job_id)

    def newest(self, project: int | None = None, limit: int | None = None) -> list[Job]:
        """Return the jobs, of one project or of all, newest first."""
        found = self._records.read().values()
        chosen = [job for job in found if project is None or job.project == project]
        return sorted(chosen, key=lambda job: (job.created, job.id), reverse=True)[:limit]

    def close(self) -> None:
        """Close files and connections."""
        self._records.close()

    def _move(
        self,
        job_id: str,
        attempt: int,
        change: Callable[[Job, float], Job],
        *,
        alone: bool = False,
        follower: Kind | None = None,
    ) -> Job:
        """Change a job that this attempt runs; with `alone` no other record is read. A follower is queued with it."""
        now = self._clock()
        wanted = _new(0, follower, "promotion", now) if follower else None  # here: a rule may run more than once

        def rule(jobs: Jobs) -> rules.Change[tuple[Job, ...]]:
            job = rules.check(jobs, job_id, attempt)
            moved = rules.move(jobs, change(job, now))
            return moved if wanted is None else rules.followed(jobs, moved, replace(wanted, project=job.project))

        (moved,) = self._records.change(rule, job_id if alone else None)
        return moved


def _new(project: int, kind: Kind, trigger: Trigger, now: float) -> Job:
    not_before = now + _BURST_S.get(trigger, 0.0)
    return Job(secrets.token_hex(6), project, kind, trigger, now, updated=now, not_before=not_before)


def _find(jobs: Jobs, job_id: str) -> Job:
    if job_id not in jobs:
        raise JobNotFound(f"no job has the id {job_id!r:.40}; GET /jobs lists those that are kept")
    return jobs[job_id]


def open_jobs(
    url: str,
    clock: Callable[[], float] = time.time,
    wait_s: float = BUSY_S,
    ticks: Callable[[], float] = time.monotonic,
) -> JobStore:
    """Return the jobs at an address (`Settings.jobs_url`), see `open_records`; nothing is connected yet.

    Raises:
        SettingsInvalid: it is no address of job records.
    """
    return JobStore(open_records(url, wait_s), clock, ticks)
