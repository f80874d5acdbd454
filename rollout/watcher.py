"""The rollout watcher: one beside each TorchServe, which it makes hold exactly what every serving.json names.

One mechanism for start, crash, promotion and rollback: compare, mend the difference, and report what this node holds
in `MODEL_DIR/.nodes/<node>.json`, for those who promote (`rollout.promotion`) and for /health.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from layoutloop.errors import LayoutLoopError, ManagementError, NotFetched, RolloutFailed, TorchServeUnreachable
from layoutloop.store.disk import disk_problem
from layoutloop.store.manifest import NODE_SILENT_S, OCR_MODEL, Manifest, archive_name
from layoutloop.store.model_store import ModelStore
from layoutloop.store.transfer import delete_copy, fetch_archive
from layoutloop.store.writing import write_json
from layoutloop.torchserve.management import ManagementClient, ServedVersion
from rollout.promotion import NO_WORKER, reported
from rollout.worker_counts import WorkerCounts

logger = logging.getLogger(__name__)

RETRY_FAILED_S = 60.0
"""After so long a version that did not come up is tried again; doubled with every failure."""
LONGEST_RETRY_S = 900.0
FETCH_AGAIN_S = 5.0
"""After so long one whose archive could not be read is fetched again: a store that was down may be back any time."""
WORKERLESS_S = 60.0
"""TorchServe restarts workers by itself; a version without one for this long is registered anew."""
WAKING_S = 300.0
"""For so long one whose workers start does not count as without: the archives' startupTimeout, for many may start at
a time."""
_NOTICE_S = 0.25

Smoke = Callable[[str, str], None]
"""Tests (model, version) with one request and raises LayoutLoopError where the answer is not right."""
_Version = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a version did not come up, and when it is tried again (monotonic seconds)."""

    reason: str
    count: int
    again: float


@dataclass(slots=True)
class Watcher:
    """Keeps one TorchServe at the desired state.

    Args:
        store: the model store, perhaps shared by several nodes: the archives come from there.
        near: the same; or, where it is at a URL, this node's copy of what else stands in it, which is looked into
            once a second.
        archives: the folder this TorchServe registers from; archives are copied here and checked here, so that
            what was checked is what is loaded.
        management: this TorchServe's.
        smoke: tests a version that was just registered.
        workers: how many each model gets; none while its project is idle.
        node: the name of this node in the reports.
        silent_s: for so long others may wait for a word of this node; its reports say so.
        errors: what is wrong, by `model version`, model or `torchserve`.
        holds: versions that answered their test request, by model; an idle project's may yet have to.
        asleep: models in `holds` whose versions have no worker, since their project is idle.
        checked: Unix time at which `holds` and `errors` of each model were found to be so.
        stepped: when it last began with a version or a model (monotonic seconds).
        away_since: Unix time since when TorchServe did not answer; None once all models were looked at.
    """

    store: ModelStore
    near: ModelStore
    archives: Path
    management: ManagementClient
    smoke: Smoke
    workers: WorkerCounts
    node: str
    silent_s: float = NODE_SILENT_S
    errors: dict[str, str] = field(default_factory=dict)
    holds: dict[str, list[str]] = field(default_factory=dict)
    asleep: frozenset[str] = frozenset()
    checked: dict[str, float] = field(default_factory=dict)
    stepped: float = field(default_factory=time.monotonic)
    away_since: float | None = None
    _proven: set[_Version] = field(default_factory=set)
    _failed: dict[_Version, _Failure] = field(default_factory=dict)
    _workerless: dict[_Version, float] = field(default_factory=dict)
    _reported: float = 0.0
    _unwritten: str = ""

    def converge(self) -> bool:
        """Make TorchServe hold what serving.json names, as far as it can; report it; return whether it does.

        A version that cannot be loaded is an entry in `errors` and is tried again later, after all others.
        """
        self.stepped = time.monotonic()
        try:
            if not self.near.path.is_dir():
                raise ManagementError(f"{self.near.path} is not there; nothing is loaded or unloaded")
            wanted = self.near.models()
            if not wanted:
                raise ManagementError(f"{self.near.path} holds no model (not mounted?); nothing is unloaded")
            names = {*wanted, *self.management.models()}
            self.holds = {name: held for name, held in self.holds.items() if name in names}
            self.errors = {what: why for what, why in self.errors.items() if what.split()[0] in names}
            self.asleep &= names
            for name in sorted(names, key=self._turn):
                self._converge_model(name)
            self.away_since = None  # only now: until all is loaded, no promotion need wait for this node
        except ManagementError as error:
            self.away_since = self.away_since or time.time()
            self.holds, self.checked, self.errors, self.asleep = {}, {}, {"torchserve": str(error)}, frozenset()
        if time.monotonic() - self._reported > self.silent_s / 6:
            self.report()
        return not self.errors

    def report(self) -> None:
        """Write what this node holds; also called while `converge` waits for a slow model, as a sign of life."""
        if not self.near.path.is_dir():
            return  # a report would make the folder, and an empty model store means to unload everything
        body = {
            **{"node": self.node, "time": time.time(), "silent_s": self.silent_s, "away_since": self.away_since},
            **{"checked": self.checked, "holds": self.holds, "asleep": sorted(self.asleep), "errors": self.errors},
            "disk": disk_problem(self.archives.parents[1], "LAYOUTLOOP_HOME"),  # NodeSettings.archives
        }
        try:
            write_json(self.near.path / ".nodes" / f"{self.node}.json", body)
            self._reported = time.monotonic()
            self._unwritten = ""
        except OSError as error:
            if (why := error.strerror or str(error)) != self._unwritten:  # once, not with every look
                logger.warning("what this node holds cannot be reported: %s", error)
            self._unwritten = why

    def wait(self, seconds: float) -> None:
        """Wait for the next look, which comes early when an idle model gets a page."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and all(self.workers.is_idle(name) for name in self.asleep):
            time.sleep(min(left, _NOTICE_S))

    def _turn(self, name: str) -> tuple[bool, bool, bool, str]:
        """Sort `ocr` first, then what was idle, and last what failed: a slow broken model must not delay the others."""
        failed = any(failed == name for failed, _ in self._failed)
        return (failed, name != OCR_MODEL, name not in self.asleep, name)

    def _converge_model(self, name: str) -> None:
        self.stepped = time.monotonic()
        held = {one.version: one for one in self.management.versions(name)}
        try:
            serving = self.near.manifest(name) or Manifest()
        except LayoutLoopError as error:
            # A file that cannot be understood changes nothing: what is held stays held.
            self._note(name, list(held), {name: str(error)})
            return
        self._failed = {key: why for key, why in self._failed.items() if key[0] != name or key[1] in serving.load}
        workers = self.workers.of(name, serving)
        good: list[str] = []
        awake = False
        errors: dict[str, str] = {}
        for version in sorted(serving.load, key=lambda one: one != serving.current):
            self.stepped = time.monotonic()
            try:
                awake |= self._ensure(name, version, held.get(version), serving.sha256, workers)
                good.append(version)
            except TorchServeUnreachable:
                raise
            except (LayoutLoopError, OSError) as error:
                errors[f"{name} {version}"] = reported(error)
        # Before anything is drained, which takes time: what leaves must not count as held meanwhile.
        self._note(name, good, errors, asleep=bool(good) and not awake)
        try:
            if serving.current in good and self.management.default_version(name) != serving.current:
                self.management.set_default(name, str(serving.current))
            self._unload(name, [version for version in held if version not in serving.load])
        except TorchServeUnreachable:
            raise
        except ManagementError as error:
            self._note(name, good, {**errors, name: str(error)}, asleep=name in self.asleep)

    def _note(self, name: str, good: list[str], errors: dict[str, str], *, asleep: bool = False) -> None:
        others = {what: why for what, why in self.errors.items() if what.split()[0] not in (name, "torchserve")}
        sleepers = self.asleep - {name} | ({name} if asleep else set())
        changed = (self.holds.get(name), self.errors, self.asleep) != (good, {**others, **errors}, sleepers)
        self.holds = {**self.holds, name: good}
        self.errors = {**others, **errors}
        self.asleep = sleepers
        fresh = name in self.checked
        self.checked = {**self.checked, name: time.time()}
        if changed or not fresh:
            self.report()

    def _ensure(
        self, name: str, version: str, served: ServedVersion | None, sha256: Mapping[str, str], workers: int
    ) -> bool:
        """Have a version loaded, with its workers, and answering; return whether it has any, raise why it does not."""
        key = (name, version)
        if served is None:
            self._proven.discard(key)
            self._load(name, version, sha256, workers)
            return workers > 0
        if workers == 0:
            return not self._is_asleep(name, served)
        if served.min_workers == 0 and name in self.asleep:
            logger.info("%s %s gets pages again: starting its workers", name, version)
            self.management.scale(name, version, workers, wait=False)  # those of others start meanwhile
            self._workerless[key] = time.monotonic() + WAKING_S
            return True
        if served.min_workers != workers:
            self.management.scale(name, version, workers)
        elif served.ready_workers == 0:
            since = self._workerless.setdefault(key, time.monotonic())
            if time.monotonic() < since:
                return True
            if time.monotonic() - since > WORKERLESS_S:
                self._forget(name, version)
            raise RolloutFailed(NO_WORKER)
        self._workerless.pop(key, None)
        if key not in self._proven:  # it was idle, or registered by a watcher that ended before its test
            self._try(name, version, lambda: None, workers)
        return True

    def _is_asleep(self, name: str, served: ServedVersion) -> bool:
        """Stop the workers of an idle version once they have nothing to do; return whether it has none."""
        self._workerless.pop((name, served.version), None)
        if served.min_workers and not self.workers.may_stop(name, served):
            return False
        if served.min_workers:
            self.management.scale(name, served.version, 0)
            logger.info("%s %s is idle: workers stopped until the next page", name, served.version)
        self._proven.discard((name, served.version))
        return True

    def _load(self, name: str, version: str, sha256: Mapping[str, str], workers: int) -> None:
        failed = self._failed.get((name, version))
        if failed and time.monotonic() < failed.again:
            raise RolloutFailed(failed.reason)
        copy = self.archives / archive_name(name, version)

        def register() -> None:
            fetch_archive(self.store.archive_path(name, version), copy, sha256.get(version))
            self.management.register(copy.name, name, min(1, workers))

        self._try(name, version, register, workers)
        if workers > 1:  # one was enough to try it; a promotion does not wait for the others
            self.management.scale(name, version, workers, wait=False)

    def _try(self, name: str, version: str, register: Callable[[], None], workers: int) -> None:
        """Register and test a version; a failed one is unregistered, unless TorchServe is down."""
        key = (name, version)
        started = time.monotonic()
        try:
            register()
            if workers:
                self.smoke(name, version)
        except TorchServeUnreachable:
            raise
        except (LayoutLoopError, OSError) as error:
            self._forget(name, version)  # raises TorchServeUnreachable where that was the reason
            count = self._failed[key].count if key in self._failed else 0
            if isinstance(error, NotFetched):
                pause = FETCH_AGAIN_S
            else:
                count, pause = count + 1, min(RETRY_FAILED_S * 2**count, LONGEST_RETRY_S)
            reason = reported(error)
            self._failed[key] = _Failure(reason, count, time.monotonic() + pause)
            logger.warning("%s %s cannot be served, tried again in %.0f s: %s", name, version, pause, reason)
            raise
        self._failed.pop(key, None)
        if workers:
            self._proven.add(key)
        state = "is loaded and answers" if workers else "is registered without workers until the next page"
        logger.info("%s %s %s (%.1f s)", name, version, state, time.monotonic() - started)

    def _forget(self, name: str, version: str) -> None:
        """Unregister a version that did not come up; TorchServe keeps some of those registered, without workers."""
        self._proven.discard((name, version))
        self._workerless.pop((name, version), None)
        try:
            if any(one.version == version for one in self.management.versions(name)):
                self.management.unregister(name, version)
        except TorchServeUnreachable:
            raise
        except ManagementError as error:
            logger.warning("%s %s stays registered: %s", name, version, error)
        delete_copy(self.archives / archive_name(name, version))

    def _unload(self, name: str, versions: list[str]) -> None:
        """Drain and unregister; the default version goes last, TorchServe refuses it while there are others."""
        default = self.management.default_version(name) if versions else None
        for version in sorted(versions, key=lambda one: one == default):
            logger.info("%s %s leaves service", name, version)
            self.management.drain(name, version)
            self.management.unregister(name, version)
            self._proven.discard((name, version))
            delete_copy(self.archives / archive_name(name, version))
