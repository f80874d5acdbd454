"""What the shim and TorchServe add to one page: both ways to the same answer, page by page in the same run.

`python -m benchmarks.shim_overhead --checkpoint DIR --images DIR [DIR ...] [--pages 300] [--clients 16] [--turns 3]`

A LayoutLoop of its own reads all pages first; those that cannot be loaded are left out. Then the same checkpoint goes
into service as a new version, so that words are known and no answer is. After some pages that are not counted (both
sides prepare their products for each length they meet), each page is asked of the shim, as Label Studio
asks for one task, and given to a Tagger in this process, in turn: with as many threads as a served one has, and with
all cores, which a served one could have only alone. Where the shim's time goes stands in its own /metrics. In each of
`--turns`, with one more version, `--clients` ask at a time, and the Tagger gets all pages at once, and all cores. The
answers of the shim must have the labels and texts of the Tagger's for that page alone with as many threads (in bfloat16
another number moves the last digits).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
import torch
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.running import PROJECT, Running, label_config, running
from benchmarks.task_files import different_pages, make_tasks, page_files, pixels_of
from benchmarks.timing import Clock, Spent, cpu_seconds_of, machine, spread, tail, timed
from handler.errors import HandlerError
from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.page import Page, TaggedPage
from handler.reading.cache import FileCache
from handler.reading.reader import Reader
from handler.tagging.tagger import Tagger, TaggerSettings
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.inference import token_file
from layoutloop.torchserve.management import ManagementClient

CONFIG = Path(__file__).resolve().parent.parent / "handler" / "config"
PAGES = 300
GOAL_MS = (10, 40)
GOAL_SHARE = 0.8
WORKERS_S = 300.0
"""A version that was promoted has all its workers after so long."""
LEAST_READING_S, READING_S = 120.0, 10.0
"""So long may reading take: at least, and for each page."""

Found = Counter[tuple[str, str]]
"""The labels and texts of a page's regions."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What is asked on both ways.

    Args:
        tasks: for the shim.
        pages: the same for the Tagger.
        tagger: in this process.
        threads: of a served one.
        config: the label config.
    """

    tasks: Sequence[dict[str, Any]]
    pages: Sequence[Page]
    tagger: Tagger
    threads: int
    config: str


def ask(ours: Running, session: requests.Session, tasks: Sequence[dict[str, Any]], config: str) -> list[Any]:
    """Ask for tasks as Label Studio does; return an entry for each."""
    body = {"tasks": list(tasks), "project": f"{PROJECT}.1", "label_config": config}
    answer = session.post(f"{ours.url}/predict", json=body, timeout=100)
    answer.raise_for_status()
    return list(answer.json()["results"])


def found_by_shim(entry: dict[str, Any]) -> Found:
    """Return the labels and texts of an entry's regions."""
    regions: dict[str, dict[str, str]] = {}
    for result in entry["result"]:
        region = regions.setdefault(result["id"], {"label": "", "text": ""})
        value = result["value"]
        region["label"] = value.get("labels", [region["label"]])[0]
        region["text"] = value.get("text", [region["text"]])[0]
    return Counter((region["label"], region["text"]) for region in regions.values())


def found_by_tagger(answer: TaggedPage | HandlerError) -> Found:
    """Return the labels and texts of a page's regions."""
    assert isinstance(answer, TaggedPage), answer
    return Counter((region.label, region.text) for region in answer.regions)


def stage_seconds(ours: Running) -> Mapping[str, float]:
    """Return the seconds that each stage of a page took so far, from the shim's metrics."""
    text = requests.get(f"{ours.url}/metrics", timeout=10).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {one.labels["stage"]: one.value for one in samples if one.name == "layoutloop_page_seconds_sum"}


def read_all(ours: Running, tasks: Sequence[dict[str, Any]], config: str) -> None:
    """Have every page read and tagged once."""
    end = time.monotonic() + LEAST_READING_S + READING_S * len(tasks)
    with requests.Session() as session:
        while left := [
            task["id"] for task, one in zip(tasks, ask(ours, session, tasks, config), strict=True) if not one
        ]:
            if time.monotonic() > end:
                raise SystemExit(f"pages are still unread, see the shim's log: {left[:20]}")
            print(f"{len(left)} pages are being read", flush=True)


def wait_for_workers(ours: Running) -> None:
    """Wait until the version in service has all its workers: it is tried, and promoted, with one."""
    settings = Settings.from_env(ours.environ)
    management = ManagementClient(f"http://127.0.0.1:{settings.torchserve_port + 1}", token_file(settings))
    model, end, versions = project_model(PROJECT), time.monotonic() + WORKERS_S, {}
    while time.monotonic() < end:
        serving = ModelStore(ours.store).manifest(model)
        versions = {one.version: one.ready_workers for one in management.versions(model)}
        if serving and versions.get(str(serving.current), 0) >= settings.project_workers:
            return
        time.sleep(0.5)
    raise SystemExit(f"{model} has not its {settings.project_workers} workers after {WORKERS_S:.0f} s: {versions}")


def one_at_a_time(ours: Running, compared: Compared) -> None:
    """Print the overhead of a lone page, and where it goes."""
    cores = os.cpu_count() or 1
    ways: dict[str, list[float]] = {"shim": [], "served": [], "all cores": []}
    warm = len(compared.pages) // 4
    before: Mapping[str, float] = {}
    with requests.Session() as session:
        for number, (task, page) in enumerate(zip(compared.tasks, compared.pages, strict=True)):
            if number == warm:
                before, ways = stage_seconds(ours), {way: [] for way in ways}
            clock = Clock()
            (entry,) = ask(ours, session, [task], compared.config)
            ways["shim"].append(clock.spent().wall_s)
            torch.set_num_threads(compared.threads)
            clock = Clock()
            (answer,) = compared.tagger.tag([page])
            ways["served"].append(clock.spent().wall_s)
            torch.set_num_threads(cores)
            ways["all cores"].append(timed(partial(compared.tagger.tag, [page])).wall_s)
            assert found_by_shim(entry) == found_by_tagger(answer), task
    after = stage_seconds(ours)
    shim, served, all_cores = ([1000 * seconds for seconds in each] for each in ways.values())
    name = tail(shim)[0]
    print(f"| one page at a time, ms | p50 | {name} |\n|---|---|---|")
    rows = {"shim and TorchServe": shim, f"Tagger in process, threads: {compared.threads}": served}
    rows |= {f"the same, threads: {cores}": all_cores}
    rows |= {f"difference, threads: {compared.threads}": _differences(shim, served)}
    rows |= {f"difference, threads: {cores}": _differences(shim, all_cores)}
    for row, times in rows.items():
        print(f"| {row} | {statistics.median(times):.1f} | {tail(times)[1]:.1f} |")
    print(f"goal of the difference: {GOAL_MS[0]} and {GOAL_MS[1]} ms")
    stages = {stage: 1000 * (after[stage] - before.get(stage, 0.0)) / len(shim) for stage in after}
    print_stages(stages, statistics.mean(shim), statistics.mean(served))


def _differences(shim: Sequence[float], process: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(shim, process, strict=True)]


def print_stages(stages: Mapping[str, float], whole: float, process: float) -> None:
    """Print where a lone page's time goes, means in ms: by stage of the shim, beside the Tagger in process."""
    rest = whole - sum(stages.values())
    print("| where a lone page's time goes | mean ms | more than in process |\n|---|---|---|")
    for stage, ms in stages.items():
        print(f"| {stage} | {ms:.1f} | {ms - (process if stage == 'tag' else 0):.1f} |")
    print(f"| HTTP, JSON, results, answers remembered | {rest:.1f} | {rest:.1f} |")
    print(f"| all | {whole:.1f} | {whole - process:.1f} |", flush=True)


def many_at_a_time(ours: Running, compared: Compared, alone: Sequence[Found], clients: int) -> tuple[Spent, Spent]:
    """Return what the shim took for all pages, asked by many clients, and the Tagger, which gets all cores."""
    with requests.Session() as session, ThreadPoolExecutor(clients) as pool:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=clients))
        cpu, clock = cpu_seconds_of(ours.process_id), Clock()
        entries = list(pool.map(lambda task: ask(ours, session, [task], compared.config)[0], compared.tasks))
        shim = Spent(clock.spent().wall_s, cpu_seconds_of(ours.process_id) - cpu)
    clock = Clock()
    answers = compared.tagger.tag(compared.pages)
    process = clock.spent()
    assert len(answers) == len(compared.pages)
    assert [found_by_shim(entry) for entry in entries] == list(alone)
    return shim, process


def throughput(ours: Running, compared: Compared, checkpoint: Path, clients: int, turns: int) -> None:
    """Print the throughput of many clients beside the Tagger's, turn by turn."""
    torch.set_num_threads(compared.threads)
    alone = [found_by_tagger(compared.tagger.tag([page])[0]) for page in compared.pages]
    torch.set_num_threads(os.cpu_count() or 1)
    taken = []
    for turn in range(turns):
        ours.new_version(checkpoint, 3 + turn)
        wait_for_workers(ours)
        taken.append(many_at_a_time(ours, compared, alone, clients))
    count = len(compared.pages)
    print(f"| {clients} clients | pages/s | CPU s/page |\n|---|---|---|")
    for name, spent in zip(
        ("shim and TorchServe", "Tagger in process, all cores"), zip(*taken, strict=True), strict=True
    ):
        cpu_s = spread([one.cpu_s / count for one in spent], 3)
        print(f"| {name} | {spread([count / one.wall_s for one in spent], 1)} | {cpu_s} |")
    ratios = [process.wall_s / shim.wall_s for shim, process in taken]
    print(f"ratio, turn by turn: {spread(ratios)} (goal {GOAL_SHARE})", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of page images")
    parser.add_argument("--checkpoint", type=Path, required=True, help="model of the project")
    parser.add_argument("--pages", type=int, help=f"default: {PAGES}, or as many as the folders have")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3, help="of the many clients")
    options = parser.parse_args()
    print(machine(), flush=True)
    wanted = options.pages or min(PAGES, len(page_files(options.images)))
    data = [page for page in different_pages(options.images, wanted) if pixels_of(page)]
    print(f"{len(data)} pages, {wanted - len(data)} cannot be loaded and are left out", flush=True)
    tasks, files = make_tasks(data, 0)
    served = yaml.safe_load((CONFIG / "cpu.yaml").read_text())["handler"]["tagger"]
    tagger, config = Tagger.load(options.checkpoint, TaggerSettings(**served)), label_config(options.checkpoint)
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        with running(folder, options.checkpoint, files) as ours:
            read_all(ours, tasks, config)
            reader = Reader(OcrSettings(), ImageLimits(), FileCache(folder / "home" / "cache", 2**31))
            pages = [reader.read(page, thumbnail=tagger.encoder.uses_image) for page in data]
            threads = served["threads"] or max(
                1, (os.cpu_count() or 1) // Settings.from_env(ours.environ).project_workers
            )
            compared = Compared(tasks, pages, tagger, threads, config)
            ours.new_version(options.checkpoint, 2)
            wait_for_workers(ours)
            one_at_a_time(ours, compared)
            throughput(ours, compared, options.checkpoint, options.clients, options.turns)


if __name__ == "__main__":
    main()
