"""Training's settings: one frozen dataclass, read from the environment once. All begin with LAYOUTLOOP_TRAIN_."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from handler.ocr_settings import PAGE_SEGMENTATION_MODES
from handler.page import BOX_LEVELS, BoxLevel
from layoutloop.errors import SettingsInvalid
from layoutloop.settings.values import convert

MINILM_BASE = "graft:minilm"
SCRATCH = "scratch"
GRAFT_PREFIX = "graft:"
Device = Literal["auto", "cpu", "gpu"]
_PREFIX = "LAYOUTLOOP_TRAIN_"
_FALLBACKS = {"language": "LAYOUTLOOP_OCR_LANGUAGE", "psm": "LAYOUTLOOP_OCR_PSM"}
"""What `ocr` itself is set to is what training reads with, unless told otherwise."""
_READ_BY_THE_SHIM = frozenset({"LAYOUTLOOP_TRAIN_EVERY"})


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How models are trained; the environment name stands behind each.

    Args:
        base: LAYOUTLOOP_TRAIN_BASE, `graft:minilm`, `graft:<text encoder>`, `scratch`, or the hub name or folder of
            a LayoutLMv3 or LiLT.
        image: LAYOUTLOOP_TRAIN_IMAGE, build the image branch into a graft; a checkpoint has what it has.
        box_level: LAYOUTLOOP_TRAIN_BOX_LEVEL, `words` or `lines`.
        language: LAYOUTLOOP_TRAIN_LANGUAGE, Tesseract's language.
        psm: LAYOUTLOOP_TRAIN_PSM, Tesseract's page segmentation mode.
        learning_rate: LAYOUTLOOP_TRAIN_LEARNING_RATE; 0 for what fits the kind of base.
        batch: LAYOUTLOOP_TRAIN_BATCH, windows per step over all devices; 0 likewise.
        epochs: LAYOUTLOOP_TRAIN_EPOCHS, passes over the pages; 0 likewise.
        seed: LAYOUTLOOP_TRAIN_SEED.
        processes: LAYOUTLOOP_TRAIN_PROCESSES, training processes on this machine; 0 for one for each GPU.
        keep: LAYOUTLOOP_TRAIN_KEEP, newest versions of a project that are kept with archive and checkpoint.
        device: LAYOUTLOOP_TRAIN_DEVICE, what the archives are configured for: `cpu`, `gpu`, or `auto` for what is here.
    """

    base: str = MINILM_BASE
    image: bool = False
    box_level: BoxLevel = "words"
    language: str = "eng"
    psm: int = 3
    learning_rate: float = 0.0
    batch: int = 0
    epochs: int = 0
    seed: int = 0
    processes: int = 0
    keep: int = 5
    device: Device = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the variable."""
        choices: dict[str, tuple[object, ...]] = {
            "box_level": BOX_LEVELS,
            "psm": PAGE_SEGMENTATION_MODES,
            "device": get_args(Device),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                variables = " or ".join(filter(None, (variable_of(name), _FALLBACKS.get(name))))
                raise SettingsInvalid(f"{variables} is one of {allowed}, got {getattr(self, name)!r}")
        for name in ("learning_rate", "batch", "epochs", "processes"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsInvalid(f"{variable_of(name)} is at least 0, got {getattr(self, name)}")
        if self.keep < 1:
            raise SettingsInvalid(f"{variable_of('keep')} is at least 1, got {self.keep}")
        if self.base in ("", GRAFT_PREFIX):
            raise SettingsInvalid(f"{variable_of('base')} names no base; the default is {MINILM_BASE}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> TrainSettings:
        """Read the environment; names not set, or empty, keep their defaults.

        Raises:
            SettingsInvalid: a value that cannot be used, or a name with this prefix that does not exist.
        """
        known = {variable_of(field.name) for field in fields(cls)} | _READ_BY_THE_SHIM
        for name in environ:
            if name.startswith(_PREFIX) and name not in known:
                raise SettingsInvalid(f"{name} is no setting of LayoutLoop; docs/settings.md lists them all")
        defaults = cls()
        values: dict[str, object] = {}
        for field in fields(cls):
            for variable in (variable_of(field.name), _FALLBACKS.get(field.name, "")):
                if text := environ.get(variable, "").strip():
                    values[field.name] = convert(variable, text, getattr(defaults, field.name))
                    break
        return cls(**values)  # type: ignore[arg-type]


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return _PREFIX + name.upper()
