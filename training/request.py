"""A training's request and context, the listener to its progress, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from layoutloop.settings.training import TrainSettings
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.inference import InferenceClient
from training.data.collect import Source
from training.data.page_readers import Images, TorchServeReader
from training.fit.progress import Progress


class ProgressListener(Protocol):
    """Who is told how far a training is; each method raises Superseded where another process does this job by now."""

    def step(self, name: str, done: int = 0, total: int = 0) -> None:
        """Take note of a step, and perhaps of how far it is."""

    def progress(self, progress: Progress) -> None:
        """Take note of the training process."""

    def still_mine(self) -> None:
        """Raise Superseded where another process does this job by now; else do nothing."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What is to be trained, and how.

    Args:
        project: Label Studio's id.
        force: into service whatever the gate says.
        dry_run: everything but archive and rollout.
        from_current: go on from the version in service instead of the base.
        least_new: skip where fewer annotations are new; 0 never skips.
        untested: also where no TorchServe runs that could try it.
    """

    project: int
    force: bool = False
    dry_run: bool = False
    from_current: bool = False
    least_new: int = 0
    untested: bool = False


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What a training works with.

    Args:
        store: the model store.
        folder: of this job.
        settings: of training.
        source: where the annotations come from.
        read: reads a page.
        images: fetches a page's image once more, for the report.
        client: of this machine's TorchServe.
        threads: pages read at a time.
    """

    store: ModelStore
    folder: Path
    settings: TrainSettings
    source: Source
    read: TorchServeReader
    images: Images
    client: InferenceClient
    threads: int = 4


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """What came of it, in a word and in a sentence; with the version where there is a new one."""

    verdict: Literal["promoted", "rejected", "skipped", "dry run"]
    message: str
    version: str = ""
    f1: float | None = None
