"""What the commands over a project's annotated pages share: their flags, the annotations, who reads the pages."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handler.images import ImageLimits
from handler.reading.reader import Reader
from layoutloop.errors import TorchServeUnavailable
from layoutloop.settings.ocr import ocr_settings
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import open_studio
from layoutloop.studio.export import export_project, read_export, read_label_config, read_project
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from training.data.annotations import Selection
from training.data.dataset import Dataset, build_examples
from training.data.page_readers import (
    FolderImages,
    Images,
    LocalReader,
    PageReader,
    StudioImages,
    TorchServeReader,
    torchserve_problem,
)


@dataclass(frozen=True, slots=True)
class Annotations:
    """A project's annotations.

    Args:
        title: of the project; of the file, where it does not come from Label Studio.
        tasks: as Label Studio exports them.
        config: the label config, as it is now.
    """

    title: str
    tasks: Sequence[Mapping[str, Any]]
    config: LabelConfig


@dataclass(frozen=True, slots=True)
class Reading:
    """How pages are read.

    Args:
        engine: one of ENGINES; None for the one that `ocr` is set to.
        language: Tesseract's.
        psm: Tesseract's page segmentation mode.
        thumbnail: whether a model will look at the image.
        local: in this process, without TorchServe.
    """

    engine: str | None
    language: str
    psm: int
    thumbnail: bool = False
    local: bool = False


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say whose annotations are meant and where everything is taken from."""
    parser.add_argument("--project", type=int, help="Label Studio's project id")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="Label Studio's JSON export, not its API")
    parser.add_argument("--label-config", type=Path, metavar="FILE", help="the project's labelling interface (XML)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="take the images from here, by their file names")
    parser.add_argument("--local-ocr", action="store_true", help="read the pages here, without TorchServe")


def source_problem(options: argparse.Namespace) -> str | None:
    """Return what is wrong with those flags, None where nothing is."""
    if options.project is None and options.annotations is None:
        return "one of --project and --annotations is needed"
    if options.project is None and options.label_config is None:
        return "--annotations without --project needs --label-config: which labels there are is not in the export"
    if options.images is not None and not os.path.isdir(options.images):  # Path.is_dir may raise
        return f"--images {options.images} is no folder that can be read"
    return None


def require_ocr(options: argparse.Namespace, settings: Settings) -> None:
    """See that the pages can be read, before anything else is done.

    Raises:
        TorchServeUnavailable: no TorchServe runs, and it is not `--local-ocr`.
    """
    if not options.local_ocr and (problem := torchserve_problem(settings)):
        raise TorchServeUnavailable(f"{problem}, or read the pages here with --local-ocr")


def get_annotations(options: argparse.Namespace, settings: Settings) -> Annotations:
    """Read the files, and take from Label Studio what they do not say.

    Raises:
        FileUnusable, ExportInvalid: a file cannot be read, or is something else.
        StudioUnavailable: Label Studio does not answer.
    """
    title = options.annotations.stem if options.annotations else ""
    tasks = read_export(options.annotations) if options.annotations else None
    xml = read_label_config(options.label_config) if options.label_config else None
    if tasks is None or xml is None:
        with open_studio(settings.label_studio_url, settings.label_studio_api_key) as studio:
            project = read_project(studio, options.project)
            title, xml = project.title, xml or project.label_config
            tasks = export_project(studio, options.project) if tasks is None else tasks
    return Annotations(title, tasks, parse_label_config(xml))


def image_source(options: argparse.Namespace, settings: Settings, studio: StudioImages) -> Images:
    """Return where the images come from: `--images`, else Label Studio."""
    return FolderImages(options.images, settings.max_image_bytes) if options.images else studio


def page_reader(settings: Settings, images: Images, reading: Reading, files: Images | None = None) -> PageReader:
    """Return who reads the pages: TorchServe, or this process.

    Args:
        settings: where everything is.
        images: where the images come from.
        reading: how they are read.
        files: where files of words come from that tasks bring; None for `images`.

    Raises:
        HandlerError: this process has no such language or mode.
    """
    if not reading.local:
        return TorchServeReader.from_settings(
            settings,
            images,
            engine=reading.engine,
            language=reading.language,
            psm=reading.psm,
            thumbnail=reading.thumbnail,
            files=files,
        )
    return LocalReader(images, reader_here(settings, reading), reading.thumbnail, files)


def reader_here(settings: Settings, reading: Reading) -> Reader:
    """Return what reads images in this process and remembers none.

    Raises:
        HandlerError: this process has no such language or mode.
    """
    settings_here = ocr_settings(os.environ)
    engine = reading.engine or settings_here.engine
    local = replace(settings_here, engine=engine, language=reading.language, psm=reading.psm)
    return Reader(local, ImageLimits(max_bytes=settings.max_image_bytes), None)


def read_dataset(selection: Selection, config: LabelConfig, read: PageReader, settings: Settings) -> Dataset:
    """Read every page of a selection, with a bar.

    Raises:
        DatasetEmpty, DatasetFailed: as `build_examples`.
    """
    with tqdm(unit="page", desc="read", disable=None) as bar:
        threads = 2 * settings.ocr_workers
        return build_examples(selection, config, read, lambda done, total: show(bar, done, total), threads=threads)


def show(bar: tqdm[Any], done: int, total: int) -> None:
    """Move a bar."""
    bar.total = total
    bar.update(done - bar.n)
