"""How many worker processes each model gets on a node: none while its project is idle.

Measured (TorchServe 0.12.0): a registered version whose workers are stopped keeps its queue. What waits there is
answered when a worker starts again; only what the worker was at is lost, with a 500 after which the client sends it
again. So stopping workers loses no request, however unlucky the moment; `may_stop` keeps such moments rare.

No clock of another machine is compared with ours but at the first look at a mark: from then on it counts when a mark
was seen to change.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from layoutloop.store.manifest import OCR_MODEL, Manifest
from layoutloop.store.use_marks import asked_path
from layoutloop.torchserve.management import ServedVersion

SETTLE_S = 3.0
"""How long a version's queue must have been empty before its workers go: they may still be at its last request."""

_Marks = tuple[int, int]
"""When a project last had a page, and when its serving.json was written: nanoseconds of its file, 0 for never."""


@dataclass(slots=True)
class WorkerCounts:
    """Tells how many workers a model gets.

    Args:
        model_dir: the model store.
        ocr: workers of `ocr`, which are never stopped.
        project: workers of a project's model.
        idle_s: a project without a page for so long gets none; 0 is never.
    """

    model_dir: Path
    ocr: int
    project: int = 1
    idle_s: float = 0.0
    _seen: dict[str, tuple[_Marks, float]] = field(default_factory=dict)
    _empty: dict[tuple[str, str], float] = field(default_factory=dict)

    def of(self, model: str, serving: Manifest) -> int:
        """Return the count for a model; while a new version is tried its project is not idle."""
        if model == OCR_MODEL:
            return self.ocr
        candidates = set(serving.load) - set(serving.left) - {serving.current}
        return 0 if self.is_idle(model) and not candidates else self.project

    def is_idle(self, model: str) -> bool:
        """Whether a project had no page for so long; a promotion counts as use.

        Never where marks cannot be read or written, and never in a store without any mark: a request must be able
        to start the workers.
        """
        if not self.idle_s or not os.access(asked_path(self.model_dir, model).parent, os.W_OK):
            return False
        try:
            marks = _time_of(asked_path(self.model_dir, model)), _time_of(self.model_dir / model / "serving.json")
        except OSError:
            return False
        known = self._seen.get(model)
        if known is None or known[0] != marks:
            age = max(0.0, time.time() - max(marks) / 1e9) if known is None else 0.0
            known = self._seen[model] = (marks, time.monotonic() - age)
        return time.monotonic() - known[1] > self.idle_s

    def may_stop(self, model: str, served: ServedVersion) -> bool:
        """Whether an idle project's version has nothing to do, and had not for `SETTLE_S`, as far as looks can tell."""
        key, now = (model, served.version), time.monotonic()
        asked = self._seen[model][1] if model in self._seen else now
        if served.pending_requests or self._empty.get(key, asked) <= asked:
            self._empty[key] = now
        # The marks last: a page that comes from here on finds a queue, or no worker, and marks the project.
        return now - self._empty[key] >= SETTLE_S and self.is_idle(model)


def _time_of(path: Path) -> int:
    """Return when a file was written, 0 where there is none."""
    try:
        # Opened, since a network file system may answer a bare stat from memory for a minute.
        with path.open("rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0
