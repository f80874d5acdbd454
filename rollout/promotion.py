"""Promotion: a version goes into `load`, every running node loads and tests it, and only then it is current."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from layoutloop.errors import LayoutLoopError, NoNodeTried, NotFetched, RolloutFailed
from layoutloop.moments import age_s
from layoutloop.store.changes import add_to_load, flip, write_manifest
from layoutloop.store.locks import Held
from layoutloop.store.manifest import NODE_SILENT_S, Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import store_access

logger = logging.getLogger(__name__)

FIRST_REPORT_S = 15.0
"""How long a promotion waits for a first node to report, where it must be tried by one."""


NO_WORKER = "it has no worker that is ready"
"""What a node reports of a version whose worker TorchServe is starting again: no reason to give it up."""
NOT_FETCHED = "its archive cannot be fetched now"
"""So begins what a node reports where the store or its own disk failed: that says nothing about the version."""


def reported(error: Exception) -> str:
    """Return what a node's report says of a version that it cannot serve; each node's promotions read it there."""
    return f"{NOT_FETCHED}: {error}" if isinstance(error, NotFetched) else str(error)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A version that nodes are waited for; what they saw before `asked` (Unix time) says nothing about it."""

    name: str
    version: str
    asked: float

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def promote(
    store: ModelStore,
    name: str,
    version: str,
    *,
    untested: bool = False,
    timeout_s: float = 400.0,
    check: Callable[[], None] | None = None,
) -> None:
    """Put an archived version into service once every running node holds it and it answered there.

    Args:
        store: the model store.
        name: of the model.
        version: an archive in the store, newer than the current one.
        untested: put it into service also where no node is running that could test it.
        timeout_s: how long the nodes have.
        check: called when all nodes hold it, right before it becomes current; may raise LayoutLoopError to refuse.

    Raises:
        RolloutFailed: a node could not load it, or it took too long. What was current stays current.
        LayoutLoopError: `check` refused, or the lock was lost; likewise.
    """
    card = _card_of_archived(store, name, version)
    with store.lock(name) as held:
        before = store.manifest(name) or Manifest()
        if version == before.current:
            return
        _refuse_older(name, version, before.current)
        candidate = _load(store, name, version, held)
        try:
            with store_access(store.path):
                _wait_until_held(store, candidate, timeout_s, untested)
            if check is not None:
                check()
        except LayoutLoopError:
            write_manifest(store, name, before, held)
            raise
        flip(store, name, version, held)
    logger.info("%s %s is in service, labels %s", name, version, ", ".join(card.labels) or "none")


def _card_of_archived(store: ModelStore, name: str, version: str) -> VersionCard:
    if not store.archive_path(name, version).is_file():
        kept = ", ".join(store.archived(name)) or "none at all"
        raise RolloutFailed(f"{name} has no archived version {version}, only {kept}")
    return store.card(name, version)


def _load(store: ModelStore, name: str, version: str, held: Held) -> _Candidate:
    candidate = _Candidate(name, version, asked=time.time())
    try:
        with store_access(store.path):
            add_to_load(store, name, version, held)
    except OSError as error:
        raise RolloutFailed(f"the archive of {candidate} cannot be read: {error}") from error
    return candidate


def _refuse_older(name: str, version: str, current: str | None) -> None:
    if current and version < current:
        raise RolloutFailed(
            f"{version} is older than {current} and versions only move forward; to go back: "
            f"python -m scripts.rollout --project {name.removeprefix('project-')} --back-to {version}"
        )


def _wait_until_held(store: ModelStore, candidate: _Candidate, timeout_s: float, untested: bool) -> None:
    if untested and not store.live_nodes():
        return
    started = time.monotonic()
    while True:
        nodes = store.live_nodes()
        missing = [node for node, report in nodes.items() if not _is_held(node, report, candidate)]
        waited = time.monotonic() - started
        given_up = {node: _why_given_up(nodes[node], candidate, waited) for node in missing}
        if len(missing) < len(nodes) and all(given_up.values()):
            for node, why in given_up.items():
                logger.warning("%s is not waited for on %s: %s", candidate, node, why)
            return
        if not nodes and waited > min(FIRST_REPORT_S, timeout_s):
            raise NoNodeTried(
                f"no TorchServe runs that could try {candidate}: start one (scripts/serve.sh), or say --untested"
            )
        if waited > timeout_s:
            reasons = {nodes[node]["errors"].get(str(candidate)) for node in missing} - {None}
            why = f" ({'; '.join(sorted(map(str, reasons)))})" if reasons else ""
            raise NoNodeTried(f"{', '.join(missing)} still did not hold {candidate}{why}; see their rollout logs")
        time.sleep(0.5)


def _is_held(node: str, report: Mapping[str, Any], candidate: _Candidate) -> bool:
    """Whether a node says, of a look since then, that it holds a version; raise where it says it cannot."""
    if float(report.get("checked", {}).get(candidate.name, 0.0)) <= candidate.asked:
        return False
    reason = report["errors"].get(str(candidate))
    if reason is not None and not reason.startswith((NO_WORKER, NOT_FETCHED)):
        raise RolloutFailed(f"{node} cannot serve {candidate}: {reason}")
    return candidate.version in report["holds"].get(candidate.name, [])


def _why_given_up(report: Mapping[str, Any], candidate: _Candidate, waited: float) -> str:
    """Return why a node that reports is given up like a silent one, "" where it is not.

    For as long as a silent one would be waited for, its TorchServe did not answer its watcher, or it could not fetch
    the archive; a disk may be full for ever.
    """
    silent_s, away = float(report.get("silent_s", NODE_SILENT_S)), report.get("away_since")
    if away is not None and age_s(float(away)) > silent_s:
        return "no TorchServe there"
    reason = str(report["errors"].get(str(candidate), ""))
    return reason if reason.startswith(NOT_FETCHED) and waited > silent_s else ""
