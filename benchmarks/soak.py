"""LayoutLoop under mixed load with kills, stopped processes and a full disk: is anything lost, does anything grow?

`python -m benchmarks.soak --minutes 30` (as root, for a small disk of its own that can be filled) starts a LayoutLoop
(real `scripts.serve`: TorchServe, watcher, shim, trainer) and a server in Label Studio's place, trains a small project
and then asks it all the time: predictions of that project and of one without a model, webhooks, /setup, /health, the
dashboard; trainings go into service meanwhile. One fault follows the other. Every ten seconds it notes the memory
(proportional set size) and the open files of each process.

`--requests 10000` ends after so many requests in place of the minutes.

Each answer is compared with the first one of the same version for the same page. The exit status is 0 where none was
wrong or lost, each refusal had a name, no job that was accepted is gone, all goes well again after the last fault, and
neither memory nor open files of a kind of process grew from the second quarter to the last.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import requests

from benchmarks.running import HERE, PROJECT, Running, environment, serving
from benchmarks.soak_faults import Faults, role_of, small_disk
from benchmarks.soak_load import PLAIN, Load, studio
from benchmarks.timing import machine
from layoutloop.store.manifest import OCR_MODEL
from node.processes import GONE, instance_processes

PAGES = 40
SAMPLE_S = 10.0
DISK_MIB = 320
RECOVERS_S = 180.0
MOST_GROWTH, MOST_MIB, MOST_FILES = 0.15, 24.0, 16.0
"""A kind of process may grow by so much of what it had and so many MiB, and by so many open files."""
SETTINGS = {
    "LAYOUTLOOP_OCR_WORKERS": "1",
    "LAYOUTLOOP_PROJECT_WORKERS": "1",
    "LAYOUTLOOP_TRAIN_BASE": "scratch",
    "LAYOUTLOOP_TRAIN_EPOCHS": "10",
    "LAYOUTLOOP_TRAIN_BATCH": "1",
    "LAYOUTLOOP_TRAIN_EVERY": "1000",
    "OMP_NUM_THREADS": "1",
}

Sample = Mapping[str, tuple[int, float, float]]
"""By role: how many processes, and the mean of their memory (MiB) and of their open files."""


@dataclass
class Samples:
    """What the processes of a LayoutLoop hold, over time."""

    home: Path
    taken: list[Sample] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Take samples until `end`, and print one a minute."""
        while not self._ended.wait(SAMPLE_S):
            self.taken.append(sample := take(self.home))
            if len(self.taken) % 6 == 1:
                held = ", ".join(
                    f"{n} {role} {mib:.0f} MiB {files:.0f} files" for role, (n, mib, files) in sample.items()
                )
                print(f"{time.strftime('%H:%M:%S')} {held}", flush=True)

    def end(self) -> None:
        """Take no more."""
        self._ended.set()

    def growth(self) -> dict[str, str]:
        """Return a sentence for each role that grew from the second quarter to the last."""
        quarter = len(self.taken) // 4
        found = {}
        for role in sorted({role for sample in self.taken for role in sample} - {"training", "others"}):
            before, after = (
                [sample[role] for sample in some if role in sample]
                for some in (self.taken[quarter : 2 * quarter], self.taken[-quarter or None :])
            )
            if not before or not after:
                continue
            (mib, files), (now_mib, now_files) = (
                (statistics.median(one[1] for one in some), statistics.median(one[2] for one in some))
                for some in (before, after)
            )
            print(
                f"{role}: {mib:.0f} MiB and {files:.0f} files, at the end {now_mib:.0f} MiB and {now_files:.0f} files"
            )
            if now_mib > mib * (1 + MOST_GROWTH) + MOST_MIB or now_files > files + MOST_FILES:
                found[role] = f"{role} grew"
        return found


def take(home: Path) -> Sample:
    """Return what the processes hold now."""
    held = defaultdict(list)
    for process in instance_processes(home):
        with suppress(*GONE):
            held[role_of(process)].append((process.memory_full_info().pss / 2**20, float(process.num_fds())))
    return {
        role: (len(each), statistics.mean(mib for mib, _ in each), statistics.mean(files for _, files in each))
        for role, each in sorted(held.items())
    }


def first_model(load: Load) -> None:
    """Have a project trained, and every page of both projects answered once."""
    print(load.train(), flush=True)
    wait(lambda: all(state == "done" for state in states(load)), 600, "the first training")
    all_pages(load)


def all_pages(load: Load) -> None:
    """Have every page of both projects answered."""
    for project, number in itertools.product((PROJECT, PLAIN), range(load.pages)):
        wait(partial(is_right, load, project, number), 120, f"page {number} of project {project}")


def is_right(load: Load, project: int, number: int) -> bool:
    """Whether a page is answered as it was before."""
    return load.ask(project, [number]).startswith("right")


def states(load: Load) -> list[str]:
    """Return how far the accepted jobs are."""
    return [requests.get(f"{load.url}/jobs/{job}", timeout=30).json().get("state", "gone") for job in load.jobs]


def wait(is_so: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait until something is so; one that does not answer is asked again."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with suppress(requests.RequestException):
            if is_so():
                return
        time.sleep(0.5)
    raise SystemExit(f"it did not happen in {timeout_s:.0f} s: {what}")


def strain(ours: Running, load: Load, given: argparse.Namespace, may_fill: bool) -> list[str]:
    """Send the load under the faults, and return what went wrong."""
    home = Path(ours.environ["LAYOUTLOOP_HOME"])
    faults, samples = Faults(home, load, may_fill, given.pause), Samples(home)
    beside = [threading.Thread(target=one.run, daemon=True) for one in (faults, samples)]
    for thread in beside:
        thread.start()
    began, trained = time.monotonic(), time.monotonic()
    clients = load.run(given.clients)
    while any(one.is_alive() for one in clients):
        if given.requests is None and time.monotonic() - began > 60 * given.minutes:
            load.end()
        if time.monotonic() - trained > given.train_every:
            trained = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} a training: {load.train()}; {load.sent:,} requests so far", flush=True)
        time.sleep(1)
    took_s = time.monotonic() - began
    for each in (faults, samples):
        each.end()
    for thread in beside:
        thread.join()
    done = ", ".join(f"{count} x {name}" for name, count in faults.done.items())
    print(f"{load.sent:,} requests in {took_s:.0f} s, under {done}")
    for outcome, count in sorted(load.outcomes.items(), key=lambda one: -one[1]):
        print(f"{count:8,} {outcome}")
    bad = [f"{count} {what}" for what, count in load.outcomes.items() if what.startswith(("wrong", "lost", "unnamed"))]
    return bad + list(samples.growth().values()) + after(load)


def after(load: Load) -> list[str]:
    """Return what does not go well again after the last fault."""
    load.killed_at = float("-inf")
    wait(lambda: requests.get(f"{load.url}/health", timeout=5).json()["ready"], RECOVERS_S, "/health says ready")
    wait(lambda: not {"queued", "running"} & set(states(load)), 900, "all accepted jobs end")
    all_pages(load)
    lost = load.jobs_lost()
    print(f"{len(load.jobs)} trainings accepted, {len(lost)} of them lost or failed {lost or ''}")
    return [f"job {job}: {why}" for job, why in lost.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 where all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, help="end after so many, in place of the minutes")
    parser.add_argument("--clients", type=int, default=5, help="requests at a time; one client never asks for a page")
    parser.add_argument("--pause", type=float, default=40.0, help="seconds between two faults")
    parser.add_argument("--train-every", type=float, default=300.0, help="seconds between two trainings")
    given = parser.parse_args(arguments)
    print(machine(), flush=True)
    with ExitStack() as kept:
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        may_fill = kept.enter_context(small_disk(folder / "home", DISK_MIB))
        if not may_fill:
            print("no disk of its own can be mounted here: none is filled")
        environ = environment(folder, SETTINGS)
        server = ThreadingHTTPServer((HERE, int(environ["LABEL_STUDIO_URL"].rpartition(":")[2])), studio(PAGES))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept.callback(server.shutdown)
        ours = kept.enter_context(serving(environ, {OCR_MODEL}))
        load = Load(ours.url, PAGES, given.requests)
        first_model(load)
        problems = strain(ours, load, given, may_fill)
    print("all is well" if not problems else "NOT well: " + "; ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
