"""The dashboard's routes: pages for a person's browser, and the buttons on them, which queue jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Set

from flask import Blueprint, Response, abort, redirect, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from handler.machine import machine_failed
from layoutloop.errors import CrossSite, LayoutLoopError, ModelNotReady, RequestInvalid, Unauthorized
from layoutloop.jobs.job import Job, Kind
from layoutloop.store.manifest import project_model, project_of
from layoutloop.store.stamps import is_stamp
from layoutloop.store.thresholds import read_thresholds, write_thresholds
from layoutloop.studio.status import read_studio_status
from shim.access import authenticate, given_authorization, log_refusal, refuse_other_sites
from shim.context import context
from shim.dashboard.page import render
from shim.dashboard.view import JobList, Project, StoreView, read_jobs, read_names
from shim.health import health_now
from shim.job_requests import submit
from shim.predict.metrics import Metrics

logger = logging.getLogger(__name__)
dashboard = Blueprint("dashboard", __name__, url_prefix="/dashboard", static_folder="static", static_url_path="/static")
dashboard.before_request(authenticate)

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox"
)
_STOPPED = (
    "Stopped on the dashboard. What was drawn stays; the next promotion or import starts another one, and other tasks "
    "get their boxes when they are opened."
)


@dashboard.after_request
def protect(response: Response) -> Response:
    """Let nothing run or frame these pages but themselves, and keep no copy of them."""
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Not no-referrer: with that a browser sends `Origin: null` with our own forms.
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "dashboard.static":
        response.headers["Cache-Control"] = "no-store"
    return response


@dashboard.errorhandler(LayoutLoopError)
def on_error(error: LayoutLoopError) -> tuple[str, int, dict[str, str]]:
    """Show what was refused, and why."""
    # Every browser tries without a password first: nothing is wrong then.
    is_first = isinstance(error, Unauthorized) and given_authorization() is None
    headers = log_refusal(error, logging.INFO if is_first else logging.WARNING)
    return render("error", title="This was not done", message=str(error)), error.status, headers


@dashboard.errorhandler(OSError)
def on_system_error(error: OSError) -> tuple[str, int, dict[str, str]]:
    """Show what the system refuses."""
    return on_error(machine_failed(error))


@dashboard.errorhandler(HTTPException)
def on_http_error(error: HTTPException) -> tuple[str, int]:
    """Show what is not there."""
    return render("error", title=error.name, message=error.description or error.name), error.code or 500


@dashboard.get("")
def overview() -> str:
    """Show everything."""
    kept = context()
    jobs, shown = read_jobs(kept.jobs)
    projects, more = _store().projects(*_names(), jobs)
    values = {"projects": projects, "more": more, "train_every": kept.settings.train_every}
    return render("dashboard", **_live(jobs, shown), **values)


@dashboard.get("/live")
def live() -> str:
    """Show the part that changes often, for the page's script."""
    jobs, shown = read_jobs(context().jobs)
    return render("live", **_live(jobs, shown))


@dashboard.get("/projects/<project>/train")
def confirm_train(project: str) -> str:
    """Say what a training does, and have it confirmed."""
    return render("train", project=_project(project))


@dashboard.post("/projects/<project>/train")
def train(project: str) -> AnyResponse:
    """Queue a training."""
    return _queue(_project(project).id, "retrain", {})


@dashboard.get("/projects/<project>/thresholds")
def thresholds(project: str) -> str:
    """Show below which score a project's boxes are not drawn, label by label, and have it changed."""
    found = _project(project)
    usual, problem = context().settings.score_threshold, ""
    try:
        own = read_thresholds(context().store.path, project_model(found.id), usual).own
    except ModelNotReady as error:
        own, problem = {}, str(error)
    rows = {row.label: row for row in found.serving.report.rows[1:]} if found.serving else {}
    labels = list(dict.fromkeys([*(rows or (found.serving.labels if found.serving else ())), *own]))
    known = {"labels": labels, "rows": rows, "scored": found.serving.report.scored if found.serving else None}
    return render("thresholds", project=found, usual=usual, own=own, problem=problem, **known)


@dashboard.post("/projects/<project>/thresholds")
def save_thresholds(project: str) -> AnyResponse:
    """Replace a project's own thresholds."""
    refuse_strange_forms()
    found = _project(project)
    if not found.versions:  # a folder would make any number a known project
        abort(409, f"project {found.id} has no version, and so no label to have a threshold")
    given = zip(request.form.getlist("label"), request.form.getlist("threshold"), strict=False)
    own = {label: _number(label, text) for label, text in given if text.strip()}
    write_thresholds(context().store.path, project_model(found.id), own)
    logger.info("dashboard: thresholds of project %d are %s", found.id, own or "the usual one")
    return redirect(url_for("dashboard.overview", _anchor=f"project-{found.id}"), 303)


@dashboard.get("/projects/<project>/versions/<version>/restore")
def confirm_restore(project: str, version: str) -> str:
    """Say what bringing a version back does, and have it confirmed."""
    prelabel = context().settings.prelabel
    return render("restore", project=_restorable(project, version), version=version, prelabel=prelabel)


@dashboard.post("/projects/<project>/versions/<version>/restore")
def restore(project: str, version: str) -> AnyResponse:
    """Queue a restore."""
    return _queue(_restorable(project, version).id, "restore", {"version": version})


@dashboard.post("/jobs/<job>/stop")
def stop(job: str) -> AnyResponse:
    """End a pre-labelling; what it stored stays."""
    refuse_strange_forms()
    ended = context().jobs.stop(job, _STOPPED)
    logger.info("dashboard: job %s of project %d: %s", ended.id, ended.project, ended.verdict)
    return redirect(url_for("dashboard.overview", _anchor=f"job-{ended.id}"), 303)


@dashboard.get("/projects/<project>/versions/<version>/report")
def report(project: str, version: str) -> Response:
    """Serve the page that training wrote beside a version; it may hold nothing that runs."""
    if not is_stamp(version):
        abort(404, f"a version is a stamp like 20261123T083000Z, got {version!r:.80}")
    found = _project(project)
    path = context().store.report_path(project_model(found.id), version)
    try:
        content = path.with_suffix(".html").read_bytes()
    except OSError:
        abort(404, f"version {version} of project {found.id} has no report (any more)")
    return Response(content, mimetype="text/html", headers={"Content-Security-Policy": _REPORT_POLICY})


def refuse_strange_forms() -> None:
    """Refuse a form that no page of ours sent.

    A browser sends the site of a form with it: Origin, and over TLS or on this machine Sec-Fetch-Site too. One of
    them must be there, since Basic auth may be off and a password, once given, goes with every site's requests.

    Raises:
        CrossSite: it is on another site, or no header says where.
    """
    refuse_other_sites()
    site = request.headers.get("Sec-Fetch-Site")
    if site is None and "Origin" not in request.headers:
        raise CrossSite("a button's request names the page it is on, and this one names none; programs POST /train")
    if site not in (None, "same-origin"):
        raise CrossSite(f"the button of a page elsewhere ({site!r:.40}) may not start anything here")


def _number(label: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise RequestInvalid(f"the threshold of {label!r:.80} is a number from 0 to 1, got {text!r:.20}") from error


def _queue(project: int, kind: Kind, options: dict[str, str]) -> AnyResponse:
    refuse_strange_forms()
    job = submit(project, kind, "dashboard", options)
    logger.info("dashboard: job %s of project %d waits", job.id, project)
    return redirect(url_for("dashboard.overview", _anchor=f"job-{job.id}"), 303)


def _live(jobs: list[Job], shown: JobList) -> dict[str, object]:
    kept = context()
    service = health_now()
    titles, _ = read_names(kept.titles, service.studio)
    return {
        "service": service,
        "jobs": jobs,
        "shown": shown,
        "counts": _counts(kept.metrics),
        "titles": titles,
        "warnings": kept.warnings.newest(),
        "started": kept.started,
        "revision": _store().revision(titles, jobs),
    }


def _store() -> StoreView:
    return StoreView(context().store, context().reports)


def _names() -> tuple[dict[int, str], Set[int]]:
    kept = context()
    return read_names(kept.titles, read_studio_status(kept.settings.home, time.time()))


def _counts(metrics: Metrics) -> dict[str, float]:
    outcomes = ("ok", "deferred", "failed")
    sample = metrics.registry.get_sample_value
    found = {outcome: sample("layoutloop_tasks_total", {"outcome": outcome}) or 0.0 for outcome in outcomes}
    return {**found, "waiting": sample("layoutloop_pages_waiting") or 0.0}


def _project(text: str) -> Project:
    number = project_of(f"project-{text}")
    if number is None:
        abort(404, f"a project is a number, got {text!r:.80}")
    return _store().project(number, _names()[0].get(number, ""))


def _restorable(text: str, version: str) -> Project:
    project = _project(text)
    found = next((one for one in project.versions if one.stamp == version), None)
    if found is None:
        abort(404, f"project {project.id} has no version {version!r:.40}")
    if found.in_service:
        abort(409, f"version {version} of project {project.id} is in service already")
    if not found.restorable:
        abort(409, f"the checkpoint of version {version} is no longer kept, so it cannot be brought back")
    return project
