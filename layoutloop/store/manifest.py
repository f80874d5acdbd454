"""What stands in a model store beside the archives: `serving.json`, and the card of each version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import NoneType
from typing import Any

from handler.ocr_settings import engine_kind
from handler.page import BOX_LEVELS
from layoutloop.foreign_json import mapping_of, number_of, texts_of
from layoutloop.moments import age_s

OCR_MODEL = "ocr"
_PROJECT = re.compile(r"project-(0|[1-9][0-9]{0,17})")
_VERSION = re.compile(r"[0-9A-Za-z]{1,40}")
FIRST_ENGINE = "pytesseract"
"""Read all pages before there was a choice, when cards named no engine."""
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
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Manifest:
        """Undo `to_json`; files of earlier releases say less.

        Raises:
            ValueError, KeyError: it is something else, or names a version that is no word.
        """
        mapping_of(body, "serving.json")
        sha256, left = mapping_of(body["sha256"], "`sha256`"), mapping_of(body.get("left", {}), "`left`")
        return cls(
            load=_versions(texts_of(body["load"], "`load`")),
            current=None if body["current"] is None else _version(body["current"]),
            sha256={_version(version): str(digest) for version, digest in sha256.items()},
            left={_version(version): number_of(moment, "`left`") for version, moment in left.items()},
            past=_versions(texts_of(body.get("past", []), "`past`")),
            number=int(number_of(body.get("number", 0), "`number`")),
        )


@dataclass(frozen=True, slots=True)
class VersionCard:
    """What an archive is and needs; stands beside it as JSON and inside it as `card.json`.

    Args:
        model: `ocr` or `project-<id>`.
        version: sortable UTC stamp.
        labels: entity labels in the model's order; empty for `ocr`.
        engine: OCR engine of an `ocr` archive, or of a project's training pages, for example
            `pytesseract-5.3.0-eng-psm3`; None in cards of before there was a choice.
        language: Tesseract's language, as in training.
        psm: Tesseract's page segmentation mode, as in training.
        box_level: `words` or `lines`, as in training.
        uses_image: whether pages must come with their thumbnail.
        base_model: what training started from.
        batch_size: requests that one worker takes together.
        device: which of `handler/config/` a project's archive has, `cpu` or `gpu`; what the engine of `ocr` runs on.
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

    @property
    def engine_kind(self) -> str:
        """Which engine reads for this version; before cards named one, it was Tesseract's program."""
        return engine_kind(self.engine or FIRST_ENGINE)

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON writes it."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> VersionCard:
        """Undo `to_json`.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        card = cls(**{**mapping_of(body, "a card"), "labels": texts_of(body["labels"], "`labels`")})
        _version(card.version)
        for name, kinds in _CARD_KINDS.items():
            value = getattr(card, name)
            if type(value) not in kinds:
                raise ValueError(f"`{name}` of a card cannot be {value!r:.80}")
        if card.box_level not in BOX_LEVELS:
            raise ValueError(f"its box level is {card.box_level!r:.80}, known are {', '.join(BOX_LEVELS)}")
        return card


_CARD_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "language", "box_level", "device", "handler_sha256", "created"), (str,)),
    **dict.fromkeys(("engine", "base_model", "restored_from"), (str, NoneType)),
    **dict.fromkeys(("psm", "batch_size"), (int,)),
    "uses_image": (bool,),
    "timeout_s": (int, float, NoneType),
}
"""What each field of a card may be; a bool is no int."""


def _version(value: object) -> str:
    """Return what a file calls a version; it becomes part of paths only where it is a stamp, see `ModelStore`."""
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise ValueError(f"it names {value!r:.80}, which is no version like 20261122T083000Z")
    return value


def _versions(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(_version(value) for value in values)


def project_model(project_id: int) -> str:
    """Return the model name of a Label Studio project."""
    return f"project-{project_id}"


def project_of(name: str) -> int | None:
    """Return the project of a model; None where the name is no project's."""
    found = _PROJECT.fullmatch(name)
    return int(found[1]) if found else None


def archive_name(name: str, version: str) -> str:
    """Return what the archive of a version is called, in the store and where TorchServe registers it from."""
    return f"{name}-{version}.mar"


def is_starting(report: Mapping[str, Any], patience_s: float) -> bool:
    """Return whether a node's TorchServe is down, or loading its first models, for less than `patience_s`.

    Before TorchServe listens nothing answers. Only where that lasts it is a failure.
    """
    since = report.get("away_since")
    return isinstance(since, int | float) and age_s(since) < patience_s
