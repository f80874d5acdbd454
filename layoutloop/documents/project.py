"""The documents of a Label Studio project: which it has, and how another becomes a task.

Measured with Label Studio 1.23.2, and read in its data_import/api.py and uploader.py:

- `POST /api/projects/{id}/import?commit_to_project=false` with a form keeps a file and makes no task of it. Of several
  files in one field it keeps the last one only, without a word, so each gets a request of its own.
- Where the label config needs several keys of the data it answers 400 to that, and has kept the file all the same.
- The same address with JSON makes tasks, all or none. It needs every key but that of a `valueList`, and leaves
  `meta` as it is.
- All files of a request together must stay below DATA_UPLOAD_MAX_MEMORY_SIZE, 250 MiB; beyond it answers 400 or 500.
- `GET /api/projects/{id}/file-uploads?all=true` lists what the key's owner uploaded, also what no task shows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.wire import page_to_json
from layoutloop.documents.page_images import PageImage
from layoutloop.errors import DocumentRefused, DocumentUnreadable, StudioUnavailable
from layoutloop.plural import counted
from layoutloop.studio.client import StudioClient
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from layoutloop.studio.task_words import KEY

MAX_UPLOAD_BYTES = 249 * 2**20
"""Of one image: what Label Studio takes, less the form around it."""

_META = "layoutloop"
_TASKS_PER_REQUEST = 500
_CHUNK_BYTES = 2**20
_ABOUT_THE_FILE = frozenset({400, 413, 415, 422})
_OURS = re.compile(r"[0-9a-f]{8}-(.*-[0-9a-f]{32}\.[a-z]+)")
"""Label Studio puts eight digits of its own before a file's name."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file, known by what it holds.

    Args:
        path: where it is.
        sha256: of its bytes, in hex.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class _Upload:
    reference: str
    size: int | None


def read_document(path: Path) -> Document:
    """Return a file with its hash.

    Raises:
        DocumentUnreadable: it is no file, or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DocumentUnreadable(f"{path} is no regular file")  # reading a pipe would wait for ever
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise DocumentUnreadable(f"{path} cannot be read: {error.strerror}") from error
    return Document(path, digest.hexdigest())


class ProjectDocuments:
    """The documents that have tasks in a project.

    A task says in its `meta` which document it shows. The tasks of one document are made in one request, so that
    none is there in part. A page's upload has a name made of what it holds: where an earlier run broke off, its
    uploads are taken again.

    Args:
        client: of Label Studio's API.
        project_id: Label Studio's.

    Raises:
        StudioUnavailable: Label Studio does not answer, does not have the project or refuses the key.
        LabelConfigUnsupported: the project has no <Image> with rectangles.
    """

    def __init__(self, client: StudioClient, project_id: int) -> None:
        self._client = client
        self._project_id = project_id
        self._base = f"/api/projects/{project_id}"
        self.config: LabelConfig = parse_label_config(str(_field(client.get(f"{self._base}/"), "label_config")))
        self._known: set[str] = set()
        self._names: set[str] = set()
        for mark in self._marks():
            self._known.add(str(mark.get("sha256")))
            self._names.add(str(mark.get("file")))
        self._uploads = self._list_uploads()

    def has(self, document: Document) -> bool:
        """Whether tasks show a document, also where some of its pages were deleted."""
        return document.sha256 in self._known

    def has_another(self, document: Document) -> bool:
        """Whether the project had a task of a file that has this one's name and holds something else."""
        return document.path.name in self._names and not self.has(document)

    def add(self, document: Document, images: Iterable[PageImage]) -> int:
        """Upload the pages of a document, make its tasks and return how many pages it has.

        Raises:
            DocumentRefused: Label Studio does not take a page; the project has no task of the document.
            StudioUnavailable: Label Studio does not answer, or does not take tasks.
            DocumentUnreadable: what `images` raises.
        """
        references: list[str] = []
        words: list[str | None] = []
        for number, image in enumerate(images, start=1):
            references.append(self._reference(document, number, image))
            words.append(self._words(document, number, image))
        tasks = self._tasks(document, references, words)
        made = _field(self._client.post(f"{self._base}/import", tasks), "task_count")
        if made != len(tasks):
            raise StudioUnavailable(
                f"Label Studio was sent {counted(len(tasks), 'task')} and made {made}; look into its log"
            )
        self._known.add(document.sha256)
        return len(references)

    def _marks(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the tasks that were made here say about their documents."""
        page, seen, total = 1, 0, 1
        while seen < total:
            query = {"project": self._project_id, "page": page, "page_size": _TASKS_PER_REQUEST}
            # Without `fields` it would put together each task's annotations first.
            body = self._client.get("/api/tasks", query | {"fields": "task_only", "include": "id,meta"})
            tasks, total = _field(body, "tasks"), _field(body, "total")
            if not tasks:
                return
            for task in tasks:
                meta = task.get("meta")
                mark = meta.get(_META) if isinstance(meta, Mapping) else None
                if isinstance(mark, Mapping):
                    yield mark
            page, seen = page + 1, seen + len(tasks)

    def _list_uploads(self) -> dict[str, _Upload]:
        """Return the uploads that were made here, by the name that they were given."""
        uploads = {}
        for entry in self._client.get(f"{self._base}/file-uploads", {"all": "true"}):
            file = str(_field(entry, "file"))
            if found := _OURS.fullmatch(file.rpartition("/")[2]):
                uploads[found[1]] = _Upload(self._served(file), entry.get("size"))
        return uploads

    def _served(self, file: str) -> str:
        """Return where Label Studio serves an upload, below the prefix that it may have, as its own tasks name it."""
        return self._client.address(f"/data/{file}").path

    def _reference(self, document: Document, number: int, image: PageImage) -> str:
        """Return the address of a page's upload: of one that is there already, or of a new one."""
        name = _upload_name(document.path, image)
        found = self._uploads.get(name)
        if found is None or found.size != len(image.data):  # None where Label Studio has lost the file itself
            try:
                found = self._upload(name, image)
            except StudioUnavailable as error:
                if error.studio_status not in _ABOUT_THE_FILE:
                    raise
                raise DocumentRefused(
                    f"page {number} of {document.path} ({len(image.data):,} bytes) was refused: {error}"
                ) from error
            self._uploads[name] = found
        return found.reference

    def _words(self, document: Document, number: int, image: PageImage) -> str | None:
        """Return the address of the upload with a page's words; None for a page that is to be read."""
        if image.words is None or not self.takes_words:
            return None
        body = page_to_json(image.words)
        return self._reference(document, number, PageImage(json.dumps(body, ensure_ascii=False).encode(), ".json"))

    @property
    def takes_words(self) -> bool:
        """Whether tasks can bring words: not where the label config has or shows something else under that name."""
        return KEY not in self.config.columns

    def _upload(self, name: str, image: PageImage) -> _Upload:
        try:
            answer = self._client.upload(f"{self._base}/import", name, image.data, {"commit_to_project": "false"})
        except StudioUnavailable as error:
            kept = self._list_uploads().get(name) if error.studio_status == 400 else None
            if kept is None:
                raise
            return kept
        (identity,) = _field(answer, "file_upload_ids")
        file = _field(self._client.get(f"/api/import/file-upload/{identity}"), "file")
        return _Upload(self._served(str(file)), len(image.data))

    def _tasks(self, document: Document, references: list[str], words: Sequence[str | None]) -> list[dict[str, Any]]:
        name, key = document.path.name, self.config.value_key
        mark = {"file": name, "sha256": document.sha256}
        if self.config.is_list:
            given = {KEY: words} if any(words) else {}
            return [{"data": {"title": name, key: references, **given}, "meta": {_META: mark}}]
        count = len(references)
        titles = [name if count == 1 else f"{name}, page {number} of {count}" for number in range(1, count + 1)]
        return [
            {
                "data": {"title": title, key: reference, **({KEY: given} if given else {})},
                "meta": {_META: mark | {"page": number}},
            }
            for number, (title, reference, given) in enumerate(zip(titles, references, words, strict=True), start=1)
        ]


def _upload_name(path: Path, image: PageImage) -> str:
    """Return a name for a page that tells what it holds.

    At most 62 characters: with its folder and the digits before it, Label Studio's field has 100.
    """
    stem = re.sub(r"[^A-Za-z0-9]+", "-", path.stem)[:24].strip("-") or "page"
    return f"{stem}-{hashlib.sha256(image.data).hexdigest()[:32]}{image.suffix}"


def _field(body: Any, name: str) -> Any:
    """Return a field of an answer.

    Raises:
        StudioUnavailable: it has none; an edition that imports in the background answers an import's number only.
    """
    if not isinstance(body, Mapping) or name not in body:
        raise StudioUnavailable(
            f'Label Studio\'s answer has no "{name}". Documents are imported into its open-source edition '
            "(tried with 1.23.2)"
        )
    return body[name]
