"""A copy on this disk of what readers need of a model store at a URL, kept up to date by listing it once a second.

The shim reads serving.json for every page, the dashboard hundreds of files, the rollout watcher all of them once a
second: an object store takes tens of milliseconds for each, and costs money per request. They read the copy instead,
with the same code that reads a folder. While the store does not answer, what was read last holds.

One thing goes the other way, written by the reader itself: the shim's `.asked/`, a watcher's `.nodes/<node>.json`. The
other nodes' reports, which each writes anew every few seconds, are in no watcher's copy: it seldom wants them, and then
reads the store.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layoutloop.errors import StoreUnavailable
from layoutloop.processes.side_threads import Rounds, beat_path
from layoutloop.store.copy import begin_copy, end_filling, is_filling
from layoutloop.store.manifest import OCR_MODEL
from layoutloop.store.path import StorePath, store_access

if TYPE_CHECKING:
    from upath import UPath

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
LONGEST_PAUSE_S = 10.0
"""Between looks while the store does not answer."""
ASKED_S = 10.0
"""The mark of a project that always has pages is sent once in so long."""
MOST_BYTES = 64 * 2**20
_TOGETHER = 64
ASKED = ".asked/"
NODES = ".nodes/"
_SERVING = "/serving.json"
_HALF = ".new-"
_COPIED = re.compile(
    r"\.nodes/[\w.-]+\.json|\.asked/[\w-]+|(ocr|project-\d+)/([\w.-]+\.json|[\w.-]+\.report\.html)", re.ASCII
)
_CHECKPOINT_FOLDER = re.compile(r"project-\d+/checkpoint-[\w.-]+", re.ASCII)
_CHECKPOINT = re.compile(rf"({_CHECKPOINT_FOLDER.pattern})/[^/]+", re.ASCII)
"""Of a checkpoint only the folder is made: it says that the version can be brought back."""

_Listing = Mapping[str, Mapping[str, Any]]


class StoreMirror:
    """Keeps a folder like a store, as far as readers need it.

    Args:
        origin: the model store.
        folder: the copy; of this process alone.
        sends: beginning of the names that are written here and read there.
    """

    def __init__(self, origin: UPath, folder: Path, sends: str = ASKED) -> None:
        """Begin with what an earlier run left of this store, but for what it sent."""
        self.origin = origin
        self.folder = folder
        self._sends = sends
        self._seen: dict[str, str] = {}
        self._sent: dict[str, tuple[int, float]] = {}
        self._refused: frozenset[str] = frozenset()
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._rounds = Rounds(f"the copy of the model store {origin}", beat_path(folder))
        begin_copy(folder, origin)
        shutil.rmtree(folder / sends.partition("/")[0], ignore_errors=True)
        for left in folder.glob(_HALF + "*"):
            left.unlink()  # of a run that was killed

    @property
    def is_whole(self) -> bool:
        """Whether it was like the store once, in this run or an earlier one."""
        return not is_filling(self.folder)

    def refresh(self) -> None:
        """Send what was written here and take over what changed there.

        What a project has in service comes after the cards that it names, and that of `ocr`, without which no page is
        answered, last of all.

        Raises:
            StoreUnavailable: the store does not answer, or does not hand out a serving.json; what it did not hand out
                stays here as it is.
        """
        with self._guard, store_access(self.origin):
            self._send()
            found = self._list()
            if not found and any(self.folder.glob("*/serving.json")):
                raise StoreUnavailable(f"the model store {self.origin} (MODEL_DIR) is suddenly empty")
            names = sorted(
                (name for name, info in found.items() if self._is_news(name, info)),
                key=lambda name: (name.endswith(_SERVING), name == OCR_MODEL + _SERVING, name),
            )
            refused: dict[str, OSError] = {}
            for at in range(0, len(names), _TOGETHER):
                refused |= self._bring(names[at : at + _TOGETHER], found)
            self._tidy(found)
            self._tell(refused)
            end_filling(self.folder)

    def start(self) -> None:
        """Refresh from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="model store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._rounds.end()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._ended.wait(pause_s):
            longer = min(2 * max(pause_s, REFRESH_S), LONGEST_PAUSE_S)
            pause_s = self._rounds.run(partial(self._refreshed, pause_s, longer), longer)

    def _refreshed(self, pause_s: float, longer: float) -> float:
        """Refresh, and return after how long to do so again."""
        try:
            self.refresh()
        except (StoreUnavailable, OSError) as error:
            if pause_s <= REFRESH_S:
                logger.warning("%s; what was read before still holds", error)
            return longer
        if pause_s > REFRESH_S:
            logger.info("the model store %s answers again", self.origin)
        return REFRESH_S

    def _send(self) -> None:
        """Put what was written here since the last time."""
        for path in (self.folder / self._sends.partition("/")[0]).glob("*"):
            name = path.relative_to(self.folder).as_posix()
            before, at = self._sent.get(name, (0, float("-inf")))
            changed = path.stat().st_mtime_ns
            if not self._is_own(name) or changed == before:
                continue
            if name.startswith(ASKED) and time.monotonic() - at < ASKED_S:
                continue
            (self.origin / name).write_bytes(path.read_bytes())
            self._sent[name] = (changed, time.monotonic())

    def _is_own(self, name: str) -> bool:
        return name.startswith(self._sends) and _COPIED.fullmatch(name) is not None

    def _list(self) -> _Listing:
        root = self.origin.path.rstrip("/")
        try:
            listed = self.origin.fs.find(self.origin.path, detail=True)
        except FileNotFoundError as error:
            raise StoreUnavailable(f"the model store {self.origin} (MODEL_DIR) is not there: {error}") from error
        return {key.removeprefix(root).lstrip("/"): info for key, info in listed.items()}

    def _is_news(self, name: str, info: Mapping[str, Any]) -> bool:
        if not _COPIED.fullmatch(name) or self._is_own(name) or int(info.get("size") or 0) > MOST_BYTES:
            return False
        if self._sends.startswith(NODES) and name.startswith(NODES):
            return False
        return self._seen.get(name) != _identity(info)

    def _bring(self, names: list[str], found: _Listing) -> dict[str, OSError]:
        """Copy these files, in this order; return what the store says of those that it does not hand out."""
        keys = [str(found[name]["name"]) for name in names]
        contents = self.origin.fs.cat(keys, on_error="return")
        refused: dict[str, OSError] = {}
        for name, key in zip(names, keys, strict=True):
            content = contents[key]
            if isinstance(content, FileNotFoundError):
                continue  # deleted in this moment
            if isinstance(content, OSError) and not isinstance(content, ConnectionError | TimeoutError):
                refused[name] = content
                continue
            if isinstance(content, Exception):
                raise content
            _replace(self.folder / name, content, _moment(found[name]))
            self._seen[name] = _identity(found[name])
        return refused

    def _tell(self, refused: Mapping[str, OSError]) -> None:
        """Warn of files that the store does not hand out, of each once.

        Raises:
            StoreUnavailable: one is a serving.json. Without it a trained project would look like one that never was.
        """
        for name in sorted(refused.keys() - self._refused):
            logger.warning("%s cannot be read: %s", self.origin / name, refused[name])
        self._refused = frozenset(refused)
        for name, error in refused.items():
            if name.endswith(_SERVING):
                raise StoreUnavailable(f"{self.origin / name} cannot be read: {error}") from error

    def _tidy(self, found: _Listing) -> None:
        """Delete what is not in the store any more; of a checkpoint only the folder comes and goes."""
        checkpoints = {match[1] for name in found if (match := _CHECKPOINT.fullmatch(name))}
        for name in checkpoints:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("*/*"):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir():
                if _CHECKPOINT_FOLDER.fullmatch(name) and name not in checkpoints:
                    path.rmdir()
            elif _COPIED.fullmatch(name) and name not in found and not self._is_own(name):
                path.unlink(missing_ok=True)
                self._seen.pop(name, None)


def _identity(info: Mapping[str, Any]) -> str:
    """Return a string that changes with a file: whatever its store tells of it in a listing."""
    return repr(sorted((key, str(value)) for key, value in info.items()))


def _moment(info: Mapping[str, Any]) -> float:
    """Return when a file was written, Unix seconds; now where its store does not say."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return time.time()


def _replace(path: Path, content: bytes, moment: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent.parent, prefix=_HALF)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.utime(name, (moment, moment))
        os.replace(name, path)
    except OSError:  # a full disk
        os.unlink(name)
        raise


@contextmanager
def readable(store: StorePath, place: Path | None = None, sends: str = ASKED) -> Iterator[Path]:
    """Yield the folder in which a model store can be read: itself, or a copy that is up to date and stays so.

    Args:
        store: the model store.
        place: of the copy; a temporary folder by default.
        sends: see `StoreMirror`.

    Raises:
        StoreUnavailable: it does not answer, and no earlier run left a copy.
    """
    if isinstance(store, Path):
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="layoutloop-store-") as scratch:
        mirror = StoreMirror(store, place or Path(scratch), sends)
        try:
            mirror.refresh()
        except StoreUnavailable as error:
            if not mirror.is_whole:
                raise
            logger.warning("%s; what an earlier run read still holds", error)
        mirror.start()
        try:
            yield mirror.folder
        finally:
            mirror.close()
