"""Pre-label a project: `python -m scripts.prelabel --project 7`.

Every task without an annotation gets the prediction of the version in service, imported into Label Studio in few large
calls: nobody waits for a request, and no task gets two. What is there already is left alone, so the same command can
be run again, also after it was stopped. It may run while people label and press Retrieve Predictions.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from layoutloop.connect.shim_address import ShimAddress
from layoutloop.errors import FileUnusable, SettingsInvalid
from layoutloop.named_files import read_named_text
from layoutloop.plural import counted
from layoutloop.prelabel.run import Outcome, Prelabelling
from layoutloop.prelabel.shim import ShimPredictions
from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.studio.api_key_file import KEY_FILE_VARIABLE, KEY_VARIABLE
from layoutloop.studio.client import open_studio
from layoutloop.studio.predictions import ProjectPredictions

_MOST_NAMED = 5


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
    options = _parser().parse_args(arguments)
    node = NodeSettings.from_env(os.environ)
    settings = Settings.from_env(os.environ | node.environment())
    if not settings.label_studio_api_key:
        raise SettingsInvalid(
            f"{KEY_VARIABLE} is not set (nor {KEY_FILE_VARIABLE}): make a key in Label Studio, Account & Settings"
        )
    address = ShimAddress.of(options.shim_url or node.address, settings)
    only = None if options.tasks is None else read_task_ids(options.tasks)
    with (
        open_studio(settings.label_studio_url, settings.label_studio_api_key) as client,
        closing(ShimPredictions(address, options.project, settings.deadline_s)) as shim,
    ):
        studio = ProjectPredictions(client, options.project, annotated=options.all)
        shim.version(studio.label_config())  # both answer, and the label config can be served
        if options.view is not None:
            only = studio.view_tasks(options.view)
        with tqdm(unit="task", disable=None) as bar:
            portion = settings.ocr_workers * shim.node_count()
            run = Prelabelling(studio, shim, _Bar(bar), portion, only)
            try:
                outcome = run.run()
            except KeyboardInterrupt:
                bar.close()
                print("interrupted. The same command, run again, goes on where this one stopped", file=sys.stderr)
                return 1
    print(_summary(outcome))
    return 1 if outcome.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.prelabel", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--project", type=int, required=True, help="Label Studio's project id")
    parser.add_argument("--all", action="store_true", help="tasks that have an annotation too")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tasks", type=Path, metavar="FILE", help="only these: a text file of task ids")
    which.add_argument(
        "--view", type=int, metavar="ID", help="only those of a view: `tab` in the Data Manager's address"
    )
    parser.add_argument(
        "--shim-url", metavar="URL", help="where the shim answers (default: this machine, LAYOUTLOOP_PORT)"
    )
    return parser


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


def _summary(outcome: Outcome) -> str:
    """Say what came of the tasks, a line each."""
    lines = [f"{counted(outcome.stored, 'task')} got a prediction of version {outcome.version}"]
    if outcome.elsewhere:
        lines.append(
            f"{counted(outcome.elsewhere, 'task')} got one from Retrieve Predictions, or were annotated or deleted"
        )
    if outcome.doubles:
        lines.append(f"{counted(outcome.doubles, 'double')} removed")
    return "\n".join(lines + _failures(outcome.failed))


def _failures(failed: Mapping[int, str]) -> list[str]:
    if not failed:
        return []
    by_code = Counter(sentence.partition(":")[0] for sentence in failed.values())
    kinds = ", ".join(f"{count:,} {code}" for code, count in by_code.most_common())
    named = [f"  task {task}: {sentence}" for task, sentence in sorted(failed.items())[:_MOST_NAMED]]
    more = [f"  and {len(failed) - _MOST_NAMED:,} more, in the shim's log"] if len(failed) > _MOST_NAMED else []
    return [f"{counted(len(failed), 'task')} got none ({kinds}):", *named, *more]


if __name__ == "__main__":
    sys.exit(main())
