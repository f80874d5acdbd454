"""Measure models on annotations: `python -m scripts.evaluate --project 7 [--version V ...] [--out DIR]`.

By default the version in service, on the pages that no training uses. `--checkpoint` takes any checkpoint folder or
.mar file; nothing in an archive is run. With `--out` the report is written as JSON and as an HTML page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from handler.errors import HandlerError
from handler.images import ImageLimits
from handler.ocr import OcrSettings
from handler.page import BOX_LEVELS, BoxLevel, TaggedPage
from handler.reading import Reader
from handler.tagger import TaggerSettings
from scripts.archive import ocr_settings
from scripts.node import ServeSettings
from shim.credentials import LabelStudioKey
from shim.errors import LayoutLoopError, ModelNotReady, TorchServeUnavailable
from shim.label_config import LabelConfig, parse_label_config
from shim.serving import project_model
from shim.settings import Settings
from training.annotations import select_pages
from training.dataset import Dataset, build_examples
from training.drawing import Drawing, draw_worst
from training.errors import DatasetEmpty, ExportInvalid
from training.evaluate import tag_examples
from training.examples import Example
from training.export import LabelStudio, read_export
from training.reading import FolderImages, Images, LocalReader, StudioImages, TorchServeReader, torchserve_problem
from training.report import Compared, Report, read_report, report_path, write_report
from training.report_text import score_table
from training.scoring import reading_ceiling, score
from training.split import validation_tasks
from training.stored_models import StoredModel, stored_at, stored_version


@dataclass(frozen=True, slots=True)
class _Pages:
    """What the models are measured on."""

    config: LabelConfig
    dataset: Dataset
    images: Callable[[Example], bytes]
    language: str
    psm: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where nothing could be measured, 2 where it was asked for in a way that cannot work."""
    parser = _parser()
    options = parser.parse_args(arguments)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    started = _now()
    try:
        settings = Settings.from_env(os.environ | ServeSettings.from_env(os.environ).environment())
        with tempfile.TemporaryDirectory(prefix="layoutloop-evaluate-") as scratch:
            models = _models(options, settings.model_dir, Path(scratch))
            studio = StudioImages(settings)
            try:
                pages = _pages(options, settings, models, studio)
                report, drawings = _measure(models, pages, options)
            finally:
                studio.close()
        report = replace(report, started=started, ended=_now())
        print(json.dumps(report.to_json(), ensure_ascii=False) if options.json else score_table(report))
        if options.out is not None:
            path = write_report(options.out, report, drawings, stem=_stem(report))
            print(f"written: {path.with_suffix('.html')}", file=sys.stderr)
    except (LayoutLoopError, HandlerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--project", type=int, help="Label Studio's project id")
    parser.add_argument("--version", action="append", metavar="V", help="which, may be repeated (default: in service)")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="a checkpoint folder or a .mar file instead")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="Label Studio's JSON export, not its API")
    parser.add_argument("--label-config", type=Path, metavar="FILE", help="the project's labelling interface (XML)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="take the images from here, by their file names")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--validation", action="store_true", help="the pages that no training uses (default)")
    which.add_argument("--all-pages", action="store_true", help="every annotated page, trained on or not")
    parser.add_argument("--box-level", choices=BOX_LEVELS, help="boxes used in training, for a folder without a card")
    parser.add_argument("--language", help="Tesseract's language (default: as in training, else eng)")
    parser.add_argument("--psm", type=int, help="Tesseract's page segmentation mode (default: as in training, else 3)")
    parser.add_argument("--local-ocr", action="store_true", help="read the pages here, without TorchServe")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the report here, as JSON and as an HTML page")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    if options.project is None and options.annotations is None:
        return "one of --project and --annotations is needed"
    if options.project is None and options.label_config is None:
        return "--annotations without --project needs --label-config: which labels there are is not in the export"
    if options.project is None and options.checkpoint is None:
        return "without --project there is no version to look up; name a --checkpoint"
    if options.checkpoint is not None and options.version:
        return "--checkpoint and --version are two ways to say what is measured; give one"
    if options.images is not None and not options.images.is_dir():
        return f"--images {options.images} is no folder"
    return None


def _models(options: argparse.Namespace, model_dir: Path, scratch: Path) -> list[StoredModel]:
    if options.checkpoint is not None:
        return [stored_at(options.checkpoint, scratch / "0")]
    name = project_model(options.project)
    versions = dict.fromkeys(options.version or [None])
    return [stored_version(model_dir, name, version, scratch / str(at)) for at, version in enumerate(versions)]


def _pages(
    options: argparse.Namespace, settings: Settings, models: Sequence[StoredModel], studio: StudioImages
) -> _Pages:
    tasks, config = _annotations(options, settings)
    selection = select_pages(tasks, config)
    if selection.pages and not options.all_pages:
        wanted = _held_out({page.task for page in selection.pages}, models, settings.model_dir)
        pages = tuple(page for page in selection.pages if page.task in wanted)
        if not pages:
            raise DatasetEmpty(
                f"none of {len(selection.pages)} annotated pages is held out of training; "
                "annotate more documents, or measure on --all-pages"
            )
        print(f"{len(pages)} of {len(selection.pages)} annotated pages are held out of training", file=sys.stderr)
        selection = replace(selection, pages=pages)
    images: Images = FolderImages(options.images, settings.max_image_bytes) if options.images else studio
    places = {(page.task, page.item): page for page in selection.pages}
    language, psm = _reading(options, models)
    read = _reader(options, settings, models, images, language, psm)
    with tqdm(unit="page", desc="read", disable=None) as bar:
        threads = 2 * settings.ocr_workers
        dataset = build_examples(selection, config, read, lambda done, total: _show(bar, done, total), threads=threads)
    return _Pages(config, dataset, lambda example: images(places[example.task, example.item]), language, psm)


def _annotations(options: argparse.Namespace, settings: Settings) -> tuple[Sequence[dict[str, Any]], LabelConfig]:
    """Ask Label Studio for what the files do not say."""
    tasks = read_export(options.annotations) if options.annotations else None
    xml = _text(options.label_config) if options.label_config else None
    if tasks is None or xml is None:
        key = LabelStudioKey(settings.label_studio_url, settings.label_studio_api_key)
        studio = LabelStudio(settings.label_studio_url, key)
        try:
            xml = xml or studio.project(options.project).label_config
            tasks = studio.export(options.project) if tasks is None else tasks
        finally:
            studio.close()
            key.close()
    return tasks, parse_label_config(xml)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportInvalid(f"--label-config {path} cannot be read: {error}") from error


def _held_out(tasks: set[int], models: Sequence[StoredModel], model_dir: Path) -> frozenset[int]:
    """Return the tasks that none of the models was trained on, as far as their reports tell."""
    trained: set[int] = set()
    forced: set[int] = set()
    for model in models:
        path = report_path(model_dir, model.name, model.version)
        if model.version and path.is_file():
            report = read_report(path)
            trained |= set(report.trained_tasks)
            forced |= set(report.held_out)
    return validation_tasks(tasks, forced, tasks - trained).validation


def _reading(options: argparse.Namespace, models: Sequence[StoredModel]) -> tuple[str, int]:
    """Return language and mode that the pages are read with: once for all models, as in their training."""
    default = OcrSettings()
    trained = [
        (model.card.language, model.card.psm) if model.card else (default.language, default.psm) for model in models
    ]
    readings = {
        (options.language or language, psm if options.psm is None else options.psm) for language, psm in trained
    }
    if len(readings) > 1:
        listed = " and ".join(f"{language} psm {psm}" for language, psm in sorted(readings))
        raise ModelNotReady(
            f"these versions were trained on pages read in different ways ({listed}); "
            "measure one at a time, or read all in one way with --language and --psm"
        )
    return next(iter(readings))


def _reader(
    options: argparse.Namespace,
    settings: Settings,
    models: Sequence[StoredModel],
    images: Images,
    language: str,
    psm: int,
) -> TorchServeReader | LocalReader:
    thumbnail = any(model.card is None or model.card.uses_image for model in models)
    if options.local_ocr:
        # The program, whatever serving uses: the library in process is not for several threads.
        local = replace(ocr_settings(), engine="pytesseract", language=language, psm=psm)
        return LocalReader(images, Reader(local, ImageLimits(max_bytes=settings.max_image_bytes), None), thumbnail)
    if problem := torchserve_problem(settings):
        raise TorchServeUnavailable(f"{problem}, or read the pages here with --local-ocr")
    return TorchServeReader.from_settings(settings, images, language=language, psm=psm, thumbnail=thumbnail)


def _measure(
    models: Sequence[StoredModel], pages: _Pages, options: argparse.Namespace
) -> tuple[Report, tuple[Drawing, ...]]:
    """Return the report on the first model, with the others beside it, and its worst pages if it is written."""
    examples, label_map = pages.dataset.examples, dict(pages.config.label_map)
    answers = [_answers(model, examples, _box_level(model, options)) for model in models]
    scores = [score(examples, one, pages.config.labels, label_map) for one in answers]
    first, card, left_out = models[0], models[0].card, pages.dataset.left_out
    report = Report(
        name=first.name,
        labels=pages.config.labels,
        version=first.version or None,
        scores=scores[0],
        compared=tuple(Compared(model.version, one) for model, one in zip(models[1:], scores[1:], strict=True)),
        base=card.base_model if card else None,
        tasks=len({example.task for example in examples}),
        validation_pages=len(examples),
        left_out={reason: left_out[reason] for reason in left_out},
        reading_ceiling=reading_ceiling(examples),
        engine=examples[0].page.engine,
        language=pages.language,
        psm=pages.psm,
        box_level=_box_level(first, options),
        restored_from=card.restored_from if card else None,
    )
    if options.out is None:
        return report, ()
    return report, draw_worst(examples, answers[0], scores[0], pages.images, label_map=label_map)


def _answers(model: StoredModel, examples: Sequence[Example], level: BoxLevel) -> list[TaggedPage | HandlerError]:
    with tqdm(unit="page", desc=f"label {model.version or model.name}", disable=None) as bar:
        return tag_examples(
            model.folder, examples, TaggerSettings(box_level=level), lambda done, total: _show(bar, done, total)
        )


def _box_level(model: StoredModel, options: argparse.Namespace) -> BoxLevel:
    return cast(BoxLevel, options.box_level or (model.card.box_level if model.card else "words"))


def _show(bar: tqdm[Any], done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _stem(report: Report) -> str:
    """Return a file name that never is the one of the training's own report beside the archive."""
    return f"evaluation-{report.name}" + (f"-{report.version}" if report.version else "")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
