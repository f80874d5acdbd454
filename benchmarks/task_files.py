"""Pages as tasks of Label Studio, and a file server in its place that wants the key."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

KEY = "feedfacefeedfacefeedfacefeedfacefeedface"


class Files(BaseHTTPRequestHandler):
    """Serves what Label Studio would under /data/local-files/, to those who know the key."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        """Answer one file."""
        name = parse_qs(urlsplit(self.path).query).get("d", [""])[0]
        known = self.headers.get("Authorization") == f"Token {KEY}"
        body = self.files.get(name, b"") if known else b""
        self.send_response(200 if body else (404 if known else 401))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def page_files(folders: Sequence[Path]) -> list[Path]:
    """Return the page images of the folders, by name, the folders in turn."""
    per_folder = [sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")) for folder in folders]
    return [paths[i] for i in range(max(map(len, per_folder))) for paths in per_folder if i < len(paths)]


def different_pages(folders: Sequence[Path], count: int) -> list[bytes]:
    """Return `count` pages no two of which have the same bytes: the folders' in turn, then re-encoded ones."""
    mixed = page_files(folders)
    pages = [path.read_bytes() for path in mixed[:count]]
    for path in mixed:
        if len(pages) >= count:
            break
        buffer = io.BytesIO()
        try:
            Image.open(path).convert("RGB").save(buffer, format="JPEG", quality=88)
        except OSError:
            continue
        pages.append(buffer.getvalue())
    assert len({hashlib.sha256(page).digest() for page in pages}) == count, "not enough different pages"
    return pages


def make_tasks(pages: Sequence[bytes], bad: int) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return tasks and files; every `len // bad`-th task is damaged or unreachable, each in another way."""
    files = {f"{number}.img": page for number, page in enumerate(pages)}
    references = [f"/data/local-files/?d={name}" for name in files]
    spoilt = [len(pages) * (2 * index + 1) // (2 * bad) for index in range(bad)]
    for way, number in enumerate(spoilt):
        if way % 5 == 0:
            files[f"{number}.img"] = pages[number][: len(pages[number]) // 2]
        elif way % 5 == 1:
            files[f"{number}.img"] = b"%PDF-1.7 not a page image"
        else:
            others = [
                "/data/local-files/?d=gone.png",
                "http://192.168.7.7/secret.png",
                "/data/local-files/?d=../../key",
            ]
            references[number] = others[way % 5 - 2]
    tasks = [{"id": number, "data": {"image": reference}} for number, reference in enumerate(references)]
    return tasks, files


def pixels_of(data: bytes) -> int:
    """Return how many pixels Pillow can load from a file, 0 where it is damaged or no image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.width * image.height
    except OSError:
        return 0


def damaged(tasks: Sequence[dict[str, Any]], files: Mapping[str, bytes]) -> set[int]:
    """Return the ids of the tasks that cannot have a result: their page is not there, or cannot be loaded."""
    return {task["id"] for task in tasks if not pixels_of(_page_of(task, files))}


def _page_of(task: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    return files.get(task["data"]["image"].partition("?d=")[2], b"")


def typical(tasks: Sequence[dict[str, Any]], files: Mapping[str, bytes], count: int) -> list[dict[str, Any]]:
    """Return `count` tasks as large and as small as all are: evenly spaced by the area of their pages.

    A damaged page is left out: a plain back end would fail the whole request for it.
    """
    sizes = ((pixels_of(_page_of(task, files)), position) for position, task in enumerate(tasks))
    areas = [(area, position) for area, position in sizes if area]
    spaced = [sorted(areas)[(2 * index + 1) * len(areas) // (2 * count)] for index in range(count)]
    return [tasks[position] for _, position in random.Random(0).sample(spaced, count)]


def make_strips(files: dict[str, bytes], pages: Sequence[bytes], first_id: int, count: int) -> list[dict[str, Any]]:
    """Add `count` small pages to the files, strips cut out of pages and none of them there yet; return their tasks."""
    chance = random.Random(first_id)
    known = set(files.values())
    tasks: list[dict[str, Any]] = []
    while len(tasks) < count:
        number = first_id + len(tasks)
        buffer = io.BytesIO()
        try:
            with Image.open(io.BytesIO(chance.choice(pages))) as image:
                left, top = chance.randrange(image.width // 2), chance.randrange(max(1, image.height - 60))
                strip = image.convert("L").crop((left, top, image.width, min(image.height, top + 60)))
        except OSError:  # one of the pages is damaged as published
            continue
        strip.save(buffer, format="PNG", compress_level=1)
        if buffer.getvalue() in known:
            continue
        known.add(buffer.getvalue())
        files[f"{number}.img"] = buffer.getvalue()
        tasks.append({"id": number, "data": {"image": f"/data/local-files/?d={number}.img"}})
    return tasks
