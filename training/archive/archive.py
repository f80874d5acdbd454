"""A checkpoint folder to a .mar that stands alone: the handler package, the checkpoint, its card, its configuration."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from handler.errors import CheckpointInvalid, HandlerError
from handler.ocr_settings import OcrSettings, engine_kind, engine_name, engine_program
from handler.reading.engines import check_settings, make_engine
from handler.tagging.labels import LabelSet
from layoutloop.errors import ArchiveFailed, ModelNotReady, SettingsInvalid
from layoutloop.store.manifest import OCR_MODEL, VersionCard, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.transfer import built_for
from layoutloop.store.writing import file_mode, write_json
from training.archive.checkpoint_files import checkpoint_files, read_config
from training.archive.packing import HANDLER, handler_sha256, pack

logger = logging.getLogger(__name__)


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
        SettingsInvalid: its engine has no such language or mode, and no page could be read for it.
    """
    engine = settings.engine or _engine_in_service(store, settings)
    _check_reading(engine, settings)
    name = project_model(project_id)
    files = checkpoint_files(checkpoint)
    with tempfile.TemporaryDirectory(prefix="layoutloop-checkpoint-") as scratch:
        # Tried before there is a stamp or a folder in its name.
        tried = _with_labels(files, Path(scratch), settings.labels)
        described = _description(tried, checkpoint, settings)
        version = version or store.new_stamp(name)
        card = replace(described, model=name, version=version, engine=engine, restored_from=settings.restored_from)
        with built_for(store, name, version) as folder:
            kept = folder / store.checkpoint_path(name, version).name
            return _pack_project(tried, kept, card, settings)


def _pack_project(files: Sequence[Path], kept: Path, card: VersionCard, settings: ProjectSettings) -> VersionCard:
    """Copy a checkpoint's files to where they are kept, and archive the copy; where that fails, the copy goes."""
    shutil.rmtree(kept, ignore_errors=True)
    with ExitStack() as failed:
        failed.callback(shutil.rmtree, kept, ignore_errors=True)
        try:
            kept.mkdir(parents=True)
            for path in files:
                shutil.copyfile(path, kept / path.name)
                (kept / path.name).chmod(file_mode(kept))
        except OSError as error:
            raise ArchiveFailed(f"the checkpoint cannot be copied to the model store: {error}") from error
        config = _project_configuration(settings, card.engine_kind)
        card = pack(kept.parent, replace(card, batch_size=int(config["batchSize"])), config, kept)
        failed.pop_all()
    return card


def _project_configuration(settings: ProjectSettings, engine: str) -> dict[str, Any]:
    config = _configuration(settings.device)
    config["handler"]["tagger"]["box_level"] = settings.box_level
    config["handler"]["ocr"] |= {"engine": engine, "language": settings.language, "psm": settings.psm}
    return config


def _description(files: Sequence[Path], checkpoint: Path, settings: ProjectSettings) -> VersionCard:
    """Return a card, without model and version, with what the checkpoint and its settings say.

    Raises:
        CheckpointInvalid: it does not label a page; names the folder that was given.
    """
    # torch takes seconds to import, and the `ocr` archive needs none of it
    from training.archive.trial import try_checkpoint

    tried = files[0].parent
    try:
        model = try_checkpoint(tried, settings.box_level)
    except CheckpointInvalid as error:
        raise type(error)(str(error).replace(str(tried), str(checkpoint))) from error
    return VersionCard(
        model="",
        version="",
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


def _check_reading(engine: str, settings: ProjectSettings) -> None:
    try:
        check_settings(OcrSettings(engine_kind(engine), settings.language, settings.psm))
    except HandlerError as error:
        raise SettingsInvalid(f"engine, language and psm of the training pages: {error}") from error


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


def _with_labels(files: Sequence[Path], scratch: Path, labels: Sequence[str] | None) -> list[Path]:
    """Return the files again, by links in a folder where only they are, and with names for the head's classes."""
    linked = []
    for path in files:
        linked.append(scratch / path.name)
        linked[-1].symlink_to(path.resolve())
    config = read_config(scratch / "config.json")
    if labels is not None:
        (scratch / "config.json").unlink()
        write_json(scratch / "config.json", _named(config, labels))
    return linked


def _named(config: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    try:
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
    id2label = {str(index): tag for index, tag in enumerate(tags)}
    return {**config, "id2label": id2label, "label2id": {tag: index for index, tag in enumerate(tags)}}


def _class_count(config: dict[str, Any]) -> int:
    """Return the classes of a checkpoint's head; transformers leaves the names of two out of config.json."""
    from transformers import LayoutLMv3Config  # takes seconds, and the `ocr` archive needs none of it

    named = {key: config[key] for key in ("id2label", "num_labels") if config.get(key) is not None}
    return len(LayoutLMv3Config(**named).id2label or {})
