"""`scripts.evaluate --engines`: which OCR engine reads a project's annotated pages better."""

from __future__ import annotations

import argparse
import os

from tqdm import tqdm

from handler.ocr_settings import ENGINES, OcrSettings
from layoutloop.errors import DatasetEmpty
from layoutloop.settings.serving import Settings
from layoutloop.settings.training import TrainSettings
from scripts.annotated_pages import Reading, get_annotations, image_source, reader_here, show
from training.data.annotations import select_pages
from training.data.page_readers import StudioImages
from training.measure.engines import EngineFigures, measure_engine


def engines_problem(options: argparse.Namespace) -> str | None:
    """Return what is wrong with `--engines` and the flags beside it, None where nothing is; makes a list of it."""
    options.engines = list(dict.fromkeys(name.strip() for name in options.engines.split(",")))
    unknown = [name for name in options.engines if name not in ENGINES]
    if unknown:
        return f"--engines takes {', '.join(ENGINES)}; found {', '.join(map(repr, unknown))}"
    of_models = ("version", "checkpoint", "validation", "box_level", "engine", "out")
    given = [f"--{name.replace('_', '-')}" for name in of_models if getattr(options, name)]
    if given:
        return f"--engines measures no model and reads all annotated pages; leave {' and '.join(given)} out"
    return None


def compare_engines(options: argparse.Namespace, settings: Settings) -> list[EngineFigures]:
    """Read every annotated page with each engine, in this process: TorchServe would answer from its cache.

    The page segmentation mode is Tesseract's; rapidocr finds lines itself.

    Raises:
        DatasetEmpty: nothing is annotated.
        HandlerError: an engine is not installed, or does not read the language.
    """
    annotations = get_annotations(options, settings)
    pages = select_pages(annotations.tasks, annotations.config).pages
    if not pages:
        raise DatasetEmpty("no task is annotated yet; submit at least one annotation in Label Studio")
    training, figures, studio = TrainSettings.from_env(os.environ), [], StudioImages(settings)
    try:
        images = image_source(options, settings, studio)
        language, psm = options.language or training.language, training.psm if options.psm is None else options.psm
        for engine in options.engines:
            mode = OcrSettings().psm if engine == "rapidocr" else psm
            read = reader_here(settings, Reading(engine, language, mode)).read
            with tqdm(unit="page", desc=engine, disable=None) as bar:
                figures.append(measure_engine(engine, pages, images, read, lambda done, total: show(bar, done, total)))
    finally:
        studio.close()
    return figures
