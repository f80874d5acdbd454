"""The routes that Label Studio and people call. Each is thin: parse, call, answer."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, jsonify, request
from gunicorn.http.errors import ParseException
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from layoutloop.errors import LabelConfigUnsupported, LayoutLoopError, ModelNotReady, RequestInvalid, TooManyTasks
from layoutloop.foreign_json import parse_message
from layoutloop.store.copy import store_of
from layoutloop.store.manifest import OCR_MODEL, Manifest, project_model
from layoutloop.studio.label_config import parse_label_config, served_sentence
from shim.access import authenticate, is_authenticated, refuse_other_sites
from shim.context import context
from shim.health import health_now
from shim.job_requests import submit
from shim.predict.handed_out import LONGEST_NAME, MOST_TASKS
from shim.predict.request import parse_predict, parse_project
from shim.webhook import read_event

logger = logging.getLogger(__name__)
routes = Blueprint("routes", __name__)
routes.before_request(authenticate)

_TRAIN_FLAGS = ("force", "dry_run", "from_current")
_MOST_JOBS = 200
_COLD_START = "a project not among `models` has none yet: with RectangleLabels no boxes, with the OCR template text"


@routes.get("/")
@routes.get("/health")
def health() -> Response:
    """Say that the shim is up, and what is in service; sends no request, so that it is always fast."""
    service = health_now()
    body: dict[str, Any] = {"status": "UP", "v2": True, "ready": service.ready}
    if is_authenticated():
        known = (*service.starting, *service.missing, _COLD_START, *service.node_errors, service.studio.problem)
        notes = dict.fromkeys(note for note in known if note)  # a missing key may be in two of them
        body |= {"model_dir": store_of(context().store.path), "models": service.models, "asleep": service.asleep}
        body |= {"nodes": service.nodes, "node_count": len(service.nodes), "notes": list(notes)}
    return jsonify(body)


@routes.post("/setup")
def setup() -> Response:
    """Check the label config and return the version; `hostname` and `access_token` are ignored on purpose.

    Where the config has several controls with labels, `served` says which one is served.
    """
    body = _json_object()
    schema = body.get("schema")
    if not isinstance(schema, str):
        raise RequestInvalid(f"`schema` is the label config as XML, got {type(schema).__name__}; found {sorted(body)}")
    project = parse_project(body.get("project"))
    try:
        config = parse_label_config(schema)
    except LabelConfigUnsupported:
        # Label Studio shows its user only "422 Client Error"; the error handler's log line lacks the project.
        logger.warning("the label config of project %s is refused:", project)
        raise
    answer = {"model_version": context().predictor.version(project, config)}
    if sentence := served_sentence(schema, config):
        context().predictor.log_once(project, sentence)
        answer["served"] = sentence
    return jsonify(answer)


@routes.post("/predict")
def predict() -> Response:
    """Answer one entry per task, in order; a pre-labelling is also told why one is `[]`."""
    parsed = parse_predict(_json_object(), context().settings.max_tasks)
    response = context().predictor.predict(parsed)
    answer: dict[str, Any] = {"results": response.results, "model_version": response.model_version}
    if parsed.is_background:
        answer["errors"] = [error and _error_json(error) for error in response.errors]
    return jsonify(answer)


@routes.post("/take")
def take() -> Response:
    """Return those of the tasks that a pre-labelling may store now: `{"owner": ..., "version": ..., "tasks": [...]}`.

    For Label Studio they have no prediction for a few minutes, which nothing needs to end.
    """
    refuse_other_sites()
    body = _json_object()
    owner, version, tasks = body.get("owner"), body.get("version"), body.get("tasks")
    named = isinstance(owner, str) and owner and isinstance(version, str) and len(owner + version) <= LONGEST_NAME
    if not named or not isinstance(tasks, list):
        raise RequestInvalid(
            f"/take needs `owner` and `version`, both text and not longer than {LONGEST_NAME} characters together, and "
            "`tasks`, a list of task ids"
        )
    if len(tasks) > MOST_TASKS:
        raise TooManyTasks(
            f"/take was sent {len(tasks):,} tasks, at most {MOST_TASKS:,} are taken at a time; send fewer"
        )
    if not all(type(task) is int for task in tasks):
        raise RequestInvalid("`tasks`, a list of task ids, holds something else")
    return jsonify({"tasks": context().predictor.handed_out.take(str(owner), str(version), tasks)})


@routes.post("/webhook")
def webhook() -> Response:
    """Take any event; Start Training and new annotations queue a training, new tasks a pre-labelling."""
    refuse_other_sites()
    body = _json_object()
    context().titles.note(body)
    event = read_event(body)
    settings = context().settings
    is_off = {"annotations": not settings.train_every, "tasks": not settings.prelabel}
    if is_off.get(event.trigger):
        return jsonify({"status": "ignored", "action": event.action})
    if event.project is None:
        if event.why:
            logger.info("webhook %s is ignored: %s", event.action, event.why)
        return jsonify({"status": "ignored", "action": event.action})
    job = submit(event.project, event.kind, event.trigger)
    logger.info("webhook %s: job %s of project %d waits", event.action, job.id, event.project)
    return jsonify({"status": "queued", "job": job.id})


@routes.post("/train")
def train() -> tuple[Response, int]:
    """Queue a training: `{"project": 7}`, with `force`, `dry_run` or `from_current` where that is wanted."""
    refuse_other_sites()
    body = _json_object()
    unknown = sorted(set(body) - {"project", *_TRAIN_FLAGS})
    if unknown:
        raise RequestInvalid(f"/train takes `project` and the flags {', '.join(_TRAIN_FLAGS)}; found {unknown!s:.200}")
    project = parse_project(body.get("project"))
    if project is None:
        raise RequestInvalid('/train needs the project: {"project": 7}')
    flags = {name: body[name] for name in _TRAIN_FLAGS if name in body}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise RequestInvalid(f"`{name}` is true or false, got {value!r:.80}")
    job = submit(project, "retrain", "api", flags)
    logger.info("/train: job %s of project %d waits", job.id, project)
    return jsonify({"job": job.id}), 202


@routes.get("/jobs")
def jobs() -> Response:
    """List jobs, newest first: `?project=7`, `?limit=20`."""
    limit = request.args.get("limit", "50")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 6 and 1 <= int(limit) <= _MOST_JOBS):
        raise RequestInvalid(f"`limit` is a number from 1 to {_MOST_JOBS}, got {limit!r:.80}")
    found = context().jobs.newest(parse_project(request.args.get("project")), int(limit))
    return jsonify({"jobs": [one.to_json() for one in found]})


@routes.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """Return one job's state and progress."""
    return jsonify(context().jobs.get(job_id).to_json())


@routes.get("/versions")
def versions() -> Response:
    """List the versions that are held, of `?project=7` or of every project."""
    project = parse_project(request.args.get("project"))
    store = context().store
    if project is not None:
        found = [store.manifest(project_model(project))]
    else:
        found = [_manifest_or_none(name) for name in store.models() if name != OCR_MODEL]
    held = {version for manifest in found if manifest for version in manifest.load}
    return jsonify({"versions": sorted(held, reverse=True)})


@routes.get("/metrics")
def metrics() -> Response:
    """Answer Prometheus."""
    return Response(generate_latest(context().metrics.registry), content_type=CONTENT_TYPE_LATEST)


def _manifest_or_none(name: str) -> Manifest | None:
    """Return what is in service under a name; a file that cannot be understood hides no other project."""
    try:
        return context().store.manifest(name)
    except ModelNotReady as error:
        logger.warning("%s", error)
        return None


def _error_json(error: LayoutLoopError) -> dict[str, Any]:
    return {"code": error.code, "status": error.status, "message": str(error)}


def _json_object() -> dict[str, Any]:
    try:
        data = request.get_data()
    except (OSError, ParseException) as error:
        raise RequestInvalid(f"the body of this request breaks off or is malformed: {error!s:.200}") from error
    try:
        body = parse_message(data) if request.is_json else None
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RequestInvalid(
            f"{request.path} takes a JSON object with Content-Type application/json, "
            f"got {len(data)} bytes of {request.content_type!s:.80}"
        )
    return body
