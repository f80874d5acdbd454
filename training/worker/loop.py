"""A worker: jobs of one lane, one at a time, each in a process of its own.

It claims a job, runs the lane's command with `--job ID --attempt N`, gives signs of life meanwhile, and queues the job
again where that process broke off. The process itself writes progress and outcome into the job's record; what it prints
is in LAYOUTLOOP_HOME/logs/jobs/ID.log.
"""

from __future__ import annotations

import fcntl
import logging
import math
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from handler.machine import is_of_machine
from layoutloop.errors import JobNotFound, JobsUnavailable, Superseded
from layoutloop.jobs.job import Job, Lane
from layoutloop.jobs.queue import JobStore
from layoutloop.jobs.rules import RETRY_PAUSE_S
from layoutloop.processes.signals import StopSignals
from training.worker.first_look import Ending
from training.worker.process import Place, has_ended, start_process, stop_group, tail

logger = logging.getLogger(__name__)

_TICK_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds between things.

    Args:
        poll_s: between looks for a job.
        recover_s: between looks for jobs of other workers that fell silent.
        heartbeat_s: between signs of life of a running job; well below the lease.
        grace_s: that a training process has to end after SIGTERM.
        retry_pause_s: before the second attempt of a job that broke off.
        unreachable_s: longest pause while the job records cannot be reached.
        alive_s: between signs in its home that the worker itself goes round.
    """

    poll_s: float = 1.0
    recover_s: float = 10.0
    heartbeat_s: float = 5.0
    grace_s: float = 20.0
    retry_pause_s: float = RETRY_PAUSE_S
    unreachable_s: float = 10.0
    alive_s: float = 5.0


class Worker:
    """Claims jobs and runs them until it is told to stop.

    Args:
        jobs: the records.
        name: of this worker; no two running ones share it.
        place: where its training processes run.
        stop: counts the signals that end it.
        timing: seconds between things.
        lane: of the jobs that it claims.
        ending_of: returns how a job ends before it gets a process, None where it is to get one.
        alive: a file that is touched while the worker goes round, with a job and without. The containers' health
            checks look at its time.
    """

    def __init__(
        self,
        jobs: JobStore,
        name: str,
        place: Place,
        stop: StopSignals,
        timing: Timing | None = None,
        alive: Path | None = None,
        ending_of: Callable[[Job], Ending | None] = lambda _: None,
        lane: Lane = "training",
    ) -> None:
        self._jobs = jobs
        self._name = name
        self._place = place
        self._stop = stop
        self._timing = timing or Timing()
        self._unreachable = False
        self._ending_of = ending_of
        self._lane: Lane = lane
        self._alive = alive
        self._alive_at = 0.0

    def run(self) -> None:
        """Work until a signal comes."""
        self._insist(lambda: self._recover(self._name))  # what ran under this name ended with its worker
        recover_at = time.monotonic()
        while not self._stop.received:
            if time.monotonic() >= recover_at:
                self._insist(lambda: self._recover(None))
                recover_at = time.monotonic() + self._timing.recover_s
            job = self._insist(lambda: self._jobs.claim(self._name, lane=self._lane))
            if job is None:
                self._pause(self._timing.poll_s)
            else:
                self._work(job)

    def _recover(self, name: str | None) -> None:
        for job in self._jobs.requeue(name, self._lane):
            logger.warning("job %s is %s: %s", job.id, job.state, job.error)

    def _work(self, job: Job) -> None:
        logger.info("job %s of project %d: attempt %d begins (%s)", job.id, job.project, job.attempt, job.trigger)
        if (ending := self._ending_of(job)) is not None:
            self._end_at_once(job, ending)
            return
        log = self._place.logs / f"{job.id}.log"
        try:
            child = start_process(self._place, job, log)
        except (OSError, subprocess.SubprocessError) as error:
            self._end(job, f"attempt {job.attempt} could not be started: {error}", of_machine=is_of_machine(error))
            return
        try:
            superseded = not self._accompany(child, job)
        finally:
            stop_group(child, self._timing.grace_s)
        if superseded:
            logger.warning("job %s: attempt %d is superseded and was stopped", job.id, job.attempt)
        else:
            self._end(job, f"attempt {job.attempt} {_how(child)}; its log ends with: {tail(log)}")

    def _end_at_once(self, job: Job, ending: Ending) -> None:
        logger.info("job %s %s: %s", job.id, "fails" if ending.is_failure else "is skipped", ending.sentence)
        with suppress(Superseded):
            if ending.is_failure:
                self._insist(lambda: self._jobs.fail(job.id, job.attempt, ending.sentence))
            else:
                self._insist(lambda: self._jobs.finish(job.id, job.attempt, verdict="skipped", message=ending.sentence))

    def _accompany(self, child: subprocess.Popen[bytes], job: Job) -> bool:
        """Give signs of life until the process ends or a signal comes; False where the attempt is superseded."""
        beat_at, end_by = 0.0, math.inf
        while not has_ended(child) and not self._stop.received and time.monotonic() < end_by:
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + self._timing.heartbeat_s
                try:
                    self._jobs.update(job.id, job.attempt)
                    self._reached()
                except JobsUnavailable as error:
                    self._not_reached(error)  # the process goes on; its work is wanted when they are back
                except Superseded:
                    if not self._has_outcome(job):
                        return False
                    # The process has written it and has yet to end; one that hangs then must not hold up the next job.
                    end_by = min(end_by, time.monotonic() + self._timing.grace_s)
            self._tick(_TICK_S)
        return True

    def _has_outcome(self, job: Job) -> bool:
        try:
            now = self._jobs.get(job.id)
        except JobsUnavailable:
            return True  # checked again at the next sign of life
        except JobNotFound:
            return False
        return now.attempt == job.attempt and now.state != "running"

    def _end(self, job: Job, error: str, *, of_machine: bool = False) -> None:
        """Note what became of an attempt, which is `error` unless its process wrote an outcome."""
        try:
            after = self._insist(lambda: self._give_back(job, error, of_machine))
        except Superseded:
            after = self._insist(lambda: next((one for one in self._jobs.newest() if one.id == job.id), None))
        if after is not None:
            logger.info("job %s: %s", after.id, _outcome(after))

    def _give_back(self, job: Job, error: str, of_machine: bool) -> Job:
        """Queue a job that has no outcome yet."""
        if self._stop.received:
            return self._jobs.release(job.id, job.attempt)
        if of_machine:  # a full disk, for one: that costs no try
            return self._jobs.wait(job.id, job.attempt, error)
        return self._jobs.retry(job.id, job.attempt, error, self._timing.retry_pause_s)

    def _insist(self, ask: Callable[[], T]) -> T | None:
        """Call `ask` again until the job records can be reached; None where a signal came first."""
        pause_s = _TICK_S
        while True:
            try:
                answer = ask()
            except JobsUnavailable as error:
                self._not_reached(error)
                if self._stop.received:
                    return None
                self._pause(pause_s)
                pause_s = min(2 * pause_s, self._timing.unreachable_s)
            else:
                self._reached()
                return answer

    def _not_reached(self, error: JobsUnavailable) -> None:
        if not self._unreachable:
            logger.warning("%s; trying again", error)
        self._unreachable = True

    def _reached(self) -> None:
        if self._unreachable:
            logger.info("the job records can be reached again")
        self._unreachable = False

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop.received and time.monotonic() < end:
            self._tick(min(_TICK_S, seconds))

    def _tick(self, seconds: float) -> None:
        """Sleep, and say now and then that this worker does not hang."""
        if self._alive is not None and time.monotonic() >= self._alive_at:
            self._alive_at = time.monotonic() + self._timing.alive_s
            with suppress(OSError):  # the health check sees that it grows old
                self._alive.touch()
        time.sleep(seconds)


def _how(child: subprocess.Popen[bytes]) -> str:
    status: int = child.returncode
    names = {one.value: one.name for one in signal.Signals}
    return f"was ended by {names.get(-status, f'signal {-status}')}" if status < 0 else f"ended with status {status}"


def _outcome(job: Job) -> str:
    if job.state == "queued":
        return f"queued again after attempt {job.attempt}" + (f": {job.error}" if job.error else "")
    return " - ".join(part for part in (job.state, job.verdict, job.message, job.error) if part)


@contextmanager
def worker_lock(home: Path, stop: StopSignals) -> Iterator[bool]:
    """Hold the home's lock, waiting for it; False where a signal came first."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = False
    with (home / "worker.lock").open("w") as lock:
        while not stop.received:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    logger.warning("another worker runs in %s; waiting for its end", home)
                said = True
                time.sleep(_TICK_S)
            else:
                yield True
                return
        yield False
