"""Measure models on annotations: `python -m scripts.evaluate --project 7 [--version V ...] [--out DIR]`.

By default the version in service, on the pages that no training uses. `--checkpoint` takes any checkpoint folder or
.mar file; nothing in an archive is run. With `--out` the report is written as JSON and as an HTML page.
`--engines rapidocr,pytesseract` measures no model: which OCR engine reads these pages better, and how fast.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from tqdm import tqdm

from handler.errors import HandlerError
from handler.ocr_settings import ENGINES, OcrSettings
from handler.page import BOX_LEVELS, BoxLevel, TaggedPage
from handler.tagging.tagger import TaggerSettings
from layoutloop.errors import DatasetEmpty, ModelNotReady
from layoutloop.named_files import named_file
from layoutloop.plural import counted
from layoutloop.processes.command import as_command
from layoutloop.settings.local_store import with_local_store
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import store_access
from layoutloop.studio.label_config import LabelConfig
from scripts.annotated_pages import (
    Reading,
    add_source_flags,
    get_annotations,
    image_source,
    page_reader,
    read_dataset,
    require_ocr,
    show,
    source_problem,
)
from scripts.compare_engines import compare_engines, engines_problem
from training.archive.stored_models import StoredModel, stored_at, stored_version
from training.data.annotations import select_pages
from training.data.dataset import Dataset
from training.data.examples import Example, engine_of
from training.data.page_readers import StudioImages
from training.data.split import split_as_trained, validation_tasks
from training.measure.calibration import as_served, calibrated_on
from training.measure.engines import engine_table
from training.measure.evaluate import tag_examples
from training.measure.scoring import Compared, reading_ceiling, score
from training.report.drawing import Drawing, draw_worst
from training.report.files import read_report, write_report
from training.report.report import Report
from training.report.text import score_table
from training.summary import utc_now


@dataclass(frozen=True, slots=True)
class _Pages:
    """What the models are measured on."""

    config: LabelConfig
    dataset: Dataset
    images: Callable[[Example], bytes]
    reading: Reading


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where nothing could be measured, 2 where its flags or settings cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    started = utc_now()
    settings = Settings.from_env(os.environ | NodeSettings.from_env(os.environ).environment())
    with (
        tempfile.TemporaryDirectory(prefix="layoutloop-evaluate-") as scratch,
        store_access(settings.model_dir),
        with_local_store(settings) as near,
    ):
        if options.engines:
            figures = compare_engines(options, near)
            print(json.dumps([asdict(one) for one in figures]) if options.json else engine_table(figures))
            return 0
        models = _models(options, ModelStore(settings.model_dir), Path(scratch))
        require_ocr(options, settings)
        studio = StudioImages(settings)
        try:
            pages = _pages(options, near, models, studio)
            report, drawings = _measure(models, pages, options)
        finally:
            studio.close()
    report = replace(report, started=started, ended=utc_now())
    print(json.dumps(report.to_json(), ensure_ascii=False) if options.json else score_table(report))
    if options.out is not None:
        with named_file(f"--out {options.out}", "it is a folder where you may write", "written"):
            path = write_report(options.out, _stem(report), report, drawings)
        print(f"written: {path.with_suffix('.html')}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description=__doc__.split("\n\n")[0])
    add_source_flags(parser)
    parser.add_argument("--version", action="append", metavar="V", help="which, may be repeated (default: in service)")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="a checkpoint folder or a .mar file instead")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--validation", action="store_true", help="the pages that no training uses (default)")
    which.add_argument("--all-pages", action="store_true", help="every annotated page, trained on or not")
    parser.add_argument("--box-level", choices=BOX_LEVELS, help="boxes used in training, for a folder without a card")
    parser.add_argument("--engine", choices=ENGINES, help="OCR engine (default: as in training, else that of `ocr`)")
    parser.add_argument("--language", help="as Tesseract calls it, for any engine (default: as in training, else eng)")
    parser.add_argument("--psm", type=int, help="Tesseract's page segmentation mode (default: as in training, else 3)")
    parser.add_argument("--engines", metavar="A,B", help="compare OCR engines on all annotated pages, read in here")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the report here, as JSON and as an HTML page")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    if problem := source_problem(options):
        return problem
    if options.engines is not None:
        return engines_problem(options)
    if options.project is None and options.checkpoint is None:
        return "without --project there is no version to look up; name a --checkpoint"
    if options.checkpoint is not None and options.version:
        return "--checkpoint and --version are two ways to say what is measured; give one"
    return None


def _models(options: argparse.Namespace, store: ModelStore, scratch: Path) -> list[StoredModel]:
    if options.checkpoint is not None:
        with named_file(f"--checkpoint {options.checkpoint}", "it is a checkpoint's folder or a .mar file"):
            return [stored_at(options.checkpoint, scratch / "0")]
    name = project_model(options.project)
    versions = dict.fromkeys(options.version or [None])
    return [stored_version(store, name, version, scratch / str(at)) for at, version in enumerate(versions)]


def _pages(
    options: argparse.Namespace, settings: Settings, models: Sequence[StoredModel], studio: StudioImages
) -> _Pages:
    annotations = get_annotations(options, settings)
    selection = select_pages(annotations.tasks, annotations.config)
    if selection.pages and not options.all_pages:
        store = ModelStore(settings.model_dir)
        wanted = _held_out({page.task for page in selection.pages}, models, store, options.project)
        pages = tuple(page for page in selection.pages if page.task in wanted)
        annotated = counted(len(selection.pages), "annotated page")
        if not pages:
            raise DatasetEmpty(
                f"of {annotated} none is held out of training; annotate more documents, or measure on --all-pages"
            )
        print(f"held out of training: {len(pages)} of {annotated}", file=sys.stderr)
        selection = replace(selection, pages=pages)
    images = image_source(options, settings, studio)
    places = {(page.task, page.item): page for page in selection.pages}
    reading = _reading(options, models)
    dataset = read_dataset(selection, annotations.config, page_reader(settings, images, reading), settings)
    return _Pages(annotations.config, dataset, lambda example: images(places[example.task, example.item]), reading)


def _held_out(tasks: set[int], models: Sequence[StoredModel], store: ModelStore, project: int | None) -> frozenset[int]:
    """Return the tasks that no training of the project used.

    The project's `split.json` tells, else the reports of the models; where there is neither, it is the split of a
    first training.
    """
    names = {model.name for model in models if model.version} if project is None else {project_model(project)}
    splits = [path for name in names if (path := store.folder(name) / "split.json").is_file()]
    if splits:
        return frozenset.intersection(*(split_as_trained(path, tasks).validation for path in splits))
    trained: set[int] = set()
    forced: set[int] = set()
    unknown = []
    for model in models:
        path = store.report_path(model.name, model.version)
        if not model.version or not path.is_file():
            unknown.append(f"{model.name} {model.version}".strip())
            continue
        report = read_report(path)
        trained |= set(report.trained_tasks)
        forced |= set(report.held_out)
    if unknown:
        print(
            f"it is not known what {' and '.join(unknown)} was trained on (there is no report and no split.json); "
            "the pages that would be held out in a first training are measured",
            file=sys.stderr,
        )
    return validation_tasks(tasks, forced, tasks - trained).validation


def _reading(options: argparse.Namespace, models: Sequence[StoredModel]) -> Reading:
    """Return how the pages are read: once for all models, as in their training."""
    default = OcrSettings()
    trained = [
        (model.card.engine_kind, model.card.language, model.card.psm)
        if model.card
        else (None, default.language, default.psm)
        for model in models
    ]
    readings = {
        (options.engine or engine, options.language or language, psm if options.psm is None else options.psm)
        for engine, language, psm in trained
    }
    if len(readings) > 1:
        listed = " and ".join(sorted(f"{engine} {language} psm {psm}" for engine, language, psm in readings))
        raise ModelNotReady(
            f"these versions were trained on pages read in different ways ({listed}); "
            "measure one at a time, or read all in one way with --engine, --language and --psm"
        )
    ((engine, language, psm),) = readings
    thumbnail = any(model.card is None or model.card.uses_image for model in models)
    return Reading(engine, language, psm, thumbnail, options.local_ocr)


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
        reliability=as_served(examples, answers[0], label_map, calibrated_on(first.folder)),
        compared=tuple(Compared(model.version, one) for model, one in zip(models[1:], scores[1:], strict=True)),
        base=card.base_model if card else None,
        tasks=len({example.task for example in examples}),
        validation_pages=len(examples),
        left_out={reason: left_out[reason] for reason in left_out},
        reading_ceiling=reading_ceiling(examples),
        engine=engine_of(examples),
        language=pages.reading.language,
        psm=pages.reading.psm,
        box_level=_box_level(first, options),
        restored_from=card.restored_from if card else None,
    )
    if options.out is None:
        return report, ()
    return report, draw_worst(examples, answers[0], scores[0], pages.images, label_map=label_map)


def _answers(model: StoredModel, examples: Sequence[Example], level: BoxLevel) -> list[TaggedPage | HandlerError]:
    with tqdm(unit="page", desc=f"label {model.version or model.name}", disable=None) as bar:
        return tag_examples(
            model.folder, examples, TaggerSettings(box_level=level), lambda done, total: show(bar, done, total)
        )


def _box_level(model: StoredModel, options: argparse.Namespace) -> BoxLevel:
    return cast(BoxLevel, options.box_level or (model.card.box_level if model.card else "words"))


def _stem(report: Report) -> str:
    """Return a file name that never is the one of the training's own report beside the archive."""
    return f"evaluation-{report.name}" + (f"-{report.version}" if report.version else "")


if __name__ == "__main__":
    sys.exit(main())
