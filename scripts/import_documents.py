"""Documents to tasks: `python -m scripts.import_documents --project 7 FILE...`.

Images, TIFFs and PDFs become tasks of a Label Studio project, one per document. Folders are walked. What the project
has already is left alone, so the same command can be run again, also after it broke off. Where a PDF's text is what
the eye sees, its words come with the task, and no OCR reads the page.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from layoutloop.documents.files import files_of
from layoutloop.documents.page_images import PageImage, page_images
from layoutloop.documents.project import MAX_UPLOAD_BYTES, Document, ProjectDocuments, read_document
from layoutloop.documents.split import add_dpi, is_pdf, page_count
from layoutloop.documents.text_layer import TextLayers
from layoutloop.errors import DocumentRefused, DocumentUnreadable, FileUnusable, StudioUnavailable
from layoutloop.plural import counted
from layoutloop.processes.command import as_command
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import open_studio
from scripts.pdf_samples import text_layers

_TIMEOUT_S = 120.0
_ONE_IMAGE = (
    'the label config shows one image per task (<Image value="${key}">), so each page becomes a task of its own; '
    'with <Image valueList="${key}"> a document would be one task'
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    pages: int


@dataclass(frozen=True, slots=True)
class _Pages:
    """How pages are made: resolution of a PDF's, most bytes of an image, and who judges a PDF's text."""

    dpi: int
    max_bytes: int
    text: Callable[[], TextLayers | None]


class _Import:
    """One run of the command: what came of each file, and the bar."""

    def __init__(self, project: ProjectDocuments, pages: _Pages, bar: tqdm[NoReturn]) -> None:
        self._project = project
        self._pages = pages
        self._bar = bar
        self._told_one_image = False
        self.counts: Counter[str] = Counter()

    def add(self, file: _File) -> None:
        """Import a file, or tell why not.

        Raises:
            StudioUnavailable: Label Studio would not take the next one either.
        """
        end = self._bar.n + file.pages
        try:
            document = read_document(file.path)
            if self._project.has(document):
                self.counts["there"] += 1
            else:
                self._announce(document, file.pages)
                kinds = Counter[str]()
                self.counts["pages"] += self._project.add(document, self._images(file.path, kinds))
                self.counts["documents"] += 1
                self.counts += kinds
        except DocumentUnreadable as error:
            self.counts["unreadable"] += 1
            self._tell(str(error))
        except DocumentRefused as error:
            self.counts["refused"] += 1
            self._tell(str(error))
        self._bar.update(end - self._bar.n)

    def summary(self) -> str:
        """Say what came of the files."""
        counts = self.counts
        parts = [f"imported {counted(counts['documents'], 'document')} ({counted(counts['pages'], 'page')})"]
        if counts["with words"] + counts["doubtful"]:
            words, rest = counts["with words"], counts["without words"]
            parts.append(
                f"of {counted(words + rest, 'page')} of PDFs {words:,} with the file's own words, {rest:,} for OCR"
            )
        if there := counts["there"]:
            parts.append(f"{there:,} {_was(there)} there already")
        if unreadable := counts["unreadable"]:
            parts.append(f"{unreadable:,} could not be read")
        if refused := counts["refused"]:
            parts.append(f"{refused:,} {_was(refused)} refused")
        return ", ".join(parts)

    def _announce(self, document: Document, pages: int) -> None:
        config = self._project.config
        if self._project.has_another(document):
            self._tell(
                f"{document.path} is not what the project has under this name: it becomes a new task, "
                "and the earlier one stays"
            )
        if pages > 1 and not config.is_list and not self._told_one_image:
            self._told_one_image = True
            self._tell(_ONE_IMAGE.format(key=config.value_key))

    def _images(self, path: Path, kinds: Counter[str]) -> Iterator[PageImage]:
        text = self._pages.text() if is_pdf(path) else None
        for number, image in enumerate(page_images(path, self._pages.dpi, self._pages.max_bytes, text), start=1):
            if image.doubt:
                self._tell(f"page {number} of {path} is left to OCR: {image.doubt}")
                kinds["doubtful"] += 1
            if text is not None:
                kinds["without words" if image.words is None else "with words"] += 1
            yield image
            self._bar.update()

    def _tell(self, sentence: str) -> None:
        self._bar.write(sentence, file=sys.stderr)


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when a file could not be imported."""
    options = _parser().parse_args(arguments)
    try:
        files = _counted_files(options.files)
        if not files:
            raise FileUnusable("these folders hold no files (hidden ones are skipped)")
        settings = Settings.from_env(os.environ)
        with open_studio(settings.label_studio_url, settings.label_studio_api_key, _TIMEOUT_S) as client:
            project = ProjectDocuments(client, options.project)
            text = _no_text if options.ocr or not project.takes_words else text_layers(settings)
            most = min(settings.max_image_bytes, MAX_UPLOAD_BYTES)
            return _import(project, files, _Pages(options.dpi, most, text))
    except KeyboardInterrupt:
        print("interrupted before anything was imported", file=sys.stderr)
        return 1


def _counted_files(paths: Sequence[Path]) -> list[_File]:
    """Find the files and count their pages, which for many PDFs takes a while."""
    found = tqdm(files_of(paths), "counting pages", unit=" files", leave=False, disable=None)
    return [_File(path, page_count(path) if os.path.isfile(path) else 1) for path in found]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.import_documents", description=__doc__.split("\n\n")[1])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="image, TIFF or PDF, or a folder of them")
    parser.add_argument("--project", type=int, required=True, help="Label Studio's project id")
    parser.add_argument("--ocr", action="store_true", help="leave all words to OCR, also where a PDF has them")
    add_dpi(parser)
    return parser


def _no_text() -> None:
    """Have no PDF's text looked at."""


def _import(project: ProjectDocuments, files: Sequence[_File], pages: _Pages) -> int:
    stopped = ""
    with tqdm(total=sum(file.pages for file in files), unit="page", disable=None) as bar:
        run = _Import(project, pages, bar)
        try:
            for file in files:
                run.add(file)
        except StudioUnavailable as error:
            stopped = f"error: {error}"
        except KeyboardInterrupt:
            stopped = "interrupted"
    print(run.summary())
    if stopped:
        print(f"{stopped}. The same command, run again, goes on where this one stopped", file=sys.stderr)
    return 1 if stopped or run.counts["unreadable"] or run.counts["refused"] else 0


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


if __name__ == "__main__":
    sys.exit(main())
