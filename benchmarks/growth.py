"""Does the cost stay what it is as the work grows? LayoutLoop against itself.

`python -m benchmarks.growth pages [--pages 10 100 1000]`: the Tagger (untrained graft, words of generated invoices as
drawn), all pages in one call and one page a call, sizes and ways in turn; pages per second, CPU seconds a page, memory.
A short measurement is repeated until --least-s are over.

`python -m benchmarks.growth projects [--projects 1 5 20] [--awake]`: a LayoutLoop of its own (real `scripts.serve`) for
each size, with a tiny random checkpoint as every project's model. Seconds until /health says UP and until the node
holds every model; /health itself; memory of all processes; how long the first answer takes after sleep, on a page that
`ocr` has read before. All projects sleep from the start, as after a night; with --awake none ever does.
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
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import psutil
import requests

from benchmarks.forward_speed import invoice_pages, make_graft
from benchmarks.process_usage import held_by
from benchmarks.project_store import Served, serving
from demo.invoices import make_invoice
from handler.errors import HandlerError
from handler.page import Page
from handler.tagger import Tagger
from shim.serving import project_model
from tests.checkpoints import make_checkpoint

PAGES = (10, 100, 1000)
PROJECTS = (1, 5, 20)
IDLE_S = 15.0
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
    *("projects", "UP s", "all held s", "/health p50 ms", "p99 ms", "processes", "MiB asleep", "MiB one awake"),
    *("first answer after sleep s", "next one s"),
)


@dataclass(frozen=True, slots=True)
class Tagged:
    """One measurement of the Tagger: pages per second, CPU seconds a page, MiB before it and at most during it."""

    rate: float
    cpu_s: float
    before_mib: float
    most_mib: float


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
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    with most_memory() as most:
        while not done or time.perf_counter() - wall < least_s:
            tag_all(tagger, pages, at_once)
            done += len(pages)
        seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        return Tagged(done / seconds, cpu_s / done, before, most())


def grow_pages(sizes: Sequence[int], repeats: int, least_s: float) -> None:
    """Print the table of the Tagger."""
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        make_graft(Path(name))
        tagger = Tagger.load(name)
    pages = list(islice(cycle(list(islice(invoice_pages(), max(sizes)))), max(sizes)))  # of 32 different ones
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
        rates = [one.rate for one in found]
        print(
            f"| {size} | {-(-size // at_once)} | {statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f}) "
            f"| {statistics.median(shares):.2f} | {statistics.median(one.cpu_s for one in found):.3f} "
            f"| {found[0].before_mib:.0f}, {max(one.most_mib for one in found):.0f} |"
        )


def page_uri(seed: int) -> str:
    """Return a generated invoice as a data: URI."""
    buffer = io.BytesIO()
    make_invoice(seed).image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ask(served: Served, project: int, image: str) -> float:
    """Ask a project about a page as Label Studio does; return the seconds until it has the answer."""
    body = {
        "tasks": [{"id": 1, "data": {"image": image}}],
        "project": f"{project}.1",
        "label_config": served.config,
    }
    began = time.perf_counter()
    answer = requests.post(f"{served.url}/predict", json=body, timeout=100)
    answer.raise_for_status()
    assert answer.json()["results"][0], "a page without an answer"
    return time.perf_counter() - began


def health_ms(served: Served, calls: int) -> tuple[float, float]:
    """Return median and 99th percentile of /health in milliseconds."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        requests.get(f"{served.url}/health", timeout=10).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), sorted(times)[int(len(times) * 0.99)]


def grow_projects(folder: Path, checkpoint: Path, projects: int, *, awake: bool) -> tuple[float, int]:
    """Print a row of the table of projects; return MiB of all processes before anybody asked, and how many they are."""
    with serving(folder, checkpoint, projects, {"LAYOUTLOOP_IDLE_S": "0" if awake else str(IDLE_S)}) as served:
        if not awake:
            served.wait_until_asleep({project_model(project) for project in range(1, projects + 1)})
        p50, p99 = health_ms(served, HEALTH_CALLS)
        asleep = held_by(served.process_id)
        images = [page_uri(seed) for seed in range(2)]
        for image in images:
            ask(served, UNKNOWN_PROJECT, image)
        first, again = (ask(served, projects, image) for image in images)
        one_awake = held_by(served.process_id)
    before, after = (sum(mib for _, mib in held.values()) for held in (asleep, one_awake))
    cells = (
        *(projects, f"{served.up_s:.1f}", f"{served.ready_s:.1f}", f"{p50:.1f}", f"{p99:.1f}", len(asleep)),
        *(f"{before:.0f}", f"{after:.0f}", f"{first:.2f}", f"{again:.2f}"),
    )
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    for pid, (name, mib) in one_awake.items():
        print(f"  {mib:.0f} MiB (before: {asleep.get(pid, ('', 0.0))[1]:.0f}) {name}", file=sys.stderr)
    return before, len(asleep)


def print_projects(sizes: Sequence[int], *, awake: bool) -> None:
    """Print the table of projects, and what one more project costs."""
    print(f"| {' | '.join(PROJECT_COLUMNS)} |\n|{'---|' * len(PROJECT_COLUMNS)}", flush=True)
    held: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        checkpoint = make_checkpoint(Path(name) / "checkpoint", outside_bias=-5.0)
        for size in sizes:
            held[size], _ = grow_projects(Path(name) / f"with-{size}", checkpoint, size, awake=awake)
    fewest, most = min(held), max(held)
    if most > fewest:
        each = (held[most] - held[fewest]) / (most - fewest)
        print(f"\nfrom {fewest} to {most} projects: {each:.1f} MiB for each further one that nobody asks")


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
    projects.add_argument("--awake", action="store_true", help="no project ever sleeps (LAYOUTLOOP_IDLE_S=0)")
    given = parser.parse_args()
    if given.which == "pages":
        grow_pages(given.pages, given.repeats, given.least_s)
    else:
        print_projects(given.projects, awake=given.awake)


if __name__ == "__main__":
    main()
