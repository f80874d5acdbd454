"""When each project last had a page: the time of one small file per project in the model store.

`<model_dir>/.asked/project-7`; empty. The watchers of all nodes that share the store see it, stop the workers of an
idle project and start them when a page comes (`rollout.worker_counts`).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from layoutloop.store.manifest import project_of
from layoutloop.store.path import AnyPath, StorePath

logger = logging.getLogger(__name__)

RENEW_S = 2.0
"""A mark younger than this is not renewed: 300 pages write it once. Below `rollout.worker_counts.SETTLE_S`."""


def asked_path(model_dir: AnyPath, model: str) -> AnyPath:
    """Return the file whose time says when a model last had a page."""
    return model_dir / ".asked" / model


def heal_marks(model_dir: StorePath) -> None:
    """Delete the empty file that an earlier release put where the marks' folder belongs.

    Raises:
        OSError: it cannot be deleted.
    """
    folder = model_dir / ".asked"
    if folder.is_file() and folder.stat().st_size == 0:
        folder.unlink(missing_ok=True)
        logger.info("%s was an empty file, left by an earlier release, and becomes a folder", folder)


@dataclass(slots=True)
class UseMarks:
    """Notes which projects have pages; for use from many threads.

    Args:
        model_dir: the model store.
    """

    model_dir: StorePath
    _noted: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failing: bool = False

    def note(self, model: str) -> None:
        """Note that a model is about to get a page; a page that is read for no project's model wakes nothing.

        A mark that cannot be written is a warning, once, and refuses nothing: where there is no `.asked`, no watcher
        stops a worker.
        """
        if project_of(model) is None:
            return
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(model, -RENEW_S) < RENEW_S:
                return
            self._noted[model] = now
        path = asked_path(self.model_dir, model)
        try:
            heal_marks(self.model_dir)
            path.parent.mkdir(exist_ok=True)  # never the store itself, which may be a mount that is missing
            path.touch()
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.warning(
                    "%s cannot be written (%s): workers of idle projects may not come back; make it writable, "
                    "or set LAYOUTLOOP_IDLE_S=0",
                    path,
                    error,
                )
            self._failing = True
