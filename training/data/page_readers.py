"""How training gets the pages of annotated tasks: through the same model `ocr` as predictions, word for word."""

from __future__ import annotations

import socket
import time
import unicodedata
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Protocol
from urllib.parse import urlsplit

from handler.errors import ImageTooLarge
from handler.images import ImageLimits
from handler.machine import is_of_machine, machine_failed
from handler.page import Page
from handler.reading.reader import Reader
from handler.wire import page_from_json
from layoutloop.errors import AddressRefused, ImageUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.data_uri import decode_data_uri
from layoutloop.studio.image_fetcher import ImageFetcher, ImageRules
from layoutloop.studio.reference import read_reference
from layoutloop.studio.task_words import read_task_words, with_picture
from layoutloop.torchserve.in_service import InService, InServiceModels
from layoutloop.torchserve.inference import inference_client
from layoutloop.torchserve.nodes import addresses_of
from training.data.annotations import AnnotatedPage

PAGE_LIMIT_S = 120.0

Images = Callable[[AnnotatedPage], bytes]
"""The encoded image of a page; raises ImageUnavailable."""


class PageReader(Protocol):
    """Reads the pages of annotated tasks, from several threads at a time."""

    def __call__(self, page: AnnotatedPage) -> Page:
        """Return the page as `ocr` reads it, or with the words that its task brings.

        Raises:
            LayoutLoopError: the image is not to be had, or TorchServe does not answer or refuses it.
            HandlerError: the page that came back is none.
        """


@dataclass(frozen=True, slots=True)
class TorchServeReader:
    """Reads with the version of model `ocr` that is in service, as the shim does for a project's model.

    Args:
        images: where the images come from.
        models: the models in service.
        engine: one of ENGINES; None for the one that `ocr` is set to.
        language: Tesseract's language, as the model will request it.
        psm: Tesseract's page segmentation mode.
        thumbnail: whether the model looks at the image.
        files: where files of words come from, which take the place of a page's image; None for `images`.
    """

    images: Images
    models: InServiceModels
    engine: str | None = None
    language: str = "eng"
    psm: int = 3
    thumbnail: bool = False
    files: Images | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        images: Images,
        *,
        engine: str | None = None,
        language: str = "eng",
        psm: int = 3,
        thumbnail: bool = False,
        files: Images | None = None,
    ) -> TorchServeReader:
        """Make a reader that sends pages to the nodes."""
        store, client = ModelStore(settings.model_dir), inference_client(settings)
        models = InServiceModels(store, client, settings.ocr_workers, settings.project_workers)
        return cls(images, models, engine, language, psm, thumbnail, files)

    def like(self, card: VersionCard) -> TorchServeReader:
        """Return a reader of the same images that reads as a version's training pages were read."""
        return replace(self, engine=card.engine_kind, language=card.language, psm=card.psm)

    def __call__(self, page: AnnotatedPage) -> Page:
        """Return the page; a dropped request is sent again until its 120 s are over."""
        given = words_given(page, self.files or self.images)
        data = self.images(page)
        # A promotion of another `ocr` in the middle changes who reads; the page's `engine` tells.
        ocr = self.models.in_service(None).ocr
        engine = self.engine or ocr.engine_kind
        wanted = VersionCard("", "", engine=engine, language=self.language, psm=self.psm, uses_image=self.thumbnail)
        in_service, deadline = InService(ocr, wanted), time.monotonic() + PAGE_LIMIT_S
        if given is not None:
            return with_picture(given, page_from_json(self.models.picture(data, in_service, deadline, given.turn)))
        return page_from_json(self.models.read(data, in_service, deadline))


@dataclass(frozen=True, slots=True)
class LocalReader:
    """Reads in this process, where no TorchServe runs. Only on demand: engine or version may differ from serving's.

    Args:
        images: where the images come from.
        reader: with engine, language and mode as its defaults.
        thumbnail: whether the model looks at the image.
        files: where files of words come from; None for `images`.
    """

    images: Images
    reader: Reader
    thumbnail: bool = False
    files: Images | None = None
    _alone: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __call__(self, page: AnnotatedPage) -> Page:
        """Return the page; an engine in process reads one at a time, whoever calls."""
        given = words_given(page, self.files or self.images)
        data = self.images(page)
        if given is not None:
            return with_picture(given, self.reader.read(data, thumbnail=self.thumbnail, known_turn=given.turn))
        with nullcontext() if self.reader.settings.engine == "pytesseract" else self._alone:
            return self.reader.read(data, thumbnail=self.thumbnail)


def words_given(page: AnnotatedPage, files: Images) -> Page | None:
    """Return the words that a page's task brings; None for a page that is to be read.

    Raises:
        LayoutLoopError: they are not to be had, or no words of a page.
    """
    if page.words is None:
        return None
    return read_task_words(page.words, lambda address: files(replace(page, reference=address)))


class StudioImages:
    """Fetches images as the shim does, from allowed hosts only."""

    def __init__(self, settings: Settings) -> None:
        """Open no connection yet."""
        self._key = LabelStudioKey(settings.label_studio_url, settings.label_studio_api_key)
        rules = ImageRules(settings.image_hosts, settings.image_networks, settings.max_image_bytes)
        self._fetcher = ImageFetcher(settings.label_studio_url, self._key, rules)

    def __call__(self, page: AnnotatedPage) -> bytes:
        """Return the image behind the page's reference."""
        return self._fetcher.fetch(page.reference, page.task)

    def close(self) -> None:
        """Close the connections."""
        self._fetcher.close()
        self._key.close()


@dataclass(frozen=True, slots=True)
class FolderImages:
    """Takes images from one folder, by the file name in the reference, whatever else the reference says.

    Of the names that are possible (`layoutloop.studio.reference`) the likeliest comes first: a file with the whole
    name of an upload before one without its prefix. A `data:` reference is its own image.

    Args:
        folder: which; files in folders below it are not looked for.
        max_bytes: largest image.
    """

    folder: Path
    max_bytes: int = ImageLimits().max_bytes

    def __call__(self, page: AnnotatedPage) -> bytes:
        """Return the bytes of the file.

        Raises:
            AddressRefused: a link leads out of the folder.
            ImageTooLarge, ImageUnavailable: no such file, or one that cannot be read.
        """
        if page.reference[:5].lower() == "data:":
            return decode_data_uri(page.reference, self.max_bytes)
        names = read_reference(page.reference).file_names
        try:
            root = self.folder.resolve()
            for name in names:
                path = (root / name).resolve()
                if name in ("", ".", "..") or not path.is_file():
                    continue
                if not path.is_relative_to(root):
                    raise AddressRefused(f"{root / name} is a link that leads out of {root}")
                if path.stat().st_size > self.max_bytes:
                    raise ImageTooLarge(f"{path} has more than {self.max_bytes:,} bytes")
                return path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have, such as one with a NUL
            if isinstance(error, OSError) and is_of_machine(error):
                raise machine_failed(error) from error
            raise ImageUnavailable(f"the image {name[:100]!r} cannot be read from {self.folder}: {error}") from error
        told = dict.fromkeys(repr(unicodedata.normalize("NFC", name)[:100]) for name in names)
        raise ImageUnavailable(f"{self.folder} has no file {' or '.join(told)}")


def torchserve_problem(settings: Settings) -> str | None:
    """Return why no page could be read, found in a moment and not at the end of each page's time; None if it can."""
    for url in addresses_of(settings.torchserve_urls):
        parts = urlsplit(url)
        try:
            with socket.create_connection((parts.hostname, parts.port), timeout=2):
                return None
        except OSError:
            continue
    if settings.torchserve_url:
        return f"no TorchServe answers at {settings.torchserve_url} (LAYOUTLOOP_TORCHSERVE_URL): start one there"
    return (
        f"no TorchServe answers on port {settings.torchserve_port}: start scripts/serve.sh, "
        "or set LAYOUTLOOP_TORCHSERVE_PORT to the port it was started with"
    )
