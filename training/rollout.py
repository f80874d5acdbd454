"""The rollout: every TorchServe holds exactly what serving.json asks for, and promotion waits until it does.

One mechanism for start, crash, promotion, rollback and several machines. Beside each TorchServe runs one watcher;
it compares `load` with what its TorchServe holds, mends the difference, and reports what the node holds in
`<model_dir>/.nodes/<node>.json`. Whoever promotes a version adds it to `load`, waits for the reports, and flips
`current`.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shim.errors import LayoutLoopError
from shim.serving import OCR_MODEL, Serving, archive_path, live_nodes, models_in, read_card, read_serving
from training.management import ManagementClient, ManagementError
from training.store import StoreBusy, add_to_load, drop_from_load, flip, locked, sha256_of, write_json

logger = logging.getLogger(__name__)

RETIRE_AFTER_S = 90.0 + 40.0
"""How long a version stays after it left `current`: the predict deadline plus the archives' responseTimeout."""
RETRY_FAILED_S = 60.0

Smoke = Callable[[str, str], None]
"""Asks (model, version) for an answer and raises LayoutLoopError when it is not a right one."""


class RolloutFailed(Exception):
    """The version is not in service; what was in service before still is."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many worker processes a model gets on one node."""

    ocr: int
    project: int = 1

    def of(self, model: str) -> int:
        """Return the count for a model."""
        return self.ocr if model == OCR_MODEL else self.project


@dataclass(slots=True)
class Watcher:
    """Keeps one TorchServe at the desired state.

    Args:
        model_dir: the model store, perhaps shared by several nodes.
        archives: the folder this TorchServe registers from; archives are copied here and checked here, so that
            what was checked is what is loaded.
        management: this TorchServe's.
        smoke: asks a version that was just registered.
        workers: how many each model gets.
        node: the name of this node in the reports.
    """

    model_dir: Path
    archives: Path
    management: ManagementClient
    smoke: Smoke
    workers: Workers
    node: str
    errors: dict[str, str] = field(default_factory=dict)
    holds: dict[str, list[str]] = field(default_factory=dict)
    converged: float = 0.0
    _failed: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def converge(self) -> bool:
        """Make TorchServe hold what serving.json asks for, as far as it can; report it; return whether it does.

        A version that cannot be loaded is an entry in `errors` and is tried again later; it holds up no other.
        """
        holds: dict[str, list[str]] = {}
        errors: dict[str, str] = {}
        try:
            if not self.model_dir.is_dir():
                raise ManagementError(f"{self.model_dir} is not there; nothing is loaded or unloaded")
            wanted = models_in(self.model_dir)
            if not wanted:
                raise ManagementError(f"{self.model_dir} holds no model (not mounted?); nothing is unloaded")
            for name in sorted({*wanted, *self.management.models()}, key=_ocr_first):
                self._converge_model(name, holds, errors)
                # At once, so that a small model does not wait for a large one to be counted.
                self.holds = {**self.holds, name: holds[name]}
                self.report()
        except ManagementError as error:
            holds, errors = {}, {"torchserve": str(error)}
        self.holds, self.errors, self.converged = holds, errors, time.time()
        self.report()
        return not errors

    def report(self) -> None:
        """Write what this node holds; also called while `converge` waits for a slow model, as a sign of life."""
        if not self.model_dir.is_dir():
            return  # a report would make the folder, and an empty model store asks to unload everything
        body = {
            "node": self.node,
            "time": time.time(),
            "converged": self.converged,
            "holds": self.holds,
            "errors": self.errors,
        }
        try:
            write_json(self.model_dir / ".nodes" / f"{self.node}.json", body)
        except OSError as error:
            logger.warning("what this node holds cannot be reported: %s", error)

    def retire(self) -> None:
        """Drop from `load` what left `current` longer ago than any request can last, and what was never promoted.

        Whoever promotes holds the lock all the while, so a candidate seen under the lock was left by a killed one.
        """
        for name in models_in(self.model_dir):
            try:
                if not _idle(read_serving(self.model_dir, name)):
                    continue
                with locked(self.model_dir, name, wait=False):
                    drop_from_load(self.model_dir, name, _idle(read_serving(self.model_dir, name)))
            except (StoreBusy, LayoutLoopError, OSError) as error:
                logger.info("%s is not tidied now: %s", name, error)

    def _converge_model(self, name: str, holds: dict[str, list[str]], errors: dict[str, str]) -> None:
        try:
            serving = read_serving(self.model_dir, name) or Serving()
        except LayoutLoopError as error:
            # A file that cannot be understood changes nothing: what is held stays held.
            errors[name] = str(error)
            holds[name] = [one.version for one in self.management.versions(name)]
            return
        good: list[str] = []
        held = {one.version: one for one in self.management.versions(name)}
        for version in sorted(serving.load, key=lambda one: one != serving.current):
            served = held.get(version)
            try:
                if served is None:
                    self._load(name, version, serving.sha256)
                elif served.min_workers != self.workers.of(name):
                    self.management.scale(name, version, self.workers.of(name))
                good.append(version)
            except (ManagementError, LayoutLoopError, RolloutFailed, OSError) as error:
                errors[f"{name} {version}"] = str(error)
        holds[name] = good
        try:
            if serving.current in good and self.management.default_version(name) != serving.current:
                self.management.set_default(name, str(serving.current))
            self._unload(name, [version for version in held if version not in serving.load])
        except ManagementError as error:
            errors[name] = str(error)

    def _load(self, name: str, version: str, sha256: Mapping[str, str]) -> None:
        reason, moment = self._failed.get((name, version), ("", 0.0))
        if reason and time.monotonic() - moment < RETRY_FAILED_S:
            raise RolloutFailed(reason)
        copy = self.archives / f"{name}-{version}.mar"
        try:
            self._fetch(archive_path(self.model_dir, name, version), copy, sha256.get(version))
            started = time.monotonic()
            self.management.register(copy.name, name, self.workers.of(name))
            self.smoke(name, version)
        except (ManagementError, LayoutLoopError, RolloutFailed, OSError) as error:
            logger.warning("%s %s cannot be served: %s", name, version, error)
            self._failed[(name, version)] = (str(error), time.monotonic())
            self._forget(name, version)
            raise
        self._failed.pop((name, version), None)
        logger.info("%s %s is loaded and answers (%.1f s)", name, version, time.monotonic() - started)

    def _fetch(self, source: Path, copy: Path, expected: str | None) -> None:
        if not (copy.exists() and sha256_of(copy) == expected):
            partial = copy.with_suffix(".partial")
            self.archives.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial)
            os.replace(partial, copy)
        found = sha256_of(copy)
        if found != expected:
            copy.unlink()
            raise RolloutFailed(f"{source} has sha256 {found[:12]}..., serving.json asks for {str(expected)[:12]}...")

    def _forget(self, name: str, version: str) -> None:
        """Take away a version that did not come up; TorchServe keeps some of those registered, without workers."""
        try:
            if any(one.version == version for one in self.management.versions(name)):
                self.management.unregister(name, version)
        except ManagementError as error:
            logger.warning("%s %s stays registered: %s", name, version, error)
        (self.archives / f"{name}-{version}.mar").unlink(missing_ok=True)

    def _unload(self, name: str, versions: list[str]) -> None:
        """Drain and unregister; the default version goes last, TorchServe refuses it while there are others."""
        default = self.management.default_version(name) if versions else None
        for version in sorted(versions, key=lambda one: one == default):
            logger.info("%s %s leaves service", name, version)
            self.management.drain(name, version)
            self.management.unregister(name, version)
            (self.archives / f"{name}-{version}.mar").unlink(missing_ok=True)


def promote(model_dir: Path, name: str, version: str, *, timeout_s: float = 400.0) -> None:
    """Put an archived version into service on every live node; where none lives, the next to start begins with it.

    Raises:
        RolloutFailed: a node could not load it, or it took too long. What was current stays current.
    """
    card = read_card(model_dir, name, version)
    with locked(model_dir, name):
        before = read_serving(model_dir, name) or Serving()
        if before.current and version < before.current:
            raise RolloutFailed(
                f"{version} is older than {before.current} and versions only move forward: archive its checkpoint "
                f"again (`python -m scripts.archive --checkpoint {model_dir / name / f'checkpoint-{version}'} ...`)"
            )
        try:
            add_to_load(model_dir, name, version)
        except OSError as error:
            raise RolloutFailed(f"the archive of {name} {version} cannot be read: {error}") from error
        try:
            _wait_until_held(model_dir, name, version, time.monotonic() + timeout_s)
        except RolloutFailed:
            drop_from_load(model_dir, name, {version})
            raise
        flip(model_dir, name, version)
        if not live_nodes(model_dir):
            drop_from_load(model_dir, name, set(before.load) - {version})
    logger.info("%s %s is in service, labels %s", name, version, ", ".join(card.labels) or "none")


def _wait_until_held(model_dir: Path, name: str, version: str, end: float) -> None:
    asked = time.time()
    while True:
        missing = []
        for node, report in live_nodes(model_dir).items():
            errors = report["errors"]
            if (
                isinstance(errors, dict)
                and f"{name} {version}" in errors
                and float(str(report.get("converged", 0))) > asked
            ):
                raise RolloutFailed(f"{node} cannot serve {name} {version}: {errors[f'{name} {version}']}")
            holds = report["holds"]
            if not isinstance(holds, dict) or version not in holds.get(name, []):
                missing.append(node)
        if not missing:
            return
        if time.monotonic() > end:
            raise RolloutFailed(f"{', '.join(missing)} still did not hold {name} {version}; see their rollout logs")
        time.sleep(0.5)


def _idle(serving: Serving | None) -> set[str]:
    """Return the versions in `load` that no request can be waiting for."""
    if serving is None:
        return set()
    recent = {version for version, moment in serving.left.items() if time.time() - moment <= RETIRE_AFTER_S}
    return set(serving.load) - recent - {serving.current or ""}


def _ocr_first(name: str) -> tuple[bool, str]:
    return (name != OCR_MODEL, name)
