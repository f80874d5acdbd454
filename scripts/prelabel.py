"""Pre-label a project: `python -m scripts.prelabel --project 7`.

Every task without an annotation gets the prediction of the version in service, imported into Label Studio in few large
calls: nobody waits for a request, and no task gets two. What is there already is left alone, so the same command can
be run again, also after it was stopped. It may run while people label and press Retrieve Predictions.

`--out FILE` writes a file instead, as Label Studio imports it: of the project's tasks, or of images that have no task.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from layoutloop.connect.shim_address import ShimAddress
from layoutloop.documents.files import DOCUMENTS, files_of
from layoutloop.errors import FileUnusable, SettingsInvalid
from layoutloop.jobs.queue import open_jobs
from layoutloop.named_files import read_named_text
from layoutloop.plural import counted
from layoutloop.prelabel.file import PredictionFile
from layoutloop.prelabel.job import do_prelabelling
from layoutloop.prelabel.run import REQUESTS, Outcome, Prelabelling, portion_size
from layoutloop.prelabel.shim import ShimPredictions
from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.studio.api_key_file import KEY_FILE_VARIABLE, KEY_VARIABLE
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.export import read_label_config
from layoutloop.studio.predictions import ProjectPredictions

_INTERRUPTED = 75
_MOST_NAMED = 5
_IMAGES_AT_A_TIME = 24


class _Bar:
    """Shows the tasks on a bar, with pages a second and the time left."""

    def __init__(self, bar: tqdm[NoReturn]) -> None:
        self._bar = bar
        self._began = time.monotonic()
        self._pages = 0

    def found(self, tasks: int) -> None:
        self._bar.total = (self._bar.total or 0) + tasks
        self._bar.refresh()

    def answered(self, tasks: int, pages: int) -> None:
        self._pages += pages
        self._bar.set_postfix_str(f"{self._pages / (time.monotonic() - self._began):.1f} pages/s", refresh=False)
        self._bar.update(tasks)

    def say(self, sentence: str) -> None:
        self._bar.write(sentence, file=sys.stderr)


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when a task got no prediction."""
    options = _options(arguments)
    node = NodeSettings.from_env(os.environ)
    settings = Settings.from_env(os.environ | node.environment())
    address = ShimAddress.of(options.shim_url or settings.shim_url or node.address, settings)
    if options.job is not None:
        return _work(options, settings, address)
    with ExitStack() as opened:
        shim = opened.enter_context(closing(ShimPredictions(address, options.project, settings.deadline_s)))
        studio = None
        if options.label_config is None:
            studio = ProjectPredictions(_client(settings, opened), options.project, annotated=options.all)
        xml = studio.label_config() if studio else read_label_config(options.label_config)
        version = shim.version(xml)  # both answer, and the label config can be served
        bar = opened.enter_context(tqdm(unit="task", disable=None))
        portion = portion_size(settings, shim.node_count())
        try:
            if options.out is None and studio is not None:
                outcome = Prelabelling(studio, shim, _Bar(bar), portion, _only(options, studio)).run()
            else:
                outcome = _write(options, PredictionFile(options.out, shim, xml, _Bar(bar)), studio, portion, version)
        except KeyboardInterrupt:
            bar.close()
            again = "goes on where this one stopped" if options.out is None else "begins anew: no file was written"
            print(f"interrupted. The same command, run again, {again}", file=sys.stderr)
            return 1
    print(_summary(outcome, options.out))
    return 1 if outcome.failed else 0


def _work(options: argparse.Namespace, settings: Settings, address: ShimAddress) -> int:
    """Do a job that a worker claimed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_INTERRUPTED))
    with closing(open_jobs(settings.jobs_url)) as jobs:
        return do_prelabelling(jobs, options.job, options.attempt, settings, address)


def _client(settings: Settings, opened: ExitStack) -> StudioClient:
    if not settings.label_studio_api_key:
        raise SettingsInvalid(
            f"{KEY_VARIABLE} is not set (nor {KEY_FILE_VARIABLE}): make a key in Label Studio, Account & Settings"
        )
    return opened.enter_context(open_studio(settings.label_studio_url, settings.label_studio_api_key))


def _only(options: argparse.Namespace, studio: ProjectPredictions) -> list[int] | None:
    if options.view is not None:
        return studio.view_tasks(options.view)
    return None if options.tasks is None else read_task_ids(options.tasks)


def _write(
    options: argparse.Namespace, file: PredictionFile, studio: ProjectPredictions | None, portion: int, version: str
) -> Outcome:
    """Write a file, of images where some are named, else of the project's tasks."""
    failed: dict[str, str] = {}
    if options.images or studio is None:
        # One at a time, as large as they may be; what Label Studio requests still finds room.
        images = ([one] for one in file.images(files_of(options.images, DOCUMENTS), options.image_url, failed))
        written = file.write(images, failed, requests=min(_IMAGES_AT_A_TIME, max(REQUESTS, 2 * portion)))
    else:
        written = file.write(file.tasks(studio, _only(options, studio), portion), failed)
    return Outcome(version, written, 0, failed, 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.prelabel", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--project", type=int, help="Label Studio's project id")
    parser.add_argument("--all", action="store_true", help="tasks that have an annotation too")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tasks", type=Path, metavar="FILE", help="only these: a text file of task ids")
    which.add_argument("--view", type=int, metavar="ID", help="only a view's: `tab` in the Data Manager's address")
    parser.add_argument(
        "--shim-url", metavar="URL", help="where the shim answers (default: LAYOUTLOOP_SHIM_URL, or this machine's)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write tasks with predictions, as Label Studio imports them"
    )
    files = parser.add_argument_group("with --out, without tasks of a project")
    files.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="image, or a folder of them")
    files.add_argument("--label-config", type=Path, metavar="FILE", help="XML, in place of the project's")
    files.add_argument("--image-url", default="", metavar="PREFIX", help="stands before each path in the file")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # the worker's
    parser.add_argument("--attempt", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job is not None:
        return options
    if options.images and options.out is None:
        parser.error("IMAGE goes with --out FILE")
    if options.label_config and not options.images:
        parser.error("--label-config goes with IMAGE")
    if options.project is None and options.label_config is None:
        parser.error("--project is missing; for images of no project --label-config takes its place")
    return options


def read_task_ids(path: Path) -> list[int]:
    """Return the task ids in a text file, one a line or with commas or spaces between.

    Raises:
        FileUnusable: it cannot be read, or holds something else.
    """
    remedy = "it is a text file with one task id a line"
    words = re.split(r"[\s,;]+", read_named_text("--tasks", path, remedy).strip())
    wrong = next((word for word in words if not (word.isascii() and word.isdigit() and len(word) < 19)), None)
    if wrong is not None:
        raise FileUnusable(f"--tasks {path} holds {wrong!r:.80}; {remedy}")
    return [int(word) for word in words]


def _summary(outcome: Outcome, out: Path | None) -> str:
    """Say what came of the tasks, a line each."""
    where = f"; they are in {out}" if out else ""
    lines = [f"{counted(outcome.stored, 'task')} got a prediction of version {outcome.version}{where}"]
    if outcome.elsewhere:
        lines.append(
            f"{counted(outcome.elsewhere, 'task')} got one from Retrieve Predictions, or were annotated or deleted"
        )
    if outcome.doubles:
        lines.append(f"{counted(outcome.doubles, 'double')} removed")
    return "\n".join(lines + _failures(outcome.failed))


def _failures(failed: Mapping[int, str] | Mapping[str, str]) -> list[str]:
    if not failed:
        return []
    by_code = Counter(sentence.partition(":")[0] for sentence in failed.values())
    kinds = ", ".join(f"{count:,} {code}" for code, count in by_code.most_common())
    named = [f"  task {task}: {sentence}" for task, sentence in list(failed.items())[:_MOST_NAMED]]
    more = [f"  and {len(failed) - _MOST_NAMED:,} more, in the shim's log"] if len(failed) > _MOST_NAMED else []
    return [f"{counted(len(failed), 'task')} got none ({kinds}):", *named, *more]


if __name__ == "__main__":
    sys.exit(main())
