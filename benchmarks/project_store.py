"""A LayoutLoop of its own with many projects, all of which serve one checkpoint: what `growth.py` measures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks.many_tasks import free_ports, label_config
from handler.ocr import OcrSettings
from shim.asked import asked_path
from shim.serving import OCR_MODEL, live_nodes, project_model
from training.archive import ProjectSettings, build_ocr, build_project
from training.rollout import promote

KEY = "not-a-key"
START_S = 900.0
_LONG_AGO_S = 30 * 24 * 3600.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Served:
    """A LayoutLoop that runs.

    Args:
        url: of the shim.
        process_id: of scripts.serve, whose descendants are all of LayoutLoop.
        store: of the models.
        config: a label config with the checkpoint's labels.
        up_s: from its start until /health says UP.
        ready_s: from its start until the node holds every model.
    """

    url: str
    process_id: int
    store: Path
    config: str
    up_s: float
    ready_s: float

    def asleep(self) -> set[str]:
        """Return the models whose workers sleep."""
        return {name for report in live_nodes(self.store).values() for name in report["asleep"]}

    def wait_until_asleep(self, models: set[str], timeout_s: float = 300.0) -> None:
        """Wait until the workers of all these models are gone."""
        end = time.monotonic() + timeout_s
        while not models <= self.asleep():
            assert time.monotonic() < end, f"still awake: {', '.join(sorted(models - self.asleep()))}"
            time.sleep(_POLL_S)


def make_store(store: Path, checkpoint: Path, projects: int) -> None:
    """Archive the checkpoint as the model of projects 1 to `projects` and put each into service, asked long ago."""
    card = build_ocr(store, OcrSettings())
    promote(store, OCR_MODEL, card.version, untested=True)
    for project in range(1, projects + 1):
        card = build_project(store, project, checkpoint, ProjectSettings())
        promote(store, card.model, card.version, untested=True)
        before = time.time() - _LONG_AGO_S
        for path in (asked_path(store, card.model), store / card.model / "serving.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (before, before))


@contextmanager
def serving(folder: Path, checkpoint: Path, projects: int, settings: Mapping[str, str]) -> Iterator[Served]:
    """Run a LayoutLoop over a store of `make_store` until the end of the block.

    Args:
        folder: gets its home and its store.
        checkpoint: of every project.
        projects: how many.
        settings: further settings, LAYOUTLOOP_IDLE_S for example.
    """
    store = folder / "store"
    make_store(store, checkpoint, projects)
    _, _, shim_port, torchserve_port = free_ports()
    environ = os.environ | {
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",  # nobody: pages come as data: URIs
        "LABEL_STUDIO_API_KEY": KEY,
        "LAYOUTLOOP_HOME": str(folder / "home"),
        "MODEL_DIR": str(store),
        "LAYOUTLOOP_PORT": str(shim_port),
        "LAYOUTLOOP_TORCHSERVE_PORT": str(torchserve_port),
        **settings,
    }
    models = {OCR_MODEL, *(project_model(project) for project in range(1, projects + 1))}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "scripts.serve"], env=environ, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{shim_port}"
        up_s, ready_s = _starting(process, url, store, models, began)
        yield Served(url, process.pid, store, label_config(checkpoint), up_s, ready_s)
    finally:
        process.terminate()
        process.wait(120)


def _starting(
    process: subprocess.Popen[bytes], url: str, store: Path, models: set[str], began: float
) -> tuple[float, float]:
    """Return after how many seconds /health said UP, and after how many the node held all models."""
    up_s = None
    while time.perf_counter() - began < START_S:
        assert process.poll() is None, "scripts.serve ended"
        if up_s is None and _is_up(url):
            up_s = time.perf_counter() - began
        held = {name for report in live_nodes(store).values() for name, versions in report["holds"].items() if versions}
        if up_s is not None and models <= held:
            return up_s, time.perf_counter() - began
        time.sleep(_POLL_S)
    raise SystemExit(f"it did not get ready in {START_S:.0f} s: it holds {', '.join(sorted(held)) or 'nothing'}")


def _is_up(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/health", timeout=5).json()["status"] == "UP")
    except requests.RequestException:
        return False
