"""The last half of a training: a checkpoint becomes an archive, and the archive the version in service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.page import BOX_LEVELS, Page, TaggedPage
from handler.tagging.tagger import Tagger, TaggerSettings
from handler.wire import page_to_json, tagged_page_to_json
from layoutloop.errors import ModelNotReady
from layoutloop.store.manifest import archive_path, project_model, read_manifest
from layoutloop.store.path import StorePath
from layoutloop.store.writing import FILE_LOCK, TRAININGS, Held, drop_from_load, locked, new_stamp, write_json
from layoutloop.torchserve.inference import InferenceClient, PageRequest
from rollout.promotion import RolloutFailed, promote
from training.archive.archive import ProjectSettings, build_project
from training.data.examples import Example
from training.retention import discard

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases

_ANSWER_S = 60.0
_PAUSE_S = 0.5
_PROOF_PAGES = 5
_NOTE = "archived.json"
_LEAST_IN_COMMON = 0.5
"""Of the regions. In bfloat16 the device and the number of threads move the last digits, and so now and then a word on
the edge; an archive with other weights or other labels has next to nothing in common."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A page of the project and what the candidate says about it here."""

    page: Page
    answer: TaggedPage


def prove(checkpoint: Path, box_level: str, examples: Sequence[Example]) -> Proof | None:
    """Return, of the first pages with words, the one on which a checkpoint finds most, with its answer."""
    level = next(level for level in BOX_LEVELS if level == box_level)
    tagger = Tagger.load(checkpoint, TaggerSettings(device="cpu", box_level=level))
    proofs: list[Proof] = []
    for example in islice((one for one in examples if one.page.words), _PROOF_PAGES):
        (answer,) = tagger.tag([example.page])
        if isinstance(answer, TaggedPage):
            proofs.append(Proof(example.page, answer))
    return max(proofs, key=lambda proof: len(proof.answer.regions), default=None)


def archive_once(
    folder: Path,
    checkpoint: Path,
    model_dir: StorePath,
    project: int,
    settings: ProjectSettings,
    restored_from: str | None = None,
    leases: Leases | None = None,
) -> str:
    """Return the version of a checkpoint, which is archived unless an earlier try of the job did it.

    Args:
        folder: of the job; remembers the version.
        checkpoint: what is archived.
        model_dir: the model store.
        project: Label Studio's id.
        settings: how it was trained and how it runs.
        restored_from: the version whose checkpoint this is.
        leases: locks that machines share; with them, machines also tell each other the version of a job.

    Raises:
        ArchiveFailed, CheckpointInvalid: nothing was changed.
    """
    name = project_model(project)
    version, serving = archived_version(folder), read_manifest(model_dir, name)
    if version is None or (serving and serving.current and version < serving.current):
        # A stamp older than what was put into service meanwhile would be refused. It is noted before anything is
        # built under it, so that no try leaves an archive that the next one does not know.
        version = new_stamp(model_dir, name, leases=leases)
        write_json(folder / _NOTE, {"version": version})
    if leases is not None:
        write_json(_shared_note(model_dir, project, folder), {"version": version})
    if not archive_path(model_dir, name, version).is_file():
        build_project(
            model_dir, project, checkpoint, settings, restored_from=restored_from, version=version, leases=leases
        )
    return version


def archived_version(folder: Path) -> str | None:
    """Return the version that an earlier try archived, or was about to, if any."""
    try:
        return str(json.loads((folder / _NOTE).read_text())["version"])
    except FileNotFoundError:
        return None


def take_over(folder: Path, model_dir: StorePath, project: int, leases: Leases | None) -> None:
    """Take over what a try of the job on another machine did: its version, if that was put into service.

    A version that was not is deleted: its checkpoint is not the one that this machine makes, and its scores nobody has.
    """
    if leases is None:
        return
    try:
        version = str(json.loads(_shared_note(model_dir, project, folder).read_text())["version"])
    except FileNotFoundError:
        return
    if version == archived_version(folder):
        return  # it was this machine's
    if was_promoted(model_dir, project, version):
        write_json(folder / _NOTE, {"version": version})
        return
    name = project_model(project)
    with locked(model_dir, name, leases=leases) as held:
        drop_from_load(model_dir, name, {version}, held)
    discard(model_dir, project, version, leases=leases)


def forget(folder: Path, model_dir: StorePath, project: int, leases: Leases | None) -> None:
    """Delete what machines told each other of a job that has its outcome."""
    if leases is not None:
        _shared_note(model_dir, project, folder).unlink(missing_ok=True)


def _shared_note(model_dir: StorePath, project: int, folder: Path) -> StorePath:
    """Return where the store keeps what `archived.json` keeps in a job's folder."""
    return model_dir / TRAININGS / project_model(project) / f"{folder.name}.json"


def was_promoted(model_dir: StorePath, project: int, version: str) -> bool:
    """Whether a version is in service, or was: an earlier try may have been cut off right after its flip."""
    serving = read_manifest(model_dir, project_model(project))
    return serving is not None and version in (serving.current, *serving.left, *serving.past)


def put_into_service(
    model_dir: StorePath,
    project: int,
    version: str,
    *,
    client: InferenceClient,
    proof: Proof | None,
    still_mine: Callable[[], None],
    untested: bool = False,
    leases: Leases | None = None,
    held: Held = FILE_LOCK,
) -> None:
    """Promote an archived version, after it answered for a real page of the project as it did in training.

    Args:
        model_dir: the model store.
        project: Label Studio's id.
        version: in the model store.
        client: of this machine's TorchServe.
        proof: the page to ask about; None where the project has none with words.
        still_mine: raises Superseded where another process does this job by now.
        untested: also where no TorchServe runs that could try it.
        leases: locks that machines share.
        held: the lock of the project's trainings, which must not be lost.

    Raises:
        RolloutFailed, LayoutLoopError: what was in service before still is.
    """
    name = project_model(project)

    def check() -> None:
        if proof is not None and not untested:
            ask(client, name, version, proof)
        held.check()
        still_mine()

    promote(model_dir, name, version, untested=untested, check=check, leases=leases)


def ask(client: InferenceClient, name: str, version: str, proof: Proof) -> None:
    """Ask a version about a page.

    Raises:
        RolloutFailed: it finds something else than the same checkpoint found in this process.
        LayoutLoopError: it does not answer.
    """
    body = json.dumps(page_to_json(proof.page)).encode()
    answer = _answer(client, name, version, body, time.monotonic() + _ANSWER_S)
    expected = tagged_page_to_json(proof.answer, version)
    if answer.get("model_version") != version:
        raise RolloutFailed(f"{name} {version} says that it is version {answer.get('model_version')!r:.40}")
    if not agrees(answer.get("regions"), proof):
        raise RolloutFailed(
            f"{name} {version} finds other regions on a page of the project in TorchServe than in training: "
            f"{str(answer.get('regions'))[:200]} instead of {str(expected['regions'])[:200]}"
        )


def _answer(client: InferenceClient, name: str, version: str, body: bytes, deadline: float) -> dict[str, Any]:
    """Ask until there is an answer: a TorchServe that was just started again holds the version a moment later."""
    while True:
        try:
            return client.predict(PageRequest(name, version, body, "application/json"), deadline)
        except ModelNotReady:
            if time.monotonic() + _PAUSE_S > deadline:
                raise
            time.sleep(_PAUSE_S)


def agrees(regions: object, proof: Proof) -> bool:
    """Whether at least half of the regions from the wire and of the proof are the same, by label and words."""
    if not isinstance(regions, list):
        return False
    found = {(region["label"], tuple(region["words"])) for region in regions}
    expected = {(region.label, region.words) for region in proof.answer.regions}
    return len(found & expected) >= _LEAST_IN_COMMON * len(found | expected)
