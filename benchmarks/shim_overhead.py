"""What the shim and TorchServe add to one page: both ways to the same answer, page by page in the same run.

`python -m benchmarks.shim_overhead --checkpoint DIR --images DIR [DIR ...] [--pages 96] [--clients 16]`

A LayoutLoop of its own reads all pages first. Then the same checkpoint goes into service as a new version, so that
words are known and no answer is. Each page is asked of the shim, as Label Studio asks for one task, and given to a
Tagger in this process with as many threads as a served one has, in turn. After one more version `--clients` ask at a
time, and the Tagger gets all pages at once, and all cores. The answers of the shim must have the labels and texts of
the Tagger's for that page alone with as many threads (in bfloat16 another number moves the last digits).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import torch
import yaml

from benchmarks.many_tasks import PROJECT, Running, running
from benchmarks.task_files import different_pages, make_tasks
from handler.cache import FileCache
from handler.errors import HandlerError
from handler.images import ImageLimits
from handler.ocr import OcrSettings
from handler.page import Page, TaggedPage
from handler.reading import Reader
from handler.tagger import Tagger, TaggerSettings
from shim.serving import project_model, read_serving
from shim.settings import Settings
from shim.torchserve import token_file
from training.management import ManagementClient

CONFIG = Path(__file__).resolve().parent.parent / "handler" / "config"


def ask(ours: Running, session: requests.Session, tasks: Sequence[dict[str, Any]]) -> list[Any]:
    """Ask for tasks as Label Studio does; return an entry for each."""
    body = {"tasks": list(tasks), "project": f"{PROJECT}.1", "label_config": ours.config}
    answer = session.post(f"{ours.url}/predict", json=body, timeout=100)
    answer.raise_for_status()
    return list(answer.json()["results"])


def found_by_shim(entry: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Return the labels and texts of an entry's regions."""
    regions: dict[str, dict[str, str]] = {}
    for result in entry["result"]:
        region = regions.setdefault(result["id"], {"label": "", "text": ""})
        value = result["value"]
        region["label"] = value.get("labels", [region["label"]])[0]
        region["text"] = value.get("text", [region["text"]])[0]
    return Counter((region["label"], region["text"]) for region in regions.values())


def found_by_tagger(answer: TaggedPage | HandlerError) -> Counter[tuple[str, str]]:
    """Return the labels and texts of a page's regions."""
    assert isinstance(answer, TaggedPage), answer
    return Counter((region.label, region.text) for region in answer.regions)


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return 1000 * sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))]


def wait_for_workers(ours: Running) -> None:
    """Wait until the version in service has all its workers: it is tried, and promoted, with one."""
    settings = Settings.from_env(ours.environ)
    management = ManagementClient(f"http://127.0.0.1:{settings.torchserve_port + 1}", token_file(settings))
    model = project_model(PROJECT)
    while True:
        serving = read_serving(ours.store, model)
        versions = {one.version: one.ready_workers for one in management.versions(model)}
        if serving and versions.get(str(serving.current), 0) >= settings.project_workers:
            return
        time.sleep(0.5)


def one_at_a_time(ours: Running, tagger: Tagger, tasks: Sequence[dict[str, Any]], pages: Sequence[Page]) -> None:
    """Print the overhead of a lone page."""
    shim, process = [], []
    with requests.Session() as session:
        for task, page in zip(tasks, pages, strict=True):
            began = time.perf_counter()
            (entry,) = ask(ours, session, [task])
            asked = time.perf_counter()
            (answer,) = tagger.tag([page])
            process.append(time.perf_counter() - asked)
            shim.append(asked - began)
            assert found_by_shim(entry) == found_by_tagger(answer), task
    over = [one - other for one, other in zip(shim, process, strict=True)]
    print("| one page at a time, ms | p50 | p99 |\n|---|---|---|")
    for name, seconds in (("shim and TorchServe", shim), ("Tagger in process", process), ("difference", over)):
        print(f"| {name} | {1000 * statistics.median(seconds):.1f} | {percentile(seconds, 0.99):.1f} |")


def many_at_a_time(
    ours: Running, tagger: Tagger, tasks: Sequence[dict[str, Any]], pages: Sequence[Page], clients: int
) -> None:
    """Print the throughput of many clients beside the Tagger's, which gets all cores."""
    alone = [found_by_tagger(tagger.tag([page])[0]) for page in pages]
    torch.set_num_threads(os.cpu_count() or 1)
    began = time.perf_counter()
    with requests.Session() as session, ThreadPoolExecutor(clients) as pool:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=clients))
        entries = list(pool.map(lambda task: ask(ours, session, [task])[0], tasks))
    asked = time.perf_counter()
    answers = tagger.tag(pages)
    ended = time.perf_counter()
    assert len(answers) == len(pages)
    assert [found_by_shim(entry) for entry in entries] == alone
    shim, process = len(pages) / (asked - began), len(pages) / (ended - asked)
    print(f"{clients} clients: {shim:.1f} pages/s; the Tagger {process:.1f} pages/s; ratio {shim / process:.2f}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of page images")
    parser.add_argument("--checkpoint", type=Path, required=True, help="model of the project")
    parser.add_argument("--pages", type=int, default=96)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    data = different_pages(options.images, options.pages)
    tasks, files = make_tasks(data, 0)
    served = yaml.safe_load((CONFIG / "cpu.yaml").read_text())["handler"]["tagger"]
    tagger = Tagger.load(options.checkpoint, TaggerSettings(**served))
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        with running(folder, options.checkpoint, files) as ours:
            with requests.Session() as session:
                while not all(ask(ours, session, tasks)):
                    print("pages are being read", flush=True)
            reader = Reader(OcrSettings(), ImageLimits(), FileCache(folder / "home" / "cache", 2**31))
            pages = [reader.read(page) for page in data]
            ours.new_version(options.checkpoint, 2)
            wait_for_workers(ours)
            one_at_a_time(ours, tagger, tasks, pages)
            ours.new_version(options.checkpoint, 3)
            wait_for_workers(ours)
            many_at_a_time(ours, tagger, tasks, pages, options.clients)


if __name__ == "__main__":
    main()
