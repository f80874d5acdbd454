"""Assembles the shim: settings in, Flask app out."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from handler.machine import machine_failed
from layoutloop.errors import LayoutLoopError
from layoutloop.jobs.queue import open_jobs
from layoutloop.processes.side_threads import THREADS
from layoutloop.settings.serving import Settings
from layoutloop.store.mirror import StoreMirror
from layoutloop.store.model_store import ModelStore
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.image_fetcher import ImageFetcher, ImageRules
from layoutloop.torchserve.in_service import InServiceModels
from layoutloop.torchserve.inference import inference_client
from shim.access import log_refusal
from shim.context import Context
from shim.dashboard.routes import dashboard
from shim.names import refuse_unknown_names
from shim.predict.answer_cache import AnswerCache
from shim.predict.answering import PageAnswer, PageAnswerer
from shim.predict.metrics import Metrics
from shim.predict.pool import PagePool
from shim.predict.predictor import Predictor
from shim.project_titles import ProjectTitles
from shim.recent_warnings import RecentWarnings, keep_warnings
from shim.routes import routes
from shim.version_reports import VersionReports

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 2**20
"""Of one request; 300 tasks with their old predictions are about a megabyte."""

_JOBS_WAIT_S = 0.5
"""Job records that are locked or silent hold up requests for so long, and all of them together: a thread that waits
is one that /health lacks, and Label Studio waits a second."""


def create_app(settings: Settings) -> Flask:
    """Return the app; it sends no request yet, but a thread begins to read a model store at a URL."""
    settings = _with_copy(settings)
    app = Flask("layoutloop", static_folder=None)  # Flask's own would serve a `static` of the working folder to anyone
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    warnings = keep_warnings(app)
    if not settings.label_studio_api_key:
        logger.warning("%s", NO_KEY)
    app.extensions["layoutloop"] = _state(settings, warnings)
    app.before_request(refuse_unknown_names)
    app.register_blueprint(routes)
    app.register_blueprint(dashboard)
    app.register_error_handler(LayoutLoopError, _on_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(OSError, _on_system_error)
    return app


def _with_copy(settings: Settings) -> Settings:
    """Return settings with a model store on this disk: pages, /health and the dashboard read it all the time."""
    if isinstance(settings.model_dir, Path):
        return settings
    mirror = StoreMirror(settings.model_dir, settings.home.resolve() / THREADS / "shim")
    mirror.start()
    return replace(settings, model_dir=mirror.folder)


def _state(settings: Settings, warnings: RecentWarnings) -> Context:
    client = inference_client(settings)
    # As many as are read and tagged at a time, and as many again that are fetched or wait.
    pool: PagePool[PageAnswer] = PagePool(4 * settings.ocr_workers, settings.max_waiting_pages, client.node_count)
    metrics = Metrics(lambda: pool.waiting)
    key = LabelStudioKey(settings.label_studio_url, settings.label_studio_api_key)
    rules = ImageRules(settings.image_hosts, settings.image_networks, settings.max_image_bytes)
    fetcher = ImageFetcher(settings.label_studio_url, key, rules)
    store = ModelStore(settings.model_dir)
    models = InServiceModels(store, client, settings.ocr_workers, settings.project_workers)
    cache = AnswerCache(settings.home / "answers.db")
    answerer = PageAnswerer(models, fetcher, metrics, cache, settings.deadline_s)
    return Context(
        settings=settings,
        store=store,
        client=client,
        predictor=Predictor(settings, answerer, pool, metrics),
        metrics=metrics,
        jobs=open_jobs(settings.jobs_url, wait_s=_JOBS_WAIT_S),
        titles=ProjectTitles(settings.home / "project-titles.json"),
        warnings=warnings,
        reports=VersionReports(),
        started=time.time(),
    )


def _on_error(error: LayoutLoopError) -> tuple[Response, int, dict[str, str]]:
    return jsonify({"error": {"code": error.code, "message": str(error)}}), error.status, log_refusal(error)


def _on_system_error(error: OSError) -> tuple[Response, int, dict[str, str]]:
    """Answer where the system refuses something: no file is at fault that a request named."""
    return _on_error(machine_failed(error))


def _on_http_error(error: HTTPException) -> tuple[Response, int]:
    code = error.name.lower().replace(" ", "_")
    response = jsonify({"error": {"code": code, "message": error.description or error.name}})
    return response, error.code or 500
