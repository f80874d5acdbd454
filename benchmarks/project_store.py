"""A model store with many projects, all of which serve one checkpoint: what `growth.py` measures."""

from __future__ import annotations

import os
import time
from pathlib import Path

from handler.ocr_settings import OcrSettings
from layoutloop.store.manifest import OCR_MODEL
from layoutloop.store.model_store import ModelStore
from layoutloop.store.use_marks import asked_path
from rollout.promotion import promote
from training.archive.archive import ProjectSettings, build_ocr, build_project

_LONG_AGO_S = 30 * 24 * 3600.0


def make_store(folder: Path, checkpoint: Path, projects: int) -> set[str]:
    """Archive the checkpoint as the model of projects 1 to `projects` and put each into service, asked long ago.

    Returns:
        The models' names, `ocr` among them.
    """
    store = ModelStore(folder)
    card = build_ocr(store, OcrSettings())
    promote(store, OCR_MODEL, card.version, untested=True)
    models = {OCR_MODEL}
    for project in range(1, projects + 1):
        card = build_project(store, project, checkpoint, ProjectSettings())
        promote(store, card.model, card.version, untested=True)
        models.add(card.model)
        before = time.time() - _LONG_AGO_S
        for path in (asked_path(folder, card.model), folder / card.model / "serving.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (before, before))
    return models
