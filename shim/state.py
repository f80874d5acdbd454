"""What one app keeps for its life."""

from __future__ import annotations

from dataclasses import dataclass

from shim.job_store import JobStore
from shim.metrics import Metrics
from shim.prediction import Predictor
from shim.settings import Settings


@dataclass(frozen=True, slots=True)
class State:
    """The parts that the routes ask."""

    settings: Settings
    predictor: Predictor
    metrics: Metrics
    jobs: JobStore
