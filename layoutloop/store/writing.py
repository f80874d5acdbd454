"""Writing the model store: stamps, locks, serving.json. Only the holder of a model's lock changes its state.

A lock is a file's on one machine (flock). Where several share the store it is a lease in Redis (`redis_locks`):
each function that locks takes them as `leases`, and without them it is flock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from layoutloop.errors import LeaseLost, SettingsInvalid, StoreBusy
from layoutloop.store.manifest import Manifest, archive_path, project_model, read_manifest
from layoutloop.store.path import StorePath

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases

logger = logging.getLogger(__name__)

STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
TRAININGS = ".training"
"""Its folders hold the locks of trainings, one for each project. A model's own lock is only held to promote."""


REMEMBERED = 50
"""So many versions that were in service before are named in serving.json, for jobs that ask whether theirs was."""


class Held(Protocol):
    """A lock that is held.

    Args:
        number: of the holder; 0 where the operating system ends the lock with its process, and no sooner.
    """

    @property
    def number(self) -> int:
        """Grows with every holder."""

    def check(self) -> None:
        """See that it is still held; raises LeaseLost."""


@dataclass(frozen=True, slots=True)
class _FileLock:
    number: int = 0

    def check(self) -> None:
        """It is, for as long as this process lives."""


FILE_LOCK: Held = _FileLock()


def open_leases(redis_url: str) -> Leases | None:
    """Return the locks that machines share; None without a Redis, where they are files."""
    if not redis_url:
        return None
    from layoutloop.store.redis_locks import Leases  # brings redis-py along, and a watcher without Redis stays small

    return Leases.at(redis_url)


def locked(
    model_dir: StorePath, name: str, *, wait: bool = True, leases: Leases | None = None
) -> AbstractContextManager[Held]:
    """Hold a model's lock.

    Without `leases` it is the operating system's, so it goes with the process that holds it.

    Raises:
        StoreBusy: somebody else holds it and `wait` is off.
        StoreUnavailable: Redis does not answer.
        SettingsInvalid: a store at a URL, which has no locks of its own, has no Redis; or others lock this store in
            Redis and this process does not. Waiting mends neither.
    """
    if leases is not None:
        serving = read_manifest(model_dir, name)
        return leases.hold(name, wait=wait, above=serving.number if serving else 0)
    if not isinstance(model_dir, Path):
        raise SettingsInvalid(f"{model_dir} can only be changed with locks in Redis: set REDIS_URL")
    _refuse_beside_leases(model_dir, name)
    return _file_lock(model_dir / name, name, wait)


def _refuse_beside_leases(model_dir: Path, name: str) -> None:
    """Refuse a file's lock for what others lock in Redis: neither would keep the other out."""
    serving = read_manifest(model_dir, name)
    if serving is not None and serving.number:
        raise SettingsInvalid(
            f"the locks of {model_dir} are in Redis: set REDIS_URL as for whoever else changes it, or, where nobody "
            f'else does any more, write "number": 0 into {model_dir / name / "serving.json"}'
        )


@contextmanager
def _file_lock(folder: Path, name: str, wait: bool) -> Iterator[Held]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise StoreBusy(f"another process is changing {name}") from error
        yield FILE_LOCK


@contextmanager
def training_lock(model_dir: StorePath, project: int, *, leases: Leases | None = None) -> Iterator[Held]:
    """Hold what a project's trainings and restores hold, one at a time; waits, and says so in the log.

    Old versions are deleted under it, so none goes while its checkpoint is read.
    """
    name = f"{TRAININGS}/{project_model(project)}"
    if leases is None and isinstance(model_dir, Path):
        _refuse_beside_leases(model_dir, project_model(project))  # now, and not at the end of a training
    with ExitStack() as stack:
        try:
            held = stack.enter_context(locked(model_dir, name, wait=False, leases=leases))
        except StoreBusy:
            logger.info("another training or restore of %s runs; waiting for its end", project_model(project))
            held = stack.enter_context(locked(model_dir, name, leases=leases))
        yield held


def is_stamp(version: str) -> bool:
    """Whether this is how `new_stamp` writes a version; nothing else becomes part of a path."""
    return _STAMP.fullmatch(version) is not None


def new_stamp(model_dir: StorePath, name: str, *, leases: Leases | None = None) -> str:
    """Return a version stamp later than every one given out before or in the model's folder.

    Versions only move forward; two builds that ask within one second get two stamps, before either has a file.
    """
    folder = model_dir / name
    # Not the model's lock: whoever trains holds that one and asks here.
    if leases is not None or not isinstance(folder, Path):
        with locked(model_dir, f"{TRAININGS}/{name}/stamp", leases=leases) as held:
            last = folder / ".last-stamp"
            stamp = _later([last.read_text() if last.exists() else "", *(path.name for path in folder.glob("*"))])
            held.check()
            write_bytes(last, stamp.encode())
            return stamp
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".last-stamp", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        stamp = _later([file.read(), *(path.name for path in folder.glob("*"))])
        file.truncate(0)
        file.write(stamp)
        return stamp


def _later(texts: Iterable[str]) -> str:
    """Return a stamp of now, or of the first second after all stamps in texts."""
    taken = [match[0] for text in texts if (match := _STAMP.search(text))]
    now = datetime.now(timezone.utc)
    if taken:
        newest = datetime.strptime(max(taken), STAMP_FORMAT).replace(tzinfo=timezone.utc)
        now = max(now, newest + timedelta(seconds=1))
    return now.strftime(STAMP_FORMAT)


def write_json(path: StorePath, body: Any) -> None:
    """Replace a JSON file atomically, on disk before it has its name."""
    write_bytes(path, (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(path: StorePath, content: bytes, mode: int = 0o644) -> None:
    """Replace a file atomically; at a URL it is one request, which an object store carries out whole or not at all.

    Args:
        path: of the file.
        content: of the file.
        mode: who may read it; at a URL the store's own rules say so.
    """
    if not isinstance(path, Path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def write_manifest(model_dir: StorePath, name: str, serving: Manifest, held: Held = FILE_LOCK) -> None:
    """Replace a model's serving.json; the caller holds its lock.

    Raises:
        LeaseLost: the lock was lost, or a later holder has written already.
    """
    held.check()
    if held.number:
        before = read_manifest(model_dir, name)
        if before is not None and before.number > held.number:
            raise LeaseLost(f"a later holder of {name}'s lock has changed what is in service; nothing is changed here")
        serving = replace(serving, number=held.number)
    write_json(model_dir / name / "serving.json", serving.to_json())


def sha256_of(path: StorePath) -> str:
    """Return the hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def add_to_load(model_dir: StorePath, name: str, version: str, held: Held = FILE_LOCK) -> Manifest:
    """Ask every TorchServe to hold a version; the caller holds the lock."""
    serving = read_manifest(model_dir, name) or Manifest()
    digest = sha256_of(archive_path(model_dir, name, version))
    load = (version, *(other for other in serving.load if other != version))
    left = {other: moment for other, moment in serving.left.items() if other != version}
    serving = replace(serving, load=load, sha256={**serving.sha256, version: digest}, left=left)
    write_manifest(model_dir, name, serving, held)
    return serving


def drop_from_load(model_dir: StorePath, name: str, versions: set[str], held: Held = FILE_LOCK) -> None:
    """Stop asking for versions; never the current one. The caller holds the lock."""
    serving = read_manifest(model_dir, name)
    if serving is None:
        return
    keep = tuple(one for one in serving.load if one not in versions or one == serving.current)
    if keep != serving.load:
        sha256 = {one: digest for one, digest in serving.sha256.items() if one in keep}
        left = {one: moment for one, moment in serving.left.items() if one in keep}
        write_manifest(model_dir, name, replace(serving, load=keep, sha256=sha256, left=left), held)


def flip(model_dir: StorePath, name: str, version: str, held: Held = FILE_LOCK) -> None:
    """Make a version in `load` the current one; the caller holds the lock.

    Raises:
        LeaseLost: see `write_manifest`; or somebody who does not share this lock took the version out of `load`.
    """
    serving = read_manifest(model_dir, name)
    if serving is None or version not in serving.load:
        raise LeaseLost(
            f"{version} is not in {name}'s load list (any more), so it cannot become current; see that all who change "
            "this model store have the same REDIS_URL, or none"
        )
    left = {other: moment for other, moment in serving.left.items() if other != version}
    past = serving.past
    if serving.current and serving.current != version:
        left[serving.current] = time.time()
        past = (serving.current, *past)[:REMEMBERED]
    write_manifest(model_dir, name, replace(serving, current=version, left=left, past=past), held)
