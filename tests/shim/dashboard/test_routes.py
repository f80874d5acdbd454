"""The dashboard as a browser asks for it: a real model store, real reports, real job records."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from layoutloop.jobs.queue import JobStore
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.thresholds import read_thresholds
from layoutloop.store.writing import write_json
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.status import STATUS_FILE
from layoutloop.sure import Sure
from shim.app import create_app
from shim.context import Context
from shim.dashboard.view import MOST_ENDED, MOST_PROJECTS, MOST_VERSIONS
from tests.shim.predict.test_predictor import OCR_CARD, V1, V2, put_into_service
from tests.shim.test_training_routes import REDIS_THAT_IS_NOT_THERE
from training.measure.gate import Verdict
from training.measure.reliability import Bin, Curve, Reliability
from training.measure.scoring import LabelScore, PageScore, Scores
from training.report.files import keep_report
from training.report.report import Report

USER, PASSWORD = "annotator", "open sesame"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
PROTECTED = {"basic_auth_user": USER, "basic_auth_pass": PASSWORD}
HERE = {"Origin": "http://localhost"}
BAIT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
V3 = "20261122T103000Z"
DASHBOARD = Path(__file__).resolve().parents[3] / "shim" / "dashboard"
_VOID = {"meta", "link", "img", "br", "hr", "input"}


def scores(f1: float) -> Scores:
    labels = (LabelScore("total", 0.8, 0.6, 0.686, 10, 9), LabelScore("never there", 0.0, 0.0, 0.0, 0, 0))
    return Scores(labels, LabelScore("all labels", 0.75, 0.65, f1, 10, 9), (PageScore(1, 0, 6, 10, 9),))


class Board:
    """An app, its model store with `ocr` in it, and its jobs."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.home = folder / "var"
        put_into_service(self.store, OCR_CARD)
        self.app = self.make_app()

    def make_app(self, **settings: Any) -> Flask:
        given = {"model_dir": self.store, "home": self.home, "label_studio_api_key": "key"} | settings
        self.app = create_app(Settings(**given))
        return self.app

    @property
    def state(self) -> Context:
        state: Context = self.app.extensions["layoutloop"]
        return state

    @property
    def jobs(self) -> JobStore:
        return self.state.jobs

    def version(self, stamp: str, project: int = 7, f1: float | None = 0.8, kept: bool = True, **report: Any) -> None:
        """What a promotion leaves."""
        name = f"project-{project}"
        put_into_service(self.store, VersionCard(name, stamp, ("total",), base_model="graft:minilm"))
        if kept:
            (self.store / name / f"checkpoint-{stamp}").mkdir()
        given = {"verdict": Verdict(True, "better"), "trained_pages": 24, "validation_pages": 6} | report
        measured = None if f1 is None else scores(f1)
        keep_report(ModelStore(self.store), Report(name, ("total",), stamp, scores=measured, **given))

    def node(self, errors: Mapping[str, str] | None = None) -> None:
        report = {"time": time.time(), "holds": {"ocr": [OCR_CARD.version]}, "errors": dict(errors or {})}
        write_json(self.store / ".nodes" / "box-7080.json", report)

    def get(self, path: str = "/dashboard", **headers: str) -> TestResponse:
        return self.app.test_client().get(path, headers=headers, buffered=True)

    def post(self, path: str, headers: Mapping[str, str] = HERE) -> TestResponse:
        return self.app.test_client().post(path, headers=dict(headers))

    def page(self, path: str = "/dashboard") -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        check_html(answer.text)
        return answer.text


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.jobs.close()


class Checker(HTMLParser):
    """Fails at an end tag that closes nothing, an id that is there twice, or a heading that skips a level."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.level = 0
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        assert len(found) == len(attributes), (tag, attributes)
        self.seen.append((tag, found))
        if tag not in _VOID:
            self.open.append(tag)
        if "id" in found:
            assert found["id"] not in self.ids, found
            self.ids.add(str(found["id"]))
        if re.fullmatch("h[1-6]", tag):
            assert int(tag[1]) <= self.level + 1, f"{tag} after h{self.level}"
            self.level = int(tag[1])

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}>"


def check_html(text: str) -> Checker:
    checker = Checker()
    if not text.startswith("<!doctype html>"):
        checker.level = 1  # a part of a page that has its h1
    checker.feed(text)
    checker.close()
    assert checker.open == []
    for tag, attributes in checker.seen:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        assert tag != "script" or str(attributes.get("src", "")).startswith("/dashboard/static/")
        for name in ("aria-labelledby", "for"):
            assert all(one in checker.ids for one in str(attributes.get(name) or "").split()), attributes
    return checker


def words(text: str) -> str:
    """What a person reads: tags become spaces."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_an_empty_installation_says_what_to_do_next(board: Board) -> None:
    text = words(board.page())
    assert "No project yet. Connect one in Label Studio" in text
    assert "No training was requested yet" in text
    assert "Predictions down" in text
    assert "No TorchServe reports" in text
    board.jobs.submit(7, "retrain", "start_training")
    assert "No model yet. Annotate some pages" in words(board.page())


@pytest.mark.parametrize(
    ("counted_by", "times"), [pytest.param("words", 0, id="words"), pytest.param("boxes", 3, id="boxes")]
)
def test_f1_by_boxes_is_called_that(board: Board, counted_by: str, times: int) -> None:
    board.version(V1, counted_by=counted_by)
    shown = board.page()
    assert shown.count(">F1 by boxes<") == times, "beside the version in service, over its labels, in the list"
    assert ("A dashed dot is F1 by boxes" in shown) == bool(times)


@pytest.mark.parametrize(("other_box", "times"), [pytest.param(3, 1, id="counted"), pytest.param(None, 0, id="not")])
def test_a_wrong_box_is_told_from_what_was_not_found(board: Board, other_box: int | None, times: int) -> None:
    board.version(V1)
    page = PageScore(1, 0, 6, 10, 9, other_box=other_box)
    measured = replace(scores(0.5), pages=(page,))
    keep_report(ModelStore(board.store), Report("project-7", ("total",), V1, scores=measured))
    assert words(board.page()).count("Box right 60% Label right, other box 30% Not found 10%") == times


def test_a_project_in_full(board: Board) -> None:
    board.node()
    board.version(V1, f1=0.7)
    board.version(V2, f1=None, kept=False)
    board.version(V3, f1=0.8114, ended="2026-11-22T10:45:10+00:00")
    board.state.titles.note({"project": {"id": 7, "title": "Invoices"}})
    html = board.page()
    text = words(html)
    assert "Predictions ready" in text
    assert "Invoices project 7" in text
    assert f"In service {V3} since 2026-11-22 10:45 UTC" in text
    assert "F1 0.811 Learned from 24 pages, measured on 6 others Started from graft:minilm" in text
    assert "all labels 0.750 0.650 0.811 10" in text
    assert "total 0.800 0.600 0.686 10" in text
    assert "never there – – – 0" in text  # noqa: RUF001
    assert "Oldest first." in text
    assert "3 versions" in text
    assert re.findall(r"/dashboard/projects/7/versions/(\w+)/report", html) == [V3, V2, V1]
    assert "08:30: 0.700; 09:30: not measured; 10:30 (in service): 0.811." in text
    restores = re.findall(r"versions/(\w+)/restore", html)
    assert restores == [V1], "not the one in service, and not one whose checkpoint is gone"


def test_the_version_in_service_is_shown_however_many_are_newer(board: Board) -> None:
    board.version(V1)
    folder = board.store / "project-7"
    for number in range(MOST_VERSIONS + 10):
        (folder / f"project-7-20261123T08{number:02}00Z.report.json").write_text("{}")
    html = board.page()
    assert f"In service {V1} since" in words(html)
    assert html.count('class="version"') == MOST_VERSIONS


@pytest.mark.parametrize(
    ("job", "report", "restored_from", "since"),
    [
        pytest.param(True, "2026-11-22T10:45:10+00:00", None, None, id="its job ended"),
        pytest.param(False, "2026-11-22T10:45:10+00:00", None, "2026-11-22 10:45", id="its report ended"),
        pytest.param(False, "", None, "2026-11-22 10:30", id="its stamp"),
        pytest.param(False, "2026-11-20T10:45:10+00:00", V1, "2026-11-22 10:30", id="restored: an old report"),
    ],
)
def test_since_when(board: Board, job: bool, report: str, restored_from: str | None, since: str | None) -> None:
    board.version(V3, ended=report)
    card = VersionCard("project-7", V3, ("total",), restored_from=restored_from)
    write_json(board.store / "project-7" / f"project-7-{V3}.json", card.to_json())
    if job:
        queued = board.jobs.submit(7, "retrain", "api")
        board.jobs.claim("w")
        board.jobs.finish(queued.id, 1, verdict="promoted", message="first", version=V3)
        since = time.strftime("%Y-%m-%d %H:", time.gmtime())
    assert f"{V3} since {since}" in words(board.page())


def test_nothing_shown_can_be_more_than_text(board: Board) -> None:
    hostile = scores(0.5)
    label = LabelScore(BAIT, 0.5, 0.5, 0.5, 4, 4)
    board.version(V1)
    board.version(V2, base=BAIT)
    report = Report("project-7", (BAIT,), V2, scores=Scores((label,), hostile.overall, hostile.pages))
    keep_report(ModelStore(board.store), report)
    write_json(
        board.store / "project-7" / f"project-7-{V2}.json",
        VersionCard("project-7", V2, (BAIT,), base_model=BAIT, restored_from=BAIT).to_json(),
    )
    board.state.titles.note({"project": {"id": 7, "title": BAIT}})
    board.node({BAIT: BAIT})
    board.app.test_client().post("/predict", json={"tasks": BAIT, "label_config": BAIT, BAIT: 1})
    one = board.jobs.submit(7, "restore", "api", {"version": BAIT})
    board.jobs.claim(BAIT)
    board.jobs.update(one.id, 1, step=BAIT)
    board.jobs.submit(7, "retrain", "api", {BAIT: True})
    board.page()
    board.jobs.fail(one.id, 1, BAIT)
    for path in ("", "/live", "/projects/7/train", "/projects/7/thresholds", f"/projects/7/versions/{V1}/restore"):
        text = board.get(f"/dashboard{path}").text
        checker = check_html(text)
        assert "<script>alert" not in text
        assert "<img" not in text
        assert not any(tag == "img" for tag, _ in checker.seen)
    assert text.count("&lt;script&gt;") >= 1


PAGES = [
    "",
    "/live",
    "/projects/7/train",
    "/projects/7/thresholds",
    f"/projects/7/versions/{V1}/restore",
    f"/projects/7/versions/{V1}/report",
    "/static/dashboard.css",
    "/static/dashboard.js",
    "/projects/x/train",
    f"/projects/7/versions/{V2}/restore",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_asks_for_basic_auth_and_says_what_a_browser_may_do(board: Board, path: str) -> None:
    board.version(V1)
    board.version(V2)
    board.make_app(**PROTECTED)
    stranger = board.get(f"/dashboard{path}")
    assert (stranger.status_code, stranger.headers["WWW-Authenticate"]) == (401, 'Basic realm="LayoutLoop"')
    assert "Invoices" not in stranger.text
    known = board.get(f"/dashboard{path}", **BASIC)
    assert known.status_code in (200, 404, 409)
    for answer in (stranger, known):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert ("script-src" in policy) != ("sandbox" in policy)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "static" in path or answer.headers["Cache-Control"] == "no-store"
        assert "static" in path or answer.content_type == "text/html; charset=utf-8"


def test_a_browsers_first_ask_is_no_warning_and_a_wrong_password_is_one(board: Board) -> None:
    board.make_app(**PROTECTED)
    assert board.get().status_code == 401
    assert board.state.warnings.newest() == ()
    wrong = {"Authorization": "Basic " + base64.b64encode(f"{USER}:not it".encode()).decode()}
    assert board.get(**wrong).status_code == 401
    assert [warned.code for warned in board.state.warnings.newest()] == ["unauthorized"]


def test_no_static_folder_of_another_program_is_served(board: Board) -> None:
    served = {rule.rule for rule in board.app.url_map.iter_rules() if "filename" in rule.rule}
    assert served == {"/dashboard/static/<path:filename>"}


ALLOWED = [
    pytest.param({"Origin": "http://localhost"}, id="Origin alone: plain HTTP to another machine"),
    pytest.param({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, id="both"),
    pytest.param({"Sec-Fetch-Site": "same-origin"}, id="Sec-Fetch-Site alone"),
]
REFUSED = [
    pytest.param({}, id="neither"),
    pytest.param({"Referer": "http://localhost/dashboard"}, id="only a Referer"),
    pytest.param({"Origin": "null"}, id="Origin: null"),
    pytest.param({"Origin": ""}, id="an empty Origin"),
    pytest.param({"Origin": "http://evil.example"}, id="another site"),
    pytest.param({"Origin": "http://localhost:8080"}, id="another port"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, id="another port, as Sec-Fetch-Site says it"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
    pytest.param({"Sec-Fetch-Site": "none"}, id="typed in"),
    pytest.param({"Sec-Fetch-Site": ""}, id="an empty Sec-Fetch-Site"),
    pytest.param({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, id="two that disagree"),
    pytest.param({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, id="two that disagree, reversed"),
]
FORMS = ["/dashboard/projects/7/train", f"/dashboard/projects/7/versions/{V1}/restore"]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("headers", ALLOWED)
def test_our_own_forms_queue_a_job(board: Board, path: str, headers: dict[str, str]) -> None:
    board.version(V1)
    board.version(V2)
    answer = board.post(path, headers)
    (job,) = board.jobs.newest()
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/dashboard#job-{job.id}")
    kind, options = ("restore", {"version": V1}) if "restore" in path else ("retrain", {})
    assert (job.project, job.kind, job.trigger, job.options) == (7, kind, "dashboard", options)
    assert f'id="job-{job.id}"' in board.page()
    assert board.post(path, headers).headers["Location"] == f"/dashboard#job-{job.id}", "pressed twice: the same job"


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("headers", REFUSED)
def test_forms_of_others_queue_nothing(board: Board, path: str, headers: dict[str, str]) -> None:
    board.version(V1)
    board.version(V2)
    board.make_app(**PROTECTED)  # a browser sends it along with every site's forms
    answer = board.post(path, headers | BASIC)
    assert answer.status_code == 403
    check_html(answer.text)
    assert board.jobs.newest() == []
    assert board.post(path, HERE).status_code == 401
    assert board.jobs.newest() == []
    assert board.post(path, HERE | BASIC).status_code == 303


@pytest.mark.parametrize("headers", REFUSED)
def test_a_pre_labelling_is_stopped_by_our_own_button_alone(board: Board, headers: dict[str, str]) -> None:
    job = board.jobs.submit(7, "prelabel", "promotion")
    path = f"/dashboard/jobs/{job.id}/stop"
    forms = [attributes for tag, attributes in check_html(board.page()).seen if tag == "form"]
    assert {"method": "post", "action": path} in forms
    assert board.post(path, headers).status_code == 403
    assert board.jobs.get(job.id).state == "queued"
    answer = board.post(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/dashboard#job-{job.id}")
    assert board.jobs.get(job.id).verdict == "stopped"
    page = board.page()
    assert "Stopped on the dashboard." in page
    assert path not in page
    training = board.jobs.submit(7, "retrain", "api")
    assert f"/dashboard/jobs/{training.id}/stop" not in board.page()
    assert board.post(f"/dashboard/jobs/{training.id}/stop").status_code == 400
    assert board.jobs.get(training.id).state == "queued"


@pytest.mark.parametrize("path", FORMS)
def test_a_button_asks_once_before_anything_is_queued(board: Board, path: str) -> None:
    board.version(V1)
    board.version(V2)
    checker = check_html(board.page(path))
    forms = [attributes for tag, attributes in checker.seen if tag == "form"]
    assert forms == [{"class": "ask", "method": "post", "action": path}]
    assert board.jobs.newest() == []


THRESHOLDS = "/dashboard/projects/7/thresholds"


def test_thresholds_are_set_label_by_label(board: Board) -> None:
    board.version(V1)
    assert f'action="{THRESHOLDS}"' in board.page()
    assert 'name="label" value="total"' in board.page(THRESHOLDS)
    post = board.app.test_client().post
    answer = post(THRESHOLDS, data={"label": ["total", "date"], "threshold": ["0.97", " "]}, headers=HERE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dashboard#project-7")
    assert read_thresholds(board.store, "project-7", 0.0).own == {"total": 0.97}
    assert 'value="0.97"' in board.page(THRESHOLDS)


@pytest.mark.parametrize("typed", ["high", "1.5", "-0.1", "nan", "97"])
def test_a_threshold_that_is_no_score_is_refused(board: Board, typed: str) -> None:
    board.version(V1)
    answer = board.app.test_client().post(THRESHOLDS, data={"label": ["total"], "threshold": [typed]}, headers=HERE)
    assert answer.status_code == 400
    assert "the threshold of" in answer.text
    assert read_thresholds(board.store, "project-7", 0.0).own == {}


def test_a_project_without_a_version_has_no_thresholds(board: Board) -> None:
    given = {"label": ["total"], "threshold": ["0.5"]}
    assert board.app.test_client().post(THRESHOLDS, data=given, headers=HERE).status_code == 409
    assert not (board.store / "project-7").exists(), "a folder would make the project a known one"


@pytest.mark.parametrize("headers", REFUSED)
def test_forms_of_others_set_no_threshold(board: Board, headers: dict[str, str]) -> None:
    board.version(V1)
    given = {"label": ["total"], "threshold": ["0.5"]}
    assert board.app.test_client().post(THRESHOLDS, data=given, headers=headers).status_code == 403
    assert read_thresholds(board.store, "project-7", 0.0).own == {}


def test_what_scores_are_worth_is_shown_where_thresholds_are_set(board: Board) -> None:
    sure = Sure(0.97, 140, 0, 226)
    curve = Curve(0.02, 0.05, (Bin(0.6, 0.55, 113), Bin(0.98, 0.99, 113)))
    board.version(V1, reliability=Reliability(226, 226, curve, None, sure, {"total": sure}))
    page = board.page()
    assert "At 0.97 and above, 62% of the boxes, none wrong of 140." in page
    assert "Of boxes with score 0.98, 99% are right." in page
    assert "at 0.97 and above, 62% of the boxes, none wrong of 140" in board.page(THRESHOLDS)
    board.version(V2, reliability=Reliability(3, 0, curve))
    assert "Scores are not calibrated: 3 boxes on the pages held out are too few, 50 are needed" in board.page()


def test_damaged_thresholds_are_named_and_can_be_replaced(board: Board) -> None:
    board.version(V1)
    (board.store / "project-7" / "thresholds.json").write_text("{")
    assert "thresholds.json cannot be used" in board.page(THRESHOLDS)
    given = {"label": ["total"], "threshold": ["0.5"]}
    assert board.app.test_client().post(THRESHOLDS, data=given, headers=HERE).status_code == 303
    assert "cannot be used" not in board.page(THRESHOLDS)


def test_labels_of_a_version_that_was_not_measured(board: Board) -> None:
    board.version(V1, f1=None)
    assert 'name="label" value="total"' in board.page(THRESHOLDS)


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        pytest.param("localhost:9090", {}, 200, id="localhost"),
        pytest.param("127.0.0.1:9090", {}, 200, id="loopback"),
        pytest.param("[::1]:9090", {}, 200, id="loopback, IPv6"),
        pytest.param("evil.example:9090", {}, 421, id="a name that was bound to 127.0.0.1"),
        pytest.param("localhost.evil.example", {}, 421, id="a name that begins alike"),
        pytest.param("127.0.0.1.evil.example", {}, 421, id="a name that begins like the address"),
        pytest.param("10.0.0.5:9090", {}, 200, id="another address, which is no name"),
        pytest.param(
            "labels.example:9090", {"basic_auth_user": USER, "basic_auth_pass": PASSWORD}, 200, id="with auth"
        ),
        pytest.param("labels.example:9090", {"allow_open_bind": True}, 421, id="a proxy, whose name no setting has"),
        pytest.param("labels.example:9090", {"hosts": ("labels.example",)}, 200, id="in the setting"),
    ],
)
def test_by_which_name_a_browser_may_come(board: Board, host: str, settings: dict[str, Any], status: int) -> None:
    board.make_app(**settings)
    assert board.get("/dashboard", Host=host, **BASIC).status_code == status
    posted = board.post("/dashboard/projects/7/train", {"Host": host, "Origin": f"http://{host}", **BASIC})
    assert posted.status_code == (303 if status == 200 else status)


@pytest.mark.parametrize(
    ("project", "version", "status", "part"),
    [
        pytest.param("7", V2, 409, "in service already", id="the one in service"),
        pytest.param("7", V3, 404, "has no version", id="never there"),
        pytest.param("8", V1, 404, "has no version", id="of another project"),
        pytest.param("7", "20261121T000000Z", 409, "no longer kept", id="its checkpoint is gone"),
        pytest.param("7", "..", 404, "", id="a path"),
        pytest.param("7", "x" * 5000, 404, "", id="a long name"),
        pytest.param("07", V1, 404, "a project is a number", id="an id written otherwise"),
        pytest.param("9" * 5000, V1, 404, "a project is a number", id="5000 digits"),
        pytest.param("-1", V1, 404, "a project is a number", id="a negative one"),
    ],
)
def test_what_cannot_be_restored(board: Board, project: str, version: str, status: int, part: str) -> None:
    board.version("20261121T000000Z", kept=False)
    board.version(V1)
    board.version(V2)
    path = f"/dashboard/projects/{project}/versions/{version}/restore"
    for answer in (board.get(path), board.post(path)):
        assert (answer.status_code, part in answer.text) == (status, True), answer.text
        if part:
            check_html(answer.text)
    assert board.jobs.newest() == []


def test_a_report_is_served_as_it_is_and_can_run_nothing(board: Board) -> None:
    board.version(V1)
    answer = board.get(f"/dashboard/projects/7/versions/{V1}/report")
    assert answer.status_code == 200
    assert answer.data == (board.store / "project-7" / f"project-7-{V1}.report.html").read_bytes()
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert policy.endswith("sandbox")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"7/versions/{V2}", id="no such version"),
        pytest.param("7/versions/rejected-20261122T083000Z", id="another file of the folder"),
        pytest.param("7/versions/..%2Fserving", id="a path"),
        pytest.param(f"7/versions/{V1}%00", id="a zero byte"),
        pytest.param(f"7/versions/{V1}%0A", id="a line end"),
        pytest.param(f"..%2Fproject-7/versions/{V1}", id="a path as the project"),
        pytest.param(f"\N{ARABIC-INDIC DIGIT SEVEN}/versions/{V1}", id="a digit of another script"),
    ],
)
def test_no_other_file_is_served_as_a_report(board: Board, path: str) -> None:
    board.version(V1)
    assert board.get(f"/dashboard/projects/{path}/report").status_code == 404


def test_bad_states_are_said_and_the_rest_is_shown(board: Board) -> None:
    board.node({"project-7 x": "sha256 differs"})
    for project in (7, 8, 9):
        board.version(V1, project)
        board.version(V2, project)
    (board.store / "project-7" / "serving.json").write_text("{")
    (board.store / "project-8" / f"project-8-{V2}.report.json").write_text('{"scores":')
    board.make_app(label_studio_api_key="")
    text = words(board.page())
    assert "project-7/serving.json cannot be understood" in text
    assert f"The report project-8-{V2}.report.json is damaged" in text
    assert "LABEL_STUDIO_API_KEY is not set" in text
    assert "sha256 differs" in text
    write_json(board.home / STATUS_FILE, {"time": time.time(), "ok": False, "sentence": NO_KEY})
    text = words(board.page())
    assert "Label Studio needs a key" in text
    assert "in trouble" not in text
    assert text.count("all labels 0.750 0.650 0.800 10") == 1
    assert text.count("F1 0.800 Learned from 24 pages") == 1


@pytest.mark.parametrize(
    "current", ["x", 7, ["a"], {"a": 1}, "../../etc", V1 + "\n", 1.5, True], ids=lambda value: repr(value)
)
def test_a_version_in_service_that_is_none(board: Board, current: object) -> None:
    board.version(V1)
    path = board.store / "project-7" / "serving.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"current": current}))
    assert "which is no version" in words(board.page())
    assert board.get("/dashboard/projects/7/train").status_code == 200


def test_without_job_records_everything_else_is_shown(board: Board) -> None:
    board.version(V1)
    board.make_app(redis_url=REDIS_THAT_IS_NOT_THERE)
    text = words(board.page())
    assert "The jobs cannot be shown: the job records in Redis at 127.0.0.1:1 cannot be used" in text
    assert "open-sesame" not in text
    assert "all labels 0.750" in text
    answer = board.post("/dashboard/projects/7/train")
    assert answer.status_code == 503
    assert "the job records" in answer.text


def test_a_torchserve_without_ocr_is_not_ready(board: Board) -> None:
    board.node({"torchserve": "TorchServe does not answer"})
    write_json(board.store / "ocr" / "serving.json", {"load": [V3], "current": V3, "sha256": {}})
    text = words(board.page())
    assert "Predictions not ready 1 TorchServe" in text
    assert "box-7080: torchserve: TorchServe does not answer" in text


def test_a_torchserve_that_starts_is_no_failure(board: Board) -> None:
    write_json(board.store / "ocr" / "serving.json", {"load": [V3], "current": V3, "sha256": {}})
    away = {"time": time.time(), "away_since": time.time() - 3, "holds": {}, "errors": {"torchserve": "refused"}}
    write_json(board.store / ".nodes" / "box-7080.json", away)
    page = board.page()
    assert "Predictions starting 1 TorchServe" in words(page)
    assert "TorchServe of box-7080 is starting" in words(page)
    assert "refused" not in page
    assert "bad" not in page.partition('id="live-state"')[2].partition("</section>")[0]


def test_a_failed_job_says_why(board: Board) -> None:
    job = board.jobs.submit(7, "retrain", "annotations")
    board.jobs.claim("w", job.id)
    board.jobs.fail(job.id, 1, "Label Studio refused the key: set LABEL_STUDIO_API_KEY anew")
    text = words(board.page("/dashboard/live"))
    assert "Failed Training · Project 7 Label Studio refused the key: set LABEL_STUDIO_API_KEY anew" in text


def test_a_job_whose_try_broke_off_says_why_and_when_it_goes_on(board: Board) -> None:
    job = board.jobs.submit(7, "retrain", "api")
    board.jobs.claim("w", job.id)
    board.jobs.retry(job.id, 1, "Label Studio does not answer", pause_s=30.0)
    text = words(board.page("/dashboard/live"))
    assert "Try 1 of 5 broke off; the next one begins in 30 s." in text
    assert "The try before: Label Studio does not answer" in text


def test_many_jobs_do_not_make_a_long_page(board: Board) -> None:
    for project in range(30):
        job = board.jobs.submit(project, "retrain", "api")
        board.jobs.claim("w", job.id)
        board.jobs.fail(job.id, 1, "no")
    for project in range(50):
        board.jobs.submit(project, "retrain", "api")
    html = board.page("/dashboard/live")
    assert html.count('id="job-') == 20 + MOST_ENDED
    assert "and 30 more that wait" in words(html)


def test_what_changes_is_the_same_part_of_the_page_and_of_live(board: Board) -> None:
    board.jobs.submit(7, "retrain", "api")
    whole, part = check_html(board.page()), check_html(board.page("/dashboard/live"))
    of_whole = [attributes for _, attributes in whole.seen if "data-live" in attributes]
    assert of_whole == [attributes for _, attributes in part.seen if "data-live" in attributes]
    assert len(of_whole) == 3
    (live,) = [attributes for _, attributes in whole.seen if attributes.get("id") == "live"]
    (fresh,) = [attributes for _, attributes in part.seen if attributes.get("id") == "live"]
    assert live == fresh | {"data-address": "/dashboard/live"}


def test_the_revision_changes_with_what_is_in_service_and_not_with_progress(board: Board) -> None:
    def revision() -> str:
        (found,) = re.findall(r'data-revision="([^"]+)"', board.page("/dashboard/live"))
        return str(found)

    seen = [revision()]
    job = board.jobs.submit(7, "retrain", "api")
    seen.append(revision())  # a new project
    board.jobs.claim("w")
    board.jobs.update(job.id, 1, step="train", done=3)
    board.node()
    assert revision() == seen[-1]
    board.version(V1)
    seen.append(revision())
    keep_report(ModelStore(board.store), Report("project-7", ("total",), V1, trained_pages=99))  # once more
    seen.append(revision())
    board.state.titles.note({"project": {"id": 7, "title": "Invoices"}})
    seen.append(revision())
    board.jobs.finish(job.id, 1, verdict="promoted", message="", version=V1)
    seen.append(revision())
    assert revision() == seen[-1]
    assert len(set(seen)) == 6


def test_of_too_many_projects_the_latest_are_shown(board: Board) -> None:
    for number in range(1, MOST_PROJECTS + 3):
        folder = board.store / f"project-{number}"
        folder.mkdir()
        os.utime(folder, (1_700_000_000 - number, 1_700_000_000 - number))
    board.jobs.submit(MOST_PROJECTS + 2, "retrain", "api")
    board.state.titles.note({"project": {"id": 7000, "title": "only a title"}})
    html = board.page()
    shown = [int(number) for number in re.findall(r'<article id="project-(\d+)"', html)]
    assert shown == [*range(1, MOST_PROJECTS), MOST_PROJECTS + 2]
    assert "and 3 more projects. Shown are those in which something happened last." in words(html)


@pytest.mark.parametrize(
    ("age_s", "ok", "tile", "notice"),
    [
        pytest.param(None, True, "Label Studio not tried yet the trainer will try it", "", id="not asked yet"),
        pytest.param(5, True, "Label Studio answers tried ", "", id="it answers"),
        pytest.param(5, False, "Label Studio in trouble tried ", "the key is refused (401)", id="it does not"),
        pytest.param(900, True, "Label Studio unknown tried ", "is the trainer running", id="no trainer"),
    ],
)
def test_how_the_trainer_met_label_studio(board: Board, age_s: float | None, ok: bool, tile: str, notice: str) -> None:
    if age_s is not None:
        body = {"time": time.time() - age_s, "ok": ok, "sentence": "" if ok else "the key is refused (401)"}
        write_json(board.home / STATUS_FILE, body)
    text = words(board.page("/dashboard/live"))
    notes = board.get("/health").get_json()["notes"]
    assert tile in text
    assert notice in text
    assert [note for note in notes if notice and notice in note] == notes[2:], "beside: no node, no model"
    assert len(notes) == 2 + bool(notice)


@pytest.mark.parametrize(
    ("projects", "shown"),
    [
        pytest.param({"12": "New  <b>Bills</b>"}, ["12"], id="connected"),
        pytest.param({"x": "A", "13": 5, "-4": "B", "1" * 19: "C"}, [], id="nonsense"),
        pytest.param([1, 2], [], id="no object"),
    ],
)
def test_a_connected_project_is_shown_with_its_title_from_the_start(
    board: Board, projects: object, shown: list[str]
) -> None:
    write_json(board.home / STATUS_FILE, {"time": time.time(), "ok": True, "sentence": "", "projects": projects})
    html = board.page()
    assert re.findall(r'<article id="project-(\d+)"', html) == shown
    assert ("New &lt;b&gt;Bills&lt;/b&gt;" in html) == bool(shown)


def test_without_scripts_the_page_comes_anew_while_a_job_goes_on(board: Board) -> None:
    reload = '<noscript><meta http-equiv="refresh" content="10"></noscript>'
    assert reload not in board.page()
    board.jobs.submit(7, "retrain", "api")
    assert reload in board.page()


def test_twenty_projects_of_twenty_versions_are_not_read_anew_each_time(board: Board) -> None:
    card = json.dumps(VersionCard("project-1", V1, ("total",)).to_json())
    pages = tuple(PageScore(number, 0, 6, 10, 9) for number in range(100))
    report = json.dumps(Report("project-1", ("total",), V1, scores=replace(scores(0.5), pages=pages)).to_json())
    for project in range(1, 21):
        board.version(V3, project)
        for number in range(20):
            stem = board.store / f"project-{project}" / f"project-{project}-20261122T08{number:02}00Z"
            Path(f"{stem}.json").write_text(card)
            Path(f"{stem}.report.json").write_text(report)
    board.page()
    began = time.process_time()
    for report_file in board.store.glob("project-*/*.report.json"):
        Report.from_json(json.loads(report_file.read_text()))
    reading = time.process_time() - began
    for path, share in (("/dashboard", 1), ("/dashboard/live", 0.2), ("/health", 0.2)):
        assert min(cpu_seconds(board, path) for _ in range(3)) < share * reading, path


def cpu_seconds(board: Board, path: str) -> float:
    began = time.process_time()
    assert board.get(path).status_code == 200
    return time.process_time() - began


def test_nothing_is_loaded_from_elsewhere() -> None:
    files = [*(DASHBOARD / "templates").iterdir(), *(DASHBOARD / "static").iterdir()]
    assert len(files) > 8
    for path in files:
        text = path.read_text()
        assert "//" not in re.sub(r"^ *// .*$", "", text, flags=re.MULTILINE), path
        assert "|safe" not in text.replace(" ", ""), path


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_stands_out_in_light_and_dark() -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: 4.5 to 1 for text, 3 to 1 for the edges of buttons."""
    css = (DASHBOARD / "static" / "dashboard.css").read_text()
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)]
    assert [len(theme) for theme in themes] == [14, 14]
    for theme in themes:
        pairs = [
            (ink, ground, 4.5) for ink in ("ink", "faint", "link", "good", "bad") for ground in ("ground", "panel")
        ]
        pairs += [("ink", "bad-ground", 4.5), ("on-main", "main", 4.5), ("ink", "button", 4.5), ("busy", "panel", 4.5)]
        pairs += [("edge", "panel", 3.0), ("edge", "ground", 3.0)]
        for ink, ground, least in pairs:
            dark, bright = sorted((_luminance(theme[ink]), _luminance(theme[ground])))
            assert (bright + 0.05) / (dark + 0.05) >= least, (ink, ground)
