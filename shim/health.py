"""What is in service and what is missing, from files alone: /health and the dashboard send no request."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from layoutloop.errors import ModelNotReady
from layoutloop.processes.parts import PARTS
from layoutloop.processes.side_threads import THREADS, TITLES, stopped_threads
from layoutloop.store.copy import FIRST_COPY, is_filling, store_of
from layoutloop.store.disk import disk_problem
from layoutloop.store.manifest import NODE_SILENT_S, OCR_MODEL, is_starting
from layoutloop.store.model_store import ModelStore
from layoutloop.studio.api_key_file import NO_KEY
from layoutloop.studio.status import StudioStatus, read_studio_status
from layoutloop.torchserve.nodes import Refusals
from shim.context import context

NO_NODE = (
    "no TorchServe node reports to this model store: it is starting, or start one with "
    "`scripts/serve.sh --parts torchserve,rollout`"
)
NOT_LOADED = (
    "TorchServe does not hold model `ocr` yet. After a start that takes some seconds; "
    "where it lasts, logs/rollout.log says why"
)
_THREADS = {
    TITLES: "The trainer has not compared titles in Label Studio with the versions in service",
    **{part: f"The copy of the model store that {part} reads was not refreshed" for part in PARTS},
}
_RESTART = "its program's log (in LAYOUTLOOP_HOME/logs) says why, and a restart of that program begins it anew."
_NO_REFUSALS = Refusals()


@dataclass(frozen=True, slots=True)
class Health:
    """The models as their manifests want them, and the nodes as they report.

    Args:
        models: by name, `current` and `load`; None where the manifest cannot be understood.
        nodes: names of those that reported lately.
        asleep: models that no node has a worker for, since they are not used; the first page that comes starts one.
        ready: some node holds the current `ocr`, and not all refuse our pages.
        starting: sentences about what takes a while after a start, and is no failure yet.
        missing: sentences about what is not there.
        node_errors: sentences of the nodes.
        studio: whether Label Studio answers, as the trainer last saw it.
    """

    models: dict[str, Any]
    nodes: tuple[str, ...]
    asleep: tuple[str, ...]
    ready: bool
    starting: tuple[str, ...]
    missing: tuple[str, ...]
    node_errors: tuple[str, ...]
    studio: StudioStatus


def read_health(store: ModelStore, home: Path, *, has_key: bool, refusals: Refusals = _NO_REFUSALS) -> Health:
    """Return what is in service.

    Args:
        store: the model store, or a copy of it.
        home: where this installation keeps its own files.
        has_key: whether Label Studio's key is set.
        refusals: nodes that refused the last page sent to them.
    """
    models, missing = _models(store)
    filling = is_filling(store.path)
    if OCR_MODEL not in models and not filling:
        missing.append("model `ocr` is not in service: `python -m scripts.archive --ocr`")
    if not has_key:
        missing.append(NO_KEY)
    missing += _machine_problems(store, home)
    reports = store.node_reports()
    nodes = reports.live
    missing += reports.problems
    if not nodes and not filling:
        missing.append(NO_NODE)
    current = (models.get(OCR_MODEL) or {}).get("current")
    is_held = any(current in report.get("holds", {}).get(OCR_MODEL, []) for report in nodes.values())
    starting = _starting(nodes) | ({"": FIRST_COPY} if filling else {})
    if nodes and current and not is_held and not starting:
        if _had_time(nodes.values()):
            missing.append(NOT_LOADED)
        else:
            starting = {"": NOT_LOADED}
    return Health(
        models=models,
        nodes=tuple(sorted(nodes)),
        asleep=_asleep(nodes.values()),
        ready=is_held and not refusals.of_all,
        starting=tuple(starting.values()),
        missing=(*missing, *refusals.sentences),
        node_errors=tuple(_node_errors(nodes, starting, missing)),
        studio=read_studio_status(home, time.time()),
    )


def _models(store: ModelStore) -> tuple[dict[str, Any], list[str]]:
    """Return what each manifest wants, and a sentence for each that cannot be understood."""
    models: dict[str, Any] = {}
    problems = []
    for name in store.models():
        try:
            serving = store.manifest(name)
            models[name] = {"current": serving.current, "load": serving.load} if serving else None
        except ModelNotReady as error:
            # Not a 503, at which Label Studio would show every project as disconnected.
            models[name] = None
            problems.append(str(error))
    return models, problems


def _machine_problems(store: ModelStore, home: Path) -> list[str]:
    """Return sentences about full disks and threads that have stopped."""
    disks = (disk_problem(home.resolve(), "LAYOUTLOOP_HOME"), disk_problem(store.path, "MODEL_DIR"))
    problems = [problem for problem in disks if problem]
    is_copy = store_of(store.path) != str(store.path)
    for name, since in stopped_threads(home / THREADS, time.time()).items():
        if name == TITLES or is_copy:
            moment = f"{datetime.fromtimestamp(since, timezone.utc):%Y-%m-%d %H:%M} UTC"
            problems.append(f"{_THREADS.get(name, name)} since {moment}: that thread has stopped; {_RESTART}")
    return problems


def _starting(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a sentence for each node whose TorchServe is starting."""
    return {
        node: f"TorchServe of {node} is starting"
        for node, report in nodes.items()
        if is_starting(report, float(report.get("silent_s", NODE_SILENT_S)))
    }


def _had_time(reports: Collection[Mapping[str, Any]]) -> bool:
    """Whether every node has checked `ocr`, or had time to; see `is_starting`."""
    return all(OCR_MODEL in one.get("checked", ()) or one.get("away_since") is not None for one in reports)


def _node_errors(
    nodes: Mapping[str, Mapping[str, Any]], starting: Collection[str], missing: Collection[str]
) -> Iterator[str]:
    """Yield what the nodes say of themselves, without what was said already."""
    for node, one in nodes.items():
        if one.get("disk") and one["disk"] not in missing:
            yield f"{node}: {one['disk']}"
    for node, one in nodes.items():
        for what, why in one["errors"].items():
            if what != "torchserve" or node not in starting:
                yield f"{node}: {what}: {why}"


def _asleep(reports: Collection[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the models without a worker on every node that holds them."""
    holders = [
        (set(report.get("asleep", ())), {name for name, held in report["holds"].items() if held}) for report in reports
    ]
    named = set().union(*(asleep for asleep, _ in holders))
    return tuple(sorted(name for name in named if all(name in asleep for asleep, held in holders if name in held)))


def health_now() -> Health:
    """Return what is in service, from files and from the answers to recent pages."""
    kept = context()
    settings, refusals = kept.settings, kept.client.refusals()
    has_key = bool(settings.label_studio_api_key)
    return read_health(kept.store, settings.home, has_key=has_key, refusals=refusals)
