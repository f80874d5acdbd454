"""Read and label pages: `python -m scripts.predict FILE... [--project 7] [--draw DIR]`.

Asks the running TorchServe, without the shim, and prints one Regions JSON per page and line, in order. Without a
project, or before it has a model, the regions are the text lines. PDFs and TIFFs are split into their pages.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from handler.errors import HandlerError
from handler.images import ImageLimits, open_page
from handler.page import Page
from handler.wire import page_to_json
from layoutloop.documents.drawing import draw_regions
from layoutloop.documents.files import DOCUMENTS, files_of
from layoutloop.documents.split import add_dpi, is_pdf, page_count, page_files
from layoutloop.documents.text_layer import TextLayers
from layoutloop.errors import LayoutLoopError, ModelNotReady, TorchServeUnavailable
from layoutloop.in_order import in_order
from layoutloop.plural import counted
from layoutloop.processes.command import as_command
from layoutloop.settings.local_store import with_local_store
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import OCR_MODEL, VersionCard, project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.thresholds import Thresholds, read_thresholds
from layoutloop.studio.task_words import with_picture
from layoutloop.torchserve.answered_pages import parse_page, text_lines
from layoutloop.torchserve.in_service import InService, InServiceModels
from layoutloop.torchserve.inference import inference_client
from layoutloop.torchserve.nodes import RESOLVE_S
from scripts.pdf_samples import text_layers
from training.data.page_readers import torchserve_problem

_PAGE_LIMIT_S = 120.0
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    number: int
    data: bytes = b""
    words: Page | None = None
    error: LayoutLoopError | None = None


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when a page could not be answered."""
    options = _parser().parse_args(arguments)
    settings = Settings.from_env(os.environ)
    if problem := torchserve_problem(settings):
        raise TorchServeUnavailable(problem)
    try:
        with with_local_store(settings) as near:
            return _predict(options, near)
    except BrokenPipeError:  # whoever read has enough, like `head`; nothing more is written at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _predict(options: argparse.Namespace, settings: Settings) -> int:
    client = inference_client(settings)
    store = ModelStore(settings.model_dir)
    models = InServiceModels(store, client, settings.ocr_workers, settings.project_workers)
    model = None if options.project is None else project_model(options.project)
    if model and store.manifest(model) is None:
        print(f"{model} has no model in service: its pages are read, not labelled", file=sys.stderr)
    failed = 0
    drawn: set[Path] = set()
    thresholds = read_thresholds(store.path, model, settings.score_threshold)
    window = 4 * settings.ocr_workers * client.node_count(wait_s=RESOLVE_S)
    text = text_layers(settings, lambda data, deadline: models.read(data, models.in_service(None), deadline))
    files = list(files_of(options.files, DOCUMENTS))
    jobs = _jobs(files, options.dpi, None if options.ocr else text)
    answers = in_order(lambda job: _answer(models, model, job), jobs, window)
    pages = sum(page_count(path) for path in files)
    for job, answer in tqdm(answers, total=pages, unit="page", disable=None):
        failed += "error" in answer
        print(json.dumps({"file": str(job.path), "page": job.number, **answer}, ensure_ascii=False), flush=True)
        if options.draw and job.data and "error" not in answer:
            _draw(_target(options.draw, job, drawn), job, certain(answer["regions"], thresholds))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="image, TIFF or PDF, or a folder of them")
    parser.add_argument("--project", type=int, help="Label Studio's project id, whose model labels the pages")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write each page with its regions drawn on it")
    parser.add_argument("--ocr", action="store_true", help="have all pages read, also where a PDF has their words")
    add_dpi(parser)
    return parser


def _jobs(paths: Sequence[Path], dpi: int, text: Callable[[], TextLayers | None] | None) -> Iterator[_Job]:
    kinds = Counter[str]()
    for path in paths:
        number = 1
        try:
            layers = text() if text is not None and is_pdf(path) else None
            for page in page_files(path, dpi, text=layers):
                if page.doubt:
                    kinds["doubtful"] += 1
                    print(f"page {number} of {path} is read by OCR: {page.doubt}", file=sys.stderr)
                if layers is not None:
                    kinds["OCR" if page.words is None else "text"] += 1
                yield _Job(path, number, page.data, page.words)
                number += 1
        except LayoutLoopError as error:  # or nothing checks the text of a PDF now
            yield _Job(path, number, error=error)
    if kinds["text"] + kinds["doubtful"]:
        pages, own, read = counted(kinds["text"] + kinds["OCR"], "page"), kinds["text"], kinds["OCR"]
        print(f"of {pages} of PDFs {own:,} with the file's own words, {read:,} by OCR", file=sys.stderr)


def _tag(models: InServiceModels, page: dict[str, Any], card: VersionCard, deadline: float) -> dict[str, Any]:
    """Send the page until there is an answer: the worker of an idle project starts with the first page."""
    while True:
        try:
            return models.tag(page, card, deadline)
        except ModelNotReady:
            if time.monotonic() + _PAUSE_S > deadline:
                raise
            time.sleep(_PAUSE_S)


def _answer(models: InServiceModels, model: str | None, job: _Job) -> dict[str, Any]:
    if job.error is not None:
        return _refusal(job.error)
    deadline = time.monotonic() + _PAGE_LIMIT_S
    try:
        in_service = models.in_service(model)
        page = _page(models, in_service, job, deadline)
        if in_service.model is not None:
            return _tag(models, page, in_service.model, deadline)
        lines = text_lines(parse_page(page))
    except LayoutLoopError as error:
        return _refusal(error)
    regions = [
        {"label": None, "box": [line.box.left, line.box.top, line.box.right, line.box.bottom]}
        | {"score": round(line.score, 6), "text": line.text}
        for line in lines
    ]
    return {"format": page["format"], "model_version": OCR_MODEL, "windows": 0, "regions": regions}


def _page(models: InServiceModels, in_service: InService, job: _Job, deadline: float) -> dict[str, Any]:
    """Return the page as its PDF has it, else as `ocr` reads it."""
    if job.words is None:
        return models.read(job.data, in_service, deadline)
    if in_service.model is None or not in_service.model.uses_image:
        return page_to_json(job.words)
    return page_to_json(
        with_picture(job.words, parse_page(models.picture(job.data, in_service, deadline, job.words.turn)))
    )


def _refusal(error: LayoutLoopError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": str(error)}}


def _target(folder: Path, job: _Job, drawn: set[Path]) -> Path:
    """Return a file name of its own for each page, also where two folders hold files of one name."""
    # With the suffix: a.pdf and a.tiff may lie side by side.
    names = (f"{job.path.name}-{job.number}{again}.png" for again in chain([""], (f"-{n}" for n in count(2))))
    target = next(folder / name for name in names if folder / name not in drawn)
    drawn.add(target)
    return target


def certain(regions: Sequence[dict[str, Any]], thresholds: Thresholds) -> list[dict[str, Any]]:
    """Return those regions of a Regions JSON that are drawn."""
    return [region for region in regions if thresholds.draw(region["label"], region["score"])]


def _draw(target: Path, job: _Job, regions: Sequence[dict[str, Any]]) -> None:
    buffer = io.BytesIO()
    try:
        image: Image.Image = open_page(job.data, ImageLimits())
        draw_regions(image, regions).save(buffer, format="PNG")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(buffer.getvalue())
    except (HandlerError, OSError) as error:
        print(f"page {job.number} of {job.path} cannot be drawn: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
