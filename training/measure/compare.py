"""A candidate and the versions that are kept, measured on the same validation pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from handler.errors import CheckpointInvalid, HandlerError, PageInvalid
from handler.page import BOX_LEVELS, TaggedPage
from handler.tagging.tagger import TaggerSettings
from layoutloop.errors import ModelNotReady
from layoutloop.store.manifest import VersionCard, project_model, read_card, read_manifest
from layoutloop.store.path import StorePath, children
from layoutloop.store.transfer import folder_here
from training.data.collect import Collected
from training.data.examples import Example
from training.measure.evaluate import tag_examples
from training.measure.scoring import Compared, Scores, score

logger = logging.getLogger(__name__)

Answers = list[TaggedPage | HandlerError]


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A version whose checkpoint is in the model store."""

    card: VersionCard
    checkpoint: StorePath


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate on the validation pages, and the kept versions on the same ones.

    Args:
        scores: the candidate's.
        answers: the candidate's.
        rivals: best first.
        unmeasured: version -> why it could not be run on these pages.
    """

    scores: Scores
    answers: Answers
    rivals: tuple[Compared, ...]
    unmeasured: Mapping[str, str]


def kept_versions(model_dir: StorePath, project: int) -> list[KeptVersion]:
    """Return the versions of a project that can be measured and restored, newest first."""
    name = project_model(project)
    found = []
    for checkpoint in reversed(children(model_dir / name, "checkpoint-*")):
        version = checkpoint.name.removeprefix("checkpoint-")
        try:
            found.append(KeptVersion(read_card(model_dir, name, version), checkpoint))
        except ModelNotReady as error:
            logger.info("%s is not compared with: %s", checkpoint, error)
    return found


def rivals(model_dir: StorePath, project: int, besides: str | None = None) -> list[KeptVersion]:
    """Return the kept versions to measure a candidate against, newest first.

    A version that was archived again under a new stamp is the same model twice: only the new one is measured.

    Args:
        model_dir: the model store.
        project: Label Studio's id.
        besides: the candidate's own version, where it has one already.
    """
    kept = [one for one in kept_versions(model_dir, project) if one.card.version != besides]
    copied = {one.card.restored_from for one in kept}
    return [one for one in kept if one.card.version not in copied]


def measure(
    checkpoint: Path, box_level: str, examples: Sequence[Example], labels: Sequence[str], label_map: Mapping[str, str]
) -> tuple[Scores, Answers]:
    """Return how well a checkpoint finds what is marked on pages, and what it answered.

    Raises:
        CheckpointInvalid, PageInvalid: it cannot be run on these pages.
    """
    level = next(level for level in BOX_LEVELS if level == box_level)
    answers = tag_examples(checkpoint, examples, TaggerSettings(box_level=level))
    return score(examples, answers, labels, label_map), answers


def compare(
    model_dir: StorePath,
    project: int,
    checkpoint: Path,
    box_level: str,
    examples: Sequence[Example],
    collected: Collected,
    told: Callable[[int, int], None],
    besides: str | None = None,
) -> Comparison:
    """Measure a candidate and every kept version on the same pages.

    Args:
        model_dir: the model store.
        project: Label Studio's id.
        checkpoint: the candidate's.
        box_level: the candidate's.
        examples: the validation pages, perhaps none.
        collected: the project's labels.
        told: how many models are measured, of how many.
        besides: the candidate's own version, where an earlier try archived it.
    """
    labels, label_map = collected.labels, collected.label_map
    kept = rivals(model_dir, project, besides)
    scores, answers = measure(checkpoint, box_level, examples, labels, label_map)
    told(1, 1 + len(kept))
    measured, unmeasured = [], {}
    for done, one in enumerate(kept, start=2):
        try:
            with TemporaryDirectory(prefix="kept-", dir=checkpoint.parent) as scratch:
                theirs_here = folder_here(one.checkpoint, Path(scratch) / "checkpoint")
                theirs, _ = measure(theirs_here, one.card.box_level, examples, labels, label_map)
            measured.append(Compared(one.card.version, theirs))
        except (CheckpointInvalid, PageInvalid) as error:
            logger.warning("version %s cannot be compared with: %s", one.card.version, error)
            unmeasured[one.card.version] = str(error)
        told(done, 1 + len(kept))
    best_first = sorted(measured, key=lambda one: one.scores.overall.f1, reverse=True)
    return Comparison(scores, answers, tuple(best_first), unmeasured)


def current_card(model_dir: StorePath, project: int) -> VersionCard | None:
    """Return the card of the version in service, None in cold start.

    Raises:
        ModelNotReady: serving.json or the card cannot be understood.
    """
    name = project_model(project)
    serving = read_manifest(model_dir, name)
    return read_card(model_dir, name, serving.current) if serving and serving.current else None
