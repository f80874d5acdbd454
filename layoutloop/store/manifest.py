"""The model store as the shim reads it: what is in service, and what each version needs.

Written by `training`; `serving.json` and the card beside each archive are replaced atomically, so a reader
never sees half of one.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from layoutloop.errors import ModelNotReady
from layoutloop.store.path import AnyPath, StorePath, children, store_access

logger = logging.getLogger(__name__)

OCR_MODEL = "ocr"
_PROJECT = re.compile(r"project-(0|[1-9][0-9]{0,17})")
NODE_SILENT_S = 30.0
"""A node that has not reported for this long no longer holds up a promotion, and is not counted as serving.

LAYOUTLOOP_NODE_SILENT_S, as the node was told it: its report names the time.
"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The desired state of one model: `<model_dir>/<name>/serving.json`.

    Args:
        load: versions that every TorchServe holds, newest first.
        current: the one that answers; None before the first promotion is through.
        sha256: of each archive in `load`; nothing else is ever registered.
        left: Unix time at which a version in `load` stopped being current.
        past: the newest versions that were current before, newest first.
        number: of the lock's holder who wrote it; 0 where the lock was a file's.
    """

    load: tuple[str, ...] = ()
    current: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, float] = field(default_factory=dict)
    past: tuple[str, ...] = ()
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        return {
            "load": list(self.load),
            "current": self.current,
            "sha256": dict(self.sha256),
            "left": dict(self.left),
            "past": list(self.past),
            "number": self.number,
        }


@dataclass(frozen=True, slots=True)
class VersionCard:
    """What an archive is and needs; stands beside it as JSON and inside it as `card.json`.

    Args:
        model: `ocr` or `project-<id>`.
        version: sortable UTC stamp.
        labels: entity labels in the model's order; empty for `ocr`.
        engine: OCR engine of an `ocr` archive, for example `pytesseract-5.3.0-eng-psm3`; else None.
        language: Tesseract's language, as in training.
        psm: Tesseract's page segmentation mode, as in training.
        box_level: `words` or `lines`, as in training.
        uses_image: whether pages must come with their thumbnail.
        base_model: what training started from.
        batch_size: requests that one worker takes together.
        device: which of `handler/config/` a project's archive has, `cpu` or `gpu`.
        timeout_s: an `ocr` archive's time limit for one page.
        handler_sha256: of the handler package inside.
        created: UTC time in ISO 8601.
        restored_from: the version whose checkpoint this is, where it is one archived again.
    """

    model: str
    version: str
    labels: tuple[str, ...] = ()
    engine: str | None = None
    language: str = "eng"
    psm: int = 3
    box_level: str = "words"
    uses_image: bool = False
    base_model: str | None = None
    batch_size: int = 1
    device: str = "cpu"
    timeout_s: float | None = None
    handler_sha256: str = ""
    created: str = ""
    restored_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON writes it."""
        return {**asdict(self), "labels": list(self.labels)}


def project_model(project_id: int) -> str:
    """Return the model name of a Label Studio project."""
    return f"project-{project_id}"


def project_of(name: str) -> int | None:
    """Return the project of a model; None where the name is no project's."""
    found = _PROJECT.fullmatch(name)
    return int(found[1]) if found else None


def archive_path(model_dir: AnyPath, name: str, version: str) -> AnyPath:
    """Return where the archive of a version lies."""
    return model_dir / name / f"{name}-{version}.mar"


def card_path(model_dir: AnyPath, name: str, version: str) -> AnyPath:
    """Return where the card of a version lies."""
    return model_dir / name / f"{name}-{version}.json"


def report_path(model_dir: AnyPath, name: str, version: str) -> AnyPath:
    """Return where the JSON report of a version is; the page is beside it, with the suffix `.html`."""
    return model_dir / name / f"{name}-{version}.report.json"


def read_manifest(model_dir: StorePath, name: str) -> Manifest | None:
    """Return what is in service under `name`; None where nothing ever was.

    Raises:
        ModelNotReady: the file is there and cannot be read or understood. That is no cold start.
    """
    path = model_dir / name / "serving.json"
    try:
        with store_access(path):
            text = path.read_text()
        body = json.loads(text)
        return Manifest(
            load=tuple(str(version) for version in body["load"]),
            current=body["current"],
            sha256={str(key): str(value) for key, value in body["sha256"].items()},
            left={str(key): float(value) for key, value in body.get("left", {}).items()},
            past=tuple(str(version) for version in body.get("past", ())),
            number=int(body.get("number", 0)),
        )
    except FileNotFoundError:
        return None
    except OSError as error:  # no reason to delete anything: the next look may do
        raise ModelNotReady(
            f"{path} cannot be read now ({error}); see that the model store is there and may be read"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotReady(f"{path} cannot be understood ({error}); delete it and promote a version again") from error


def read_card(model_dir: StorePath, name: str, version: str) -> VersionCard:
    """Return the card of a version.

    Raises:
        ModelNotReady: it is missing or cannot be understood.
    """
    path = card_path(model_dir, name, version)
    try:
        with store_access(path):
            text = path.read_text()
        body = json.loads(text)
        return VersionCard(**{**body, "labels": tuple(body["labels"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotReady(f"the card {path} cannot be read ({error}); archive the checkpoint again") from error


def models_in(model_dir: StorePath) -> list[str]:
    """Return the names of all models that have a serving.json, sorted."""
    return [path.parent.name for path in children(model_dir, "*/serving.json")]


def live_nodes(model_dir: StorePath, silent_s: float | None = None) -> dict[str, dict[str, Any]]:
    """Return the reports of all nodes heard of in the last `silent_s`, or as lately as each says, by node name."""
    reports: dict[str, dict[str, Any]] = {}
    for path in children(model_dir / ".nodes", "*.json"):
        try:
            body = json.loads(path.read_text())
            age = time.time() - float(body["time"])
            if age < (float(body.get("silent_s", NODE_SILENT_S)) if silent_s is None else silent_s):
                reports[path.stem] = body | {part: dict(body[part]) for part in ("holds", "errors")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s is no report: %s", path, error)
    return reports


def is_starting(report: Mapping[str, Any], patience_s: float) -> bool:
    """Return whether a node's TorchServe is away, or busy with its first models, for less than `patience_s`.

    A watcher that looks before TorchServe listens finds nobody there. Only where that lasts it is a failure.
    """
    since = report.get("away_since")
    return isinstance(since, int | float) and time.time() - since < patience_s
