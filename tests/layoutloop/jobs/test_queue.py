"""The rules of jobs, and the stores that apply them: SQLite and a real Redis under the same tests."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from layoutloop.errors import JobNotFound, JobsUnavailable, Overloaded, SettingsInvalid, Superseded
from layoutloop.jobs.job import DEBOUNCE_S, Job, JobVerdict, Trigger
from layoutloop.jobs.queue import JobStore, open_jobs
from layoutloop.jobs.records import REDIS_KEY, open_records
from layoutloop.jobs.rules import (
    CONFIRM_S,
    KEPT,
    LEASE_S,
    LONGEST_PAUSE_S,
    MAX_ATTEMPTS,
    MAX_WAITS,
    MOST_QUEUED,
    SKIP_PAUSE_S,
    Change,
)
from tests.redis_server import PASSWORD, RedisServer, redis_server

ROOT = Path(__file__).resolve().parents[3]


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="session")
def redis_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/home/jobs.db"
    server: RedisServer = request.getfixturevalue("redis_running")
    return server.new_url()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(url: str, clock: Clock) -> Iterator[JobStore]:
    store = open_jobs(url, clock, ticks=clock)
    yield store
    store.close()


def claimed(jobs: JobStore, project: int = 7, worker: str = "one") -> Job:
    jobs.submit(project, "retrain", "start_training")
    job = jobs.claim(worker)
    assert job is not None
    return job


def test_a_lane_takes_no_job_of_the_other_for_lost(jobs: JobStore, clock: Clock) -> None:
    """Where nobody can write for a while, the worker of one lane must not be the end of the other's."""
    job = claimed(jobs)
    clock.wait(LEASE_S + 1)
    assert jobs.requeue(lane="prelabelling") == ()
    clock.wait(CONFIRM_S)
    assert jobs.requeue(lane="prelabelling") == ()
    assert jobs.get(job.id).state == "running"


def lose(jobs: JobStore, clock: Clock) -> tuple[Job, ...]:
    """Let the worker of what runs fall silent, and others notice."""
    clock.wait(LEASE_S + 1)
    assert jobs.requeue() == ()
    clock.wait(CONFIRM_S)
    return jobs.requeue()


def test_json_and_back() -> None:
    job = Job(
        "a1b2c3d4e5f6", 7, "restore", "dashboard", 1.5, {"version": "v", "force": True}, "running", 2, 1, 0, "ö", f1=0.5
    )
    text = json.dumps(job.to_json())
    assert Job.from_json(json.loads(text)) == job
    assert Job.from_json({**json.loads(text), "of_another_release": 1}) == job


RECORD = Job("a1b2c3d4e5f6", 7, "retrain", "api", 1.5).to_json()
NOT_RECORDS = [
    pytest.param({"id": "../../x"}, id="an id that is a path"),
    pytest.param({"id": "A1B2C3D4E5F6"}, id="an id in capitals"),
    pytest.param({"id": "a1b2c3d4e5f6\n"}, id="an id with a line break"),
    pytest.param({"id": 7}, id="an id that is a number"),
    pytest.param({"project": -1}, id="a project below 0"),
    pytest.param({"project": True}, id="a project that is a truth value"),
    pytest.param({"project": "../7"}, id="a project that is a path"),
    pytest.param({"kind": "delete"}, id="an unknown kind"),
    pytest.param({"state": "paused"}, id="an unknown state"),
    pytest.param({"state": ["queued"]}, id="a state that is a list"),
    pytest.param({"trigger": None}, id="no trigger"),
    pytest.param({"verdict": "great"}, id="an unknown verdict"),
    pytest.param({"attempt": 1.5}, id="half an attempt"),
    pytest.param({"interruptions": "0"}, id="interruptions that are text"),
    pytest.param({"created": math.nan}, id="a time that is no number"),
    pytest.param({"not_before": math.inf}, id="a time without end"),
    pytest.param({"ended": "today"}, id="a time that is text"),
    pytest.param({"updated": 10**400}, id="a time that no float can hold"),
    pytest.param({"options": {"version": ["x"]}}, id="an option that is a list"),
    pytest.param({"options": None}, id="no options"),
    pytest.param({"done": "3"}, id="progress that is text"),
    pytest.param({"message": None}, id="no message"),
]


@pytest.mark.parametrize("changed", NOT_RECORDS)
def test_a_record_is_not_trusted(changed: dict[str, object]) -> None:
    (name,) = changed
    assert Job.from_json(RECORD).id == RECORD["id"]
    with pytest.raises(ValueError, match=f"^`{name}` of a job's record cannot be "):
        Job.from_json(RECORD | changed)


@pytest.mark.parametrize("name", ["id", "project", "kind", "trigger", "created"])
def test_a_record_that_lacks_a_field_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"; {name} is missing"):
        Job.from_json({key: value for key, value in RECORD.items() if key != name})


def write_record(url: str, job_id: str, record: str | bytes) -> None:
    """As somebody else could, past this program."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite://")) as file:
            file.execute("INSERT INTO jobs VALUES (?, ?)", (job_id, record))
        file.close()
    else:
        with redis.Redis.from_url(url) as client:
            client.hset(REDIS_KEY, job_id, record)


@pytest.mark.parametrize(
    ("job_id", "record"),
    [
        pytest.param("../../x", json.dumps(RECORD | {"id": "../../x"}), id="a path"),
        pytest.param("0" * 12, json.dumps(RECORD), id="the record of another"),
        pytest.param("0" * 12, "{", id="half of it"),
        pytest.param("0" * 12, "[" * 100_000, id="deep"),
        pytest.param("0" * 12, "[]", id="a list"),
        pytest.param("0" * 12, b"\xff", id="no text"),
    ],
)
def test_what_is_no_record_is_passed_over_and_told_once(
    jobs: JobStore, url: str, job_id: str, record: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = jobs.submit(7, "retrain", "api")
    write_record(url, job_id, record)
    for _ in range(3):
        assert [job.id for job in jobs.newest()] == [good.id]
    with pytest.raises(JobNotFound):
        jobs.get(job_id)
    taken = jobs.claim("one")
    assert taken is not None
    assert taken.id == good.id
    assert [line for line in caplog.messages if repr(job_id) in line] == caplog.messages
    assert len(caplog.messages) == 1


def test_a_life(jobs: JobStore, clock: Clock) -> None:
    waiting = jobs.submit(7, "retrain", "api", {"force": True, "dry_run": False, "version": None})
    assert (waiting.state, waiting.attempt, waiting.options) == ("queued", 0, {"force": True})
    clock.wait(3)
    running = jobs.claim("one")
    assert running is not None
    assert (running.id, running.state, running.attempt, running.worker) == (waiting.id, "running", 1, "one")
    assert (running.created, running.started) == (clock.now - 3, clock.now)
    clock.wait(3)
    jobs.update(running.id, 1, step="train", done=3, total=40, epoch=0.5, epochs=10, loss=1.25, eta_s=60.0)
    jobs.update(running.id, 1, loss=math.nan)
    seen = jobs.get(running.id)
    assert (seen.step, seen.done, seen.total, seen.epoch, seen.loss) == ("train", 3, 40, 0.5, None)
    assert jobs.check(running.id, 1).updated == clock.now
    jobs.finish(running.id, 1, verdict="promoted", message="F1 0.9", version="20261123T000000Z", f1=0.9)
    done = jobs.get(running.id)
    assert (done.state, done.verdict, done.version, done.f1, done.ended) == (
        *("done", "promoted", "20261123T000000Z", 0.9),
        clock.now,
    )
    assert jobs.claim("one") is None


def test_a_failed_one_says_why(jobs: JobStore) -> None:
    job = claimed(jobs)
    jobs.fail(job.id, 1, "project 7 has no annotations")
    assert (jobs.get(job.id).state, jobs.get(job.id).error) == ("failed", "project 7 has no annotations")


def test_one_job_waits_per_project_and_wish(jobs: JobStore, clock: Clock) -> None:
    first = jobs.submit(7, "retrain", "api")
    clock.wait(1)
    assert jobs.submit(7, "retrain", "start_training", {"force": False}).id == first.id
    others = [
        jobs.submit(8, "retrain", "api"),
        jobs.submit(7, "restore", "command", {"version": "a"}),
        jobs.submit(7, "restore", "command", {"version": "b"}),
        jobs.submit(7, "retrain", "api", {"force": True}),
    ]
    assert len({first.id, *(job.id for job in others)}) == 5
    assert jobs.newest(limit=1)[0].id in {job.id for job in others}
    assert {job.project for job in jobs.newest(8)} == {8}


def test_a_running_one_does_not_pick_up_what_comes_now(jobs: JobStore) -> None:
    running = claimed(jobs)
    waiting = jobs.submit(7, "retrain", "api")
    assert waiting.id != running.id
    assert jobs.submit(7, "retrain", "api").id == waiting.id


def test_a_burst_of_annotations_is_one_job_that_waits_for_its_end(jobs: JobStore, clock: Clock) -> None:
    first = jobs.submit(7, "retrain", "annotations")
    clock.wait(DEBOUNCE_S - 0.1)
    assert jobs.submit(7, "retrain", "annotations").id == first.id
    assert jobs.claim("one") is None
    clock.wait(0.1)
    job = jobs.claim("one")
    assert job is not None
    assert (job.id, job.trigger) == (first.id, "annotations")


@pytest.mark.parametrize(
    ("first", "then", "trigger", "at_once"),
    [
        pytest.param("annotations", "start_training", "start_training", True, id="a wish joins annotations"),
        pytest.param("annotations", "annotations", "annotations", False, id="annotations join annotations"),
        pytest.param("api", "annotations", "api", True, id="annotations join a wish"),
        pytest.param("api", "start_training", "api", True, id="a wish joins a wish"),
    ],
)
def test_a_wish_is_never_skipped(
    jobs: JobStore, first: Trigger, then: Trigger, trigger: Trigger, at_once: bool
) -> None:
    waiting = jobs.submit(7, "retrain", first)
    assert jobs.submit(7, "retrain", then).id == waiting.id
    assert jobs.get(waiting.id).trigger == trigger
    assert (jobs.claim("one") is not None) == at_once


def test_oldest_first_and_one_at_a_time_per_project(jobs: JobStore, clock: Clock) -> None:
    first = jobs.submit(7, "retrain", "api")
    clock.wait(1)
    behind = jobs.submit(7, "retrain", "api", {"force": True})
    clock.wait(1)
    other = jobs.submit(8, "retrain", "api")
    taken = [jobs.claim(worker) for worker in ("one", "two", "three")]
    assert [job and job.id for job in taken] == [first.id, other.id, None]
    jobs.finish(first.id, 1, verdict="rejected", message="worse")
    last = jobs.claim("three")
    assert last is not None
    assert last.id == behind.id


def test_a_job_can_be_claimed_by_its_id(jobs: JobStore) -> None:
    jobs.submit(8, "retrain", "api")
    wanted = jobs.submit(7, "retrain", "annotations")
    job = jobs.claim("command", wanted.id)
    assert job is not None
    assert job.id == wanted.id
    assert jobs.claim("command", wanted.id) is None


STALE: list[Callable[[JobStore, Job], object]] = [
    lambda jobs, job: jobs.update(job.id, job.attempt, step="train"),
    lambda jobs, job: jobs.check(job.id, job.attempt),
    lambda jobs, job: jobs.finish(job.id, job.attempt, verdict="promoted", message=""),
    lambda jobs, job: jobs.fail(job.id, job.attempt, "x"),
    lambda jobs, job: jobs.retry(job.id, job.attempt, "x"),
    lambda jobs, job: jobs.release(job.id, job.attempt),
]
STALE_NAMES = ["update", "check", "finish", "fail", "retry", "release"]


@pytest.mark.parametrize("ask", STALE, ids=STALE_NAMES)
@pytest.mark.parametrize("how", ["claimed again", "queued again", "done", "gone"])
def test_an_orphan_is_refused(jobs: JobStore, clock: Clock, ask: Callable[[JobStore, Job], object], how: str) -> None:
    """Whatever an earlier attempt wants to write: it learns that it is over, and the record stays as it is."""
    orphan = claimed(jobs)
    if how in ("claimed again", "queued again"):
        lose(jobs, clock)
        if how == "claimed again":
            assert jobs.claim("two") is not None
    elif how == "done":
        jobs.finish(orphan.id, 1, verdict="skipped", message="nothing new")
    else:
        orphan = replace(orphan, id="000000")
    before = jobs.newest()
    with pytest.raises(Superseded, match=r"; stop$"):
        ask(jobs, orphan)
    assert jobs.newest() == before


def test_progress_has_known_names(jobs: JobStore) -> None:
    job = claimed(jobs)
    with pytest.raises(ValueError, match="got \\['state'\\]"):
        jobs.update(job.id, 1, state="done")
    assert jobs.get(job.id).state == "running"


def test_a_lost_job_is_queued_again_and_keeps_its_number(jobs: JobStore, clock: Clock) -> None:
    job = claimed(jobs)
    clock.wait(LEASE_S)
    assert jobs.requeue() == ()
    jobs.update(job.id, 1)
    clock.wait(LEASE_S + 0.1)
    assert jobs.requeue() == ()
    clock.wait(CONFIRM_S)
    (lost,) = jobs.requeue()
    assert (lost.id, lost.state, lost.attempt) == (job.id, "queued", 1)
    assert "attempt 1 was lost: one stopped" in lost.error
    again = jobs.claim("two")
    assert again is not None
    assert (again.id, again.attempt, again.worker, again.step) == (job.id, 2, "two", "")


HOUR_S = 3600.0


@pytest.mark.parametrize("moved_s", [HOUR_S, -HOUR_S], ids=["an hour ahead", "an hour back"])
def test_a_clock_that_is_moved_loses_no_job_that_runs(url: str, moved_s: float) -> None:
    clock, ticks = Clock(), Clock()
    jobs = open_jobs(url, clock, ticks=ticks)
    job = claimed(jobs)
    clock.wait(moved_s)
    for _ in range(20):
        assert jobs.requeue() == ()
        jobs.update(job.id, 1)
        clock.wait(CONFIRM_S)
        ticks.wait(CONFIRM_S)
    clock.wait(moved_s)
    assert jobs.requeue() == ()
    ticks.wait(CONFIRM_S)
    assert [one.id for one in jobs.requeue()] == [job.id], "one whose worker has stopped is found all the same"
    jobs.close()


@pytest.mark.parametrize("moved_s", [HOUR_S, -HOUR_S], ids=["an hour ahead", "an hour back"])
def test_a_clock_that_is_moved_holds_up_no_job_that_waits(jobs: JobStore, clock: Clock, moved_s: float) -> None:
    waits = claimed(jobs, 7)
    for attempt in range(1, 10):
        jobs.wait(waits.id, attempt, "nobody answers")
        jobs.claim("one", waits.id)
    longest = jobs.wait(waits.id, 10, "nobody answers")
    assert longest.not_before == clock.now + LONGEST_PAUSE_S
    skipped = claimed(jobs, 8)
    jobs.finish(skipped.id, 1, verdict="skipped", message="2 of 10 annotations are new")
    assert jobs.claim("one") is None
    clock.wait(moved_s)
    annotated = jobs.submit(8, "retrain", "annotations")
    clock.wait(DEBOUNCE_S)
    assert {job.id for job in (jobs.claim("one"), jobs.claim("one")) if job} == {waits.id, annotated.id}


def test_a_worker_that_starts_takes_back_its_own_only(jobs: JobStore) -> None:
    own, other = claimed(jobs, 7, "one"), claimed(jobs, 8, "two")
    assert [job.id for job in jobs.requeue("one")] == [own.id]
    assert jobs.get(other.id).state == "running"


@pytest.mark.parametrize(
    ("again", "attempts", "expected"),
    [
        pytest.param(JobStore.retry, MAX_ATTEMPTS, [5, 10, 20, 40], id="broke off"),
        pytest.param(JobStore.wait, MAX_WAITS, [5, 10, 20, 40, 80, 160, *[300] * 9], id="somebody is away"),
    ],
)
def test_pauses_between_attempts_grow_and_end(
    jobs: JobStore, clock: Clock, again: Callable[..., Job], attempts: int, expected: list[float]
) -> None:
    job = jobs.submit(7, "retrain", "api")
    pauses = []
    for attempt in range(1, attempts + 1):
        assert jobs.claim("one") is not None
        after = again(jobs, job.id, attempt, f"status {attempt}")
        pauses.append(after.not_before - clock.now)
        if after.state == "queued":
            clock.wait(pauses[-1] - 0.1)
            assert jobs.claim("one") is None
            clock.wait(0.1)
    assert pauses[:-1] == pytest.approx(expected)
    assert (after.state, after.ended) == ("failed", clock.now)
    assert after.error == f"given up after {attempts} attempts; the last one: status {attempts}"


def test_who_is_away_costs_no_try(jobs: JobStore, clock: Clock) -> None:
    job = jobs.submit(7, "retrain", "api")
    for attempt in range(1, 8):
        jobs.claim("one", job.id)
        assert jobs.wait(job.id, attempt, "nobody answers").tries == 0
    jobs.claim("one", job.id)
    assert jobs.retry(job.id, 8, "killed").not_before == clock.now + 5
    jobs.claim("one", job.id)
    (lost,) = lose(jobs, clock)
    assert (lost.state, lost.tries, lost.away) == ("queued", 2, 7)


@pytest.mark.parametrize(
    ("step", "again", "joined"),
    [
        pytest.param("", JobStore.wait, True, id="away before anything was read"),
        pytest.param("export", JobStore.wait, True, id="away at the export"),
        pytest.param("read pages", JobStore.wait, False, id="away later"),
        pytest.param("export", JobStore.retry, False, id="broke off"),
    ],
)
def test_a_wish_joins_a_job_that_has_read_no_annotations(
    jobs: JobStore, step: str, again: Callable[..., Job], joined: bool
) -> None:
    job = jobs.submit(7, "retrain", "annotations")
    jobs.claim("one", job.id)
    if step:
        jobs.update(job.id, 1, step=step)
    again(jobs, job.id, 1, "nobody answers")
    assert (jobs.submit(7, "retrain", "annotations").id == job.id) == joined


@pytest.mark.parametrize("again", ["retried", "released", "lost"])
def test_what_comes_after_the_first_try_is_a_job_of_its_own(jobs: JobStore, clock: Clock, again: str) -> None:
    """The first try read the annotations, and a later one goes on with what it read."""
    job = claimed(jobs)
    if again == "retried":
        jobs.retry(job.id, 1, "status 3")
    elif again == "released":
        jobs.release(job.id, 1)
    else:
        lose(jobs, clock)
    clock.wait(1)
    new = jobs.submit(7, "retrain", "annotations")
    assert new.id != job.id
    assert jobs.submit(7, "retrain", "annotations").id == new.id, "one that never ran is enough"
    assert jobs.submit(7, "retrain", "api").id == new.id
    assert sorted(one.id for one in jobs.newest()) == sorted([job.id, new.id])
    assert jobs.get(new.id).trigger == "api"


@pytest.mark.parametrize("beside", [True, False], ids=["annotations wait", "nothing waits"])
def test_a_wish_ends_the_pause(jobs: JobStore, clock: Clock, beside: bool) -> None:
    job = claimed(jobs)
    jobs.retry(job.id, 1, "status 3")
    clock.wait(1)
    annotations = jobs.submit(7, "retrain", "annotations") if beside else None
    assert jobs.claim("one") is None
    later = jobs.submit(7, "retrain", "start_training")
    assert later.id != job.id
    assert annotations is None or annotations.id == later.id
    first = jobs.claim("one")
    assert first is not None
    assert (first.id, first.attempt) == (job.id, 2)
    jobs.finish(job.id, 2, verdict="promoted", message="")
    second = jobs.claim("one")
    assert second is not None
    assert (second.id, second.trigger) == (later.id, "start_training")


def test_a_restore_that_is_tried_again_is_joined(jobs: JobStore) -> None:
    """It learns from no annotations; two of them would restore twice."""
    job = jobs.submit(7, "restore", "api", {"version": "a"})
    assert jobs.claim("one") is not None
    jobs.retry(job.id, 1, "status 3")
    assert jobs.submit(7, "restore", "api", {"version": "a"}).id == job.id


def test_waiting_jobs_are_bounded(tmp_path: Path, clock: Clock) -> None:
    jobs = open_jobs(f"sqlite://{tmp_path}/jobs.db", clock)
    for project in range(MOST_QUEUED):
        jobs.submit(project, "retrain", "api")
    with pytest.raises(Overloaded, match=f"{MOST_QUEUED} training jobs wait already; see that a worker runs"):
        jobs.submit(MOST_QUEUED, "retrain", "api")
    assert jobs.submit(7, "retrain", "start_training").project == 7, "to join one costs nothing"
    assert jobs.claim("one") is not None
    assert jobs.submit(MOST_QUEUED, "retrain", "api").state == "queued"
    jobs.close()


@pytest.mark.parametrize(
    ("trigger", "project", "verdict", "waits_s"),
    [
        pytest.param("annotations", 7, "skipped", SKIP_PAUSE_S, id="annotations"),
        pytest.param("start_training", 7, "skipped", 0, id="a wish"),
        pytest.param("annotations", 8, "skipped", DEBOUNCE_S, id="another project"),
        pytest.param("annotations", 7, "promoted", DEBOUNCE_S, id="after one that was not skipped"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_skip_annotations_wait(
    jobs: JobStore, clock: Clock, trigger: Trigger, project: int, verdict: JobVerdict, waits_s: float, when: str
) -> None:
    running = claimed(jobs)
    if when == "before":
        waiting = jobs.submit(project, "retrain", trigger)
    jobs.finish(running.id, 1, verdict=verdict, message="2 of 10 annotations are new")
    if when == "after":
        waiting = jobs.submit(project, "retrain", trigger)
    assert jobs.get(waiting.id).not_before == clock.now + waits_s
    if waits_s:
        clock.wait(waits_s - 0.1)
        assert jobs.claim("one") is None
        clock.wait(0.1)
    job = jobs.claim("one")
    assert job is not None
    assert job.id == waiting.id


def test_long_after_a_skip_annotations_wait_for_their_burst_only(jobs: JobStore, clock: Clock) -> None:
    running = claimed(jobs)
    jobs.finish(running.id, 1, verdict="skipped", message="2 of 10 annotations are new")
    clock.wait(SKIP_PAUSE_S)
    assert jobs.submit(7, "retrain", "annotations").not_before == clock.now + DEBOUNCE_S


def test_a_lost_job_is_given_up_in_the_end(jobs: JobStore, clock: Clock) -> None:
    claimed(jobs)
    for _ in range(MAX_ATTEMPTS - 1):
        lose(jobs, clock)
        assert jobs.claim("one") is not None
    (job,) = lose(jobs, clock)
    assert job.state == "failed"
    assert "given up after 5 attempts; the last one: attempt 5 was lost" in jobs.get(job.id).error


def test_orderly_stops_do_not_count(jobs: JobStore) -> None:
    job = claimed(jobs)
    for attempt in range(1, 3 * MAX_ATTEMPTS):
        released = jobs.release(job.id, attempt)
        assert (released.state, released.tries, released.attempt) == ("queued", 0, attempt)
        assert jobs.claim("one") is not None
    assert jobs.retry(job.id, 3 * MAX_ATTEMPTS, "status 3").state == "queued"


def test_finished_ones_are_bounded(tmp_path: Path, clock: Clock) -> None:
    jobs = open_jobs(f"sqlite://{tmp_path}/jobs.db", clock)
    ids = []
    for number in range(KEPT + 3):
        clock.wait(1)
        job = claimed(jobs, project=number)
        jobs.finish(job.id, 1, verdict="rejected", message="worse")
        ids.append(job.id)
    clock.wait(1)
    waiting = jobs.submit(7, "retrain", "api")
    assert [job.id for job in jobs.newest()] == [waiting.id, *reversed(ids[3:])]
    jobs.close()


def test_of_skipped_ones_the_newest_is_kept(jobs: JobStore, clock: Clock) -> None:
    for project in (7, 7, 8, 7):
        clock.wait(DEBOUNCE_S)
        job = claimed(jobs, project)
        jobs.finish(job.id, 1, verdict="skipped", message="2 of 10 annotations are new")
    assert [job.project for job in jobs.newest()] == [7, 8]
    assert jobs.newest(7)[0].id == job.id
    with pytest.raises(JobNotFound, match="no job has the id 'nobody'"):
        jobs.get("nobody")


def test_what_a_rule_raises_leaves_the_records_as_they_were(url: str) -> None:
    records = open_records(url)

    def rule(jobs: Mapping[str, Job]) -> Change[None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        records.change(rule)
    job = Job("a1b2c3d4e5f6", 7, "retrain", "api", 1.0)
    records.change(lambda _: Change(None, put=(job,)))
    assert records.read() == records.read(job.id) == {job.id: job}
    records.change(lambda _: Change(None, drop=(job.id,)))
    assert records.read() == {}
    records.close()


def test_many_threads_lose_nothing(jobs: JobStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = [job.id for job in threads.map(lambda number: jobs.submit(number, "retrain", "api"), range(40))]
        taken = [job.id for job in threads.map(lambda _: jobs.claim("one"), range(45)) if job is not None]
    assert len(set(ids)) == 40
    assert sorted(taken) == sorted(ids)


CLAIMS = """
import sys
from layoutloop.jobs.queue import open_jobs
jobs = open_jobs(sys.argv[1])
jobs.newest()
print("ready", flush=True)
sys.stdin.readline()
while (job := jobs.claim(sys.argv[2])) is not None:
    jobs.update(job.id, job.attempt, step="train")
    print(job.id, flush=True)
"""


def test_processes_that_claim_at_once_get_different_jobs(url: str) -> None:
    """Each opens the store itself, the very first ones at the same moment."""
    command = [sys.executable, "-c", CLAIMS, url]
    workers = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    jobs = open_jobs(url)
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    wanted = {jobs.submit(project, "retrain", "api").id for project in range(60)}
    outputs = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        outputs.append(worker.communicate(timeout=60)[0].split())
        assert worker.returncode == 0
    assert sorted(outputs[0] + outputs[1]) == sorted(wanted)
    assert {(job.state, job.attempt, job.step) for job in jobs.newest()} == {("running", 1, "train")}
    jobs.close()


def test_a_killed_redis_keeps_the_records(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        jobs = open_jobs(server.new_url())
        job = claimed(jobs)
        server.kill()
        with pytest.raises(JobsUnavailable) as refused:
            jobs.update(job.id, 1)
        assert f"Redis at 127.0.0.1:{server.port} cannot be used" in str(refused.value)
        assert PASSWORD not in str(refused.value)
        server.start()
        assert jobs.update(job.id, 1, step="train").step == "train"  # the same client finds it again
        jobs.close()


def test_a_wrong_password_is_not_shown(redis_running: RedisServer) -> None:
    jobs = open_jobs(f"redis://:wrong-one@127.0.0.1:{redis_running.port}/0")
    with pytest.raises(JobsUnavailable, match="AuthenticationError") as refused:
        jobs.newest()
    assert "wrong-one" not in str(refused.value)
    jobs.close()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://jobs.db", "redis:///0", "amqp://host", "jobs.db"], ids=lambda url: url
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="job records are at"):
        open_jobs(url)


PAIRS = """
import itertools, sys, time
from layoutloop.jobs.records import REDIS_KEY, open_records
from layoutloop.jobs.rules import Change
from layoutloop.jobs.job import Job
runs = itertools.count(1)
def rule(jobs):
    if next(runs) == 2 and sys.argv[2] == "holding the lock":  # the first run only looks
        print("changing", flush=True)
        time.sleep(60)
    pair = [Job(name, 7, "retrain", "api", 1.0, done=number, message="x" * 300_000) for name in ("a" * 12, "b" * 12)]
    return Change(None, put=tuple(pair))
records = open_records(sys.argv[1])
for number in itertools.count(1):
    records.change(rule)
    print("changing", flush=True)
"""


@pytest.mark.parametrize("when", ["holding the lock", *(f"writing {number}" for number in range(4))])
def test_a_process_killed_in_the_middle_of_a_change_leaves_nothing_of_it(tmp_path: Path, when: str) -> None:
    url = f"sqlite://{tmp_path}/jobs.db"
    command = [sys.executable, "-c", PAIRS, url, when]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"changing\n"
        time.sleep(0.05 + 0.013 * int(when[-1])) if when[-1].isdigit() else None
        killed.kill()
    jobs = open_jobs(url)
    began = time.monotonic()
    jobs.submit(8, "retrain", "api")
    assert time.monotonic() - began < 2, "the lock of a dead process was waited for"
    done = [job.done for job in jobs.newest(7)]
    assert done == [] if when == "holding the lock" else len(done) == 2
    assert len(set(done)) < 2
    jobs.close()


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    jobs = open_jobs(f"sqlite://{tmp_path}/new/jobs.db")
    jobs.submit(7, "retrain", "api")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").iterdir()}
    assert modes == dict.fromkeys(("jobs.db", "jobs.db-wal", "jobs.db-shm"), "0o600")
    assert oct((tmp_path / "new").stat().st_mode & 0o777) == "0o700"
    jobs.close()


def test_a_progress_update_writes_one_row(tmp_path: Path) -> None:
    jobs = open_jobs(f"sqlite://{tmp_path}/jobs.db")
    job = claimed(jobs)
    for project in range(8, 30):
        jobs.submit(project, "retrain", "api")
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("CREATE TABLE written (id TEXT)")
        other.execute("CREATE TRIGGER t AFTER INSERT ON jobs BEGIN INSERT INTO written VALUES (new.id); END")
    jobs.update(job.id, 1, step="train")
    assert other.execute("SELECT id FROM written").fetchall() == [(job.id,)]
    other.close()
    jobs.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda path: path.write_bytes(b"no database" * 100), "file is not a database", id="another file"),
        pytest.param(lambda path: path.mkdir(), "unable to open", id="a folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(tmp_path / "jobs.db")
    jobs = open_jobs(f"sqlite://{tmp_path}/jobs.db")
    with pytest.raises(JobsUnavailable) as refused:
        jobs.submit(7, "retrain", "api")
    assert f"the job records in {tmp_path}/jobs.db cannot be used: {says}" in str(refused.value)
    jobs.close()
