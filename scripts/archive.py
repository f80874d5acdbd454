"""Build archives: `python -m scripts.archive --project 7 --checkpoint FOLDER [--serve]`.

The labels come from the checkpoint's config.json, or from a file with one label a line. With `--serve` the new
version goes into service once every running TorchServe has loaded it. `--refresh` rebuilds every archive in
service from its checkpoint with today's handler; `--ocr` builds the `ocr` archive when it is missing or old.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from handler.ocr_settings import ENGINES
from layoutloop.errors import ArchiveFailed, LayoutLoopError, RolloutFailed, StoreUnavailable
from layoutloop.named_files import named_file, read_named_text
from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings, shim_settings
from layoutloop.settings.ocr import ocr_settings
from layoutloop.store.manifest import OCR_MODEL, VersionCard, project_of
from layoutloop.store.model_store import TRAININGS, ModelStore
from layoutloop.store.path import store_access
from layoutloop.store.transfer import folder_here
from rollout.promotion import promote
from training.archive.archive import ProjectSettings, build_ocr, build_project, ocr_is_current

_AGAIN_S = 5.0
_SAY_AGAIN_S = 60.0
"""While it waits: how often it looks, and how often it says so."""


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it succeeded."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.wait and not options.ocr:
        parser.error("--wait goes with --ocr alone")
    if options.project is not None and options.checkpoint is None:
        parser.error("--project needs --checkpoint FOLDER")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    NodeSettings.from_env(os.environ)  # checks them all
    store = shim_settings(os.environ).open_store()
    with store_access(store.path):
        if options.ocr:
            (_ocr_when_possible if options.wait else _ocr)(store)
        elif options.refresh:
            return _refresh(store, untested=options.untested)
        else:
            _project(store, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.archive", description=__doc__.split("\n\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--project", type=int, help="Label Studio's project id")
    what.add_argument("--refresh", action="store_true", help="rebuild every archive in service")
    what.add_argument("--ocr", action="store_true", help="build the ocr archive when it is missing or old")
    parser.add_argument(
        "--wait", action="store_true", help="with --ocr: wait while Redis or the model store does not answer"
    )
    parser.add_argument("--checkpoint", type=Path, help="folder of the checkpoint (with --project)")
    parser.add_argument("--labels", type=Path, help="file with one label a line, for a head without names")
    parser.add_argument("--engine", choices=ENGINES, help="OCR engine of the training pages (default: in service)")
    parser.add_argument("--language", default="eng", help="language of the training pages, as Tesseract calls it")
    parser.add_argument("--psm", type=int, default=3, help="Tesseract's mode of the training pages")
    parser.add_argument("--box-level", choices=["words", "lines"], default="words", help="boxes used in training")
    parser.add_argument("--base-model", help="what training started from, for the card")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="which configuration it gets (default: what is here)")
    parser.add_argument("--serve", action="store_true", help="put the new version into service")
    parser.add_argument(
        "--untested", action="store_true", help="put it into service although no TorchServe runs that could try it"
    )
    return parser


def _project(store: ModelStore, options: argparse.Namespace) -> None:
    settings = ProjectSettings(
        language=options.language,
        psm=options.psm,
        box_level=options.box_level,
        base_model=options.base_model,
        device=options.device or _device_here(),
        engine=options.engine,
        labels=_labels(options.labels) if options.labels else None,
    )
    with named_file(f"--checkpoint {options.checkpoint}", "it is a checkpoint's folder, which holds a config.json"):
        (options.checkpoint / "config.json").stat()
    card = build_project(store, options.project, options.checkpoint, settings)
    _built(store, card)
    rollout = f"python -m scripts.rollout --project {options.project} --to {card.version}"
    if not options.serve:
        print(f"into service: {rollout}")
        return
    try:
        promote(store, card.model, card.version, untested=options.untested)
    except RolloutFailed as error:
        raise RolloutFailed(f"{error}. The archive is kept; to try again: {rollout}") from error


def _labels(path: Path) -> list[str]:
    text = read_named_text("--labels", path, "it is a file with one label a line")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _ocr(store: ModelStore) -> None:
    """Build `ocr` where it is missing or old; of nodes that start together, one does it for all.

    The first look takes no lock: a node whose archive is there starts although Redis is down.
    """
    settings = ocr_settings(os.environ)
    if ocr_is_current(store, settings):
        return
    with store.lock(f"{TRAININGS}/{OCR_MODEL}"):
        if ocr_is_current(store, settings):
            return
        card = build_ocr(store, settings)
        _built(store, card)
        promote(store, card.model, card.version, untested=True)


def _ocr_when_possible(store: ModelStore) -> None:
    """Build `ocr` as `_ocr` does, however long Redis and the model store are down before."""
    said = float("-inf")
    while True:
        try:
            with store_access(store.path):
                return _ocr(store)
        except StoreUnavailable as error:
            if time.monotonic() - said > _SAY_AGAIN_S:
                print(f"waiting: {error}", file=sys.stderr, flush=True)
                said = time.monotonic()
            time.sleep(_AGAIN_S)


def _device_here() -> str:
    import torch  # takes seconds, and the other commands need none of it

    return "gpu" if torch.cuda.is_available() else "cpu"


def _refresh(store: ModelStore, *, untested: bool) -> int:
    """Rebuild every archive in service; one that fails is told and stops no other. Return 1 if any did."""
    failed = 0
    for name in (OCR_MODEL, *(name for name in store.models() if name != OCR_MODEL)):
        try:
            if name == OCR_MODEL:
                _ocr(store)
            else:
                _refresh_project(store, name, untested=untested)
        except (LayoutLoopError, OSError) as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = 1
    return failed


def _refresh_project(store: ModelStore, name: str, *, untested: bool) -> None:
    project = project_of(name)
    if project is None:
        raise ArchiveFailed(f"{store.folder(name)} is the folder of no model: these are called ocr or project-<id>")
    old = store.current_card(name)
    if old is None:
        return
    with tempfile.TemporaryDirectory(prefix="layoutloop-refresh-") as scratch:
        checkpoint = folder_here(store.checkpoint_path(name, old.version), Path(scratch))
        card = build_project(store, project, checkpoint, ProjectSettings.of(old))
    _built(store, card)
    promote(store, card.model, card.version, untested=untested)


def _built(store: ModelStore, card: VersionCard) -> None:
    path = store.archive_path(card.model, card.version)
    print(f"built {path} ({path.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    sys.exit(main())
