"""Kept checkpoints and archives, as folders that can be measured. An archive is data here: nothing in it is run."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from handler.page import BOX_LEVELS
from layoutloop.errors import ModelNotReady
from layoutloop.store.manifest import OCR_MODEL, VersionCard, project_of
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import StorePath
from layoutloop.store.stamps import is_stamp
from layoutloop.store.transfer import copy_here, folder_here

MAX_CHECKPOINT_BYTES = 16 * 2**30
_SUFFIXES = frozenset({".json", ".txt", ".safetensors"})
"""All that a checkpoint needs; no pickle, no program."""
_FOLDER = "checkpoint"
_CARD = "card.json"
_MAX_CARD_BYTES = 2**20
_CHUNK_BYTES = 2**20
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError, zlib.error)
"""What a damaged or foreign zip, or its card, makes `zipfile` and the reading of the card raise."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A checkpoint on disk.

    Args:
        name: of the model, `project-7`; of the folder, where it is in no model store.
        version: its stamp; empty where it has none.
        folder: the checkpoint.
        card: how it was trained; None for a folder outside a model store.
    """

    name: str
    version: str
    folder: Path
    card: VersionCard | None


def stored_version(store: ModelStore, name: str, version: str | None, scratch: Path) -> StoredModel:
    """Return a version of the model store, by default the one in service.

    Args:
        store: the model store.
        name: of the model.
        version: which.
        scratch: empty folder, for a checkpoint that is kept only as an archive, or at a URL.

    Raises:
        ModelNotReady: it is not there, says what is.
    """
    if version is None:
        manifest = store.manifest(name)
        if manifest is None or manifest.current is None:
            raise ModelNotReady(f"{name} has no model in service; name what to measure with --version or --checkpoint")
        version = manifest.current
    folder = store.checkpoint_path(name, version)
    if (folder / "config.json").is_file():
        return StoredModel(name, version, folder_here(folder, scratch), store.card(name, version))
    archive = store.archive_path(name, version)
    if archive.is_file():
        return _stored_archive(archive, scratch)
    raise ModelNotReady(f"{name} has no version {version}; kept are {', '.join(store.archived(name)) or 'none'}")


def _stored_archive(archive: StorePath, scratch: Path) -> StoredModel:
    if isinstance(archive, Path):
        return stored_at(archive, scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    copy = scratch / archive.name
    copy_here(archive, copy)
    try:
        return stored_at(copy, scratch / "checkpoint")
    finally:
        copy.unlink()


def stored_at(path: Path, scratch: Path) -> StoredModel:
    """Return the checkpoint in a folder or in a .mar file.

    Raises:
        ModelNotReady: it is neither.
    """
    if path.is_file():
        card = unpack_checkpoint(path, scratch)
        return StoredModel(card.model, card.version, scratch, card)
    if not (path / "config.json").is_file():
        raise ModelNotReady(f"{path} is neither a checkpoint folder (it has no config.json) nor a .mar file")
    folder = path.resolve()
    store, name = ModelStore(folder.parent.parent), folder.parent.name
    version = folder.name.removeprefix("checkpoint-")
    if version != folder.name and store.card_path(name, version).is_file():
        return StoredModel(name, version, folder, store.card(name, version))
    return StoredModel(folder.name, "", folder, None)


def unpack_checkpoint(archive: Path, folder: Path) -> VersionCard:
    """Write the checkpoint files of a .mar into a folder and return its card.

    Only plain files directly in `checkpoint/` with a known ending are written, under their bare names; the handler
    in the archive is neither written nor run.

    Raises:
        ModelNotReady: no archive of LayoutLoop, too large, or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = MAX_CHECKPOINT_BYTES
    try:
        with zipfile.ZipFile(archive) as file:
            card = _card(file)
            for member in file.infolist():
                name = _checkpoint_file(member.filename)
                if name is not None:
                    left = _copy(file, member, folder / name, left)
    except _DAMAGED as error:
        raise ModelNotReady(f"{archive} cannot be measured: {error}") from error
    except zipfile.BadZipFile as error:
        raise ModelNotReady(f"{archive} is no .mar archive: {error}") from error
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ModelNotReady(f"{archive} holds no checkpoint with config.json and safetensors; is it the `ocr` archive?")
    return card


def _checkpoint_file(name: str) -> str | None:
    """Return the bare name of a checkpoint's file; None for everything else that an archive holds."""
    parts = PurePosixPath(name).parts
    if len(parts) != 2 or parts[0] != _FOLDER or "\\" in name or PurePosixPath(name).suffix not in _SUFFIXES:
        return None
    return parts[1]


def _card(file: zipfile.ZipFile) -> VersionCard:
    with file.open(_CARD) as member:
        body = json.loads(member.read(_MAX_CARD_BYTES))
    known = {field.name for field in fields(VersionCard)}  # an archive of a later release may say more
    card = VersionCard(
        **{key: value for key, value in body.items() if key in known} | {"labels": tuple(body["labels"])}
    )
    # Model and version become parts of paths; an archive may come from anywhere.
    if card.model != OCR_MODEL and project_of(card.model) is None:
        raise ValueError(f"its card names the model {card.model!r:.100}, known are {OCR_MODEL} and project-<id>")
    if not is_stamp(card.version):
        raise ValueError(f"its card names the version {card.version!r:.100}, which is no stamp like 20261122T083000Z")
    if card.box_level not in BOX_LEVELS:
        raise ValueError(f"its card names the box level {card.box_level!r}, known are {', '.join(BOX_LEVELS)}")
    return card


def _copy(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one file and return how many bytes are left; counted as they come, since a directory entry can lie."""
    with file.open(member) as source, open(target, "xb") as copy:
        while chunk := source.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"its checkpoint has more than {MAX_CHECKPOINT_BYTES:,} bytes")
            copy.write(chunk)
    return left
