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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from handler.errors import MachineFailed
from handler.machine import is_of_machine, machine_failed
from layoutloop.errors import DeadlineExceeded, LayoutLoopError, ModelNotReady, NoModelYet, Overloaded, StillRunning
from layoutloop.plural import counted
from layoutloop.settings.serving import Settings
from layoutloop.store.copy import is_filling, store_of
from layoutloop.store.manifest import project_model
from layoutloop.studio.label_config import LabelConfig, image_references
from layoutloop.studio.results import PredictionDict, Rendering, regions_to_results, results_to_prediction
from layoutloop.studio.task_words import words_of_task
from layoutloop.studio.version import config_fingerprint, reported_version
from layoutloop.torchserve.in_service import InService
from shim.predict.answering import PageAnswer, PageAnswerer, PageSource
from shim.predict.interactive import drawn_to_prediction, page_drawn_on
from shim.predict.metrics import Metrics
from shim.predict.pool import PagePool
from shim.predict.request import PredictRequest
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

Entry = PredictionDict | list[PredictionDict]
"""What Label Studio gets for one task: a prediction, or `[]` for none (it may then request it another time)."""


@dataclass(frozen=True, slots=True)
class PredictResponse:
    """What /predict answers."""

    results: list[Entry]
    model_version: str


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
        return self._reported(self._answerer.models.in_service(model), config)

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
        deadline = time.monotonic() + self._settings.deadline_s
        if not self._admitted.acquire(blocking=False):
            version = self.version(request.project_id, request.config)
            logger.warning(
                "no more than %s at a time; [] for %s",
                counted(self._settings.max_predicts, "predict"),
                counted(len(request.tasks), "task"),
            )
            self._metrics.tasks.labels("deferred").inc(len(request.tasks))
            return PredictResponse([[] for _ in request.tasks], version)
        try:
            version = self._version_when_copied(request, min(deadline, time.monotonic() + _COPY_S))
            submitted = [self._submit_task(request, task, turn) for turn, task in enumerate(request.tasks)]
            entries = [
                self._entry(request, task, one, deadline) for task, one in zip(request.tasks, submitted, strict=True)
            ]
        finally:
            self._admitted.release()
        outcomes = Counter(outcome for _, outcome in entries)
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
                counted(len(entries), "task"),
                self._settings.deadline_s,
            )
        return PredictResponse([entry for entry, _ in entries], version)

    def _submit_task(
        self, request: PredictRequest, task: Mapping[str, object], turn: int
    ) -> TaskPages | LayoutLoopError:
        try:
            pages = self._sources(request, task)
            if request.is_interactive:
                pages, turn = (page_drawn_on(request.drawn, pages),), _FIRST
            return TaskPages(self._answerer, self._pool, request.model, task.get("id"), pages, turn)
        except LayoutLoopError as error:
            return error

    def _sources(self, request: PredictRequest, task: Mapping[str, object]) -> tuple[PageSource, ...]:
        references = image_references(task, request.config)
        brought = words_of_task(task, request.config, len(references))
        key = (request.project_id, "a column of words")  # told once: every task may have it
        if brought.own_column and key not in self._logged:
            self._logged.add(key)
            logger.warning("project %s: %s", request.project_id, brought.own_column)
        return tuple(map(PageSource, references, brought.pages))

    def _entry(
        self,
        request: PredictRequest,
        task: Mapping[str, object],
        submitted: TaskPages | LayoutLoopError,
        deadline: float,
    ) -> tuple[Entry, TaskStatus]:
        where = f"project {request.project_id} task {task.get('id')}"
        try:
            if isinstance(submitted, LayoutLoopError):
                raise submitted
            pages = self._read(where, submitted.wait(deadline))
            return self._prediction(request, pages, len(submitted)), "ok"
        except (DeadlineExceeded, Overloaded, MachineFailed) as error:
            # `predict` logs one sentence on all that go on; a line for each of 300 would bury the others.
            self._note(where, error, logging.DEBUG if isinstance(error, StillRunning) else logging.WARNING)
            return [], "deferred"
        except NoModelYet as error:  # every project begins so, and the dashboard says it
            self._note(where, error, logging.DEBUG)
            return [], "no_model"
        except LayoutLoopError as error:
            self._note(where, error, logging.WARNING)
        except Exception as error:
            if isinstance(error, OSError | MemoryError) and is_of_machine(error):
                self._note(where, machine_failed(error), logging.WARNING)
                return [], "deferred"
            logger.exception("%s", where)
            unforeseen = LayoutLoopError("this task failed in a way that was not foreseen; the traceback is above")
            self._note(where, unforeseen, logging.WARNING)
        return [], "failed"

    def _read(self, where: str, pages: Sequence[PageAnswer | LayoutLoopError]) -> dict[int, PageAnswer]:
        """Return the pages that could be read, by their index; name the others."""
        for index, page in enumerate(pages):
            if isinstance(page, LayoutLoopError):
                self._note(where, page, logging.WARNING, f"page {index + 1} of {len(pages)}")
        return {index: page for index, page in enumerate(pages) if isinstance(page, PageAnswer)}

    def _prediction(self, request: PredictRequest, pages: Mapping[int, PageAnswer], count: int) -> Entry:
        """Draw the pages that were read, by their index, of `count`; where one is missing, a person must look first."""
        first = next(iter(pages.values()))
        in_service, config = first.in_service, request.config
        settings, version = self._settings, self._reported(in_service, config)
        rendering = Rendering(config, version, settings.score_threshold, settings.read_only_boxes)
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
            self._name_unknown(request, in_service, version)
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

    def _reported(self, in_service: InService, config: LabelConfig) -> str:
        threshold, read_only = self._settings.score_threshold, self._settings.read_only_boxes
        drawn = config_fingerprint(config, in_service.engine, threshold, read_only=read_only)
        return reported_version(in_service.stamp, drawn)

    def _note(self, where: str, error: LayoutLoopError, level: int, page: str = "") -> None:
        """Count an error and write it to the log; `page` is which of several it is about."""
        self._metrics.errors.labels(error.code).inc()
        sentence = {"sentence": f"{page}: {error}"} if page else {}  # for the dashboard, which else shows the error
        logger.log(level, "%s: %s: %s", f"{where} {page}".rstrip(), error.code, error, extra=sentence)
