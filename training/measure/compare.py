"""A candidate and the versions that are kept, measured on the same validation pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from handler.errors import HandlerError
from handler.ocr_settings import TASK_ENGINE
from handler.page import BOX_LEVELS, TaggedPage
from handler.tagging.layoutlm import as_invalid
from handler.tagging.tagger import TaggerSettings
from layoutloop.errors import ModelNotReady, PageRejected
from layoutloop.store.manifest import VersionCard, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import StorePath, children
from layoutloop.store.transfer import folder_here
from training.data.collect import Collected
from training.data.examples import Example
from training.measure.boxes import score_boxes
from training.measure.evaluate import tag_examples
from training.measure.scoring import Compared, Scores, score

logger = logging.getLogger(__name__)

Answers = list[TaggedPage | HandlerError]
AsReadFor = Callable[[VersionCard], Sequence[Example | HandlerError]]
"""Returns the validation pages with the words that a version is given; in a page's place, why its engine gave none."""


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A version whose checkpoint is in the model store."""

    card: VersionCard
    checkpoint: StorePath


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate on the validation pages, and the kept versions on the same ones.

    Args:
        scores: the candidate's, by the words of its entities.
        answers: the candidate's.
        rivals: best first.
        unmeasured: version -> why it could not be run on these pages.
        box_scores: the candidate's by its boxes, where a rival reads with another engine: then `rivals` are by boxes,
            too, each on the words of its own engine. None where words were compared.
    """

    scores: Scores
    answers: Answers
    rivals: tuple[Compared, ...]
    unmeasured: Mapping[str, str]
    box_scores: Scores | None = None

    @property
    def comparable(self) -> Scores:
        """The candidate's scores, counted as those of the rivals are."""
        return self.box_scores or self.scores


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a training made.

    Args:
        checkpoint: its folder.
        box_level: `words` or `lines`, as in training.
        pages: that validate, as the candidate reads them.
        engine_kind: of the OCR engine that read them.
    """

    checkpoint: Path
    box_level: str
    pages: Sequence[Example]
    engine_kind: str

    @property
    def was_read(self) -> bool:
        """Whether an engine read any of the pages: the words of the others came with their tasks."""
        return any(page.page.engine != TASK_ENGINE for page in self.pages)


def kept_versions(store: ModelStore, project: int) -> list[KeptVersion]:
    """Return the versions of a project that can be measured and restored, newest first."""
    name = project_model(project)
    found = []
    for checkpoint in reversed(children(store.folder(name), "checkpoint-*")):
        version = checkpoint.name.removeprefix("checkpoint-")
        try:
            found.append(KeptVersion(store.card(name, version), checkpoint))
        except ModelNotReady as error:
            logger.info("%s is not compared with: %s", checkpoint, error)
    return found


def rivals(store: ModelStore, project: int, besides: str | None = None) -> list[KeptVersion]:
    """Return the kept versions to measure a candidate against, newest first.

    A version that was archived again under a new stamp is the same model twice: only the new one is measured.

    Args:
        store: the model store.
        project: Label Studio's id.
        besides: the candidate's own version, where an earlier try archived it.
    """
    kept = [one for one in kept_versions(store, project) if one.card.version != besides]
    copied = {one.card.restored_from for one in kept}
    return [one for one in kept if one.card.version not in copied]


def compare(
    candidate: Candidate,
    kept: Sequence[KeptVersion],
    collected: Collected,
    as_read_for: AsReadFor,
    told: Callable[[int, int], None],
) -> Comparison:
    """Measure a candidate and kept versions on the same pages.

    Words of two OCR engines do not compare; those that came with tasks are the same for every version. Where a kept
    version reads with another engine than the candidate, each gets the words of its own engine, and all are counted by
    boxes. A page that a version's engine does not read counts as one without predictions of that version.

    Args:
        candidate: with the validation pages, perhaps none.
        kept: see `rivals`.
        collected: the project's labels.
        as_read_for: for a version with another engine; may raise LayoutLoopError.
        told: how many models are measured, of how many.

    Raises:
        CheckpointInvalid, PageInvalid: the candidate cannot be run on these pages.
    """
    answers = _answers(candidate.checkpoint, candidate.box_level, candidate.pages)
    others = {one.card.engine_kind for one in kept} - {candidate.engine_kind}
    by_boxes = bool(candidate.was_read and others)
    told(1, 1 + len(kept))
    measured: list[Compared] = []
    unmeasured: dict[str, str] = {}
    for done, one in enumerate(kept, start=2):
        try:
            theirs = _rival_answers(one, candidate, as_read_for)
            measured.append(Compared(one.card.version, _counted(candidate.pages, theirs, collected, by_boxes)))
        except (HandlerError, PageRejected, MemoryError) as error:
            unmeasured[one.card.version] = _why_unmeasured(one.card.version, error)
        told(done, 1 + len(kept))
    best_first = sorted(measured, key=lambda one: one.scores.overall.f1, reverse=True)
    scores = _counted(candidate.pages, answers, collected, by_boxes=False)
    box_scores = _counted(candidate.pages, answers, collected, by_boxes=True) if by_boxes else None
    return Comparison(scores, answers, tuple(best_first), unmeasured, box_scores)


def _why_unmeasured(version: str, error: Exception) -> str:
    why = str(error) or "there is not enough memory for it"
    logger.warning("version %s cannot be compared with: %s", version, why)
    return why


def _counted(pages: Sequence[Example], answers: Answers, collected: Collected, by_boxes: bool) -> Scores:
    """Return scores by boxes or by words; by boxes, the words of the pages do not count."""
    return (score_boxes if by_boxes else score)(pages, answers, collected.labels, collected.label_map)


def _rival_answers(one: KeptVersion, candidate: Candidate, as_read_for: AsReadFor) -> Answers:
    """Return what a kept version says about the candidate's pages, each with the words of the version's own engine.

    Raises:
        CheckpointInvalid, PageInvalid: it cannot be run on these pages.
        PageRejected: its engine reads none of them.
    """
    same_words = not candidate.was_read or one.card.engine_kind == candidate.engine_kind
    pages = candidate.pages if same_words else as_read_for(one.card)
    read = [page for page in pages if isinstance(page, Example)]
    refused = [page for page in pages if isinstance(page, HandlerError)]
    if refused and not read:
        raise PageRejected(refused[0].code, f"its engine reads none of these pages: {refused[0]}", refused[0].status)
    with (
        TemporaryDirectory(prefix="kept-", dir=candidate.checkpoint.parent) as scratch,
        as_invalid("it cannot be run"),
    ):
        checkpoint = folder_here(one.checkpoint, Path(scratch) / "checkpoint")
        answered = iter(_answers(checkpoint, one.card.box_level, read))
    return [page if isinstance(page, HandlerError) else next(answered) for page in pages]


def _answers(checkpoint: Path, box_level: str, examples: Sequence[Example]) -> Answers:
    level = next(level for level in BOX_LEVELS if level == box_level)
    return tag_examples(checkpoint, examples, TaggerSettings(box_level=level))
