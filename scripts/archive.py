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
from collections.abc import Sequence
from pathlib import Path

from handler.errors import HandlerError
from handler.ocr import ENGINES, OcrSettings
from scripts.node import ServeSettings
from shim.errors import LayoutLoopError, SettingsInvalid
from shim.serving import OCR_MODEL, Card, archive_path, models_in, read_card, read_serving
from training.archive import ArchiveFailed, ProjectSettings, build_ocr, build_project, ocr_is_current
from training.rollout import RolloutFailed, promote


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it did what was asked."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        model_dir = ServeSettings.from_env(os.environ).model_dir
        if options.ocr:
            _ocr(model_dir)
        elif options.refresh:
            _refresh(model_dir)
        else:
            _project(model_dir, options)
    except (ArchiveFailed, HandlerError, LayoutLoopError, RolloutFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.archive", description=__doc__.split("\n\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--project", type=int, help="Label Studio's project id")
    what.add_argument("--refresh", action="store_true", help="rebuild every archive in service")
    what.add_argument("--ocr", action="store_true", help="build the ocr archive when it is missing or old")
    parser.add_argument("--checkpoint", type=Path, help="folder of the checkpoint (with --project)")
    parser.add_argument("--labels", type=Path, help="file with one label a line, for a head without names")
    parser.add_argument("--language", default="eng", help="Tesseract's language of the training pages")
    parser.add_argument("--psm", type=int, default=3, help="Tesseract's mode of the training pages")
    parser.add_argument("--box-level", choices=["words", "lines"], default="words", help="boxes used in training")
    parser.add_argument("--base-model", help="what training started from, for the card")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="which configuration it gets (default: what is here)")
    parser.add_argument("--serve", action="store_true", help="put the new version into service")
    return parser


def _project(model_dir: Path, options: argparse.Namespace) -> None:
    if options.checkpoint is None:
        raise ArchiveFailed("--project needs --checkpoint FOLDER")
    settings = ProjectSettings(
        language=options.language,
        psm=options.psm,
        box_level=options.box_level,
        base_model=options.base_model,
        device=options.device or _device_here(),
    )
    labels = (
        [line.strip() for line in options.labels.read_text().splitlines() if line.strip()] if options.labels else None
    )
    card = build_project(model_dir, options.project, options.checkpoint, settings, labels=labels)
    _built(model_dir, card)
    if options.serve:
        promote(model_dir, card.model, card.version)
    else:
        print(f"into service: python -m scripts.rollout --project {options.project} --to {card.version}")


def _ocr(model_dir: Path) -> None:
    settings = ocr_settings()
    if ocr_is_current(model_dir, settings):
        return
    card = build_ocr(model_dir, settings)
    _built(model_dir, card)
    promote(model_dir, card.model, card.version)


def _device_here() -> str:
    import torch  # takes seconds, and the other commands need none of it

    return "gpu" if torch.cuda.is_available() else "cpu"


def _refresh(model_dir: Path) -> None:
    _ocr(model_dir)
    for name in models_in(model_dir):
        serving = read_serving(model_dir, name)
        if name == OCR_MODEL or serving is None or serving.current is None:
            continue
        old = read_card(model_dir, name, serving.current)
        checkpoint = model_dir / name / f"checkpoint-{old.version}"
        settings = ProjectSettings(old.language, old.psm, old.box_level, old.base_model, old.device)
        card = build_project(
            model_dir, int(name.removeprefix("project-")), checkpoint, settings, restored_from=old.version
        )
        _built(model_dir, card)
        promote(model_dir, card.model, card.version)


def ocr_settings() -> OcrSettings:
    """Read how the `ocr` model is to read pages: `LAYOUTLOOP_OCR_ENGINE`, `_LANGUAGE`, `_PSM`, `_TIMEOUT_S`.

    Raises:
        SettingsInvalid: a value that cannot be used.
    """
    default = OcrSettings()
    try:
        return OcrSettings(
            engine=os.environ.get("LAYOUTLOOP_OCR_ENGINE") or default.engine,
            language=os.environ.get("LAYOUTLOOP_OCR_LANGUAGE") or default.language,
            psm=int(os.environ.get("LAYOUTLOOP_OCR_PSM") or default.psm),
            timeout_s=float(os.environ.get("LAYOUTLOOP_OCR_TIMEOUT_S") or default.timeout_s),
        )
    except (ValueError, HandlerError) as error:
        raise SettingsInvalid(f"LAYOUTLOOP_OCR_*: {error} (engines: {', '.join(ENGINES)})") from error


def _built(model_dir: Path, card: Card) -> None:
    path = archive_path(model_dir, card.model, card.version)
    print(f"built {path} ({path.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    sys.exit(main())
