"""Writing the model store: stamps, locks, serving.json. Only the holder of a model's lock changes its state."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from shim.serving import Serving, archive_path, project_model, read_serving

logger = logging.getLogger(__name__)

STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_TRAININGS = ".training"
"""Its folders hold the locks of trainings, one for each project. A model's own lock is only held to promote."""


class StoreBusy(Exception):
    """Another process holds the model's lock."""


@contextmanager
def locked(model_dir: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold a model's lock; it is the operating system's, so it goes with the process that holds it.

    Raises:
        StoreBusy: somebody else holds it and `wait` is off.
    """
    folder = model_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise StoreBusy(f"another process is changing {name}") from error
        yield


@contextmanager
def training_lock(model_dir: Path, project: int) -> Iterator[None]:
    """Hold what a project's trainings and restores hold, one at a time; waits, and says so in the log.

    Old versions are deleted under it, so none goes while its checkpoint is read.
    """
    name = f"{_TRAININGS}/{project_model(project)}"
    with ExitStack() as held:
        try:
            held.enter_context(locked(model_dir, name, wait=False))
        except StoreBusy:
            logger.info("another training or restore of %s runs; waiting for its end", project_model(project))
            held.enter_context(locked(model_dir, name))
        yield


def is_stamp(version: str) -> bool:
    """Whether this is how `new_stamp` writes a version; nothing else becomes part of a path."""
    return _STAMP.fullmatch(version) is not None


def new_stamp(model_dir: Path, name: str) -> str:
    """Return a version stamp later than every one given out before or in the model's folder.

    Versions only move forward; two builds that ask within one second get two stamps, before either has a file.
    """
    folder = model_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".last-stamp", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # not the model's lock: whoever trains holds that one and asks here
        file.seek(0)
        names = [file.read(), *(path.name for path in folder.glob("*"))]
        taken = [match[0] for text in names if (match := _STAMP.search(text))]
        now = datetime.now(timezone.utc)
        if taken:
            newest = datetime.strptime(max(taken), STAMP_FORMAT).replace(tzinfo=timezone.utc)
            now = max(now, newest + timedelta(seconds=1))
        file.truncate(0)
        file.write(now.strftime(STAMP_FORMAT))
        return now.strftime(STAMP_FORMAT)


def write_json(path: Path, body: Any) -> None:
    """Replace a JSON file atomically, on disk before it has its name."""
    content = (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def write_serving(model_dir: Path, name: str, serving: Serving) -> None:
    """Replace a model's serving.json; the caller holds its lock."""
    write_json(model_dir / name / "serving.json", serving.to_json())


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def add_to_load(model_dir: Path, name: str, version: str) -> Serving:
    """Ask every TorchServe to hold a version; the caller holds the lock."""
    serving = read_serving(model_dir, name) or Serving()
    digest = sha256_of(archive_path(model_dir, name, version))
    load = (version, *(other for other in serving.load if other != version))
    left = {other: moment for other, moment in serving.left.items() if other != version}
    serving = replace(serving, load=load, sha256={**serving.sha256, version: digest}, left=left)
    write_serving(model_dir, name, serving)
    return serving


def drop_from_load(model_dir: Path, name: str, versions: set[str]) -> None:
    """Stop asking for versions; never the current one. The caller holds the lock."""
    serving = read_serving(model_dir, name)
    if serving is None:
        return
    keep = tuple(one for one in serving.load if one not in versions or one == serving.current)
    if keep != serving.load:
        sha256 = {one: digest for one, digest in serving.sha256.items() if one in keep}
        left = {one: moment for one, moment in serving.left.items() if one in keep}
        write_serving(model_dir, name, replace(serving, load=keep, sha256=sha256, left=left))


def flip(model_dir: Path, name: str, version: str) -> None:
    """Make a version in `load` the current one; the caller holds the lock."""
    serving = read_serving(model_dir, name)
    if serving is None or version not in serving.load:
        raise ValueError(f"{version} is not in {name}'s load list, so it cannot become current")
    left = {other: moment for other, moment in serving.left.items() if other != version}
    if serving.current and serving.current != version:
        left[serving.current] = time.time()
    write_serving(model_dir, name, replace(serving, current=version, left=left))
