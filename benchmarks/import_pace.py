"""How imports of predictions slow Label Studio down for people, by the size of an import and of the project.

`python -m benchmarks.import_pace --tasks 3000 [--sizes 25,100,300]` starts a real Label Studio (as the demo does, on
SQLite), and imports predictions of 25 lines each as a pre-labelling by itself does: a pause of three times what it took
after each. Beside that somebody opens a task and somebody submits an annotation, again and again.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.running import free_ports, label_config
from benchmarks.timing import machine, percentile
from demo.studio import Account, running_studio
from layoutloop.prelabel.storing import GENTLE
from layoutloop.studio.client import StudioClient, open_studio

LINES, IMPORTS = 25, 4
QUIET_S = 15.0
VERSION = "20260101T000000Z-00000000"
_EVERY_S = 0.2
_IMPORTED_AT_A_TIME = 5000


def results(lines: int) -> list[dict[str, Any]]:
    """Return what is drawn on a page of so many lines."""
    found = []
    for line in range(lines):
        box = {"x": 2.0, "y": 3.5 * line, "width": 40.25, "height": 1.75, "rotation": 0}
        common = {"id": f"line{line}", "to_name": "image", "original_width": 1240, "original_height": 1754}
        found += [
            {**common, "from_name": "bbox", "type": "rectangle", "value": box, "score": 0.97},
            {**common, "from_name": "label", "type": "labels", "value": {**box, "labels": ["total"]}, "score": 0.97},
            {**common, "from_name": "transcription", "type": "textarea", "value": {**box, "text": [f"Line {line}"]}},
        ]
    return found


def beside(work: Callable[[], None], calls: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Work, and repeat each call in a thread of its own meanwhile; return what these took, in ms."""
    ended = threading.Event()
    took: list[list[float]] = [[] for _ in calls]

    def repeat(call: Callable[[], object], mine: list[float]) -> None:
        while not ended.wait(_EVERY_S):
            began = time.perf_counter()
            call()
            mine.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=repeat, args=pair) for pair in zip(calls, took, strict=True)]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return took


def row(name: str, client: StudioClient, project: int, ids: list[int], work: Callable[[], None]) -> None:
    """Print a line of the table."""
    opened, submitted = itertools.cycle(ids[: len(ids) // 4]), iter(reversed(ids))
    annotation = {"result": results(5), "lead_time": 1.0}
    took = beside(
        work,
        (
            lambda: client.get(f"/api/tasks/{next(opened)}/", {"project": project}),
            lambda: client.post(f"/api/tasks/{next(submitted)}/annotations/", annotation),
        ),
    )
    figures = (f"{percentile(one, 0.5):.0f} | {percentile(one, 0.99):.0f} | {max(one):.0f}" for one in took)
    print(f"| {name} | {' | '.join(figures)} |", flush=True)


def measure(client: StudioClient, count: int, sizes: Sequence[int]) -> None:
    """Print the table of a project of so many tasks."""
    project = int(client.post("/api/projects", {"title": "Pace", "label_config": label_config(None)})["id"])
    for start in range(0, count, _IMPORTED_AT_A_TIME):
        some = range(start, min(start + _IMPORTED_AT_A_TIME, count))
        client.post(f"/api/projects/{project}/import", [{"data": {"image": f"/{number}.png"}} for number in some])
    first = int(client.get("/api/tasks", {"project": project, "page": 1, "page_size": 1})["tasks"][0]["id"])
    ids = list(range(first, first + count))
    remaining = iter(ids)
    print(f"\n{count:,} tasks; ms\n\n| imports | open p50 | p99 | most | submit p50 | p99 | most |")
    print("|---|---|---|---|---|---|---|")
    row("none", client, project, ids, lambda: time.sleep(QUIET_S))
    for size in sizes:
        seconds: list[float] = []

        def imports(size: int = size, seconds: list[float] = seconds) -> None:
            for _ in range(IMPORTS):
                some = itertools.islice(remaining, size)
                body = [{"task": task, "model_version": VERSION, "result": results(LINES)} for task in some]
                began = time.perf_counter()
                client.post(f"/api/projects/{project}/import/predictions", body)
                seconds.append(time.perf_counter() - began)
                time.sleep(GENTLE.pause_times * seconds[-1])

        row(f"of {size}", client, project, ids, imports)
        print(f"|  | an import took {min(seconds):.1f} to {max(seconds):.1f} s | | | | | |", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--sizes", default="25,100,300")
    options = parser.parse_args()
    print(machine(), flush=True)
    account = Account("a-long-password-1", "0123456789abcdef" * 2 + "01234567")
    with (
        tempfile.TemporaryDirectory(prefix="import-pace-") as name,
        running_studio(Path(name), free_ports(1), account) as studio,
        open_studio(studio.url, account.token) as client,
    ):
        measure(client, options.tasks, [int(size) for size in options.sizes.split(",")])


if __name__ == "__main__":
    main()
