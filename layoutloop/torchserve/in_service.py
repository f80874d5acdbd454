"""The models in service, for one page: which versions answer now, read it, label it. Wire JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.ocr_settings import engine_kind, engine_name, engine_program
from layoutloop.errors import ModelNotReady, TorchServeUnavailable
from layoutloop.store.copy import FIRST_COPY, is_filling, store_of
from layoutloop.store.manifest import FIRST_ENGINE, OCR_MODEL, Manifest, VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.use_marks import UseMarks
from layoutloop.torchserve.inference import InferenceClient, PageRequest

_QUEUED = 2
"""Twice what runs at a time: every worker has its next page, and queues stay short enough for a second try."""

_SAME_TURN = 0.01
"""Degrees: of 2,000 pixels, a third of one."""


@dataclass(frozen=True, slots=True)
class InService:
    """What answers for a project at one moment.

    Args:
        ocr: card of the `ocr` version that reads.
        model: card of the project's version that labels; None in cold start.
    """

    ocr: VersionCard
    model: VersionCard | None

    @property
    def versions(self) -> tuple[str | None, str]:
        """The project's version and that of `ocr`: what an answer depends on."""
        return self.stamp, self.ocr.version

    @property
    def reading(self) -> dict[str, str]:
        """How pages are read: as the project's model was trained, else as `ocr` is set."""
        if self.model is None:
            return {}
        return {
            "engine": self.model.engine_kind,
            "language": self.model.language,
            "psm": str(self.model.psm),
            "thumbnail": "1" if self.model.uses_image else "0",
        }

    @property
    def engine(self) -> str:
        """The engine that pages are read with, by its name, in the language and mode that `ocr` is set to.

        Part of the version that Label Studio gets (`layoutloop.studio.version`): another engine of `ocr` changes
        nothing for a project whose model keeps the engine of its training, or FIRST_ENGINE where its card names none.
        """
        ocr = self.ocr.engine or ""
        if self.model is None or self.model.engine_kind == engine_kind(ocr):
            return ocr
        return engine_name(engine_program(self.model.engine or FIRST_ENGINE), self.ocr.language, self.ocr.psm)

    @property
    def stamp(self) -> str | None:
        """The project's version, None in cold start."""
        return self.model.version if self.model else None


@dataclass(frozen=True, slots=True)
class InServiceModels:
    """Sends pages to the versions that the model store says are current, pinned, and marks their project as used.

    Args:
        store: the model store, or a copy of it.
        client: of TorchServe.
        ocr_workers: of model `ocr` on this TorchServe.
        project_workers: of each project's model.
    """

    store: ModelStore
    client: InferenceClient
    ocr_workers: int = 1
    project_workers: int = 1
    _marks: UseMarks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_marks", UseMarks(self.store.path))

    def in_service(self, model: str | None) -> InService:
        """Return what answers for a model at this moment; a model that never was in service is a cold start.

        Raises:
            ModelNotReady: no `ocr` is in service, what the store says cannot be understood, or a copy of it is still
                being made, where a trained project would look like one that never was in service.
        """
        ocr = self._serving(OCR_MODEL)
        if ocr is None or ocr.current is None:
            raise ModelNotReady(
                f"model `ocr` is not in service in {store_of(self.store.path)}; `python -m scripts.archive --ocr` puts "
                "it there, or MODEL_DIR names the store where it is"
            )
        serving = self._serving(model) if model else None
        card = self.store.card(model, serving.current) if model and serving and serving.current else None
        return InService(self.store.card(OCR_MODEL, ocr.current), card)

    def _serving(self, model: str) -> Manifest | None:
        filling = is_filling(self.store.path)  # read first: what comes meanwhile is found
        serving = self.store.manifest(model)
        if serving is None and filling:
            raise ModelNotReady(FIRST_COPY)
        return serving

    def read(self, data: bytes, in_service: InService, deadline: float) -> dict[str, Any]:
        """Return the Page JSON of an image, read as the pages that the project's model was trained with.

        An idle project's worker starts meanwhile.

        Raises:
            ModelNotReady: the `ocr` in service is of before engines could be chosen, and its own is another one.
            LayoutLoopError: see `InferenceClient.predict`.
        """
        body = self._open(data, in_service, in_service.reading, deadline)
        wanted, read_by = in_service.reading.get("engine"), body.get("engine")
        if wanted is not None and isinstance(read_by, str) and engine_kind(read_by) != wanted:
            raise ModelNotReady(
                f"`ocr` {in_service.ocr.version} reads with {read_by}, not with {wanted} as pages of this project are; "
                "`python -m scripts.archive --ocr` builds the one that reads with either"
            )
        return body

    def _open(
        self, data: bytes, in_service: InService, parameters: Mapping[str, str], deadline: float
    ) -> dict[str, Any]:
        """Send an image to `ocr`; an idle project's worker starts meanwhile."""
        if in_service.model:
            self._marks.note(in_service.model.model)
        version, in_flight = in_service.ocr.version, _QUEUED * self.ocr_workers
        request = PageRequest(OCR_MODEL, version, data, "application/octet-stream", parameters, in_flight)
        return self.client.predict(request, deadline)

    def picture(self, data: bytes, in_service: InService, deadline: float, turn: float = 0.0) -> dict[str, Any]:
        """Return the Page JSON of an image whose words are known: its size, and the thumbnail where the model wants it.

        Words in it do not count: an `ocr` archive of before words came with tasks reads the page all the same.

        Args:
            data: of the image.
            in_service: what answers.
            deadline: on the monotonic clock.
            turn: of the page, as its words have it.

        Raises:
            ModelNotReady: the `ocr` in service is of before words came with tasks, and its thumbnail lies another way.
            LayoutLoopError: see `InferenceClient.predict`.
        """
        # With all its digits: 359.99999 rounded is 360, which is no turn.
        parameters = in_service.reading | {"words": "0"} | ({"turn": f"{turn:.17g}"} if turn else {})
        body = self._open(data, in_service, parameters, deadline)
        made = body.get("turn", 0.0)
        if body.get("thumbnail") and not (isinstance(made, int | float) and abs(made - turn) <= _SAME_TURN):
            raise ModelNotReady(
                f"`ocr` {in_service.ocr.version} turned the page by {made!r:.20} degrees for its thumbnail, and the "
                f"task's words say {turn:g}; `python -m scripts.archive --ocr` builds the one that turns pages as "
                "their words are"
            )
        return body

    def tag(self, page: dict[str, Any], model: VersionCard, deadline: float) -> dict[str, Any]:
        """Return the Regions JSON of a page.

        Raises:
            ModelNotReady: among others while an idle project's worker starts, which this request causes.
            LayoutLoopError: see `InferenceClient.predict`.
        """
        self._marks.note(model.model)
        in_flight = _QUEUED * self.project_workers * model.batch_size
        data = json.dumps(page).encode()
        request = PageRequest(model.model, model.version, data, "application/json", in_flight=in_flight)
        body = self.client.predict(request, deadline)
        if body.get("model_version") != model.version:
            raise TorchServeUnavailable(
                f"{model.model} {model.version} answered as version {body.get('model_version')!r}; archive it again"
            )
        return body
