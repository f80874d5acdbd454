"""Which annotations a project's last training learned from: tells the next one how many are new."""

from __future__ import annotations

import json
from collections.abc import Mapping

from layoutloop.store.manifest import project_model
from layoutloop.store.path import StorePath
from layoutloop.store.writing import write_json


def learned(model_dir: StorePath, project: int) -> dict[str, str]:
    """Return the `fingerprint` of the last training (`training.data.annotations`); empty before the first.

    A rejected training counts like a promoted one: the same annotations once more would be rejected once more.
    """
    try:
        body = json.loads(_path(model_dir, project).read_text())
    except FileNotFoundError:
        return {}
    return {str(annotation): str(moment) for annotation, moment in body.items()}


def remember(model_dir: StorePath, project: int, annotations: Mapping[str, str]) -> None:
    """Note what a training learned from."""
    write_json(_path(model_dir, project), dict(annotations))


def _path(model_dir: StorePath, project: int) -> StorePath:
    return model_dir / project_model(project) / "learned.json"
