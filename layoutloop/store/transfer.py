"""Between this machine's disk and a model store that may be at a URL: what must be a file here, and what goes there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from layoutloop.errors import ArchiveFailed, LayoutLoopError, NotFetched, RolloutFailed, StoreUnavailable
from layoutloop.store.manifest import Manifest, archive_path, card_path, models_in, read_manifest
from layoutloop.store.path import AnyPath, StorePath, store_access
from layoutloop.store.writing import sha256_of


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
        raise RolloutFailed(f"{source} has sha256 {found[:12]}..., serving.json asks for {str(expected)[:12]}...")


def clear_copies(model_dir: Path, archives: Path) -> None:
    """Delete archives that an earlier run of the watcher copied and no serving.json asks for any more.

    Args:
        model_dir: the model store as a folder.
        archives: where the copies lie.
    """
    wanted = set()
    for name in models_in(model_dir):
        try:
            serving = read_manifest(model_dir, name) or Manifest()
        except LayoutLoopError:
            return  # what it asks for is not known
        wanted |= {f"{name}-{version}.mar" for version in serving.load}
    for path in archives.glob("*"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


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


def rename(path: StorePath, name: str) -> None:
    """Give a file of the store another name in its folder."""
    if isinstance(path, Path):
        path.replace(path.with_name(name))
    else:
        path.fs.mv(path.path, path.with_name(name).path)


def checkpoint_path(model_dir: AnyPath, name: str, version: str) -> AnyPath:
    """Return where the checkpoint of a version lies."""
    return model_dir / name / f"checkpoint-{version}"


def delete_version(model_dir: StorePath, name: str, version: str) -> None:
    """Delete a version's archive first: what is left of a version without one is promoted by nobody."""
    archive_path(model_dir, name, version).unlink(missing_ok=True)
    card_path(model_dir, name, version).unlink(missing_ok=True)
    delete_folder(checkpoint_path(model_dir, name, version))


@contextmanager
def built_for(model_dir: StorePath, name: str, version: str) -> Iterator[Path]:
    """Yield the folder to build a version in: the store itself, or one on this disk that is uploaded at the end.

    The archive goes last, and a version without one is none.

    Raises:
        ArchiveFailed, StoreUnavailable: it cannot be uploaded; what was, is deleted.
    """
    if isinstance(model_dir, Path):
        yield model_dir
        return
    with tempfile.TemporaryDirectory(prefix="layoutloop-archive-") as scratch:
        yield Path(scratch)
        archive = archive_path(Path(scratch), name, version)
        files = [path for path in (Path(scratch) / name).rglob("*") if path.is_file()]
        try:
            with store_access(model_dir):
                delete_folder(checkpoint_path(model_dir, name, version))  # of an earlier build that was killed
                for path in sorted(files, key=lambda one: one == archive):
                    target = model_dir / path.relative_to(scratch).as_posix()
                    target.fs.put_file(str(path), target.path)
        except (OSError, StoreUnavailable) as error:
            with suppress(OSError, StoreUnavailable), store_access(model_dir):
                delete_version(model_dir, name, version)
            if isinstance(error, StoreUnavailable):
                raise
            raise ArchiveFailed(f"{archive.name} cannot be uploaded to {model_dir}: {error}") from error
