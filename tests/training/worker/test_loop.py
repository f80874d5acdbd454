"""The worker with real processes: tiny Python programs stand where a training would be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from layoutloop.jobs.job import Job, State
from layoutloop.jobs.queue import JobStore, open_jobs
from layoutloop.jobs.rules import LEASE_S, MAX_ATTEMPTS
from layoutloop.settings.node import REPOSITORY
from tests.redis_server import RedisServer
from training.worker.loop import Timing
from training.worker.process import KEPT_LOGS, NICENESS, Place, start_process, stop_group, tail

WORKER = """
import logging, os, sys
from pathlib import Path
from layoutloop.processes.signals import StopSignals
from training.worker.first_look import Ending
from training.worker.process import Place
from training.worker.loop import Timing, Worker, worker_lock
from layoutloop.jobs.queue import open_jobs
url, home, program = sys.argv[1:]
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
stop = StopSignals()
command = [sys.executable, "-c", program, url, home]
timing = Timing(poll_s=0.1, recover_s=0.5, heartbeat_s=0.3, grace_s=1.5, retry_pause_s=0.2, unreachable_s=0.5,
                alive_s=0.1)
place = Place(command, Path(home) / "logs" / "jobs", os.environ)
with worker_lock(Path(home), stop) as held:
    if held:
        unknown = lambda job: Ending(job.trigger == "api", "no such project") if job.project == 999 else None
        Worker(open_jobs(url), "box", place, stop, timing, Path(home) / "worker.alive", unknown).run()
print("worker ends", file=sys.stderr)
"""
HEAD = """
import os, signal, sys, time
from pathlib import Path
from layoutloop.jobs.queue import open_jobs
url, home, _, job, _, attempt = sys.argv[1:]
attempt, jobs = int(attempt), open_jobs(url)
Path(home, f"pid-{attempt}").write_text(str(os.getpid()))
"""
FINISHES = 'jobs.finish(job, attempt, verdict="promoted", message=f"attempt {attempt}, nice {os.nice(0)}")\n'
CRASHES = 'print("first line"); print("no space is left", flush=True); sys.exit(3)\n'
SLEEPS = "time.sleep(60)\n"
SLEEPS_FIRST = f"if attempt == 1:\n    {SLEEPS}{FINISHES}"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nPath(home, 'stubborn').touch()\n" + SLEEPS
WITH_CHILD = "import subprocess\nPath(home, 'child').write_text(str(subprocess.Popen(['sleep', '60']).pid))\n"
WAIT_S = 30.0


@dataclass
class Home:
    """One home: its jobs, and workers that are started in it.

    Args:
        folder: LAYOUTLOOP_HOME.
        url: of the jobs.
        jobs: the same as the workers'.
        out: folder of the workers' own log; the home by default.
    """

    folder: Path
    url: str
    jobs: JobStore
    out: Path | None = None

    @contextmanager
    def worker(self, program: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-c", WORKER, self.url, str(self.folder), HEAD + program]
        with self._log_path.open("ab") as log:
            worker = subprocess.Popen(command, cwd=REPOSITORY, stderr=log)
        try:
            yield worker
        finally:
            if worker.poll() is None:
                worker.terminate()
            worker.wait(WAIT_S)

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    @property
    def _log_path(self) -> Path:
        return (self.out or self.folder) / "worker.log"

    def process(self, attempt: int) -> psutil.Process:
        """The process of an attempt, once it runs."""
        path = self.folder / f"pid-{attempt}"
        wait_for(lambda: path.exists() and path.read_text(), f"attempt {attempt}: {self.log}")
        return psutil.Process(int(path.read_text()))

    def wait_until(self, job: Job, state: State, attempt: int = 1) -> Job:
        def reached() -> bool:
            now = self.jobs.get(job.id)
            return (now.state, now.attempt) == (state, attempt)

        wait_for(reached, f"{state} {attempt}: {self.jobs.newest()} {self.log}")
        return self.jobs.get(job.id)


def wait_for(found: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not found():
        assert time.monotonic() < end, f"did not happen in time: {what}"
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    url = f"sqlite://{tmp_path}/jobs.db"
    made = Home(tmp_path, url, open_jobs(url))
    yield made
    made.jobs.close()


def test_jobs_of_unknown_projects_end_without_a_process(home: Home) -> None:
    unknown = [home.jobs.submit(999, "retrain", "api", {"force": force}) for force in (False, True)]
    known = home.jobs.submit(7, "retrain", "api")
    few = home.jobs.submit(999, "restore", "start_training")
    with home.worker(FINISHES):
        home.wait_until(known, "done")
        skipped = home.wait_until(few, "done")
    assert (skipped.verdict, skipped.message) == ("skipped", "no such project")
    assert {(after.state, after.error) for after in map(home.jobs.get, (one.id for one in unknown))} == {
        ("failed", "no such project")
    }
    assert [path.stem for path in (home.folder / "logs" / "jobs").iterdir()] == [known.id]


def test_a_job_is_run_and_its_outcome_is_the_processs_own(home: Home) -> None:
    first = home.jobs.submit(7, "retrain", "api")
    with home.worker("print('hello', flush=True)\n" + FINISHES) as worker:
        done = home.wait_until(first, "done")
        assert (done.verdict, done.worker, done.tries) == ("promoted", "box", 1)
        assert done.message == f"attempt 1, nice {min(19, psutil.Process().nice() + 10)}"
        second = home.jobs.submit(8, "restore", "dashboard", {"version": "a"})
        home.wait_until(second, "done")
        wait_for(lambda: f"job {second.id}: done - promoted" in home.log, "a line about the end")
        worker.terminate()
        assert worker.wait(WAIT_S) == 0
    assert f"job {first.id} of project 7: attempt 1 begins (api)" in home.log
    assert len(home.log.splitlines()) == 5, home.log  # two lines a job, and one of this test's worker
    assert "hello" in (home.folder / "logs" / "jobs" / f"{first.id}.log").read_text()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        pytest.param(CRASHES, "attempt 1 ended with status 3; its log ends with:", id="a status"),
        pytest.param("print('no space is left')\n", "attempt 1 ended with status 0", id="no outcome"),
        pytest.param("1 / 0\n", "ZeroDivisionError: division by zero", id="a traceback"),
    ],
)
def test_one_that_breaks_off_is_tried_again_after_a_pause(home: Home, program: str, says: str) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    indented = "".join(f"    {line}\n" for line in program.splitlines())
    with home.worker(f"if attempt == 1:\n{indented}else:\n    {FINISHES}"):
        done = home.wait_until(job, "done", attempt=2)
    assert (done.message.split(",")[0], done.error) == ("attempt 2", "")
    assert f"job {job.id}: queued again after attempt 1: attempt 1" in home.log
    assert says in home.log


def test_one_that_always_breaks_off_fails_with_the_end_of_its_log(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(CRASHES):
        failed = home.wait_until(job, "failed", attempt=MAX_ATTEMPTS)
    assert failed.error.startswith("given up after 5 attempts; the last one: attempt 5 ended with status 3; its log")
    assert failed.error.endswith("first line | no space is left")


def test_a_killed_process_is_replaced(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(SLEEPS_FIRST):
        home.process(1).kill()
        home.wait_until(job, "done", attempt=2)
    assert "attempt 1 was ended by SIGKILL" in home.log


def test_a_command_that_cannot_be_started_is_no_end_of_the_worker(home: Home, tmp_path: Path) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    (tmp_path / "logs" / "jobs" / f"{job.id}.log").mkdir(parents=True)
    with home.worker(FINISHES):
        failed = home.wait_until(job, "failed", attempt=MAX_ATTEMPTS)
    assert "attempt 5 could not be started: [Errno 21] Is a directory" in failed.error


def test_a_process_is_nice_and_in_a_session_of_its_own(home: Home) -> None:
    home.jobs.submit(7, "retrain", "api")
    with home.worker(SLEEPS_FIRST) as worker:
        process = home.process(1)
        assert process.nice() == psutil.Process(worker.pid).nice() + NICENESS
        assert os.getsid(process.pid) == process.pid


def test_a_killed_worker_takes_its_process_along_and_the_next_one_goes_on(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(SLEEPS_FIRST) as worker:
        training = home.process(1)
        worker.kill()
        worker.wait()
        wait_for(lambda: is_gone(training), "the end of the training process")
    assert home.jobs.get(job.id).state == "running"
    with home.worker(SLEEPS_FIRST):
        done = home.wait_until(job, "done", attempt=2)
    assert done.tries == 2
    assert "attempt 1 was lost: box stopped without a report" in home.log


@pytest.mark.parametrize("program", [SLEEPS, STUBBORN], ids=["it ends", "it does not want to end"])
def test_sigterm_gives_the_job_back_at_once_without_counting(home: Home, program: str) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(program) as worker:
        training = home.process(1)
        if program == STUBBORN:
            wait_for((home.folder / "stubborn").exists, "the handler")
        worker.terminate()
        assert worker.wait(WAIT_S) == 0
    after = home.jobs.get(job.id)
    assert (after.state, after.attempt, after.tries) == ("queued", 1, 0)
    assert after.not_before <= time.time()
    assert is_gone(training)


def test_an_outcome_that_is_written_while_stopping_counts(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    ready = "Path(home, 'ready').touch()\n"
    program = f"def end(*_):\n    {FINISHES}    sys.exit(0)\nsignal.signal(signal.SIGTERM, end)\n{ready}{SLEEPS}"
    with home.worker(program) as worker:
        wait_for((home.folder / "ready").exists, home.log)
        worker.terminate()
        assert worker.wait(WAIT_S) == 0
    assert home.jobs.get(job.id).state == "done"


def test_signs_of_life_keep_the_job(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(SLEEPS):
        home.process(1)
        began = home.jobs.get(job.id).updated
        wait_for(lambda: home.jobs.get(job.id).updated > began + 0.5, "signs of life")
        assert home.jobs.get(job.id).step == ""


@pytest.mark.parametrize("busy", [False, True], ids=["it waits for jobs", "a long job"])
def test_a_worker_that_goes_round_touches_its_file_and_one_that_hangs_does_not(home: Home, busy: bool) -> None:
    alive = home.folder / "worker.alive"
    with home.worker(SLEEPS) as worker:
        if busy:
            home.jobs.submit(7, "retrain", "api")
            home.process(1)
        for _ in range(2):
            wait_for(alive.exists, f"a file: {home.log}")
            alive.unlink()
        worker.send_signal(signal.SIGSTOP)
        stopped = psutil.Process(worker.pid)
        wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED, "a worker that hangs")
        alive.unlink(missing_ok=True)
        time.sleep(0.5)
        assert not alive.exists()
        worker.send_signal(signal.SIGCONT)
        wait_for(alive.exists, "a file again")


@pytest.mark.parametrize("program", [SLEEPS, STUBBORN], ids=["it ends", "it does not want to end"])
def test_a_superseded_process_is_stopped_with_all_it_started(home: Home, program: str) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(WITH_CHILD + program):
        training = home.process(1)
        wait_for(lambda: (home.folder / "child").exists() and (home.folder / "child").read_text(), "a child")
        child = psutil.Process(int((home.folder / "child").read_text()))
        home.jobs.release(job.id, 1)
        assert home.jobs.claim("another box") is not None
        wait_for(lambda: is_gone(training) and is_gone(child), "the end of both")
        wait_for(lambda: f"job {job.id}: attempt 1 is superseded" in home.log, "a line")
    assert (home.jobs.get(job.id).worker, home.jobs.get(job.id).attempt) == ("another box", 2)


def test_what_a_process_leaves_behind_is_ended(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    with home.worker(WITH_CHILD + FINISHES):
        home.wait_until(job, "done")
        child = psutil.Process(int((home.folder / "child").read_text()))
        wait_for(lambda: is_gone(child), "the end of the child")


def test_a_process_that_hangs_after_its_outcome_does_not_hold_up_the_next(home: Home) -> None:
    first, second = home.jobs.submit(7, "retrain", "api"), home.jobs.submit(8, "retrain", "api")
    with home.worker(FINISHES + SLEEPS):
        home.wait_until(first, "done")
        home.wait_until(second, "done")
    assert home.jobs.get(first.id).attempt == 1


def test_jobs_of_a_silent_worker_are_taken_over(home: Home) -> None:
    job = home.jobs.submit(7, "retrain", "api")
    long_ago = open_jobs(home.url, clock=lambda: time.time() - 100)
    assert long_ago.claim("a machine that burnt down", job.id) is not None
    with home.worker(FINISHES):
        home.wait_until(job, "done", attempt=2)
    long_ago.close()


def test_a_second_worker_of_a_home_waits_for_the_first(home: Home) -> None:
    with home.worker(FINISHES) as first:
        wait_for((home.folder / "worker.lock").exists, "the first")
        first_job = home.jobs.submit(7, "retrain", "api")
        home.wait_until(first_job, "done")
        with home.worker(FINISHES) as second:
            wait_for(lambda: "another worker runs" in home.log, "a line")
            first.kill()
            job = home.jobs.submit(7, "retrain", "api")
            home.wait_until(job, "done")
            assert second.poll() is None
    assert home.log.count("another worker runs") == 1


def test_a_worker_that_waits_for_the_lock_can_be_stopped(home: Home) -> None:
    with home.worker(FINISHES):
        home.wait_until(home.jobs.submit(7, "retrain", "api"), "done")
        with home.worker(FINISHES) as second:
            wait_for(lambda: "another worker runs" in home.log, "a line")
            second.terminate()
            assert second.wait(WAIT_S) == 0


def test_while_redis_is_away_the_process_goes_on(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    url = server.new_url()
    home = Home(tmp_path, url, open_jobs(url))
    job = home.jobs.submit(7, "retrain", "api")
    go = tmp_path / "go"
    try:
        with home.worker(f"while not Path(home, 'go').exists():\n    time.sleep(0.05)\n{FINISHES}"):
            training = home.process(1)
            server.kill()
            wait_for(lambda: "cannot be used" in home.log, "a line")
            time.sleep(1)  # several signs of life fail
            assert training.is_running()
            server.start()
            wait_for(lambda: "can be reached again" in home.log, "a line")
            go.touch()
            assert home.wait_until(job, "done").attempt == 1
        assert home.log.count("cannot be used") == 1
    finally:
        server.kill()
        home.jobs.close()


def test_a_worker_waits_for_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    url = server.new_url()
    home = Home(tmp_path, url, open_jobs(url))
    try:
        with home.worker(FINISHES):
            wait_for(lambda: "cannot be used" in home.log, "a line")
            server.start()
            home.wait_until(home.jobs.submit(7, "retrain", "api"), "done")
    finally:
        server.kill()
        home.jobs.close()


def test_the_newest_logs_are_kept(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(KEPT_LOGS + 5):
        (logs / f"old{number}.log").touch()
        os.utime(logs / f"old{number}.log", (number, number))
    job = Job("new", 7, "retrain", "api", 1.0, attempt=1)
    child = start_process(Place([sys.executable, "-c", "print('hello')"], logs, os.environ), job, logs / "new.log")
    child.wait()
    stop_group(child, 0.0)
    assert len(list(logs.iterdir())) == KEPT_LOGS
    assert not (logs / "old5.log").exists()
    assert tail(logs / "new.log").endswith("| hello")


@pytest.mark.parametrize(
    ("content", "end"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param(b"a\n\n b \n", "a | b", id="blank lines"),
        pytest.param(b" 1%\r 2%\r", "1% | 2%", id="a progress bar"),
        pytest.param(
            b"\n".join(b"%d" % number for number in range(20)), "12 | 13 | 14 | 15 | 16 | 17 | 18 | 19", id="8"
        ),
        pytest.param(b"\xff" + b"x" * 100_000, "x" * 1000, id="one endless line"),
    ],
)
def test_the_end_of_a_log(tmp_path: Path, content: bytes, end: str) -> None:
    (tmp_path / "a.log").write_bytes(content)
    assert tail(tmp_path / "a.log") == end
    assert tail(tmp_path / "missing.log") == ""


def test_signs_of_life_come_well_within_the_lease() -> None:
    assert 3 * Timing().heartbeat_s < LEASE_S


def test_the_command_starts_and_stops(tmp_path: Path) -> None:
    """As supervisord runs it, with settings of its own."""
    environ = {"PATH": os.environ["PATH"], "LAYOUTLOOP_HOME": str(tmp_path), "MODEL_DIR": str(tmp_path / "store")}
    command = [sys.executable, "-m", "scripts.worker"]
    worker = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stderr=subprocess.PIPE, text=True)
    wait_for((tmp_path / "jobs.db").exists, "the first look for a job")
    wait_for((tmp_path / "label-studio.json").exists, "what the dashboard says of Label Studio")
    wait_for((tmp_path / "worker.alive").exists, "what the containers' health checks look at")
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=WAIT_S)
    assert worker.returncode == 0
    assert "waits for jobs" in said
    refused = subprocess.run(command, cwd=REPOSITORY, env=environ | {"REDIS_URL": "x"}, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "error: REDIS_URL is like" in refused.stderr
