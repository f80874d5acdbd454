"""What one app keeps until it ends."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from layoutloop.jobs.queue import JobStore
from layoutloop.settings.serving import Settings
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.inference import InferenceClient
from shim.predict.metrics import Metrics
from shim.predict.predictor import Predictor
from shim.project_titles import ProjectTitles
from shim.recent_warnings import RecentWarnings
from shim.version_reports import VersionReports


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that the routes use.

    Args:
        settings: the shim's.
        store: the model store as it is read here.
        client: of TorchServe.
        predictor: answers /predict.
        metrics: what is counted.
        jobs: the job records.
        titles: of projects, from webhooks.
        warnings: the newest of this process.
        reports: those of versions, each read once.
        started: when the counting began, Unix seconds.
    """

    settings: Settings
    store: ModelStore
    client: InferenceClient
    predictor: Predictor
    metrics: Metrics
    jobs: JobStore
    titles: ProjectTitles
    warnings: RecentWarnings
    reports: VersionReports
    started: float


def context() -> Context:
    """Return what the app keeps."""
    kept: Context = current_app.extensions["layoutloop"]
    return kept
