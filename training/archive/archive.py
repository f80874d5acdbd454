"""A checkpoint folder to a .mar that stands alone: the handler package, the checkpoint, its card, its configuration."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from handler.errors import CheckpointInvalid
from handler.ocr_settings import OcrSettings, engine_name, engine_program
from handler.reading.engines import make_engine
from handler.tagging.box_prior import FILE as BOX_PRIOR
from handler.tagging.box_prior import BoxPrior
from handler.tagging.labels import LabelSet
from layoutloop.errors import ArchiveFailed, ModelNotReady
from layoutloop.store.manifest import OCR_MODEL, VersionCard, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.transfer import built_for
from layoutloop.store.writing import write_json
from training.archive.packing import HANDLER, handler_sha256, pack

logger = logging.getLogger(__name__)

_CHECKPOINT_FILES = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "preprocessor_config.json"),
    BOX_PRIOR,
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
)
"""What serving needs. A folder of the Trainer also holds its optimizer, its arguments and earlier checkpoints."""


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What an archive says about how its model was trained and how it runs.

    Args:
        language: Tesseract's language of the training pages.
        psm: Tesseract's page segmentation mode of the training pages.
        box_level: `words` or `lines`, as in training.
        base_model: what training started from.
        device: `cpu` or `gpu`: which of `handler/config/` it gets.
        engine: OCR engine of the training pages, for example `pytesseract-5.3.0-eng-psm3`, or only its kind where
            the version is not known; None for the one in service, or the default where none is.
        labels: names for a head that has none, in the order of its classes.
        restored_from: the version whose checkpoint this is, where it is one archived again.
    """

    language: str = "eng"
    psm: int = 3
    box_level: str = "words"
    base_model: str | None = None
    device: str = "cpu"
    engine: str | None = None
    labels: Sequence[str] | None = None
    restored_from: str | None = None

    @classmethod
    def of(cls, card: VersionCard) -> ProjectSettings:
        """Return those with which a version is archived again."""
        return cls(
            language=card.language,
            psm=card.psm,
            box_level=card.box_level,
            base_model=card.base_model,
            device=card.device,
            engine=card.engine or card.engine_kind,
            restored_from=card.version,
        )


def build_project(
    store: ModelStore, project_id: int, checkpoint: Path, settings: ProjectSettings, version: str | None = None
) -> VersionCard:
    """Archive a checkpoint as the next version of a project.

    The checkpoint is copied into the model store first, so that the archive can be rebuilt from it.

    Args:
        store: the model store.
        project_id: Label Studio's.
        checkpoint: folder with config.json, model.safetensors and a fast tokenizer.
        settings: how it was trained and how it runs.
        version: a stamp that was given out for it before; what an earlier build left under it is replaced.

    Raises:
        ArchiveFailed, CheckpointInvalid: nothing was changed.
    """
    name = project_model(project_id)
    version = version or store.new_stamp(name)
    engine = settings.engine or _engine_in_service(store, settings)
    card = VersionCard(name, version, engine=engine, restored_from=settings.restored_from)
    with built_for(store, name, version) as folder:
        kept = folder / store.checkpoint_path(name, version).name
        shutil.rmtree(kept, ignore_errors=True)
        _keep_checkpoint(checkpoint, kept, settings.labels)
        return _pack_project(kept, checkpoint, card, settings)


def _pack_project(kept: Path, checkpoint: Path, card: VersionCard, settings: ProjectSettings) -> VersionCard:
    """Archive a checkpoint's copy; what the copy was made of is named where it cannot be used."""
    try:
        config = _project_configuration(settings, card.engine_kind)
        card = replace(_project_card(card, kept, settings), batch_size=int(config["batchSize"]))
        return pack(kept.parent, card, config, kept)
    except ArchiveFailed:
        shutil.rmtree(kept, ignore_errors=True)
        raise
    except CheckpointInvalid as error:
        shutil.rmtree(kept, ignore_errors=True)
        # The copy is gone again; the folder that was given is the one to look at.
        raise type(error)(str(error).replace(str(kept), str(checkpoint))) from error


def _project_configuration(settings: ProjectSettings, engine: str) -> dict[str, Any]:
    config = _configuration(settings.device)
    config["handler"]["tagger"]["box_level"] = settings.box_level
    config["handler"]["ocr"] |= {"engine": engine, "language": settings.language, "psm": settings.psm}
    return config


def _project_card(card: VersionCard, checkpoint: Path, settings: ProjectSettings) -> VersionCard:
    """Return a card with what the checkpoint, which is loaded for it, and its settings say."""
    from handler.tagging.layoutlm import load  # torch takes seconds to import, and the `ocr` archive needs none of it

    model = load(checkpoint, device="cpu", dtype="float32")
    BoxPrior.find(checkpoint, model.labels.names)  # one that is damaged is refused here, not by TorchServe
    return replace(
        card,
        labels=model.labels.names,
        language=settings.language,
        psm=settings.psm,
        box_level=settings.box_level,
        uses_image=model.uses_image,
        base_model=settings.base_model,
        device=settings.device,
    )


def _engine_in_service(store: ModelStore, settings: ProjectSettings) -> str:
    """Return the name of today's OCR engine as it names itself when it reads with a project's settings.

    Where no `ocr` is in service, only the kind that is the default: a card that names none means Tesseract for ever.
    The card of `ocr` names its engine with the language and mode of `ocr` itself.
    """
    default = OcrSettings().engine
    try:
        ocr = store.current_card(OCR_MODEL)
    except ModelNotReady as error:
        logger.warning("the archive says that its pages are read with engine %s, the default: %s", default, error)
        return default
    if ocr is None:
        return default
    return engine_name(engine_program(ocr.engine or ocr.engine_kind), settings.language, settings.psm)


def build_ocr(store: ModelStore, settings: OcrSettings) -> VersionCard:
    """Archive the next version of model `ocr`.

    Raises:
        ArchiveFailed, OcrFailed: the engine or its language is missing, or the archive could not be built.
    """
    config = _configuration("ocr")
    config["handler"]["ocr"] = {
        "engine": settings.engine,
        "language": settings.language,
        "psm": settings.psm,
        "timeout_s": settings.timeout_s,
        "device": settings.device,
    }
    card = VersionCard(
        model=OCR_MODEL,
        version=store.new_stamp(OCR_MODEL),
        engine=make_engine(settings).name,
        language=settings.language,
        psm=settings.psm,
        timeout_s=settings.timeout_s,
        device=settings.device,
    )
    with built_for(store, OCR_MODEL, card.version) as folder:
        return pack(folder, card, config, None)


def ocr_is_current(store: ModelStore, settings: OcrSettings) -> bool:
    """Whether the `ocr` archive in service has today's handler, engine and settings."""
    manifest = store.manifest(OCR_MODEL)
    if manifest is None or not manifest.current or not store.archive_path(OCR_MODEL, manifest.current).exists():
        return False
    try:
        card = store.card(OCR_MODEL, manifest.current)
    except ModelNotReady:
        return False  # the next one brings its own
    wanted = (handler_sha256(), make_engine(settings).name, settings.timeout_s, settings.device)
    return (card.handler_sha256, card.engine, card.timeout_s, card.device) == wanted


def _configuration(kind: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((HANDLER / "config" / f"{kind}.yaml").read_text())
    if "minWorkers" in config:
        raise ArchiveFailed("handler/config must not set minWorkers: it would override the rollout watcher's count")
    return config


def _keep_checkpoint(source: Path, kept: Path, labels: Sequence[str] | None) -> None:
    if not (source / "config.json").is_file():
        raise ArchiveFailed(f"{source} is no checkpoint folder: it has no config.json")
    try:
        kept.mkdir(parents=True)
        for path in {path for pattern in _CHECKPOINT_FILES for path in source.glob(pattern) if path.is_file()}:
            shutil.copyfile(path, kept / path.name)
            (kept / path.name).chmod(0o644)  # save_pretrained writes weights for their owner alone
        if labels is not None:
            _name_labels(kept / "config.json", labels)
    except OSError as error:
        shutil.rmtree(kept, ignore_errors=True)
        raise ArchiveFailed(f"the checkpoint cannot be copied to the model store: {error}") from error
    except (ArchiveFailed, CheckpointInvalid):
        shutil.rmtree(kept, ignore_errors=True)
        raise


def _name_labels(path: Path, labels: Sequence[str]) -> None:
    try:
        config = json.loads(path.read_text())
        classes = _class_count(config)
    except (ValueError, TypeError, AttributeError) as error:
        raise ArchiveFailed(f"the checkpoint's config.json cannot be understood: {error}") from error
    tags: Sequence[str] = list(LabelSet.from_names(labels).tags)
    if classes == len(labels):
        tags = labels
    if classes != len(tags):
        raise ArchiveFailed(
            f"{len(labels)} labels make {2 * len(labels) + 1} classes (O, then B- and I- of each), "
            f"the checkpoint's head has {classes}"
        )
    config["id2label"] = {str(index): tag for index, tag in enumerate(tags)}
    config["label2id"] = {tag: index for index, tag in enumerate(tags)}
    write_json(path, config)


def _class_count(config: dict[str, Any]) -> int:
    """Return the classes of a checkpoint's head; transformers leaves the names of two out of config.json."""
    from transformers import LayoutLMv3Config  # takes seconds, and the `ocr` archive needs none of it

    named = {key: config[key] for key in ("id2label", "num_labels") if config.get(key) is not None}
    return len(LayoutLMv3Config(**named).id2label or {})
