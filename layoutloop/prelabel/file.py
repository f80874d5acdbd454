"""Predictions into a file, as Label Studio imports tasks with predictions; of a project's tasks or of image files."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from layoutloop.errors import DocumentUnreadable
from layoutloop.in_order import in_order
from layoutloop.named_files import named_file
from layoutloop.prelabel.patience import Patience
from layoutloop.prelabel.run import REQUESTS, STANDSTILL_S, Listener, Task, count_pages, listed_tasks, portions
from layoutloop.prelabel.shim import ShimPredictions, TaskAnswer
from layoutloop.studio.label_config import parse_label_config
from layoutloop.studio.predictions import ProjectPredictions

_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class FileTask:
    """A task of the file.

    Args:
        name: for a person.
        request: what the shim gets.
        written: as the file shows it, without its predictions.
    """

    name: str
    request: Mapping[str, Any]
    written: Mapping[str, Any]


class PredictionFile:
    """Has tasks answered and writes them, in order; the file has its name once it is whole.

    Args:
        path: of the file.
        shim: for the project, or for none.
        label_config: XML.
        listener: of the person who waits.
    """

    def __init__(self, path: Path, shim: ShimPredictions, label_config: str, listener: Listener) -> None:
        self._path = path
        self._shim = shim
        self._xml = label_config
        self._config = parse_label_config(label_config)
        self._listener = listener
        self._stopped = threading.Event()
        self._patience = Patience(listener.say, self._stopped)

    def tasks(self, studio: ProjectPredictions, only: Sequence[int] | None, size: int) -> Iterator[list[FileTask]]:
        """Yield the tasks of a project in portions of a size, whatever predictions they have."""

        def listed() -> Iterator[Task]:
            for some in listed_tasks(studio, self._patience, None, only):
                self._listener.found(some.new)
                yield from some.tasks

        for portion in portions(listed(), size):
            yield [FileTask(str(task["id"]), task, task) for task in portion]

    def images(self, files: Iterable[Path], prefix: str, failed: dict[str, str]) -> Iterator[FileTask]:
        """Yield a task for each image file, which goes to the shim by itself and stands in the file as an address.

        Args:
            files: images; the shim refuses what is none, or has several pages.
            prefix: what stands before a file's path in its address.
            failed: gets the reason where a file cannot be read.
        """
        key, is_list = self._config.value_key, self._config.is_list
        for path in files:
            self._listener.found(1)
            try:
                data = base64.b64encode(path.read_bytes()).decode()
            except OSError as error:
                failed[str(path)] = f"{DocumentUnreadable.code}: it cannot be read: {error.strerror}"
                continue
            image = f"data:application/octet-stream;base64,{data}"
            address = prefix + quote(str(path)) if prefix else str(path)
            request, written = ({"data": {key: [one] if is_list else one}} for one in (image, address))
            yield FileTask(str(path), request, written)

    def write(self, tasks: Iterable[Sequence[FileTask]], failed: dict[str, str], requests: int = REQUESTS) -> int:
        """Write the tasks that have a prediction; return how many.

        Args:
            tasks: in portions, each one request.
            failed: gets a sentence for each of the others, by name.
            requests: at a time.

        Raises:
            FileUnusable: the file cannot be written.
            LayoutLoopError: it cannot go on; there is no file then.
        """
        unfinished = self._path.with_name(f".{self._path.name}.partial")
        with named_file(f"--out {self._path}", "name a file in a folder that may be written to", "written"):
            try:
                with unfinished.open("w", encoding="utf-8") as stream:
                    written = self._write(stream, tasks, failed, requests)
                os.replace(unfinished, self._path)
            finally:
                unfinished.unlink(missing_ok=True)
        return written

    def _write(self, stream: TextIO, tasks: Iterable[Sequence[FileTask]], failed: dict[str, str], requests: int) -> int:
        written = 0
        answered = in_order(self._answer, tasks, requests)
        try:
            for portion, answers in answered:
                for task, answer in zip(portion, answers, strict=True):
                    if answer.prediction:
                        stream.write(",\n" if written else "[\n")
                        json.dump({**task.written, "predictions": [answer.prediction]}, stream, ensure_ascii=False)
                        written += 1
                    else:
                        failed[task.name] = f"{answer.code}: {answer.message}"
                self._listener.answered(len(portion), sum(count_pages(task.request, self._config) for task in portion))
        finally:
            self._stopped.set()
            answered.close()
        stream.write("\n]\n" if written else "[]\n")
        return written

    def _answer(self, portion: Sequence[FileTask]) -> list[TaskAnswer]:
        """Return an answer for each task; what is only down or busy is waited for."""
        answers: dict[int, TaskAnswer] = {}
        end = time.monotonic() + STANDSTILL_S
        left = list(range(len(portion)))
        while left:
            requested = [portion[number].request for number in left]
            found = self._patience.call(partial(self._shim.predict, self._xml, requested))
            answers |= dict(zip(left, found.tasks, strict=True))
            waiting = [number for number in left if answers[number].is_temporary]
            if len(waiting) < len(left):
                end = time.monotonic() + STANDSTILL_S
            elif time.monotonic() > end or self._stopped.wait(_PAUSE_S):
                break
            left = waiting
        return [answers[number] for number in range(len(portion))]
