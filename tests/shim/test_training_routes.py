"""The routes that queue trainings and tell of them: captured webhooks, /train, /jobs."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore
from layoutloop.jobs.rules import MOST_QUEUED, MOST_UNKNOWN
from layoutloop.settings.serving import Settings
from layoutloop.studio.status import STATUS_FILE
from shim.app import create_app
from shim.context import Context

CAPTURES = Path(__file__).resolve().parent.parent / "data" / "captures"
REDIS_THAT_IS_NOT_THERE = "redis://:open-sesame@127.0.0.1:1/0"


class Shim:
    """An app and the jobs it keeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.app = self.make_app()

    def make_app(self, **settings: Any) -> Flask:
        self.app = create_app(Settings(model_dir=self._folder / "store", home=self._folder / "var", **settings))
        return self.app

    @property
    def jobs(self) -> JobStore:
        state: Context = self.app.extensions["layoutloop"]
        return state.jobs

    def post(self, path: str, body: object, **headers: str) -> TestResponse:
        return self.app.test_client().post(path, json=body, headers=headers)

    def get(self, path: str) -> Any:
        return self.app.test_client().get(path).get_json()


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    made = Shim(tmp_path)
    yield made
    made.jobs.close()


def capture(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURES / f"webhook_{name}.json").read_text())["body"]
    return body


def assert_refused(answer: TestResponse, status: int, code: str, part: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.get_json()["error"]
    assert error["code"] == code
    assert part in error["message"]


@pytest.mark.parametrize(
    ("name", "trigger"),
    [
        pytest.param("START_TRAINING", "start_training", id="Start Training"),
        pytest.param("ANNOTATION_CREATED", "annotations", id="one"),
        pytest.param("ANNOTATION_CREATED_from_ui_with_parent_prediction", "annotations", id="one without boxes"),
        pytest.param("ANNOTATION_UPDATED", "annotations", id="a change"),
        pytest.param("ANNOTATIONS_CREATED", "annotations", id="many"),
        pytest.param("ANNOTATION_CREATED_skipped", None, id="a skip"),
        pytest.param("ANNOTATIONS_DELETED", None, id="deleted ones"),
        pytest.param("TASKS_CREATED", "tasks", id="new tasks"),
        pytest.param("TASKS_DELETED", None, id="deleted tasks"),
        pytest.param("PROJECT_UPDATED", None, id="a change of the project"),
    ],
)
def test_captured_webhooks(shim: Shim, name: str, trigger: str | None) -> None:
    body = capture(name)
    answer = shim.post("/webhook", body)
    assert answer.status_code == 200
    jobs = shim.jobs.newest()
    if trigger is None:
        assert answer.get_json() == {"status": "ignored", "action": body["action"]}
        assert jobs == []
        return
    kind = "prelabel" if trigger == "tasks" else "retrain"
    assert [(job.project, job.kind, job.trigger) for job in jobs] == [(body["project"]["id"], kind, trigger)]
    assert answer.get_json() == {"status": "queued", "job": jobs[0].id}


def without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    *parents, last = path
    at = body
    for name in parents:
        at = at[name]
    del at[last]
    return body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(without(capture("ANNOTATION_CREATED"), "project"), "names no project", id="no project"),
        pytest.param(without(capture("ANNOTATION_CREATED"), "project", "id"), "names no project", id="no id"),
        pytest.param(capture("ANNOTATION_CREATED") | {"project": {"id": "../x"}}, "got '../x'", id="a path"),
        pytest.param(capture("ANNOTATION_CREATED") | {"project": {"id": True}}, "got True", id="no number"),
        pytest.param(capture("ANNOTATION_CREATED") | {"project": [1]}, "got [1]", id="a list"),
        pytest.param(without(capture("TASKS_CREATED"), "project"), "names no project", id="tasks of no project"),
        pytest.param(without(capture("ANNOTATION_CREATED"), "annotation"), "no annotation", id="no annotation"),
        pytest.param(capture("ANNOTATION_CREATED") | {"annotation": 5}, "no annotation", id="annotation: a number"),
        pytest.param(capture("ANNOTATIONS_CREATED") | {"annotation": []}, "no annotation", id="none of many"),
        pytest.param(
            capture("ANNOTATIONS_CREATED") | {"annotation": [{"was_cancelled": True}]}, "skipped", id="many skips"
        ),
    ],
)
def test_odd_annotation_events_are_ignored_with_a_line(
    shim: Shim, caplog: pytest.LogCaptureFixture, body: dict[str, Any], why: str
) -> None:
    caplog.set_level(logging.INFO)
    answer = shim.post("/webhook", body)
    assert (answer.status_code, answer.get_json()["status"]) == (200, "ignored")
    assert [line for line in caplog.messages if body["action"] in line and why in line]
    assert shim.jobs.newest() == []


def test_a_skip_among_others_counts_for_nothing_and_the_others_count(shim: Shim) -> None:
    body = capture("ANNOTATIONS_CREATED")
    body["annotation"].insert(0, {"was_cancelled": True})
    assert shim.post("/webhook", body).get_json()["status"] == "queued"


@pytest.mark.parametrize(
    "project", [None, {}, {"id": None}, {"id": "x"}, {"id": {"id": 1}}, [7], "../x"], ids=lambda project: str(project)
)
def test_start_training_without_a_project_is_refused(shim: Shim, project: object) -> None:
    answer = shim.post("/webhook", {"action": "START_TRAINING", "project": project})
    assert_refused(answer, 400, "request_invalid", "project")
    assert shim.jobs.newest() == []


def test_annotations_start_nothing_where_that_is_off(shim: Shim) -> None:
    shim.make_app(train_every=0)
    assert shim.post("/webhook", capture("ANNOTATION_CREATED")).get_json()["status"] == "ignored"
    assert shim.post("/webhook", capture("START_TRAINING")).get_json()["status"] == "queued"
    assert [job.trigger for job in shim.jobs.newest()] == ["start_training"]


def test_a_burst_is_one_job_and_start_training_joins_it(shim: Shim) -> None:
    bodies = [capture("ANNOTATION_CREATED") for _ in range(5)] + [capture("START_TRAINING")]
    ids = {shim.post("/webhook", body).get_json()["job"] for body in bodies}
    assert [job.id for job in shim.jobs.newest()] == list(ids)
    assert shim.jobs.newest()[0].trigger == "start_training"


def test_train(shim: Shim) -> None:
    answer = shim.post("/train", {"project": "7.1795327242", "force": True, "dry_run": False, "from_current": True})
    assert answer.status_code == 202
    (job,) = shim.jobs.newest()
    assert answer.get_json() == {"job": job.id}
    assert (job.project, job.kind, job.trigger) == (7, "retrain", "api")
    assert job.options == {"force": True, "from_current": True}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        pytest.param({}, "needs the project", id="nothing"),
        pytest.param({"project": None}, "needs the project", id="null"),
        pytest.param({"project": "../x"}, "got '../x'", id="a path"),
        pytest.param({"project": 7, "epochs": 3}, "found ['epochs']", id="an unknown key"),
        pytest.param({"project": 7, "force": "yes"}, "`force` is true or false, got 'yes'", id="a word"),
        pytest.param({"project": 7, "dry_run": None}, "`dry_run` is true or false, got None", id="a flag: null"),
        pytest.param([7], "takes a JSON object", id="a list"),
    ],
)
def test_train_refuses(shim: Shim, body: object, part: str) -> None:
    assert_refused(shim.post("/train", body), 400, "request_invalid", part)
    assert shim.jobs.newest() == []


@pytest.mark.parametrize("path", ["/train", "/webhook"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        pytest.param("http://localhost", True, id="itself"),
        pytest.param("https://localhost", True, id="itself behind TLS"),
        pytest.param("http://localhost:8080", False, id="another port"),
        pytest.param("http://evil.example", False, id="another site"),
        pytest.param("http://localhost.evil.example", False, id="a name that begins alike"),
        pytest.param("null", False, id="a file or a frame"),
        pytest.param("http://[::1", False, id="no address"),
        pytest.param("", False, id="empty"),
    ],
)
def test_other_sites_cannot_start_a_training(shim: Shim, path: str, origin: str, allowed: bool) -> None:
    body = {"project": 7} if path == "/train" else capture("START_TRAINING")
    answer = shim.post(path, body, Origin=origin)
    if allowed:
        assert answer.status_code in (200, 202)
    else:
        assert_refused(answer, 403, "cross_site", "may not send changes here")
    assert len(shim.jobs.newest()) == int(allowed)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_of_another_site_is_no_json(shim: Shim, content_type: str) -> None:
    """The content types that a browser sends across sites without asking first."""
    answer = shim.app.test_client().post("/train", data='{"project": 7}', content_type=content_type)
    assert_refused(answer, 400, "request_invalid", "Content-Type application/json")


def test_jobs_newest_first(shim: Shim) -> None:
    ids = []
    for project in (7, 8, 7):
        ids.append(shim.jobs.submit(project, "restore", "command", {"version": str(len(ids))}).id)
        time.sleep(0.002)
    assert [job["id"] for job in shim.get("/jobs")["jobs"]] == ids[::-1]
    assert [job["id"] for job in shim.get("/jobs?project=7")["jobs"]] == [ids[2], ids[0]]
    assert [job["id"] for job in shim.get("/jobs?limit=1")["jobs"]] == [ids[2]]
    assert shim.get("/jobs?project=9") == {"jobs": []}


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=-1", "limit=" + "9" * 5000, "project=x"])
def test_jobs_refuses(shim: Shim, query: str) -> None:
    assert_refused(shim.app.test_client().get(f"/jobs?{query}"), 400, "request_invalid", query.partition("=")[0])


def test_one_job_as_it_goes(shim: Shim) -> None:
    job_id = shim.post("/train", {"project": 7}).get_json()["job"]
    assert shim.get(f"/jobs/{job_id}")["state"] == "queued"
    shim.jobs.claim("one")
    shim.jobs.update(job_id, 1, step="train", epoch=1.5, epochs=10, loss=0.25, eta_s=30.0, f1=0.5)
    body = shim.get(f"/jobs/{job_id}")
    assert Job.from_json(body) == shim.jobs.get(job_id)
    assert (body["state"], body["step"], body["epoch"], body["eta_s"], body["f1"]) == ("running", "train", 1.5, 30, 0.5)


def test_too_many_waiting_jobs_are_refused(shim: Shim) -> None:
    for project in range(MOST_QUEUED):
        shim.jobs.submit(project, "retrain", "api")
    for path, body in (("/train", {"project": 5000}), ("/webhook", capture("START_TRAINING") | {"project": 5000})):
        assert_refused(shim.post(path, body), 503, "overloaded", "200 training jobs wait already")
    assert shim.post("/train", {"project": 7}).status_code == 202


@pytest.mark.parametrize("job_id", ["nobody", "%00", "x" * 500, "ü"])
def test_an_unknown_job(shim: Shim, job_id: str) -> None:
    assert_refused(shim.app.test_client().get(f"/jobs/{job_id}"), 404, "job_not_found", "no job has the id")


@pytest.mark.parametrize("path", ["/webhook", "/train", "/jobs", "/jobs/abc"])
def test_a_redis_that_is_away_is_said_and_nothing_falls_back(shim: Shim, tmp_path: Path, path: str) -> None:
    shim.make_app(redis_url=REDIS_THAT_IS_NOT_THERE)
    began = time.monotonic()
    if path.startswith("/jobs"):
        answer = shim.app.test_client().get(path)
    else:
        answer = shim.post(path, {"project": 7} if path == "/train" else capture("START_TRAINING"))
    assert time.monotonic() - began < 1
    assert_refused(answer, 503, "jobs_unavailable", "Redis at 127.0.0.1:1 cannot be used")
    assert "open-sesame" not in answer.text
    assert not (tmp_path / "var" / "jobs.db").exists()


def test_webhooks_are_answered_while_training_reports(shim: Shim) -> None:
    """A training process that reports a hundred times a second, from a connection of its own, keeps nobody waiting."""
    job_id = shim.post("/train", {"project": 9}).get_json()["job"]
    writer = Shim(shim.app.extensions["layoutloop"].settings.home.parent)
    writer.jobs.claim("one")
    ended = threading.Event()

    def report() -> None:
        done = 0
        while not ended.is_set():
            done += 1
            writer.jobs.update(job_id, 1, step="train", done=done)
            ended.wait(0.01)

    thread = threading.Thread(target=report)
    thread.start()
    times = []
    for number in range(100):
        body = capture("ANNOTATION_CREATED") | {"project": {"id": 10 + number // 2}}  # each is new once, then joined
        began = time.monotonic()
        assert shim.post("/webhook", body).status_code == 200
        times.append(time.monotonic() - began)
    ended.set()
    thread.join()
    writer.jobs.close()
    assert sorted(times)[-2] < 0.3
    assert len(shim.jobs.newest()) == 51


def test_unknown_projects_leave_room_in_the_queue(shim: Shim) -> None:
    """Known are those with a model, and those in the trainer's list; a webhook's title proves nothing."""
    client, settings = shim.app.test_client(), shim.app.extensions["layoutloop"].settings
    (settings.model_dir / "project-7").mkdir(parents=True)
    home = settings.home
    home.mkdir(exist_ok=True)
    (home / STATUS_FILE).write_text(json.dumps({"time": time.time(), "ok": True, "projects": {"8": "Eight"}}))
    answers = []
    for project in range(1000, 1020 + MOST_UNKNOWN):
        event = {"action": "START_TRAINING", "project": {"id": project, "title": "Mine"}}
        answers.append(client.post("/webhook", json=event).status_code)
        answers.append(client.post("/train", json={"project": project}).status_code)
    assert Counter(answers) == {200: MOST_UNKNOWN, 202: MOST_UNKNOWN, 503: 2 * 20}
    for project in (7, 8):
        assert client.post("/train", json={"project": project}).status_code == 202
    assert client.post("/train", json={"project": 9}).status_code == 503
