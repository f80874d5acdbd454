"""A checkpoint folder to a .mar that stands alone: the handler package, the checkpoint, its card, its configuration.

Three traps of torch-model-archiver 0.12.0 decide the shape of this file. It works in `$TMPDIR/<model name>`, which
it deletes first, so each run gets a TMPDIR of its own. It writes its output in place, so that goes to a temporary
folder and is moved. It copies the contents of an extra folder flat, so the staging folder contains `handler/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from handler.errors import CheckpointInvalid
from handler.labels import LabelSet
from handler.ocr import OcrSettings, make_engine
from shim.errors import ModelNotReady
from shim.serving import OCR_MODEL, Card, archive_path, card_path, project_model, read_card, read_serving
from training.store import new_stamp, write_json

HANDLER = Path(__file__).resolve().parent.parent / "handler"
_OCR_ENTRY = "ocr_handler.py"
_PROJECT_ENTRY = "layoutlmv3_handler.py"


class ArchiveFailed(Exception):
    """The archive could not be built; the message says why and nothing was left behind."""


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What an archive says about how its model was trained and how it runs.

    Args:
        language: Tesseract's language of the training pages.
        psm: Tesseract's page segmentation mode of the training pages.
        box_level: `words` or `lines`, as in training.
        base_model: what training started from.
        device: `cpu` or `gpu`: which of `handler/config/` it gets.
    """

    language: str = "eng"
    psm: int = 3
    box_level: str = "words"
    base_model: str | None = None
    device: str = "cpu"


def build_project(
    model_dir: Path,
    project_id: int,
    checkpoint: Path,
    settings: ProjectSettings,
    *,
    labels: list[str] | None = None,
    restored_from: str | None = None,
) -> Card:
    """Archive a checkpoint as the next version of a project.

    The checkpoint is copied into the model store first, so that the archive can be rebuilt from it.

    Args:
        model_dir: the model store.
        project_id: Label Studio's.
        checkpoint: folder with config.json, model.safetensors and a fast tokenizer.
        settings: how it was trained and how it runs.
        labels: names for a head that has none, in the order of its classes.
        restored_from: the version whose checkpoint this is.

    Raises:
        ArchiveFailed, CheckpointInvalid: nothing was changed.
    """
    from handler.layoutlm import load  # torch takes seconds to import, and the `ocr` archive needs none of it

    name = project_model(project_id)
    version = new_stamp(model_dir, name)
    kept = model_dir / name / f"checkpoint-{version}"
    _keep_checkpoint(checkpoint, kept, labels)
    try:
        model = load(kept, device="cpu", dtype="float32")
        config = _configuration(settings.device)
        config["handler"]["tagger"]["box_level"] = settings.box_level
        config["handler"]["ocr"] |= {"language": settings.language, "psm": settings.psm}
        card = Card(
            model=name,
            version=version,
            labels=model.labels.names,
            language=settings.language,
            psm=settings.psm,
            box_level=settings.box_level,
            uses_image=model.uses_image,
            base_model=settings.base_model,
            batch_size=int(config["batchSize"]),
            device=settings.device,
            restored_from=restored_from,
        )
        return _build(model_dir, card, config, _PROJECT_ENTRY, kept)
    except (ArchiveFailed, CheckpointInvalid):
        shutil.rmtree(kept, ignore_errors=True)
        raise


def build_ocr(model_dir: Path, settings: OcrSettings) -> Card:
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
    }
    card = Card(
        model=OCR_MODEL,
        version=new_stamp(model_dir, OCR_MODEL),
        engine=make_engine(settings).name,
        language=settings.language,
        psm=settings.psm,
        timeout_s=settings.timeout_s,
    )
    return _build(model_dir, card, config, _OCR_ENTRY, None)


def ocr_is_current(model_dir: Path, settings: OcrSettings) -> bool:
    """Whether the `ocr` archive in service has today's handler, engine and settings."""
    serving = read_serving(model_dir, OCR_MODEL)
    if serving is None or serving.current is None or not archive_path(model_dir, OCR_MODEL, serving.current).exists():
        return False
    try:
        card = read_card(model_dir, OCR_MODEL, serving.current)
    except ModelNotReady:
        return False  # the next one brings its own
    wanted = (handler_sha256(), make_engine(settings).name, settings.timeout_s)
    return (card.handler_sha256, card.engine, card.timeout_s) == wanted


def handler_sha256() -> str:
    """Return the digest of the handler package as it would travel."""
    digest = hashlib.sha256()
    for path in _handler_files():
        digest.update(str(path.relative_to(HANDLER)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _handler_files() -> list[Path]:
    return sorted(path for path in HANDLER.rglob("*") if path.suffix in (".py", ".yaml"))


def _configuration(kind: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((HANDLER / "config" / f"{kind}.yaml").read_text())
    if "minWorkers" in config:
        raise ArchiveFailed("handler/config must not set minWorkers: it would override the rollout watcher's count")
    return config


def _keep_checkpoint(source: Path, kept: Path, labels: list[str] | None) -> None:
    if not (source / "config.json").is_file():
        raise ArchiveFailed(f"{source} is no checkpoint folder: it has no config.json")
    try:
        shutil.copytree(source, kept)
        for path in kept.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # save_pretrained writes weights for their owner alone
        if labels is not None:
            _name_labels(kept / "config.json", labels)
    except OSError as error:
        shutil.rmtree(kept, ignore_errors=True)
        raise ArchiveFailed(f"the checkpoint cannot be copied to the model store: {error}") from error
    except (ArchiveFailed, CheckpointInvalid):
        shutil.rmtree(kept, ignore_errors=True)
        raise


def _name_labels(path: Path, labels: list[str]) -> None:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ArchiveFailed(f"the checkpoint's config.json is no JSON: {error}") from error
    tags = list(LabelSet.from_names(labels).tags)
    classes = len(config.get("id2label", {}))
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


def _build(model_dir: Path, card: Card, config: dict[str, Any], entry: str, checkpoint: Path | None) -> Card:
    card = replace(
        card,
        handler_sha256=handler_sha256(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    target = archive_path(model_dir, card.model, card.version)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".archiving-") as folder:
            work = Path(folder)
            _stage(work / "staging", card, config, checkpoint)
            os.replace(_archive(work, card, entry), target)
        write_json(card_path(model_dir, card.model, card.version), card.to_json())
    except OSError as error:
        target.unlink(missing_ok=True)
        raise ArchiveFailed(f"{target.name} cannot be written: {error}") from error
    return card


def _stage(staging: Path, card: Card, config: dict[str, Any], checkpoint: Path | None) -> None:
    for path in _handler_files():
        copy = staging / "handler" / path.relative_to(HANDLER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    if checkpoint is not None:
        (staging / "checkpoint").symlink_to(checkpoint.resolve())  # the archiver copies what it points to
    write_json(staging / "card.json", card.to_json())
    (staging.parent / "model-config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def _archive(work: Path, card: Card, entry: str) -> Path:
    """Run torch-model-archiver; stored, not deflated, since weights do not compress."""
    temporary = work / "tmp"
    temporary.mkdir()
    command = [
        *(sys.executable, "-m", "model_archiver.model_packaging"),
        *("--model-name", card.model, "--version", card.version),
        *("--handler", str(work / "staging" / "handler" / entry)),
        *("--extra-files", str(work / "staging")),
        *("--config-file", str(work / "model-config.yaml")),
        *("--archive-format", "zip-store", "--export-path", str(work)),
    ]
    run = subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True)
    output = work / f"{card.model}.mar"
    if run.returncode != 0 or not output.exists():
        raise ArchiveFailed(f"torch-model-archiver failed: {run.stderr.strip()[-500:]}")
    return output
