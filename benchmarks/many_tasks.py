"""Real pages by way of the shim, asked as Label Studio asks: one POST for all tasks, again until all have a result.

`python -m benchmarks.many_tasks --checkpoint DIR --tasks 300 --images DIR [DIR ...] [--bad 5] [--others 3]`
starts a LayoutLoop of its own (scripts.serve) and a file server in Label Studio's place, which wants the key.
While the first ask runs, `--others` predicts wait beside it and /health and /setup are asked all the time.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from PIL import Image

KEY = "feedfacefeedfacefeedfacefeedfacefeedface"
CONFIG = (
    '<View><Image name="image" value="$image"/><Labels name="label" toName="image"><Label value="total"/>'
    '<Label value="date"/></Labels><Rectangle name="bbox" toName="image"/>'
    '<TextArea name="transcription" toName="image" perRegion="true"/></View>'
)
PROJECT = 7


class Files(BaseHTTPRequestHandler):
    """Serves what Label Studio would under /data/local-files/, to those who know the key."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        """Answer one file."""
        name = parse_qs(urlsplit(self.path).query).get("d", [""])[0]
        known = self.headers.get("Authorization") == f"Token {KEY}"
        body = self.files.get(name, b"") if known else b""
        self.send_response(200 if body else (404 if known else 401))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def different_pages(folders: Sequence[Path], count: int) -> list[bytes]:
    """Return `count` pages no two of which have the same bytes: the folders' in turn, then re-encoded ones."""
    per_folder = [sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")) for folder in folders]
    mixed = [paths[i] for i in range(max(map(len, per_folder))) for paths in per_folder if i < len(paths)]
    pages = [path.read_bytes() for path in mixed[:count]]
    for path in mixed:
        if len(pages) >= count:
            break
        buffer = io.BytesIO()
        try:
            Image.open(path).convert("RGB").save(buffer, format="JPEG", quality=88)
        except OSError:
            continue
        pages.append(buffer.getvalue())
    assert len({hashlib.sha256(page).digest() for page in pages}) == count, "not enough different pages"
    return pages


def make_tasks(pages: Sequence[bytes], bad: int) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return tasks and files; every `len // bad`-th task is damaged or unreachable, each in another way."""
    files = {f"{number}.img": page for number, page in enumerate(pages)}
    references = [f"/data/local-files/?d={name}" for name in files]
    spoilt = [len(pages) * (2 * index + 1) // (2 * bad) for index in range(bad)]
    for way, number in enumerate(spoilt):
        if way % 5 == 0:
            files[f"{number}.img"] = pages[number][: len(pages[number]) // 2]
        elif way % 5 == 1:
            files[f"{number}.img"] = b"%PDF-1.7 not a page image"
        else:
            others = [
                "/data/local-files/?d=gone.png",
                "http://192.168.7.7/secret.png",
                "/data/local-files/?d=../../key",
            ]
            references[number] = others[way % 5 - 2]
    tasks = [{"id": number, "data": {"image": reference}} for number, reference in enumerate(references)]
    return tasks, files


def free_ports() -> tuple[int, int, int]:
    """Return the file server's, the shim's and TorchServe's first port."""
    for first in range(51000 + os.getpid() % 300 * 10, 60000, 10):
        try:
            for port in range(first, first + 7):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first + 6, first + 5, first
    raise SystemExit("no free ports")


@contextmanager
def running(folder: Path, checkpoint: Path | None, files: dict[str, bytes]) -> Iterator[str]:
    """Run the file server and a LayoutLoop with the checkpoint in service; yield the shim's address."""
    file_port, shim_port, torchserve_port = free_ports()
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
        yield url
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


def ask(url: str, tasks: Sequence[dict[str, Any]]) -> tuple[list[Any], float]:
    """POST one predict; return its results and the seconds it took."""
    started = time.perf_counter()
    body = {"tasks": list(tasks), "project": f"{PROJECT}.1", "label_config": CONFIG}
    answer = requests.post(f"{url}/predict", json=body, timeout=100)
    answer.raise_for_status()
    return answer.json()["results"], time.perf_counter() - started


def sample(url: str, stop: threading.Event, times: dict[str, list[float]]) -> None:
    """Ask /health and /setup until told to stop."""
    while not stop.is_set():
        for route, call in (
            ("/health", functools.partial(requests.get, timeout=10)),
            ("/setup", functools.partial(requests.post, json={"schema": CONFIG, "project": PROJECT}, timeout=10)),
        ):
            started = time.perf_counter()
            call(url + route).raise_for_status()
            times[route].append(time.perf_counter() - started)
        time.sleep(0.05)


def measure(url: str, tasks: list[dict[str, Any]], bad: int, others: int) -> None:
    """Ask until every good task has its result, or no further one gets any; print each ask."""
    stop, times = threading.Event(), {"/health": [], "/setup": []}
    sampler = threading.Thread(target=sample, args=(url, stop, times))
    sampler.start()
    left, asks, total = tasks, 0, 0.0
    with ThreadPoolExecutor(max(1, others)) as pool:
        waiting = [pool.submit(ask, url, tasks) for _ in range(others)]
        answered = len(tasks)
        while len(left) > bad and answered:  # a set of pages may hold damaged ones of its own
            results, seconds = ask(url, left)
            asks, total = asks + 1, total + seconds
            assert len(results) == len(left)
            assert None not in results
            left = [task for task, result in zip(left, results, strict=True) if not result]
            answered = len(results) - len(left)
            print(f"ask {asks}: {len(results)} tasks, {answered} answered, {seconds:.1f} s", flush=True)
        stop.set()
        sampler.join()
        for number, other in enumerate(waiting):
            results, seconds = other.result()
            print(f"beside it {number + 1}: {sum(map(bool, results))} of {len(results)} answered, {seconds:.1f} s")
    rate = (len(tasks) - len(left)) / total
    print(f"{len(tasks)} tasks: {asks} asks, {total:.1f} s, {rate:.2f} tasks/s; without a result: ", end="")
    print([task["id"] for task in left] if len(left) < 20 else len(left))
    for route, seconds in times.items():
        worst = sorted(seconds)[int(len(seconds) * 0.99)] * 1000
        print(
            f"{route}: {len(seconds)} calls meanwhile, "
            f"p50 {statistics.median(seconds) * 1000:.1f} ms, p99 {worst:.1f} ms"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of page images")
    parser.add_argument("--checkpoint", type=Path, help="model of the project (default: cold start)")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--bad", type=int, default=0, help="how many of them are damaged or unreachable")
    parser.add_argument("--others", type=int, default=0, help="equal predicts asked at the same time")
    options = parser.parse_args()
    tasks, files = make_tasks(different_pages(options.images, options.tasks), options.bad)
    with tempfile.TemporaryDirectory(prefix="many-") as name, running(Path(name), options.checkpoint, files) as url:
        measure(url, tasks, options.bad, options.others)
        print("again, everything remembered:")
        measure(url, tasks, options.bad, 0)
        log = (Path(name) / "home" / "logs" / "shim.log").read_text()
        print("".join(line for line in sorted(set(log.splitlines(keepends=True))) if "WARNING" in line)[-3000:])


if __name__ == "__main__":
    main()
