"""Whether this node can answer for every version in service, as its own watcher last said.

The watcher leaves a note in LAYOUTLOOP_HOME, so that a probe which runs every few seconds reads one small file and
sends nothing to TorchServe or the model store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from typing import Any

from layoutloop.errors import ModelNotReady
from layoutloop.foreign_json import texts_of
from layoutloop.moments import age_s
from layoutloop.settings.node import note_path
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import OCR_MODEL, is_starting
from layoutloop.store.model_store import ModelStore
from layoutloop.store.node_reports import parse_report
from layoutloop.store.path import store_access


def missing_versions(
    store: ModelStore,
    holds: Mapping[str, Sequence[str]],
    errors: Mapping[str, str] | None = None,
    elsewhere: Set[str] = frozenset(),
) -> list[str]:
    """Return `model version` of all that pages are sent to and a node does not hold.

    A candidate, which never was current, does not count: while a promotion tries one, every node would be unready at
    the same time. The promotion itself waits for it. Nor does a project's version that this node tried in vain, whether
    it cannot be fetched, fails or has no worker: the others fare no better: otherwise no node would be ready and no
    project served.
    Where another node does hold it, the fault is this one's: an update that brings nodes like it must not replace those
    that can. Without `ocr` there is nothing to draw from.

    Args:
        store: the model store, or a copy of it.
        holds: versions that answer on this node, by model.
        errors: what is wrong on this node, by `model version`, model or `torchserve`.
        elsewhere: `model version` of all that other nodes hold.
    """
    tried = {what for what in errors or {} if not what.startswith(f"{OCR_MODEL} ")} - elsewhere
    missing: list[str] = []
    for name in store.models():
        try:
            serving = store.manifest(name)
        except ModelNotReady:
            continue  # what cannot be understood is no fault of this node; /health tells it
        if serving is not None:
            asked = [one for one in serving.load if one == serving.current or one in serving.left]
            missing += [f"{name} {version}" for version in asked if version not in holds.get(name, ())]
    return [what for what in missing if what not in tried]


def held_elsewhere(store: ModelStore, node: str) -> set[str]:
    """Return `model version` of all that other nodes lately said they hold.

    Raises:
        StoreUnavailable: the model store does not answer.
    """
    with store_access(store.path):
        others = [report["holds"] for other, report in store.live_nodes().items() if other != node]
    return {f"{name} {version}" for holds in others for name, versions in holds.items() for version in versions}


def note_of(
    store: ModelStore,
    holds: Mapping[str, Sequence[str]],
    errors: Mapping[str, str],
    away_since: float | None = None,
    elsewhere: Set[str] = frozenset(),
) -> dict[str, Any]:
    """Return what a watcher notes about its node, see `rollout.watcher.Watcher` and `missing_versions`."""
    return {
        "time": time.time(),
        "away_since": away_since,
        "holds": {name: list(versions) for name, versions in holds.items()},
        "missing": missing_versions(store, holds, errors, elsewhere),
        "errors": dict(errors),
    }


def readiness_problem(settings: Settings) -> str | None:
    """Return why pages should not be sent to this node, None where they may be."""
    path = note_path(settings.home)
    try:
        note = parse_report(path.read_bytes())
        age, holds, errors = age_s(note["time"]), note["holds"], note["errors"]
        missing = texts_of(note.get("missing"), "`missing`")
    except FileNotFoundError:
        return "the rollout watcher of this node has not looked yet, or does not run"
    except (OSError, ValueError) as error:
        return f"{path} cannot be read ({error}); the rollout watcher writes it anew"
    if age > settings.node_silent_s:
        return f"the rollout watcher of this node was last heard of {age:.0f} s ago, or the clock was moved"
    if missing and is_starting(note, settings.node_silent_s):
        return f"TorchServe is starting; it does not hold {', '.join(missing)} yet"
    if missing:
        why = f" ({'; '.join(f'{what}: {reason}' for what, reason in errors.items())})" if errors else ""
        return f"TorchServe does not hold {', '.join(missing)} yet{why}"
    if not any(holds.values()):
        return "TorchServe holds no model" + "".join(f"; {reason}" for reason in errors.values())
    return None
