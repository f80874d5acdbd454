"""Does the cost stay what it is as the work grows? LayoutLoop against itself.

`python -m benchmarks.growth pages [--pages 10 100 1000]`: the Tagger (untrained graft, words of generated invoices as
drawn, no two pages alike), all pages in one call and one page a call, sizes and ways in turn; pages per second, CPU
seconds a page, memory. A short measurement is repeated until --least-s are over.

`python -m benchmarks.growth projects [--projects 1 5 20] [--repeats 1] [--awake]`: a LayoutLoop of its own (real
`scripts.serve`) for each size, with a tiny random checkpoint as every project's model. Seconds until /health says UP
and until the node holds every model; /health itself; CPU seconds of all processes while nobody asks, over --idle-s;
their memory; how long the first answer takes after sleep, on a page that `ocr` has read before. All projects sleep from
the start, as after a night; with --awake none ever does. With --repeats sizes take turns; medians (lowest to highest).
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path

import psutil
import requests

from benchmarks.project_store import make_store
from benchmarks.running import Running, environment, label_config, serving
from benchmarks.speed_subjects import invoice_pages, make_graft
from benchmarks.timing import Clock, cpu_seconds_of, machine, percentile, spread
from demo.invoices import make_invoice
from handler.errors import HandlerError
from handler.page import Page
from handler.tagging.tagger import Tagger
from layoutloop.store.manifest import project_model
from tests.checkpoints import make_checkpoint

PAGES = (10, 100, 1000)
PROJECTS = (1, 5, 20)
SLEEP_S = 15.0
HEALTH_CALLS = 300
UNKNOWN_PROJECT = 999
"""Has no model, so that asking it reads a page and wakes nobody."""
PAGE_COLUMNS = (
    "pages",
    "calls",
    "pages/s (lowest to highest)",
    "of the smallest size",
    "CPU s/page",
    "MiB before, most",
)
PROJECT_COLUMNS = (
    *("projects", "UP s", "all held s", "/health p50 ms", "p99 ms", "CPU s idle", "processes", "MiB asleep"),
    *("MiB one awake", "first answer after sleep s", "next one s"),
)


@dataclass(frozen=True, slots=True)
class Tagged:
    """One measurement of the Tagger: pages per second, CPU seconds a page, MiB before it and at most during it."""

    rate: float
    cpu_s: float
    before_mib: float
    most_mib: float


@dataclass(frozen=True, slots=True)
class Served:
    """One measurement of a LayoutLoop with some projects, in the order of the table's columns."""

    up_s: float
    ready_s: float
    health_p50_ms: float
    health_p99_ms: float
    idle_cpu_s: float
    processes: float
    asleep_mib: float
    awake_mib: float
    first_s: float
    next_s: float


DIGITS = Served(1, 1, 1, 1, 2, 0, 0, 0, 2, 2)
"""Behind the point of each."""


@contextmanager
def most_memory() -> Iterator[Callable[[], float]]:
    """Watch this process's resident memory; give what tells the most MiB so far."""
    process, ended = psutil.Process(), threading.Event()
    most = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: most[0] / 2**20
    finally:
        ended.set()
        watcher.join()


def tag_all(tagger: Tagger, pages: Sequence[Page], at_once: int) -> None:
    """Tag pages, so many a call.

    Raises:
        HandlerError: a page failed.
    """
    for start in range(0, len(pages), at_once):
        for answer in tagger.tag(pages[start : start + at_once]):
            if isinstance(answer, HandlerError):
                raise answer


def measure_pages(tagger: Tagger, pages: Sequence[Page], at_once: int, least_s: float) -> Tagged:
    """Tag pages again and again until so many seconds are over."""
    before = psutil.Process().memory_info().rss / 2**20
    done, clock = 0, Clock()
    with most_memory() as most:
        while not done or clock.spent().wall_s < least_s:
            tag_all(tagger, pages, at_once)
            done += len(pages)
        spent = clock.spent()
        return Tagged(done / spent.wall_s, spent.cpu_s / done, before, most())


def grow_pages(sizes: Sequence[int], repeats: int, least_s: float) -> None:
    """Print the table of the Tagger."""
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        make_graft(Path(name))
        tagger = Tagger.load(name)
    # This model does not look at the image; a thousand of them would only be memory.
    pages = [replace(page, thumbnail=None) for page in islice(invoice_pages(), max(sizes))]
    tag_all(tagger, pages[: min(sizes)], 1)  # what costs time only once
    ways = [(size, at_once) for size in sorted(sizes) for at_once in (size, 1)]
    results: dict[tuple[int, int], list[Tagged]] = {way: [] for way in ways}
    for _ in range(repeats):
        for size, at_once in ways:
            results[size, at_once].append(measure_pages(tagger, pages[:size], at_once, least_s))
    print(f"{tagger.model.dtype}, {repeats} turns\n| {' | '.join(PAGE_COLUMNS)} |\n|{'---|' * len(PAGE_COLUMNS)}")
    for (size, at_once), found in results.items():
        smallest = results[min(sizes), min(sizes) if at_once > 1 else 1]
        shares = [one.rate / first.rate for one, first in zip(found, smallest, strict=True)]
        cells = (size, -(-size // at_once), spread([one.rate for one in found]), spread(shares))
        memory = f"{found[0].before_mib:.0f}, {max(one.most_mib for one in found):.0f}"
        print(f"| {' | '.join(map(str, cells))} | {spread([one.cpu_s for one in found], 3)} | {memory} |")


def page_uri(seed: int) -> str:
    """Return a generated invoice as a data: URI."""
    buffer = io.BytesIO()
    make_invoice(seed).image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ask(ours: Running, project: int, image: str, config: str) -> float:
    """Ask a project about a page as Label Studio does; return the seconds until it has the answer."""
    body = {"tasks": [{"id": 1, "data": {"image": image}}], "project": f"{project}.1", "label_config": config}
    clock = Clock()
    answer = requests.post(f"{ours.url}/predict", json=body, timeout=100)
    answer.raise_for_status()
    assert answer.json()["results"][0], "a page without an answer"
    return clock.spent().wall_s


def health_ms(ours: Running, calls: int) -> tuple[float, float]:
    """Return median and 99th percentile of /health in milliseconds."""
    times = []
    for _ in range(calls):
        clock = Clock()
        requests.get(f"{ours.url}/health", timeout=10).raise_for_status()
        times.append(clock.spent().wall_s * 1000)
    return statistics.median(times), percentile(times, 0.99)


def measure_projects(folder: Path, checkpoint: Path, projects: int, *, awake: bool, idle_s: float) -> Served:
    """Run a LayoutLoop with so many projects, all asleep unless `awake`, and ask one of them."""
    settings = {"LAYOUTLOOP_IDLE_S": "0" if awake else str(SLEEP_S)}
    settings["LABEL_STUDIO_URL"] = "http://127.0.0.1:9"  # nobody: pages come as data: URIs
    models, config = make_store(folder / "store", checkpoint, projects), label_config(checkpoint)
    with serving(environment(folder, settings), models) as ours:
        if not awake:
            ours.wait_until_asleep({project_model(project) for project in range(1, projects + 1)})
        p50, p99 = health_ms(ours, HEALTH_CALLS)
        asleep = ours.held()
        idle_cpu_s = -cpu_seconds_of(ours.process_id)
        time.sleep(idle_s)
        idle_cpu_s += cpu_seconds_of(ours.process_id)
        images = [page_uri(seed) for seed in range(2)]
        for image in images:
            ask(ours, UNKNOWN_PROJECT, image, config)
        first, again = (ask(ours, projects, image, config) for image in images)
        one_awake = ours.held()
    for pid, (name, mib) in one_awake.items():
        print(f"  {mib:.0f} MiB (before: {asleep.get(pid, ('', 0.0))[1]:.0f}) {name}", file=sys.stderr)
    before, after = (sum(mib for _, mib in held.values()) for held in (asleep, one_awake))
    return Served(ours.up_s, ours.ready_s, p50, p99, idle_cpu_s, len(asleep), before, after, first, again)


def print_projects(sizes: Sequence[int], repeats: int, *, awake: bool, idle_s: float) -> None:
    """Print the table of projects, and what one more project costs."""
    found: dict[int, list[Served]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        checkpoint = make_checkpoint(Path(name) / "checkpoint", outside_bias=-5.0)
        for turn in range(repeats):
            for size in sizes:
                folder = Path(name) / f"with-{size}-{turn}"
                found[size].append(measure_projects(folder, checkpoint, size, awake=awake, idle_s=idle_s))
                print(f"{size} projects: {found[size][-1]}", file=sys.stderr, flush=True)
    columns = " | ".join(PROJECT_COLUMNS).replace("CPU s idle", f"CPU s in {idle_s:.0f} s idle")
    print(f"| {columns} |\n|{'---|' * len(PROJECT_COLUMNS)}")
    for size, each in found.items():
        values = zip(*map(astuple, each), strict=True)
        cells = [spread(some, digits) for some, digits in zip(values, astuple(DIGITS), strict=True)]
        print(f"| {size} | {' | '.join(cells)} |", flush=True)
    fewest, most = min(found), max(found)
    if most > fewest:
        held = {size: statistics.median(one.asleep_mib for one in found[size]) for size in (fewest, most)}
        each_mib = (held[most] - held[fewest]) / (most - fewest)
        print(f"\nfrom {fewest} to {most} projects: {each_mib:.1f} MiB for each further one that nobody asks")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(dest="which", required=True)
    pages = which.add_parser("pages")
    pages.add_argument("--pages", type=int, nargs="+", default=PAGES)
    pages.add_argument("--repeats", type=int, default=3)
    pages.add_argument("--least-s", type=float, default=5.0, help="a measurement lasts at least so long")
    projects = which.add_parser("projects")
    projects.add_argument("--projects", type=int, nargs="+", default=PROJECTS)
    projects.add_argument("--repeats", type=int, default=1)
    projects.add_argument("--idle-s", type=float, default=30.0, help="CPU seconds are counted for so long")
    projects.add_argument("--awake", action="store_true", help="no project ever sleeps (LAYOUTLOOP_IDLE_S=0)")
    given = parser.parse_args()
    print(machine(), flush=True)
    if given.which == "pages":
        grow_pages(given.pages, given.repeats, given.least_s)
    else:
        print_projects(given.projects, given.repeats, awake=given.awake, idle_s=given.idle_s)


if __name__ == "__main__":
    main()
