"""Write a project's annotations as a data set: `python -m scripts.dataset --project 7 --out DIR`.

Words come from the same `ocr` that predictions use, the split is the one that training uses. DIR gets FUNSD's layout
and the JSON lines of Hugging Face's `datasets`, with a README.md that says how to load them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from handler.images import ImageLimits, open_page
from handler.ocr_settings import ENGINES
from handler.tagging.labels import LabelSet
from handler.turn import level_image
from layoutloop.named_files import named_file
from layoutloop.plural import counted
from layoutloop.processes.command import as_command
from layoutloop.settings.local_store import with_local_store
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.settings.training import TrainSettings
from layoutloop.store.manifest import project_model
from scripts.annotated_pages import (
    Annotations,
    Reading,
    add_source_flags,
    get_annotations,
    image_source,
    page_reader,
    read_dataset,
    require_ocr,
    source_problem,
)
from training.data.annotations import AnnotatedPage, select_pages
from training.data.dataset import Dataset
from training.data.formats import DatasetFolder, page_name
from training.data.page_readers import Images, StudioImages
from training.data.split import split_as_trained, validation_tasks

_OUT = "it is a new folder, where you may write"


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where no data set could be made, 2 where its flags or settings cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    settings = Settings.from_env(os.environ | NodeSettings.from_env(os.environ).environment())
    training = TrainSettings.from_env(os.environ)
    options.language = options.language or training.language
    options.psm = training.psm if options.psm is None else options.psm
    require_ocr(options, settings)
    annotations = get_annotations(options, settings)
    with with_local_store(settings) as near:
        dataset, validation = _write(options, near, annotations)
    _report(dataset, validation, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.dataset", description=__doc__.split("\n\n")[0])
    add_source_flags(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the data set")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="OCR engine (default: that of `ocr`)",
    )
    parser.add_argument("--language", help="as Tesseract calls it, for any engine (default: as in training)")
    parser.add_argument("--psm", type=int, help="Tesseract's page segmentation mode (default: as in training)")
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    if problem := source_problem(options):
        return problem
    with named_file(f"--out {options.out}", _OUT):
        is_taken = options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir()))
    if is_taken:
        return f"--out {options.out} is there already and is not an empty folder; name a new one"
    return None


def _write(options: argparse.Namespace, settings: Settings, annotations: Annotations) -> tuple[Dataset, frozenset[int]]:
    staged = options.out / ".images"
    with named_file(f"--out {options.out}", _OUT, "written"):
        staged.mkdir(parents=True)
    studio = StudioImages(settings)
    try:
        files = image_source(options, settings, studio)
        images = _saving(files, staged, settings.max_image_bytes)
        reading = Reading(options.engine, options.language, options.psm, local=options.local_ocr)
        selection = select_pages(annotations.tasks, annotations.config)
        read = page_reader(settings, images, reading, files)
        dataset = read_dataset(selection, annotations.config, read, settings)
        validation = _validation(options, settings, {example.task for example in dataset.examples})
        layout = DatasetFolder(options.out, LabelSet.from_names(annotations.config.labels), validation)
        layout.write(annotations.title, dataset.examples)
        for example in dataset.examples:
            name = page_name(example.task, example.item)
            if example.page.turn:
                _make_level(staged / f"{name}.png", example.page.turn)
            (staged / f"{name}.png").replace(options.out / layout.image_path(example.task, example.item))
    finally:
        studio.close()
        _clear(staged)
    return dataset, validation


def _validation(options: argparse.Namespace, settings: Settings, tasks: set[int]) -> frozenset[int]:
    if options.project is None:
        return validation_tasks(tasks).validation
    return split_as_trained(settings.model_dir / project_model(options.project) / "split.json", tasks).validation


def _saving(images: Images, folder: Path, max_bytes: int) -> Callable[[AnnotatedPage], bytes]:
    """Return `images`, which also leaves each page in a folder as a PNG, as the annotator sees it."""

    def fetch(page: AnnotatedPage) -> bytes:
        data = images(page)
        upright = open_page(data, ImageLimits(max_bytes=max_bytes))
        upright.save(folder / f"{page_name(page.task, page.item)}.png", dpi=upright.info.get("dpi"))
        return data

    return fetch


def _make_level(path: Path, turn: float) -> None:
    with Image.open(path, formats=["PNG"]) as picture:
        level = level_image(picture, turn)
    level.save(path, dpi=level.info.get("dpi"))


def _clear(staged: Path) -> None:
    """Remove the pages that were fetched and could not be read, and the folder if nothing else came of it."""
    shutil.rmtree(staged, ignore_errors=True)  # where reading was given up, a thread may still be writing its page
    if not any(staged.parent.iterdir()):
        staged.parent.rmdir()


def _report(dataset: Dataset, validation: frozenset[int], folder: Path) -> None:
    validated = sum(example.task in validation for example in dataset.examples)
    entities = sum(len(example.entities) for example in dataset.examples)
    pages = len(dataset.examples)
    parts = f"{pages - validated} to train, {validated} to validate"
    print(f"{folder}: {counted(pages, 'page')} ({parts}), {counted(entities, 'entity', 'entities')}")
    for reason, count in dataset.left_out.counts().items():
        print(f"{count:6} x {reason}")
        for sentence in dataset.left_out[reason].examples:
            print(f"         {sentence}")


if __name__ == "__main__":
    sys.exit(main())
