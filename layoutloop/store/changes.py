"""Changes of what is in service: only the holder of a model's lock replaces its serving.json."""

from __future__ import annotations

import time
from dataclasses import replace

from layoutloop.errors import LeaseLost
from layoutloop.store.locks import FILE_LOCK, Held
from layoutloop.store.manifest import Manifest
from layoutloop.store.model_store import ModelStore
from layoutloop.store.writing import sha256_of, write_json

REMEMBERED = 50
"""So many versions that were in service before are named in serving.json, for jobs that check whether theirs was."""


def write_manifest(store: ModelStore, name: str, manifest: Manifest, held: Held = FILE_LOCK) -> None:
    """Replace a model's serving.json; the caller holds its lock.

    Raises:
        LeaseLost: the lock was lost, or a later holder has written already.
    """
    held.check()
    if held.number:
        before = store.manifest(name)
        if before is not None and before.number > held.number:
            raise LeaseLost(f"a later holder of {name}'s lock has changed what is in service; nothing is changed here")
        manifest = replace(manifest, number=held.number)
    write_json(store.manifest_path(name), manifest.to_json())


def add_to_load(store: ModelStore, name: str, version: str, held: Held = FILE_LOCK) -> None:
    """Make every TorchServe hold a version; the caller holds the lock."""
    manifest = store.manifest(name) or Manifest()
    digest = sha256_of(store.archive_path(name, version))
    load = (version, *(other for other in manifest.load if other != version))
    left = {other: moment for other, moment in manifest.left.items() if other != version}
    sha256 = {**manifest.sha256, version: digest}
    write_manifest(store, name, replace(manifest, load=load, sha256=sha256, left=left), held)


def drop_from_load(store: ModelStore, name: str, versions: set[str], held: Held = FILE_LOCK) -> None:
    """Let every TorchServe unload versions; never the current one. The caller holds the lock."""
    manifest = store.manifest(name)
    if manifest is None:
        return
    keep = tuple(one for one in manifest.load if one not in versions or one == manifest.current)
    if keep != manifest.load:
        sha256 = {one: digest for one, digest in manifest.sha256.items() if one in keep}
        left = {one: moment for one, moment in manifest.left.items() if one in keep}
        write_manifest(store, name, replace(manifest, load=keep, sha256=sha256, left=left), held)


def flip(store: ModelStore, name: str, version: str, held: Held = FILE_LOCK) -> None:
    """Make a version in `load` the current one; the caller holds the lock.

    Raises:
        LeaseLost: see `write_manifest`; or a process that does not share this lock took the version out of `load`.
    """
    manifest = store.manifest(name)
    if manifest is None or version not in manifest.load:
        raise LeaseLost(
            f"{version} is not in {name}'s load list (any more), so it cannot become current; see that all who change "
            "this model store have the same REDIS_URL, or none"
        )
    left = {other: moment for other, moment in manifest.left.items() if other != version}
    past = manifest.past
    if manifest.current and manifest.current != version:
        left[manifest.current] = time.time()
        past = (manifest.current, *past)[:REMEMBERED]
    write_manifest(store, name, replace(manifest, current=version, left=left, past=past), held)
