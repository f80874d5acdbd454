"""How the pages of a training are read: as `ocr` is set, or as the version that it goes on from was trained."""

from __future__ import annotations

from dataclasses import replace

from handler.errors import HandlerError
from handler.ocr_settings import OcrSettings
from handler.page import BOX_LEVELS
from handler.reading.engines import check_settings
from layoutloop.errors import BaseUnavailable, SettingsInvalid
from layoutloop.settings.training import TrainSettings
from layoutloop.store.manifest import OCR_MODEL, project_model
from layoutloop.store.model_store import ModelStore
from training.request import TrainingRequest


def reading_of(
    store: ModelStore, request: TrainingRequest, training: TrainSettings
) -> tuple[TrainSettings, str | None]:
    """Return a training's settings, and which engine must read its pages; None for the one that `ocr` is set to.

    Raises:
        BaseUnavailable: no version is in service that it could go on from.
        SettingsInvalid: the engine of `ocr` has no such language or mode.
    """
    if not request.from_current:
        _check(store, training)
        return training, None
    card = store.current_card(project_model(request.project))
    if card is None:
        raise BaseUnavailable("no version is in service that could be continued from; train one from the base first")
    level = next(level for level in BOX_LEVELS if level == card.box_level)
    return replace(training, box_level=level, language=card.language, psm=card.psm), card.engine_kind


def _check(store: ModelStore, training: TrainSettings) -> None:
    """Refuse now what every page would be refused for, at every try."""
    ocr = store.current_card(OCR_MODEL)
    if ocr is None:
        return  # reading waits until one is in service
    try:
        check_settings(OcrSettings(ocr.engine_kind, training.language, training.psm))
    except HandlerError as error:
        raise SettingsInvalid(f"LAYOUTLOOP_TRAIN_LANGUAGE and LAYOUTLOOP_TRAIN_PSM: {error}") from error
