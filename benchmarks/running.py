"""A LayoutLoop of its own (real `scripts.serve`) for a measurement: started, waited for, stopped."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import requests

from benchmarks.task_files import KEY, Files
from benchmarks.timing import held_by
from layoutloop.store.manifest import OCR_MODEL, project_model
from layoutloop.store.model_store import ModelStore

PROJECT = 7
HERE = "127.0.0.1"
TORCHSERVE_PORTS = 5
START_S = 900.0
_POLL_S = 0.1
_STOP_S = 120.0
_SETTLE_S = 3.0
"""What has just ended is gone then, and no longer holds memory."""


@dataclass(frozen=True, slots=True)
class Running:
    """A LayoutLoop that runs.

    Args:
        url: of the shim.
        process_id: of scripts.serve, whose descendants are all of LayoutLoop.
        environ: what its commands need.
        store: of the models.
        up_s: from its start until /health says UP.
        ready_s: from its start until the node holds every model.
    """

    url: str
    process_id: int
    environ: Mapping[str, str]
    store: Path
    up_s: float
    ready_s: float

    @property
    def files_url(self) -> str:
        """Where it takes Label Studio to be."""
        return self.environ["LABEL_STUDIO_URL"]

    def held(self) -> dict[int, tuple[str, float]]:
        """Return name and resident memory (MiB) of every process by its id, after a moment of rest."""
        time.sleep(_SETTLE_S)
        return held_by(self.process_id)

    def new_version(self, checkpoint: Path, version: int) -> None:
        """Put the checkpoint into service as a further version; it is tried first, as every new version is."""
        _serve(checkpoint, self.environ)
        print(f"version {version} is in service", flush=True)

    def wait_until_asleep(self, models: Set[str], timeout_s: float = 300.0) -> None:
        """Wait until the workers of all these models are gone."""
        end = time.monotonic() + timeout_s
        store = ModelStore(self.store)
        while not models <= (asleep := {name for node in store.live_nodes().values() for name in node["asleep"]}):
            assert time.monotonic() < end, f"still awake: {', '.join(sorted(models - asleep))}"
            time.sleep(_POLL_S)


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


def free_ports(count: int, hosts: tuple[str, ...] = (HERE,)) -> int:
    """Return the first of `count` ports in a row that are free on all hosts, below those of outgoing connections."""
    for first in range(21000 + os.getpid() % 300 * 10, 30000, 10):
        try:
            for port in range(first, first + count):
                for host in hosts:
                    with socket.socket() as probe:
                        probe.bind((host, port))
        except OSError:
            continue
        return first
    raise SystemExit(f"no {count} free ports in a row below 30000")


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a LayoutLoop that has a folder and ports of its own; the file server's port is free."""
    first = free_ports(TORCHSERVE_PORTS + 2)
    return os.environ | {
        "LABEL_STUDIO_URL": f"http://{HERE}:{first + TORCHSERVE_PORTS + 1}",
        "LABEL_STUDIO_API_KEY": KEY,
        "LAYOUTLOOP_HOME": str(folder / "home"),
        "MODEL_DIR": str(folder / "store"),
        "LAYOUTLOOP_PORT": str(first + TORCHSERVE_PORTS),
        "LAYOUTLOOP_TORCHSERVE_PORT": str(first),
        **settings,
    }


@contextmanager
def serving(environ: Mapping[str, str], models: Set[str]) -> Iterator[Running]:
    """Run a LayoutLoop until the end of the block; it begins when the node holds all these models."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "scripts.serve"], env=environ, stdout=subprocess.DEVNULL)
    try:
        url, store = f"http://{HERE}:{environ['LAYOUTLOOP_PORT']}", Path(environ["MODEL_DIR"])
        up_s, ready_s = _starting(process, url, store, models, began)
        yield Running(url, process.pid, environ, store, up_s, ready_s)
    finally:
        process.terminate()
        process.wait(_STOP_S)


@contextmanager
def running(folder: Path, checkpoint: Path | None, files: dict[str, bytes]) -> Iterator[Running]:
    """Run a file server in Label Studio's place, and a LayoutLoop with the checkpoint in service."""
    environ = environment(folder, {})
    handler = type("TheseFiles", (Files,), {"files": files})
    file_port = int(environ["LABEL_STUDIO_URL"].rpartition(":")[2])
    server = ThreadingHTTPServer((HERE, file_port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        if checkpoint is not None:
            _serve(checkpoint, environ, "--untested")
        with serving(environ, {OCR_MODEL} | ({project_model(PROJECT)} if checkpoint else set())) as ours:
            yield ours
    finally:
        server.shutdown()
        server.server_close()


def _serve(checkpoint: Path, environ: Mapping[str, str], *more: str) -> None:
    arguments = ["--project", str(PROJECT), "--checkpoint", str(checkpoint), "--serve", *more]
    subprocess.run([sys.executable, "-m", "scripts.archive", *arguments], env=environ, check=True)


def _starting(
    process: subprocess.Popen[bytes], url: str, store: Path, models: Set[str], began: float
) -> tuple[float, float]:
    """Return after how many seconds /health said UP, and after how many the node held all models."""
    up_s, held = None, set()
    while time.perf_counter() - began < START_S:
        assert process.poll() is None, "scripts.serve ended"
        if up_s is None and _is_up(url):
            up_s = time.perf_counter() - began
        nodes = ModelStore(store).live_nodes()
        held = {name for node in nodes.values() for name, versions in node["holds"].items() if versions}
        if up_s is not None and models <= held:
            return up_s, time.perf_counter() - began
        time.sleep(_POLL_S)
    raise SystemExit(f"it did not get ready in {START_S:.0f} s: it holds {', '.join(sorted(held)) or 'nothing'}")


def _is_up(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/health", timeout=5).json()["status"] == "UP")
    except requests.RequestException:
        return False
