"""How much faster two TorchServe nodes label pages than one, each with one core: in turn, in the same run.

`python -m benchmarks.two_nodes --checkpoint DIR --pages-from FOLDER [--pages 64] [--rounds 5] [--clients 16]`

Two nodes run on one model store, each held to a core of its own (all of it: Java, watcher, one worker, one thread), as
two small machines would be. The shim's client, in this process, asks first one node and then both for the same
generated invoices (`benchmarks.invoice_pages`; the folder keeps what Tesseract read), and every answer must be the same
from both. On two cores the client takes its share of one node's core; so the CPU time of either is printed, and what
two nodes could give at most beside such a client.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.invoice_pages import SEEN_LAYOUTS, read_invoices
from benchmarks.running import PROJECT, TORCHSERVE_PORTS, free_ports
from benchmarks.timing import cpu_seconds, cpu_seconds_of, machine
from handler.wire import page_to_json
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.torchserve.in_service import InServiceModels
from layoutloop.torchserve.inference import InferenceClient

HOSTS = ("127.0.0.2", "127.0.0.3")
READY_S = 300.0


@dataclass(frozen=True, slots=True)
class Site:
    """Nodes that run.

    Args:
        store: their model store.
        urls: where each answers.
        processes: the id of each.
    """

    store: Path
    urls: tuple[str, ...]
    processes: tuple[int, ...]


@contextmanager
def running(folder: Path, checkpoint: Path) -> Iterator[Site]:
    """Run a node on each of the first cores, with the checkpoint in service."""
    first = free_ports(TORCHSERVE_PORTS * len(HOSTS), ("127.0.0.1", *HOSTS))
    ports = [first + TORCHSERVE_PORTS * node for node in range(len(HOSTS))]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(HOSTS):
        raise SystemExit(f"{len(HOSTS)} nodes need a core each, this process may use {len(cores)}")
    shared = os.environ | {"MODEL_DIR": str(folder / "store"), "LAYOUTLOOP_HOME": str(folder / "home")}
    shared |= {"LAYOUTLOOP_OCR_WORKERS": "1", "LAYOUTLOOP_PROJECT_WORKERS": "1", "OMP_NUM_THREADS": "1"}
    shared |= {"LAYOUTLOOP_IDLE_S": "0", "LAYOUTLOOP_ALLOW_OPEN_BIND": "1"}
    archive = ["--project", str(PROJECT), "--checkpoint", str(checkpoint), "--serve", "--untested", "--device", "cpu"]
    subprocess.run([sys.executable, "-m", "scripts.archive", *archive], env=shared, check=True)
    started: list[subprocess.Popen[str]] = []
    try:
        for host, port, core in zip(HOSTS, ports, cores, strict=False):
            own = {"LAYOUTLOOP_HOME": str(folder / host), "LAYOUTLOOP_TORCHSERVE_HOST": host}
            own |= {"LAYOUTLOOP_TORCHSERVE_PORT": str(port)}
            command = ["taskset", "-c", str(core), sys.executable, "-m", "scripts.serve"]
            command += ["--parts", "torchserve,rollout"]
            started.append(subprocess.Popen(command, env=shared | own, stdout=subprocess.PIPE, text=True))
        for node in started:
            assert node.stdout is not None
            line = node.stdout.readline()  # ready, or ended
            if not line:
                raise SystemExit("a node did not start; it said why above")
            print(line.strip(), flush=True)
        urls = tuple(f"http://{host}:{port}" for host, port in zip(HOSTS, ports, strict=True))
        yield Site(folder / "store", urls, tuple(node.pid for node in started))
    finally:
        for node in started:
            node.terminate()
        for node in started:
            node.wait(100)


def label(site: Site, urls: Sequence[str], pages: Sequence[dict[str, Any]], clients: int) -> tuple[float, list[Any]]:
    """Return pages per second, and the regions of each page."""
    store = ModelStore(site.store)
    card = store.current_card(project_model(PROJECT))
    assert card is not None
    models = InServiceModels(store, InferenceClient(urls, None), 1, 1)

    def one(page: dict[str, Any]) -> Any:
        return models.tag(page, card, time.monotonic() + 90)["regions"]

    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        regions = list(pool.map(one, pages))
        return len(pages) / (time.perf_counter() - began), regions


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model of the project")
    parser.add_argument("--pages-from", type=Path, required=True, help="folder of pages that were read, or will be")
    parser.add_argument("--pages", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    print(machine(), flush=True)
    read = read_invoices(0, options.pages, SEEN_LAYOUTS, options.pages_from)
    pages = [page_to_json(page) for page, _ in read]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="two-nodes-") as name, running(Path(name), options.checkpoint) as site:
        _, expected = label(site, site.urls, pages, options.clients)  # warm, and both asked
        client, nodes_cpu = -cpu_seconds(), -sum(map(cpu_seconds_of, site.processes))
        for _ in range(options.rounds):
            for nodes, measured in rates.items():
                rate, regions = label(site, site.urls[:nodes], pages, options.clients)
                assert json.dumps(regions) == json.dumps(expected), "nodes answer differently"
                measured.append(rate)
        client, nodes_cpu = client + cpu_seconds(), nodes_cpu + sum(map(cpu_seconds_of, site.processes))
    one, two = (statistics.median(measured) for measured in rates.values())
    print("| nodes | pages/s (median) | least | most |\n|---|---|---|---|")
    for nodes, measured in rates.items():
        print(f"| {nodes} | {statistics.median(measured):.2f} | {min(measured):.2f} | {max(measured):.2f} |")
    print(f"two nodes give {two / one:.2f} times the throughput of one")
    asked = 2 * options.rounds * len(pages)
    print(f"CPU ms a page: a node {1000 * nodes_cpu / asked:.1f}, the client {1000 * client / asked:.1f}; ", end="")
    print(f"on these two cores at most {2 * nodes_cpu / (nodes_cpu + client):.2f} times")


if __name__ == "__main__":
    main()
