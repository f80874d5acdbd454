"""Tasks to Label Studio predictions: concurrent, in order, inside the deadline, one entry per task whatever happens.

Why a request that does not fit the deadline is not answered with one result, although Label Studio 1.23.2 then
sends its tasks one by one, with 100 s for each: it stores what it gets in one go at the end of the press. Measured on
a real one, 60 invoices, a page every 0.5 s and a deadline of 10 s: one press of 33 s instead of three of 13, 12 and
1 s. But the first answer is discarded, and everything depends on the longest request that Label Studio survives:

- a task deleted meanwhile that has an answer: 400, and nothing is stored. One by one that is any of the 60 (seen);
  entry by entry it is any of those answered, and as the one deleted was not, the other 19 were stored;
- pressed again meanwhile: 60 of 60 tasks had two predictions (entry by entry: 19 of 60);
- a task opened meanwhile has two predictions. That holds for every request, but one by one it lasts as long as all
  pages take, not the deadline;
- Label Studio's own uwsgi.ini ends a request after 120 s (harakiri), which loses all that was answered by then.

Pressing again is the lesser evil: what was answered is stored, and the next press finds the rest done or under way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from handler.errors import MachineFailed
from handler.machine import is_of_machine, machine_failed
from layoutloop.errors import DeadlineExceeded, LayoutLoopError, ModelNotReady, NoModelYet, Overloaded, StillRunning
from layoutloop.plural import counted
from layoutloop.settings.serving import Settings
from layoutloop.store.copy import is_filling, store_of
from layoutloop.store.manifest import project_model
from layoutloop.store.thresholds import read_thresholds
from layoutloop.studio.label_config import LabelConfig, image_references
from layoutloop.studio.results import Rendering, regions_to_results, results_to_prediction
from layoutloop.studio.task_words import words_of_task
from layoutloop.studio.version import config_fingerprint, reported_version
from layoutloop.torchserve.in_service import InService
from shim.predict.answering import PageAnswer, PageAnswerer, PageSource
from shim.predict.handed_out import Entry, HandedOut
from shim.predict.interactive import drawn_to_prediction, page_drawn_on
from shim.predict.metrics import Metrics
from shim.predict.pool import BACKGROUND, PagePool, bare
from shim.predict.request import PredictRequest
from shim.predict.task_notes import TaskNotes
from shim.predict.task_pages import TaskPages

logger = logging.getLogger(__name__)

_PAUSE_S, _COPY_S = 0.25, 15.0
_FIRST = -1  # the turn of a rectangle just drawn: its page comes before the first one of any other request

_NO_MODEL = (
    "no model is in service for this project yet, and RectangleLabels cannot draw text without a label; "
    "train or archive a model, or use the Optical Character Recognition template. Looked for in {}: if the "
    "project has a model elsewhere, name that store in MODEL_DIR"
)
TaskStatus = Literal["ok", "no_model", "deferred", "failed"]


@dataclass(frozen=True, slots=True)
class PredictResponse:
    """What /predict answers.

    Args:
        results: one entry per task, in order.
        model_version: for Label Studio.
        errors: why a task's entry is `[]`; None where it is not.
    """

    results: list[Entry]
    model_version: str
    errors: list[LayoutLoopError | None]


class Predictor:
    """Answers /predict, and reports the version that /setup needs.

    Args:
        settings: the shim's.
        answerer: answers single pages.
        pool: runs them.
        metrics: where outcomes are counted.
    """

    def __init__(
        self, settings: Settings, answerer: PageAnswerer, pool: PagePool[PageAnswer], metrics: Metrics
    ) -> None:
        """Keep the parts; nothing starts yet."""
        self.handed_out = HandedOut()
        self._settings = settings
        self._answerer = answerer
        self._pool = pool
        self._metrics = metrics
        self._no_model = _NO_MODEL.format(store_of(settings.model_dir))
        self._logged: set[tuple[int | None, str]] = set()
        self._admitted = threading.BoundedSemaphore(settings.max_predicts)

    def version(self, project_id: int | None, config: LabelConfig) -> str:
        """Return the version string of a project at this moment, the same for /setup and /predict.

        Raises:
            ModelNotReady: nothing is in service.
        """
        model = None if project_id is None else project_model(project_id)
        return self._rendering(self._answerer.models.in_service(model), config).version

    def log_once(self, project_id: int | None, sentence: str) -> None:
        """Write a sentence about a project to the log, the first time: /setup comes again and again."""
        if (project_id, sentence) not in self._logged:
            self._logged.add((project_id, sentence))
            logger.info("project %s: %s", project_id, sentence)

    def _version_when_copied(self, request: PredictRequest, until: float) -> str:
        """Return the version; a shim that has just begun to copy its store waits for the copy."""
        while is_filling(self._settings.model_dir) and time.monotonic() + _PAUSE_S < until:
            try:
                return self.version(request.project_id, request.config)
            except ModelNotReady:
                time.sleep(_PAUSE_S)
        return self.version(request.project_id, request.config)

    def predict(self, request: PredictRequest) -> PredictResponse:
        """Return one entry per task, in order.

        A task that failed, or did not fit the deadline, is `[]`; what did not fit goes on in the background, so
        that the next request finds it done.
        """
        deadline, notes = time.monotonic() + self._settings.deadline_s, TaskNotes(self._metrics, request.project_id)
        if not self._admitted.acquire(blocking=False):
            return self._too_many(request)
        try:
            version = self._version_when_copied(request, min(deadline, time.monotonic() + _COPY_S))
            if request.is_background:
                self.handed_out.note_run()
            first = BACKGROUND if request.is_background else 0
            submit = partial(self._submit_task, request, self._answerer.models.in_service(request.model))
            submitted = [submit(task, turn) for turn, task in enumerate(request.tasks, first)]
            entries = [
                self._entry(request, task, one, deadline, notes)
                for task, one in zip(request.tasks, submitted, strict=True)
            ]
        finally:
            self._admitted.release()
            notes.log()
        self._count(request, Counter(outcome for _, outcome, _ in entries))
        results = [entry for entry, _, _ in entries]
        if not request.is_background and not request.is_interactive:
            results = self.handed_out.without_taken(request.tasks, results)
        return PredictResponse(results, version, [error for _, _, error in entries])

    def _too_many(self, request: PredictRequest) -> PredictResponse:
        """Return `[]` for each task of a request that finds no place."""
        version = self.version(request.project_id, request.config)
        logger.warning(
            "no more than %s at a time; [] for %s",
            counted(self._settings.max_predicts, "predict"),
            counted(len(request.tasks), "task"),
        )
        self._metrics.tasks.labels("deferred").inc(len(request.tasks))
        full = Overloaded("too many predict requests at a time; try again")
        return PredictResponse([[] for _ in request.tasks], version, [full for _ in request.tasks])

    def _count(self, request: PredictRequest, outcomes: Counter[TaskStatus]) -> None:
        """Count how the tasks ended, and log what concerns many of them in one line."""
        for outcome, count in outcomes.items():
            self._metrics.tasks.labels(outcome).inc(count)
        if outcomes["no_model"]:
            unserved = counted(outcomes["no_model"], "task")
            logger.info("project %s: nothing for %s: %s", request.project_id, unserved, self._no_model)
        if outcomes["deferred"]:
            logger.warning(
                "project %s: %d of %s did not fit the %g s; what was begun goes on in the background, try again",
                request.project_id,
                outcomes["deferred"],
                counted(outcomes.total(), "task"),
                self._settings.deadline_s,
            )

    def _submit_task(
        self, request: PredictRequest, in_service: InService, task: Mapping[str, object], turn: int
    ) -> TaskPages | LayoutLoopError:
        try:
            pages = self._sources(request, task)
            if request.is_interactive:
                pages, turn = (page_drawn_on(request.drawn, pages),), _FIRST
            return TaskPages(self._answerer, self._pool, request.model, in_service, task.get("id"), pages, turn)
        except LayoutLoopError as error:
            return bare(error)

    def _sources(self, request: PredictRequest, task: Mapping[str, object]) -> tuple[PageSource, ...]:
        references = image_references(task, request.config)
        given = words_of_task(task, request.config, len(references))
        key = (request.project_id, "a column of words")  # told once: every task may have it
        if given.own_column and key not in self._logged:
            self._logged.add(key)
            logger.warning("project %s: %s", request.project_id, given.own_column)
        return tuple(map(PageSource, references, given.pages))

    def _entry(
        self,
        request: PredictRequest,
        task: Mapping[str, object],
        submitted: TaskPages | LayoutLoopError,
        deadline: float,
        notes: TaskNotes,
    ) -> tuple[Entry, TaskStatus, LayoutLoopError | None]:
        note = partial(notes.add, task.get("id"))
        try:
            if isinstance(submitted, LayoutLoopError):
                raise submitted
            pages = self._read(note, submitted.wait(deadline))
            return self._prediction(request, pages, len(submitted)), "ok", None
        except (DeadlineExceeded, Overloaded, MachineFailed) as error:
            # `predict` logs one sentence on all that go on; a line for each of 300 would bury the others.
            note(error, logging.DEBUG if isinstance(error, StillRunning) else logging.WARNING)
            return [], "deferred", error
        except NoModelYet as error:  # every project begins so, and the dashboard says it
            note(error, logging.DEBUG)
            return [], "no_model", error
        except LayoutLoopError as error:
            failure = error
        except Exception as error:
            if isinstance(error, OSError | MemoryError) and is_of_machine(error):
                note(failed := machine_failed(error), logging.WARNING)
                return [], "deferred", failed
            logger.exception("project %s task %s", request.project_id, task.get("id"))
            failure = LayoutLoopError("this task failed in a way that was not foreseen; see the traceback")
        note(failure, logging.WARNING)
        return [], "failed", failure

    def _read(self, note: Callable[..., None], pages: Sequence[PageAnswer | LayoutLoopError]) -> dict[int, PageAnswer]:
        """Return the pages that could be read, by their index; name the others."""
        for index, page in enumerate(pages):
            if isinstance(page, LayoutLoopError):
                note(page, logging.WARNING, f"page {index + 1} of {len(pages)}")
        return {index: page for index, page in enumerate(pages) if isinstance(page, PageAnswer)}

    def _prediction(self, request: PredictRequest, pages: Mapping[int, PageAnswer], count: int) -> Entry:
        """Draw the pages that were read, by their index, of `count`; where one is missing, a person must look first."""
        first = next(iter(pages.values()))
        in_service, config = first.in_service, request.config
        rendering = self._rendering(in_service, config)
        if request.drawn is not None:
            return drawn_to_prediction(request.drawn, first, rendering)
        if in_service.model is None and config.kind == "rectanglelabels":
            raise NoModelYet(self._no_model)
        drawn = [
            regions_to_results(page.regions, page.size, rendering, index if config.is_list else None)
            for index, page in pages.items()
        ]
        self._metrics.unknown_labels.inc(sum(one.unknown_labels for one in drawn))
        if any(one.unknown_labels for one in drawn):
            self._name_unknown(request, in_service, rendering.version)
        prediction = results_to_prediction(drawn)
        if len(pages) < count:
            prediction["score"] = 0.0
        return prediction

    def _name_unknown(self, request: PredictRequest, in_service: InService, version: str) -> None:
        """Log once per version which of the model's labels the label config does not have."""
        labels = in_service.model.labels if in_service.model else ()
        unknown = [label for label in labels if request.config.project_label(label) is None]
        if (request.project_id, version) not in self._logged:
            self._logged.add((request.project_id, version))
            logger.warning(
                "project %s: the model's labels %s are not in the label config, which has %s; their boxes are drawn "
                'without a label (map them with predicted_values="..." on a <Label>)',
                request.project_id,
                ", ".join(unknown),
                ", ".join(request.config.labels),
            )

    def _rendering(self, in_service: InService, config: LabelConfig) -> Rendering:
        model, read_only = in_service.model.model if in_service.model else None, self._settings.read_only_boxes
        thresholds = read_thresholds(self._answerer.models.store.path, model, self._settings.score_threshold)
        drawn = config_fingerprint(config, in_service.engine, thresholds, read_only=read_only)
        return Rendering(config, reported_version(in_service.stamp, drawn), thresholds, read_only)
