"""Between this machine's disk and a model store that may be at a URL: what must be a file here, and what goes there."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from layoutloop.errors import ArchiveFailed, LayoutLoopError, NotFetched, RolloutFailed, StoreUnavailable
from layoutloop.store.manifest import Manifest, archive_name
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import StorePath, store_access
from layoutloop.store.writing import sha256_of

logger = logging.getLogger(__name__)


def copy_here(source: StorePath, target: Path) -> None:
    """Copy one file of the store to this disk.

    Raises:
        OSError: it cannot be read, or the disk is full.
    """
    if isinstance(source, Path):
        shutil.copyfile(source, target)
    else:
        source.fs.get_file(source.path, str(target))


def fetch_archive(source: StorePath, copy: Path, expected: str | None) -> None:
    """Have an archive of the store on this disk, whole and unchanged.

    Args:
        source: the archive.
        copy: where it is wanted; what lies there already, and is right, stays.
        expected: its sha256 as serving.json has it.

    Raises:
        RolloutFailed: the archive is another one.
        NotFetched: it cannot be read now, or the disk is full.
        FileNotFoundError: it is not there.
    """
    if not (copy.exists() and sha256_of(copy) == expected):
        partial = copy.with_suffix(".partial")
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with store_access(source):
                copy_here(source, partial)
            os.replace(partial, copy)
        except FileNotFoundError:
            raise
        except (OSError, StoreUnavailable) as error:
            partial.unlink(missing_ok=True)
            raise NotFetched(str(error)) from error
    found = sha256_of(copy)
    if found != expected:
        copy.unlink()
        raise RolloutFailed(f"{source} has sha256 {found[:12]}..., serving.json names {str(expected)[:12]}...")


def clear_copies(store: ModelStore, archives: Path) -> None:
    """Delete archives that the watcher copied here and no serving.json names any more."""
    wanted = set()
    for name in store.models():
        try:
            manifest = store.manifest(name) or Manifest()
        except LayoutLoopError:
            return  # what it names is not known
        wanted |= {archive_name(name, version) for version in manifest.load}
    for path in archives.glob("*"):
        if path.name not in wanted and not path.is_dir():  # a disk of its own has a `lost+found`
            delete_copy(path)


def delete_copy(copy: Path) -> None:
    """Delete an archive's copy on this disk; one that cannot be deleted is a warning."""
    try:
        copy.unlink(missing_ok=True)
    except OSError as error:  # or a folder of that name
        logger.warning("%s stays, which no model needs: %s", copy, error)


def folder_here(source: StorePath, place: Path) -> Path:
    """Return a folder of the store as one on this disk: itself, or a copy of its files.

    Args:
        source: the folder.
        place: where a copy goes; made for it, and the caller's to delete.

    Raises:
        OSError: it cannot be read, or the disk is full.
    """
    if isinstance(source, Path):
        return source
    place.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file():
            copy_here(path, place / path.name)
    return place


def delete_folder(folder: StorePath) -> None:
    """Delete a folder of the store, if it is there; what cannot be deleted stays."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)


def delete_version(store: ModelStore, name: str, version: str) -> None:
    """Delete a version's archive first: what is left of a version without one is never promoted."""
    store.archive_path(name, version).unlink(missing_ok=True)
    store.card_path(name, version).unlink(missing_ok=True)
    delete_folder(store.checkpoint_path(name, version))


@contextmanager
def built_for(store: ModelStore, name: str, version: str) -> Iterator[Path]:
    """Yield the folder to build a version in: the model's own, or one on this disk that is uploaded at the end.

    The archive goes last, and a version without one is none.

    Raises:
        ArchiveFailed, StoreUnavailable: it cannot be uploaded; what was, is deleted.
    """
    folder = store.folder(name)
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="layoutloop-archive-") as scratch:
        yield Path(scratch)
        archive = archive_name(name, version)
        files = [path for path in Path(scratch).rglob("*") if path.is_file()]
        try:
            with store_access(store.path):
                delete_folder(store.checkpoint_path(name, version))  # of an earlier build that was killed
                for path in sorted(files, key=lambda one: one.name == archive):
                    target = folder / path.relative_to(scratch).as_posix()
                    target.fs.put_file(str(path), target.path)
        except (OSError, StoreUnavailable) as error:
            with suppress(OSError, StoreUnavailable), store_access(store.path):
                delete_version(store, name, version)
            if isinstance(error, StoreUnavailable):
                raise
            raise ArchiveFailed(f"{archive} cannot be uploaded to {store.path}: {error}") from error
