"""The last half of a training: a checkpoint becomes an archive, and the archive the version in service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from handler.page import BOX_LEVELS, Page, TaggedPage
from handler.tagging.tagger import Tagger, TaggerSettings
from handler.wire import page_to_json, tagged_page_to_json
from layoutloop.errors import ModelNotReady, RolloutFailed
from layoutloop.store.changes import drop_from_load
from layoutloop.store.locks import Held
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import TRAININGS, ModelStore
from layoutloop.store.path import StorePath
from layoutloop.store.writing import write_json
from layoutloop.torchserve.inference import InferenceClient, PageRequest
from rollout.promotion import promote
from training.archive.archive import ProjectSettings, build_project
from training.data.examples import Example
from training.job_files import read_job_file
from training.retention import discard

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


@dataclass(frozen=True, slots=True)
class Publisher:
    """Puts a version of a project into service, once, however often its job is begun.

    Args:
        store: the model store.
        project: Label Studio's id.
        folder: of the job; remembers the version.
        client: of this machine's TorchServe.
        still_mine: raises Superseded where another process does this job by now.
        untested: also where no TorchServe runs that could try it.
    """

    store: ModelStore
    project: int
    folder: Path
    client: InferenceClient
    still_mine: Callable[[], None]
    untested: bool = False

    @property
    def model(self) -> str:
        """The project's model."""
        return project_model(self.project)

    def archive(self, checkpoint: Path, settings: ProjectSettings) -> str:
        """Return the version of a checkpoint, which is archived unless an earlier try of the job did it.

        Where machines share locks, they also tell each other the version of a job.

        Raises:
            ArchiveFailed, CheckpointInvalid: nothing was changed.
        """
        store, manifest = self.store, self.store.manifest(self.model)
        version = archived_version(self.folder)
        if version is None or (manifest and manifest.current and version < manifest.current):
            # A stamp older than what was put into service meanwhile would be refused. It is noted before anything is
            # built under it, so that no try leaves an archive that the next one does not know.
            version = store.new_stamp(self.model)
            write_json(self.folder / _NOTE, {"version": version})
        if store.leases is not None:
            write_json(_shared_note(store, self.project, self.folder), {"version": version})
        if not store.archive_path(self.model, version).is_file():
            build_project(store, self.project, checkpoint, settings, version)
        return version

    def take_over(self) -> str | None:
        """Take over what a try of the job on another machine did; return the version that any try put into service.

        One that was not is deleted: this machine makes another checkpoint, and the scores of that one are lost.
        """
        if self.store.leases is not None:
            self._take_over_from_elsewhere()
        version = archived_version(self.folder)
        return version if version and was_promoted(self.store, self.project, version) else None

    def _take_over_from_elsewhere(self) -> None:
        version = _version_in(_shared_note(self.store, self.project, self.folder))
        if version is None or version == archived_version(self.folder):
            return  # no machine came so far, or this one did
        if was_promoted(self.store, self.project, version):
            write_json(self.folder / _NOTE, {"version": version})
            return
        with self.store.lock(self.model) as held:
            drop_from_load(self.store, self.model, {version}, held)
        discard(self.store, self.project, version)

    def put_into_service(self, version: str, proof: Proof | None, held: Held) -> None:
        """Promote an archived version, after it answered for a real page of the project as it did in training.

        Args:
            version: in the model store.
            proof: the page; None where the project has none with words.
            held: the lock of the project's trainings, which must not be lost.

        Raises:
            RolloutFailed, LayoutLoopError: what was in service before still is.
        """

        def check() -> None:
            if proof is not None and not self.untested:
                ask(self.client, self.model, version, proof)
            held.check()
            self.still_mine()

        promote(self.store, self.model, version, untested=self.untested, check=check)


def archived_version(folder: Path) -> str | None:
    """Return the version that an earlier try archived, or was about to, if any.

    Raises:
        TrainingRefused: the file that says it is damaged.
    """
    return _version_in(folder / _NOTE)


def _version_in(note: StorePath) -> str | None:
    return read_job_file(note, lambda body: str(body["version"]))


def forget(store: ModelStore, project: int, folder: Path) -> None:
    """Delete what machines told each other of a job that has its outcome."""
    if store.leases is not None:
        _shared_note(store, project, folder).unlink(missing_ok=True)


def _shared_note(store: ModelStore, project: int, folder: Path) -> StorePath:
    """Return where the store keeps what `archived.json` keeps in a job's folder."""
    return store.path / TRAININGS / project_model(project) / f"{folder.name}.json"


def was_promoted(store: ModelStore, project: int, version: str) -> bool:
    """Whether a version is in service, or was: an earlier try may have been cut off right after its flip."""
    manifest = store.manifest(project_model(project))
    return manifest is not None and version in (manifest.current, *manifest.left, *manifest.past)


def ask(client: InferenceClient, name: str, version: str, proof: Proof) -> None:
    """Send a page to a version and compare its answer.

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
