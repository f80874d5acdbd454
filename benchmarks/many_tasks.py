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
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from benchmarks.plain_tasks import PlainAnswers, ask_in_selections, ask_once, compare, plain_backend
from benchmarks.process_usage import cpu_seconds, held_by
from benchmarks.task_files import KEY, Files, different_pages, make_strips, make_tasks, typical

PROJECT = 7
AGAIN = 9  # times the tasks of --memory: from 300 to 3,000


@dataclass(frozen=True, slots=True)
class Running:
    """A LayoutLoop and its file server.

    Args:
        url: of the shim.
        files_url: of the file server.
        plain_port: free for the plain back end.
        process_id: of scripts.serve, whose descendants are all of LayoutLoop.
        environ: what its commands need.
        store: of the models.
        config: the label config of the project.
    """

    url: str
    files_url: str
    plain_port: int
    process_id: int
    environ: Mapping[str, str]
    store: Path
    config: str

    def new_version(self, checkpoint: Path, version: int) -> None:
        """Put the checkpoint into service as a further version; it is tried first, as every new version is."""
        arguments = ["--project", str(PROJECT), "--checkpoint", str(checkpoint), "--serve"]
        subprocess.run([sys.executable, "-m", "scripts.archive", *arguments], env=self.environ, check=True)
        print(f"version {version} is in service", flush=True)


def label_config(checkpoint: Path | None) -> str:
    """Return the OCR template with the checkpoint's labels."""
    tags = json.loads((checkpoint / "config.json").read_text())["id2label"].values() if checkpoint else ["B-total"]
    names = dict.fromkeys(tag[2:] for tag in tags if tag != "O")
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    return (
        f'<View><Image name="image" value="$image"/><Labels name="label" toName="image">{labels}</Labels>'
        '<Rectangle name="bbox" toName="image"/>'
        '<TextArea name="transcription" toName="image" perRegion="true"/></View>'
    )


def free_ports() -> tuple[int, int, int, int]:
    """Return the plain back end's, the file server's, the shim's and TorchServe's first port."""
    for first in range(21000 + os.getpid() % 300 * 10, 30000, 10):  # below those that outgoing connections get
        try:
            for port in range(first, first + 8):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first + 7, first + 6, first + 5, first
    raise SystemExit("no free ports")


@contextmanager
def running(folder: Path, checkpoint: Path | None, files: dict[str, bytes]) -> Iterator[Running]:
    """Run the file server and a LayoutLoop with the checkpoint in service."""
    plain_port, file_port, shim_port, torchserve_port = free_ports()
    handler = type("TheseFiles", (Files,), {"files": files})
    server = ThreadingHTTPServer(("127.0.0.1", file_port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environ = os.environ | {
        "LABEL_STUDIO_URL": f"http://127.0.0.1:{file_port}",
        "LABEL_STUDIO_API_KEY": KEY,
        "LAYOUTLOOP_HOME": str(folder / "home"),
        "MODEL_DIR": str(folder / "store"),
        "LAYOUTLOOP_PORT": str(shim_port),
        "LAYOUTLOOP_TORCHSERVE_PORT": str(torchserve_port),
    }
    if checkpoint is not None:
        arguments = ["--project", str(PROJECT), "--checkpoint", str(checkpoint), "--serve", "--untested"]
        subprocess.run([sys.executable, "-m", "scripts.archive", *arguments], env=environ, check=True)
    served = subprocess.Popen([sys.executable, "-m", "scripts.serve"], env=environ, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{shim_port}"
    try:
        wait_until_ready(url, served, {"ocr"} | ({f"project-{PROJECT}"} if checkpoint else set()), folder / "store")
        files_url, config = environ["LABEL_STUDIO_URL"], label_config(checkpoint)
        yield Running(url, files_url, plain_port, served.pid, environ, folder / "store", config)
    finally:
        served.terminate()
        served.wait(60)
        server.shutdown()


def wait_until_ready(url: str, served: subprocess.Popen[bytes], models: set[str], store: Path) -> None:
    """Wait until the node reports that it holds the models."""
    for _ in range(600):
        assert served.poll() is None, "scripts.serve ended"
        held = {
            name for path in (store / ".nodes").glob("*.json") for name in json.loads(path.read_text())["holds"]
        }  # fmt: skip
        if models <= held:
            assert requests.get(f"{url}/health", timeout=5).json()["status"] == "UP"
            return
        time.sleep(0.5)
    raise SystemExit("it did not get ready")


def ask(ours: Running, tasks: Sequence[dict[str, Any]]) -> tuple[list[Any], float]:
    """POST one predict; return its results and the seconds it took."""
    started = time.perf_counter()
    results = ask_once(ours.url, tasks, ours.config)
    assert results is not None, "no answer in the time that Label Studio waits"
    return results, time.perf_counter() - started


def sample(ours: Running, stop: threading.Event, times: dict[str, list[float]]) -> None:
    """Ask /health and /setup until told to stop."""
    while not stop.is_set():
        for route, call in (
            ("/health", functools.partial(requests.get, timeout=10)),
            ("/setup", functools.partial(requests.post, json={"schema": ours.config, "project": PROJECT}, timeout=10)),
        ):
            started = time.perf_counter()
            call(ours.url + route).raise_for_status()
            times[route].append(time.perf_counter() - started)
        time.sleep(0.05)


def measure(ours: Running, tasks: list[dict[str, Any]], bad: int, others: int) -> tuple[dict[int, Any], float]:
    """Ask until every good task has its result, or no further one gets any; print each ask.

    Returns the predictions by task id, and tasks per second.
    """
    predictions: dict[int, Any] = {}
    cpu = cpu_seconds(ours.process_id)
    stop = threading.Event()
    times: dict[str, list[float]] = {"/health": [], "/setup": []}
    sampler = threading.Thread(target=sample, args=(ours, stop, times))
    sampler.start()
    left, asks, total = tasks, 0, 0.0
    with ThreadPoolExecutor(max(1, others)) as pool:
        waiting = [pool.submit(ask, ours, tasks) for _ in range(others)]
        answered = len(tasks)
        while len(left) > bad and answered:  # a set of pages may hold damaged ones of its own
            results, seconds = ask(ours, left)
            asks, total = asks + 1, total + seconds
            assert len(results) == len(left)
            assert None not in results
            predictions |= {task["id"]: one for task, one in zip(left, results, strict=True) if one}
            left = [task for task, result in zip(left, results, strict=True) if not result]
            answered = len(results) - len(left)
            print(f"ask {asks}: {len(results)} tasks, {answered} answered, {seconds:.1f} s", flush=True)
        stop.set()
        sampler.join()
        for number, other in enumerate(waiting):
            results, seconds = other.result()
            print(f"beside it {number + 1}: {sum(map(bool, results))} of {len(results)} answered, {seconds:.1f} s")
    rate = (len(tasks) - len(left)) / total
    print(f"{len(tasks)} tasks: {asks} asks, {total:.1f} s, {rate:.2f} tasks/s, ", end="")
    print(f"{(cpu_seconds(ours.process_id) - cpu) / len(tasks):.2f} CPU s/task; without a result: ", end="")
    print([task["id"] for task in left] if len(left) < 20 else len(left))
    for route, each in times.items():
        worst = sorted(each)[int(len(each) * 0.99)] * 1000
        print(f"{route}: {len(each)} calls meanwhile, p50 {statistics.median(each) * 1000:.1f} ms, p99 {worst:.1f} ms")
    return predictions, rate


def ask_plain(ours: Running, options: argparse.Namespace, tasks: Sequence[dict[str, Any]]) -> list[PlainAnswers]:
    """Ask a fresh plain back end for a sample of the tasks, twice: cold, with the model to be loaded, and warm."""
    with plain_backend(options.checkpoint, ours.files_url, ours.plain_port) as (url, process_id):
        answers = [ask_in_selections(url, process_id, tasks, ours.config) for _ in range(2)]
    for name, one in zip(("cold", "warm"), answers, strict=True):
        print(f"plain, {name}: {len(tasks)} tasks in {one.seconds:.1f} s, {one.rate:.3f} tasks/s, ", end="")
        print(f"{one.cpu_s / len(tasks):.2f} CPU s/task, ", end="")
        print(f"selections of {', '.join(map(str, one.selections))}", flush=True)
    return answers


def lose_all(ours: Running, options: argparse.Namespace, tasks: Sequence[dict[str, Any]]) -> None:
    """Ask a plain back end for all tasks in one request, as Label Studio does."""
    with plain_backend(options.checkpoint, ours.files_url, ours.plain_port) as (url, _):
        results = ask_once(url, tasks, ours.config)
    print(f"plain, all {len(tasks)} tasks in one request: {'lost after 100 s' if results is None else 'answered'}")


def measure_all(
    ours: Running, options: argparse.Namespace, tasks: list[dict[str, Any]], files: Mapping[str, bytes]
) -> None:
    """Measure LayoutLoop cold, with everything remembered and with a new version; the plain back end around it."""
    chosen = typical(tasks, files, options.plain) if options.plain else []
    if options.plain_all:
        lose_all(ours, options, tasks)
    before = ask_plain(ours, options, chosen) if chosen else []
    print("cold:")
    predictions, cold = measure(ours, tasks, options.bad, options.others)
    print("again, everything remembered:")
    measure(ours, tasks, options.bad, 0)
    if options.checkpoint is None:
        return
    ours.new_version(options.checkpoint, 2)
    print("again, pages read before, new version:")
    again, warm = measure(ours, tasks, options.bad, 0)
    if chosen:
        after = ask_plain(ours, options, chosen)
        plain_cold, plain_warm = ((one.rate + other.rate) / 2 for one, other in zip(before, after, strict=True))
        print(f"cold: {cold:.2f} tasks/s, {cold / plain_cold:.1f} times the plain back end's {plain_cold:.3f}")
        print(f"warm: {warm:.2f} tasks/s, {warm / plain_warm:.1f} times the plain back end's {plain_warm:.3f}")
        print(f"first version: {compare(before[0].predictions, predictions)}")
        print(f"second version: {compare(after[1].predictions, again)}")


def measure_memory(ours: Running, files: dict[str, bytes], count: int) -> None:
    """Print what every process holds after `count` small pages, after the same again and again, and after new ones."""
    pages = list(files.values())
    tasks = make_strips(files, pages, 10_000_000, count)
    measure(ours, tasks, 0, 0)
    steps = [held_by(ours.process_id)]
    for turn in range(1, AGAIN + 1):
        ask(ours, [task | {"id": task["id"] + turn * 100_000} for task in tasks])
    steps.append(held_by(ours.process_id))
    for turn in range(1, AGAIN + 1):
        measure(ours, make_strips(files, pages, 20_000_000 + turn * 100_000, count), 0, 0)
        now = held_by(ours.process_id)
        grown = {mib / steps[1][number][1] - 1: name for number, (name, mib) in now.items() if number in steps[1]}
        print(f"{turn * count} new images: most grown by {max(grown):.1%}: {grown[max(grown)]}", flush=True)
    steps.append(held_by(ours.process_id))
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
    tasks, files = make_tasks(different_pages(options.images, options.tasks), options.bad)
    with tempfile.TemporaryDirectory(prefix="many-") as name, running(Path(name), options.checkpoint, files) as ours:
        measure_all(ours, options, tasks, files)
        if options.memory:
            measure_memory(ours, files, options.memory)
        log = (Path(name) / "home" / "logs" / "shim.log").read_text()
        print("".join(line for line in sorted(set(log.splitlines(keepends=True))) if "WARNING" in line)[-3000:])


if __name__ == "__main__":
    main()
