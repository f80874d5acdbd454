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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handler.errors import HandlerError
from handler.images import ImageLimits, open_page
from handler.labels import LabelSet
from handler.reading import Reader
from scripts.archive import ocr_settings
from scripts.node import ServeSettings
from shim.credentials import LabelStudioKey
from shim.errors import LayoutLoopError, TorchServeUnavailable
from shim.label_config import LabelConfig, parse_label_config
from shim.serving import project_model
from shim.settings import Settings
from training.annotations import AnnotatedPage, select_pages
from training.dataset import Dataset, build_examples
from training.errors import ExportInvalid
from training.export import LabelStudio, read_export
from training.layouts import Layout, page_name
from training.reading import (
    FolderImages,
    Images,
    LocalReader,
    PageReader,
    StudioImages,
    TorchServeReader,
    torchserve_problem,
)
from training.settings import TrainSettings
from training.split import split_as_trained, validation_tasks


@dataclass(frozen=True, slots=True)
class _Annotations:
    title: str
    tasks: Sequence[dict[str, Any]]
    config: LabelConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where no data set could be made, 2 where it was asked for in a way that cannot work."""
    parser = _parser()
    options = parser.parse_args(arguments)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    try:
        settings = Settings.from_env(os.environ | ServeSettings.from_env(os.environ).environment())
        training = TrainSettings.from_env(os.environ)
        options.language = options.language or training.language
        options.psm = training.psm if options.psm is None else options.psm
        if not options.local_ocr and (problem := torchserve_problem(settings)):
            raise TorchServeUnavailable(f"{problem}, or read the pages here with --local-ocr")
        annotations = _annotations(options, settings)
        dataset, validation = _write(options, settings, annotations)
    except (LayoutLoopError, HandlerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}; --out must be a folder that can be written", file=sys.stderr)
        return 1
    _report(dataset, validation, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.dataset", description=__doc__.split("\n\n")[0])
    parser.add_argument("--project", type=int, help="Label Studio's project id")
    parser.add_argument(
        "--annotations", type=Path, metavar="FILE", help="Label Studio's JSON export, instead of asking"
    )
    parser.add_argument("--label-config", type=Path, metavar="FILE", help="the project's labelling interface (XML)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="take the images from here, by their file names")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the data set")
    parser.add_argument("--language", help="Tesseract's language (default: as in training)")
    parser.add_argument("--psm", type=int, help="Tesseract's page segmentation mode (default: as in training)")
    parser.add_argument("--local-ocr", action="store_true", help="read the pages here, without TorchServe")
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    if options.project is None and options.annotations is None:
        return "one of --project and --annotations is needed"
    if options.project is None and options.label_config is None:
        return "--annotations without --project needs --label-config: which labels there are is not in the export"
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        return f"--out {options.out} is there already and is not an empty folder; name a new one"
    if options.images is not None and not options.images.is_dir():
        return f"--images {options.images} is no folder"
    return None


def _annotations(options: argparse.Namespace, settings: Settings) -> _Annotations:
    """Ask Label Studio for what the files do not say."""
    title = options.annotations.stem if options.annotations else ""
    tasks = read_export(options.annotations) if options.annotations else None
    xml = _text(options.label_config) if options.label_config else None
    if tasks is None or xml is None:
        key = LabelStudioKey(settings.label_studio_url, settings.label_studio_api_key)
        studio = LabelStudio(settings.label_studio_url, key)
        try:
            project = studio.project(options.project)
            title, xml = project.title, xml or project.label_config
            tasks = studio.export(options.project) if tasks is None else tasks
        finally:
            studio.close()
            key.close()
    return _Annotations(title, tasks, parse_label_config(xml))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportInvalid(f"--label-config {path} cannot be read: {error}") from error


def _write(
    options: argparse.Namespace, settings: Settings, annotations: _Annotations
) -> tuple[Dataset, frozenset[int]]:
    staged = options.out / ".images"
    staged.mkdir(parents=True)
    studio = StudioImages(settings)
    try:
        source = FolderImages(options.images, settings.max_image_bytes) if options.images else studio
        read = _reader(options, settings, _saving(source, staged, settings.max_image_bytes))
        with tqdm(unit="page", disable=None) as bar:
            dataset = build_examples(
                select_pages(annotations.tasks, annotations.config),
                annotations.config,
                read,
                lambda done, total: _show(bar, done, total),
                threads=2 * settings.ocr_workers,
            )
        validation = _validation(options, settings, {example.task for example in dataset.examples})
        layout = Layout(options.out, LabelSet.from_names(annotations.config.labels), validation)
        layout.write(annotations.title, dataset.examples)
        for example in dataset.examples:
            name = page_name(example.task, example.item)
            (staged / f"{name}.png").replace(options.out / layout.image_path(example.task, example.item))
    finally:
        studio.close()
        _clear(staged)
    return dataset, validation


def _validation(options: argparse.Namespace, settings: Settings, tasks: set[int]) -> frozenset[int]:
    if options.project is None:
        return validation_tasks(tasks).validation
    return split_as_trained(settings.model_dir / project_model(options.project) / "split.json", tasks).validation


def _reader(options: argparse.Namespace, settings: Settings, images: Images) -> PageReader:
    if not options.local_ocr:
        return TorchServeReader.from_settings(settings, images, language=options.language, psm=options.psm)
    # The program, whatever serving uses: the library in process is not for several threads.
    local = replace(ocr_settings(), engine="pytesseract", language=options.language, psm=options.psm)
    return LocalReader(images, Reader(local, ImageLimits(max_bytes=settings.max_image_bytes), None))


def _saving(images: Images, folder: Path, max_bytes: int) -> Callable[[AnnotatedPage], bytes]:
    """Return `images`, which also leaves each page in a folder as an upright PNG."""

    def fetch(page: AnnotatedPage) -> bytes:
        data = images(page)
        upright = open_page(data, ImageLimits(max_bytes=max_bytes))
        upright.save(folder / f"{page_name(page.task, page.item)}.png")
        return data

    return fetch


def _show(bar: tqdm[Any], done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _clear(staged: Path) -> None:
    """Remove the pages that were fetched and could not be read, and the folder if nothing else came of it."""
    shutil.rmtree(staged, ignore_errors=True)  # where reading was given up, a thread may still be writing its page
    if not any(staged.parent.iterdir()):
        staged.parent.rmdir()


def _report(dataset: Dataset, validation: frozenset[int], folder: Path) -> None:
    validated = sum(example.task in validation for example in dataset.examples)
    entities = sum(len(example.entities) for example in dataset.examples)
    pages = len(dataset.examples)
    print(f"{folder}: {pages} pages ({pages - validated} to train, {validated} to validate), {entities} entities")
    for reason, count in dataset.left_out.counts().items():
        print(f"{count:6} x {reason}")
        for sentence in dataset.left_out[reason].examples:
            print(f"         {sentence}")


if __name__ == "__main__":
    sys.exit(main())
