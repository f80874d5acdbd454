"""What a job does, waits for or led to, in the words of the dashboard. All pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from layoutloop.jobs.job import Job
from layoutloop.jobs.rules import LEASE_S, MAX_ATTEMPTS

UNCLAIMED_S = 60.0
"""A job that may start and is not claimed for longer has no worker."""
_STEPS = {
    "export": "Exporting annotations",
    "read pages": "Reading pages",
    "train": "Training",
    "evaluate": "Measuring",
    "archive": "Archiving",
    "rollout": "Putting into service",
    "draw": "Drawing waiting tasks",
    "remove": "Removing older predictions",
}
_TRIGGERS = {
    "start_training": "Start Training",
    "annotations": "new annotations",
    "api": "POST /train",
    "command": "the command line",
    "dashboard": "the dashboard",
    "promotion": "the version put into service",
    "tasks": "new tasks",
}


def what(job: Job) -> str:
    """Return what was requested."""
    if job.kind == "restore":
        return f"Restore of {job.options.get('version', 'an older version')}"
    if job.kind == "prelabel":
        return "Pre-labelling"
    extras = [name.replace("_", " ") for name in job.options]
    return f"Training ({', '.join(extras)})" if extras else "Training"


def requested_by(job: Job) -> str:
    """Return what queued it."""
    return _TRIGGERS.get(job.trigger, job.trigger)


def fraction(job: Job) -> float | None:
    """Return how much of the present step is done, in [0, 1]; None where that is not known."""
    done, total = (job.epoch, job.epochs) if job.step == "train" and job.epochs else (job.done, job.total)
    return min(1.0, max(0.0, done / total)) if total > 0 else None


def doing(job: Job) -> str:
    """Return what a running job does, with its figures."""
    parts = [_STEPS.get(job.step, job.step or "Starting")]
    is_training = job.step == "train"
    if is_training and job.epochs:
        parts.append(f"epoch {round(job.epoch, 1):g} of {job.epochs:g}")
    elif job.total:
        parts.append(f"{job.done:,.0f} of {job.total:,.0f}")
    if is_training and job.loss is not None:
        parts.append(f"loss {job.loss:.3f}")
    if job.f1 is not None:
        parts.append(f"F1 {job.f1:.3f}")
    if job.eta_s is not None and job.eta_s >= 1:
        parts.append(f"about {duration(job.eta_s)} left")
    return ", ".join(parts)


def silence(job: Job, now: float) -> str:
    """Return that a running job lost its worker, or nothing."""
    if job.state != "running" or now - job.updated <= LEASE_S:
        return ""
    return (
        f"No progress report for {duration(now - job.updated)}: its worker ({job.worker}) has stopped. Any worker that "
        "runs takes it up again; see that the trainer runs (logs/trainer.log)."
    )


def waiting_for(job: Job, jobs: Iterable[Job], now: float) -> str:
    """Return why a queued job does not run yet."""
    if job.not_before > now + 0.5:
        wait = duration(job.not_before - now)
        if job.away:
            return f"A service that it needs was down; it is tried again in {wait}."
        if job.tries:
            return f"Try {job.tries} of {MAX_ATTEMPTS} broke off; the next one begins in {wait}."
        return f"Waits {wait} for further {'tasks' if job.trigger == 'tasks' else 'annotations'}, then starts."
    others = [one for one in jobs if one.lane == job.lane]
    busy = [one for one in others if one.state == "running" and now - one.updated <= LEASE_S]
    if busy and job.kind == "prelabel":
        return f"Waits for the pre-labelling of project {busy[0].project}: one runs at a time."
    if any(one.project == job.project for one in busy):
        return "Waits for the job of this project that runs now, and learns from all that comes until then."
    if busy:
        return f"Waits for the worker, which is busy with project {busy[0].project}."
    ended = max((one.ended or 0.0 for one in others), default=0.0)  # until then the worker was busy
    waited = now - max(job.created, job.not_before, job.updated, ended)
    if waited > UNCLAIMED_S:
        return f"No worker has taken it for {duration(waited)}. See that the trainer runs (logs/trainer.log)."
    return "Waits for a worker."


def in_brief(jobs: Iterable[Job]) -> str:
    """Return one sentence on unfinished jobs, coarse enough not to change every second: it is read aloud."""
    parts = []
    for job in jobs:
        if job.state == "running":
            share = fraction(job)
            percent = "" if share is None else f", {10 * math.floor(10 * share)} %"
            parts.append(f"project {job.project}: {_STEPS.get(job.step, job.step or 'starting').lower()}{percent}")
        elif job.state == "queued":
            parts.append(f"project {job.project}: waits")
    return "; ".join(parts) if parts else "No job runs or waits"


def duration(seconds: float) -> str:
    """Return a length of time in one unit, `12 s`, `3 min`, `5 h`, `2 days`."""
    if not math.isfinite(seconds):
        return "an unknown time"
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 36 * 3600:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86400)} days"
