"""A model store as one object: what is where in it, what is in service, and its locks."""

from __future__ import annotations

import fcntl
import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layoutloop.errors import ModelNotReady, SettingsInvalid, StoreBusy
from layoutloop.foreign_json import parse_json
from layoutloop.store.locks import Held, file_lock
from layoutloop.store.manifest import Manifest, VersionCard, archive_name, project_model
from layoutloop.store.node_reports import NodeReports, read_reports
from layoutloop.store.path import StorePath, children, store_access
from layoutloop.store.stamps import is_stamp, next_stamp
from layoutloop.store.writing import private, write_bytes

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.-]+", re.ASCII)
TRAININGS = ".training"
"""Its folders hold the locks of trainings, one for each project. A model's own lock is only held to promote."""


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A model store; or a copy of one, which is only read.

    Args:
        path: MODEL_DIR: a folder, or a URL.
        leases: its locks, where machines share it; None where they are the operating system's (flock).
    """

    path: StorePath
    leases: Leases | None = None

    @classmethod
    def open(cls, path: StorePath, redis_url: str) -> ModelStore:
        """Return a store with the locks that all who change it have: in Redis, or files where there is none."""
        if not redis_url:
            return cls(path)
        from layoutloop.store.redis_locks import (
            Leases,
        )  # brings redis-py along, and a watcher without Redis stays small

        return cls(path, Leases.at(redis_url))

    def folder(self, name: str) -> StorePath:
        """Return the folder of a model."""
        return self.path / name

    def manifest_path(self, name: str) -> StorePath:
        """Return where it says what is in service under `name`."""
        return self.path / name / "serving.json"

    def archive_path(self, name: str, version: str) -> StorePath:
        """Return where the archive of a version lies."""
        return self.path / name / archive_name(name, _stamp(version))

    def card_path(self, name: str, version: str) -> StorePath:
        """Return where the card of a version lies."""
        return self.path / name / f"{name}-{_stamp(version)}.json"

    def checkpoint_path(self, name: str, version: str) -> StorePath:
        """Return where the checkpoint of a version lies."""
        return self.path / name / f"checkpoint-{_stamp(version)}"

    def report_path(self, name: str, version: str) -> StorePath:
        """Return where the JSON report of a version lies; the page is beside it, with the suffix `.html`."""
        return self.path / name / f"{name}-{_stamp(version)}.report.json"

    def models(self) -> list[str]:
        """Return the names of all models that have a serving.json, sorted; no model is called `project-7 (copy)`."""
        names = (path.parent.name for path in children(self.path, "*/serving.json"))
        return [name for name in names if _NAME.fullmatch(name)]

    def archived(self, name: str) -> list[str]:
        """Return the versions of a model that have an archive, oldest first."""
        stems = (path.stem.removeprefix(f"{name}-") for path in children(self.path / name, f"{name}-*.mar"))
        return [version for version in stems if is_stamp(version)]

    def manifest(self, name: str) -> Manifest | None:
        """Return what is in service under `name`; None where nothing ever was.

        Raises:
            ModelNotReady: the file is there and cannot be read or understood. That is no cold start.
        """
        path = self.manifest_path(name)
        try:
            with store_access(path):
                text = path.read_bytes()
            return Manifest.from_json(parse_json(text))
        except FileNotFoundError:
            return None
        except OSError as error:  # no reason to delete anything: the next look may do
            raise ModelNotReady(
                f"{path} cannot be read now ({error}); see that the model store is there and may be read"
            ) from error
        except (ValueError, KeyError) as error:
            raise ModelNotReady(
                f"{path} cannot be understood ({_fault(error)}); delete it and promote a version again"
            ) from error

    def card(self, name: str, version: str) -> VersionCard:
        """Return the card of a version.

        Raises:
            ModelNotReady: it is missing or cannot be understood.
        """
        path = self.card_path(name, version)
        try:
            with store_access(path):
                text = path.read_bytes()
            card = VersionCard.from_json(parse_json(text))
            if (card.model, card.version) != (name, version):
                raise ValueError(f"it is the card of {card.model:.80} {card.version}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = _fault(error)
            raise ModelNotReady(f"the card {path} cannot be read ({why}); archive the checkpoint again") from error
        return card

    def current_card(self, name: str) -> VersionCard | None:
        """Return the card of the version in service, None in cold start.

        Raises:
            ModelNotReady: serving.json or the card cannot be understood.
        """
        manifest = self.manifest(name)
        return self.card(name, manifest.current) if manifest and manifest.current else None

    def live_nodes(self, silent_s: float | None = None) -> dict[str, dict[str, Any]]:
        """Return the reports of all nodes heard of in the last `silent_s`, or as lately as each says, by node name."""
        found = self.node_reports(silent_s)
        for problem in found.problems:
            logger.warning("%s", problem)
        return found.live

    def node_reports(self, silent_s: float | None = None) -> NodeReports:
        """Return those reports, and what is wrong with files that are none."""
        return read_reports(self.path / ".nodes", silent_s)

    def lock(self, name: str, *, wait: bool = True) -> AbstractContextManager[Held]:
        """Hold a model's lock.

        Without `leases` it is the operating system's, so it goes with the process that holds it.

        Raises:
            StoreBusy: another process holds it and `wait` is off.
            StoreUnavailable: Redis does not answer.
            SettingsInvalid: a store at a URL, which has no locks of its own, has no Redis; or others lock this store in
                Redis and this process does not. Waiting mends neither.
        """
        if self.leases is not None:
            manifest = self.manifest(name)
            return self.leases.hold(name, wait=wait, above=manifest.number if manifest else 0)
        if not isinstance(self.path, Path):
            raise SettingsInvalid(f"{self.path} can only be changed with locks in Redis: set REDIS_URL")
        self._refuse_beside_leases(name)
        return file_lock(self.path / name, name, wait=wait)

    def _refuse_beside_leases(self, name: str) -> None:
        """Refuse a file's lock for what others lock in Redis: neither would keep the other out."""
        manifest = self.manifest(name)
        if manifest is not None and manifest.number:
            raise SettingsInvalid(
                f"the locks of {self.path} are in Redis: set REDIS_URL as for whatever else changes it, or, where no "
                f'other process uses them any more, write "number": 0 into {self.manifest_path(name)}'
            )

    @contextmanager
    def training_lock(self, project: int) -> Iterator[Held]:
        """Hold what a project's trainings and restores hold, one at a time; waits, and says so in the log.

        Old versions are deleted under it, so none goes while its checkpoint is read.
        """
        model = project_model(project)
        if self.leases is None and isinstance(self.path, Path):
            self._refuse_beside_leases(model)  # now, and not at the end of a training
        with ExitStack() as stack:
            try:
                held = stack.enter_context(self.lock(f"{TRAININGS}/{model}", wait=False))
            except StoreBusy:
                logger.info("another training or restore of %s runs; waiting for its end", model)
                held = stack.enter_context(self.lock(f"{TRAININGS}/{model}"))
            yield held

    def new_stamp(self, name: str) -> str:
        """Return a version stamp later than every one given out before or in the model's folder.

        Versions only move forward; two builds within one second get two stamps, before either has a file.
        """
        folder = self.path / name
        # Not the model's lock: a training holds that one when it calls this.
        if self.leases is not None or not isinstance(folder, Path):
            with self.lock(f"{TRAININGS}/{name}/stamp") as held:
                last = folder / ".last-stamp"
                stamp = next_stamp([last.read_text() if last.exists() else "", *(one.name for one in folder.glob("*"))])
                held.check()
                write_bytes(last, stamp.encode())
                return stamp
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".last-stamp", "a+", opener=private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            stamp = next_stamp([file.read(), *(path.name for path in folder.glob("*"))])
            file.truncate(0)
            file.write(stamp)
            return stamp


def _stamp(version: str) -> str:
    """Return a version that is about to become part of a path.

    Raises:
        ModelNotReady: it is no stamp; it may have come from a command line, a request or a damaged file.
    """
    if not is_stamp(version):
        raise ModelNotReady(f"a version is a stamp like 20261122T083000Z, got {version!r:.80}")
    return version


def _fault(error: Exception) -> str:
    return f"it has no field {error}" if isinstance(error, KeyError) else str(error)
