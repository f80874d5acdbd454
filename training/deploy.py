"""The last half of a training: a checkpoint becomes an archive, and the archive the version in service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.page import BOX_LEVELS, Page, TaggedPage
from handler.tagger import Tagger, TaggerSettings
from handler.wire import page_to_json, tagged_page_to_json
from shim.errors import ModelNotReady
from shim.serving import archive_path, project_model, read_serving
from shim.torchserve import InferenceClient
from training.archive import ProjectSettings, build_project
from training.examples import Example
from training.rollout import RolloutFailed, promote
from training.store import new_stamp, write_json

_ANSWER_S = 60.0
_PAUSE_S = 0.5
_PROOF_PAGES = 5
_LEAST_IN_COMMON = 0.5
"""Of the regions, where serving computes in bfloat16 and this process in float32."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A page of the project, what the candidate says about it here, and whether serving must say exactly that."""

    page: Page
    answer: TaggedPage
    exact: bool


def prove(checkpoint: Path, box_level: str, examples: Sequence[Example], *, exact: bool) -> Proof | None:
    """Return the first page on which a checkpoint finds something (or the first with words), with its answer."""
    level = next(level for level in BOX_LEVELS if level == box_level)
    tagger = Tagger.load(checkpoint, TaggerSettings(device="cpu", box_level=level))
    proofs: list[Proof] = []
    for example in examples[:_PROOF_PAGES]:
        (answer,) = tagger.tag([example.page])
        if isinstance(answer, TaggedPage) and example.page.words:
            proofs.append(Proof(example.page, answer, exact))
            if answer.regions:
                return proofs[-1]
    return proofs[0] if proofs else None


def archive_once(
    folder: Path,
    checkpoint: Path,
    model_dir: Path,
    project: int,
    settings: ProjectSettings,
    restored_from: str | None = None,
) -> str:
    """Return the version of a checkpoint, which is archived unless an earlier try of the job did it.

    Args:
        folder: of the job; remembers the version.
        checkpoint: what is archived.
        model_dir: the model store.
        project: Label Studio's id.
        settings: how it was trained and how it runs.
        restored_from: the version whose checkpoint this is.

    Raises:
        ArchiveFailed, CheckpointInvalid: nothing was changed.
    """
    name = project_model(project)
    version, serving = archived_version(folder), read_serving(model_dir, name)
    if version is None or (serving and serving.current and version < serving.current):
        # A stamp older than what was put into service meanwhile would be refused. It is noted before anything is
        # built under it, so that no try leaves an archive that the next one does not know.
        version = new_stamp(model_dir, name)
        write_json(folder / "archived.json", {"version": version})
    if not archive_path(model_dir, name, version).is_file():
        build_project(model_dir, project, checkpoint, settings, restored_from=restored_from, version=version)
    return version


def archived_version(folder: Path) -> str | None:
    """Return the version that an earlier try archived, or was about to, if any."""
    try:
        return str(json.loads((folder / "archived.json").read_text())["version"])
    except FileNotFoundError:
        return None


def was_promoted(model_dir: Path, project: int, version: str) -> bool:
    """Whether a version is in service, or was: an earlier try may have been cut off right after its flip."""
    serving = read_serving(model_dir, project_model(project))
    return serving is not None and (version == serving.current or version in serving.left)


def put_into_service(
    model_dir: Path,
    project: int,
    version: str,
    *,
    client: InferenceClient,
    proof: Proof | None,
    still_mine: Callable[[], None],
    untested: bool = False,
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

    Raises:
        RolloutFailed, LayoutLoopError: what was in service before still is.
    """
    name = project_model(project)

    def check() -> None:
        if proof is not None and not untested:
            ask(client, name, version, proof)
        still_mine()

    promote(model_dir, name, version, untested=untested, check=check)


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
            return client.predict(name, version, body, content_type="application/json", deadline=deadline)
        except ModelNotReady:
            if time.monotonic() + _PAUSE_S > deadline:
                raise
            time.sleep(_PAUSE_S)


def agrees(regions: object, proof: Proof) -> bool:
    """Whether regions from the wire are those of the proof, by label and words."""
    if not isinstance(regions, list):
        return False
    found = {(region["label"], tuple(region["words"])) for region in regions}
    expected = {(region.label, region.words) for region in proof.answer.regions}
    if proof.exact:
        return found == expected
    return len(found & expected) >= _LEAST_IN_COMMON * len(found | expected)
