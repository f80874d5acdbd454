"""Real pages by way of the shim, asked as Label Studio asks: one POST for all tasks, again until all have a result.

`python -m benchmarks.many_tasks --checkpoint DIR --tasks 300 --images DIR [DIR ...] [--bad 5] [--others 3]`
starts a LayoutLoop of its own (scripts.serve) and a file server in Label Studio's place, which wants the key.
While the first ask runs, `--others` predicts wait beside it and /health and /setup are asked all the time. Then, with
a checkpoint, a new version goes into service and the same tasks are asked again: their pages are read, none is tagged.

`--plain 24` also asks a plain ML back end (`plain_backend.py`) for so many of the tasks, before LayoutLoop has seen
them and after; one side rests while the other is measured. `--plain-all` first shows what becomes of all of them in
one request. `--memory 300` writes down what every process of LayoutLoop holds after 300 tasks with small pages (strips
of the others), after 2,700 more with the same images under new task ids (whose answers the shim remembers: the model
is not asked), and after 2,700 with images that it never saw (each fetched, read, tagged and remembered).

Every task gets its result but those whose page Pillow cannot load either, or that `--bad` made so; else the run ends.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.plain_tasks import PlainAnswers, ask_in_selections, ask_once, compare, plain_backend
from benchmarks.running import PROJECT, Running, label_config, running
from benchmarks.task_files import damaged, different_pages, make_strips, make_tasks, typical
from benchmarks.timing import cpu_seconds_of, machine, tail

AGAIN = 9  # times the tasks of --memory: from 300 to 3,000


def ask(ours: Running, tasks: Sequence[dict[str, Any]], config: str) -> tuple[list[Any], float]:
    """POST one predict; return its results, one for each task, and the seconds it took."""
    started = time.perf_counter()
    results = ask_once(ours.url, tasks, config)
    assert results is not None, "no answer in the time that Label Studio waits"
    assert len(results) == len(tasks), f"{len(results)} results for {len(tasks)} tasks"
    assert None not in results
    return results, time.perf_counter() - started


@contextmanager
def sampled(ours: Running, config: str) -> Iterator[None]:
    """Ask /health and /setup all the time until the end of the block; print how long they took."""
    calls = {
        "/health": functools.partial(requests.get, timeout=10),
        "/setup": functools.partial(requests.post, json={"schema": config, "project": PROJECT}, timeout=10),
    }
    times: dict[str, list[float]] = {route: [] for route in calls}
    ended = threading.Event()

    def sample() -> None:
        while not ended.is_set():
            for route, call in calls.items():
                started = time.perf_counter()
                call(ours.url + route).raise_for_status()
                times[route].append((time.perf_counter() - started) * 1000)
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        sampler = pool.submit(sample)
        try:
            yield
        finally:
            ended.set()
        sampler.result()
    for route, each in times.items():
        name, worst = tail(each)
        print(f"{route}: {len(each)} calls meanwhile, p50 {statistics.median(each):.1f} ms, {name} {worst:.1f} ms")


def measure(
    ours: Running, tasks: list[dict[str, Any]], config: str, lost: set[int], others: int
) -> tuple[dict[int, Any], float]:
    """Ask until every task has its result but those in `lost`, which cannot have one; print each ask.

    Returns the predictions by task id, and tasks per second. An ask that answers nothing while others are left ends
    the run: pages would be missing.
    """
    predictions: dict[int, Any] = {}
    cpu = cpu_seconds_of(ours.process_id)
    left, asks, total = tasks, 0, 0.0
    with sampled(ours, config), ThreadPoolExecutor(max(1, others)) as pool:
        waiting = [pool.submit(ask, ours, tasks, config) for _ in range(others)]
        while open_tasks := {task["id"] for task in left} - lost:
            results, seconds = ask(ours, left, config)
            asks, total = asks + 1, total + seconds
            answered = {task["id"]: one for task, one in zip(left, results, strict=True) if one}
            assert answered, f"{len(open_tasks)} tasks got no result, such as {sorted(open_tasks)[:20]}"
            predictions |= answered
            left = [task for task in left if task["id"] not in answered]
            print(f"ask {asks}: {len(results)} tasks, {len(answered)} answered, {seconds:.1f} s", flush=True)
        for number, other in enumerate(waiting):
            results, seconds = other.result()
            print(f"beside it {number + 1}: {sum(map(bool, results))} of {len(results)} answered, {seconds:.1f} s")
    rate = len(predictions) / total
    print(f"{len(tasks)} tasks: {asks} asks, {total:.1f} s, {rate:.2f} tasks/s, ", end="")
    print(f"{(cpu_seconds_of(ours.process_id) - cpu) / len(tasks):.2f} CPU s/task; without a result: ", end="")
    print(sorted(lost & {task["id"] for task in left}), f"(known to be damaged: {sorted(lost)})", flush=True)
    return predictions, rate


def ask_plain(
    ours: Running, checkpoint: Path, tasks: Sequence[dict[str, Any]], config: str
) -> tuple[PlainAnswers, PlainAnswers]:
    """Ask a fresh plain back end for a sample of the tasks, twice: cold, with the model to be loaded, and warm."""
    with plain_backend(checkpoint, ours.files_url) as (url, process_id):
        cold, warm = (ask_in_selections(url, process_id, tasks, config) for _ in range(2))
    for name, one in (("cold", cold), ("warm", warm)):
        print(f"plain, {name}: {len(tasks)} tasks in {one.seconds:.1f} s, {one.rate:.3f} tasks/s, ", end="")
        print(f"{one.cpu_s / len(tasks):.2f} CPU s/task, ", end="")
        print(f"selections of {', '.join(map(str, one.selections))}", flush=True)
    return cold, warm


def lose_all(ours: Running, checkpoint: Path, tasks: Sequence[dict[str, Any]], config: str) -> None:
    """Ask a plain back end for all tasks in one request, as Label Studio does."""
    with plain_backend(checkpoint, ours.files_url) as (url, _):
        results = ask_once(url, tasks, config)
    print(f"plain, all {len(tasks)} tasks in one request: {'lost after 100 s' if results is None else 'answered'}")


def measure_all(
    ours: Running, options: argparse.Namespace, tasks: list[dict[str, Any]], files: Mapping[str, bytes]
) -> None:
    """Measure LayoutLoop cold, with everything remembered and with a new version; the plain back end around it."""
    checkpoint, config = options.checkpoint, label_config(options.checkpoint)
    chosen, lost = typical(tasks, files, options.plain) if options.plain else [], damaged(tasks, files)
    if options.plain_all:
        lose_all(ours, checkpoint, tasks, config)
    before = ask_plain(ours, checkpoint, chosen, config) if chosen else None
    print("cold:")
    predictions, cold = measure(ours, tasks, config, lost, options.others)
    print("again, everything remembered:")
    measure(ours, tasks, config, lost, 0)
    if checkpoint is None:
        return
    ours.new_version(checkpoint, 2)
    print("again, pages read before, new version:")
    again, warm = measure(ours, tasks, config, lost, 0)
    if before:
        after = ask_plain(ours, checkpoint, chosen, config)
        plain_cold, plain_warm = ((one.rate + other.rate) / 2 for one, other in zip(before, after, strict=True))
        print(f"cold: {cold:.2f} tasks/s, {cold / plain_cold:.1f} times the plain back end's {plain_cold:.3f}")
        print(f"warm: {warm:.2f} tasks/s, {warm / plain_warm:.1f} times the plain back end's {plain_warm:.3f}")
        print(f"first version: {compare(before[0].predictions, predictions)}")
        print(f"second version: {compare(after[1].predictions, again)}")


def measure_memory(ours: Running, files: dict[str, bytes], count: int, config: str) -> None:
    """Print what every process holds after `count` small pages, after the same again and again, and after new ones."""
    pages = list(files.values())
    tasks = make_strips(files, pages, 10_000_000, count)
    measure(ours, tasks, config, set(), 0)
    steps = [ours.held()]
    for turn in range(1, AGAIN + 1):
        results, _ = ask(ours, [task | {"id": task["id"] + turn * 100_000} for task in tasks], config)
        assert all(results), f"{sum(not one for one in results)} of {len(results)} got no answer"
    steps.append(ours.held())
    for turn in range(1, AGAIN + 1):
        measure(ours, make_strips(files, pages, 20_000_000 + turn * 100_000, count), config, set(), 0)
        now = ours.held()
        grown = {mib / steps[1][number][1] - 1: name for number, (name, mib) in now.items() if number in steps[1]}
        print(f"{turn * count} new images: most grown by {max(grown):.1%}: {grown[max(grown)]}", flush=True)
    steps.append(ours.held())
    more = count * AGAIN
    print(f"| process | MiB after {count} tasks | {more} more, same images | {more} more, new images |")
    print("|---|---|---|---|")
    for number, (name, before) in steps[0].items():
        later = [step[number][1] if number in step else float("nan") for step in steps[1:]]
        cells = [f"{mib:.0f} ({mib / before - 1:+.1%})" for mib in later]
        print(f"| `{name}` | {before:.0f} | {' | '.join(cells)} |")
    print(f"processes that came or went: {len(set(steps[0]) ^ set(steps[-1]))}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of page images")
    parser.add_argument("--checkpoint", type=Path, help="model of the project (default: cold start)")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--bad", type=int, default=0, help="how many of them are damaged or unreachable")
    parser.add_argument("--others", type=int, default=0, help="equal predicts asked at the same time")
    parser.add_argument("--plain", type=int, default=0, help="tasks that a plain back end gets too (default: none)")
    parser.add_argument("--plain-all", action="store_true", help="ask it for all in one request as well: 100 s")
    parser.add_argument("--memory", type=int, default=0, help="tasks, and nine times as many twice (default: none)")
    options = parser.parse_args()
    if (options.plain or options.memory) and (options.checkpoint is None or options.bad):
        parser.error("--plain and --memory need a --checkpoint and no --bad tasks")
    print(machine(), flush=True)
    tasks, files = make_tasks(different_pages(options.images, options.tasks), options.bad)
    with tempfile.TemporaryDirectory(prefix="many-") as name, running(Path(name), options.checkpoint, files) as ours:
        measure_all(ours, options, tasks, files)
        if options.memory:
            measure_memory(ours, files, options.memory, label_config(options.checkpoint))
        log = (Path(name) / "home" / "logs" / "shim.log").read_text()
        print("".join(line for line in sorted(set(log.splitlines(keepends=True))) if "WARNING" in line)[-3000:])


if __name__ == "__main__":
    main()
