"""The rollout watcher of one node as a process: when it looks, what it says of itself, how it ends."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from layoutloop.errors import StoreUnavailable
from layoutloop.foreign_json import parse_json
from layoutloop.processes.side_threads import THREADS
from layoutloop.settings.node import NodeSettings, note_path, shim_settings
from layoutloop.settings.serving import Settings
from layoutloop.store.mirror import readable
from layoutloop.store.model_store import ModelStore
from layoutloop.store.node_reports import time_of
from layoutloop.store.path import store_access
from layoutloop.store.transfer import clear_copies
from layoutloop.store.use_marks import heal_marks
from layoutloop.store.writing import write_json
from layoutloop.torchserve.inference import own_client, token_file
from layoutloop.torchserve.management import ManagementClient
from rollout.readiness import held_elsewhere, note_of
from rollout.retirement import retire
from rollout.smoke import smoke_test
from rollout.watcher import Watcher
from rollout.worker_counts import WorkerCounts

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_TIDY_S = 3600.0
STUCK_S = 900.0
"""Longer than any step of a look takes. A watcher that hangs is no node that others may wait for."""
ELSEWHERE_S = 15.0
"""So often the store is read for what other nodes hold, while this one has errors."""
LOST_AFTER_S = 86400.0
"""Long after its silence stopped holding up promotions, and long enough for a person to see what became of a node."""
_LAST_REPORT_S = 5.0
"""For so long the end waits for a report that is being written, which would come back after its deletion."""


@dataclass(slots=True)
class WatcherProcess:
    """Runs a watcher for ever.

    Args:
        watcher: of this node.
        node: where this node's report lies.
        settings: where its note lies, and how long it may be silent.
        elsewhere: `model version` of all that other nodes held, as far as the store last said.
    """

    watcher: Watcher
    node: NodeSettings
    settings: Settings
    elsewhere: set[str] = field(default_factory=set)
    _looked_elsewhere: float = float("-inf")
    _tidied: float = float("-inf")
    _noted: tuple[dict[str, list[str]], dict[str, str]] | None = None
    _failing: str = ""
    _unwritten: str = ""

    def run(self) -> None:
        """Look once a second until SIGTERM comes, and then say that this node is gone."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        ended = threading.Event()
        heart = threading.Thread(target=self._heartbeat, args=(ended,), daemon=True)
        heart.start()
        self._withdraw_note()  # of a run that was killed
        try:
            while True:
                try:
                    self.look()
                    self._failing = ""
                except OSError as error:  # a disk or a mount fails; what TorchServe holds, it goes on serving
                    if str(error) != self._failing:
                        logger.warning("this look at the model store failed, the next one may do: %s", error)
                    self._failing = str(error)
                self.watcher.wait(_INTERVAL_S)
        except SystemExit:
            ended.set()
            heart.join(_LAST_REPORT_S)
            self._withdraw_note()
            self.node.withdraw_report()  # a node that stops in order holds up no promotion
            raise

    def _withdraw_note(self) -> None:
        with suppress(OSError):  # a folder has its name: `note` says so
            note_path(self.settings.home).unlink(missing_ok=True)

    def look(self) -> None:
        """Look once: tidy up where it is time, make TorchServe hold what is wanted, note what it holds.

        Raises:
            OSError: the disk of the model store, or of this machine, fails.
        """
        if time.monotonic() - self._tidied > _TIDY_S:
            self._tidied = time.monotonic()
            self._tidy()
        retire(self.watcher.store, self.watcher.near, self.settings.deadline_s)
        self.watcher.converge()
        self.look_elsewhere()
        if (found := (self.watcher.holds, self.watcher.errors)) != self._noted:
            self.note()  # at once; else with the next heartbeat
            self._noted = found

    def _tidy(self) -> None:
        clear_copies(self.watcher.near, self.watcher.archives)
        heal_marks(self.watcher.near.path)
        try:
            with store_access(self.watcher.store.path):
                forget_lost_nodes(self.watcher.store)
        except StoreUnavailable as error:
            logger.info("reports of lost nodes stay for now: %s", error)

    def note(self) -> None:
        """Write down for the readiness probe what this node holds; without a request, so that no heartbeat waits."""
        watcher = self.watcher
        try:
            note = note_of(watcher.near, watcher.holds, watcher.errors, watcher.away_since, self.elsewhere)
            write_json(note_path(self.settings.home), note)
            self._unwritten = ""
        except OSError as error:
            if (why := error.strerror or str(error)) != self._unwritten:
                logger.warning("whether this node is ready cannot be written down: %s", error)
            self._unwritten = why

    def _heartbeat(self, ended: threading.Event) -> None:
        """Report also while a large model loads: a node that fell silent would not be waited for."""
        stuck = False
        while not ended.wait(self.settings.node_silent_s / 6):
            was_stuck, stuck = stuck, time.monotonic() - self.watcher.stepped > STUCK_S
            if not stuck:
                with suppress(OSError):  # `look` says it; this thread must not end
                    self.watcher.report()
                self.note()
            elif not was_stuck:
                logger.warning("one step of a look takes longer than %.0f s; no reports until it is done", STUCK_S)

    def look_elsewhere(self) -> None:
        """Learn what other nodes hold, where it decides whether this one is ready; the store may take its time."""
        failed = any(" " in what for what in self.watcher.errors)
        if not failed or time.monotonic() - self._looked_elsewhere < ELSEWHERE_S:
            return
        try:
            self.elsewhere = held_elsewhere(self.watcher.store, self.node.node)
        except StoreUnavailable as error:
            logger.info("what other nodes hold is not known now: %s", error)
            self.elsewhere = set()
        self._looked_elsewhere = time.monotonic()


def forget_lost_nodes(store: ModelStore) -> None:
    """Delete the reports of nodes that were not heard of for a day; what is no report stays."""
    for path in (store.path / ".nodes").glob("*.json"):
        try:
            if time.time() - time_of(parse_json(path.read_bytes())) > LOST_AFTER_S:
                path.unlink(missing_ok=True)
                logger.info("node %s was not heard of for a day, its report is deleted", path.stem)
        except (OSError, ValueError) as error:
            logger.info("%s stays: %s", path, error)


def store_here(node: NodeSettings) -> AbstractContextManager[Path]:
    """Return the model store as a folder, see `mirror.readable`; this node's report goes out from there."""
    return readable(node.model_dir, node.home / THREADS / "rollout", f".nodes/{node.node}.json")


def make_watcher(node: NodeSettings, store: ModelStore, folder: Path) -> Watcher:
    """Make the watcher of this node's TorchServe, whose inference it reaches on this machine only.

    Args:
        node: this one.
        store: the model store.
        folder: the same or its copy, see `store_here`.
    """
    settings, near = shim_settings(os.environ), ModelStore(folder)
    return Watcher(
        store=store,
        near=near,
        archives=node.archives,
        management=ManagementClient(node.management_url, token_file(settings)),
        smoke=functools.partial(smoke_test, own_client(settings), near),
        workers=WorkerCounts(folder, settings.ocr_workers, settings.project_workers, settings.idle_s),
        node=node.node,
        silent_s=settings.node_silent_s,
    )


def watch(node: NodeSettings, store: ModelStore) -> None:
    """Keep this node's TorchServe at the desired state, for ever."""
    try:
        with store_here(node) as folder:
            WatcherProcess(make_watcher(node, store, folder), node, shim_settings(os.environ)).run()
    finally:
        node.withdraw_report()  # once more, when nothing sends what lies in a copy
