"""From the tenth annotation to the last waiting task redrawn, and what people notice of it.

`python -m benchmarks.drawn_by_itself [--tasks 300] [--height 0.3]` starts a real Label Studio (as the demo does) and a
LayoutLoop of its own, connects a project and imports pages: strips of generated invoices, of a share of their height.
They are drawn by themselves; then ten are annotated, and nobody does anything else: the training begins, its version
goes into service, the waiting tasks get its boxes.
Meanwhile, twice a second each: /health of the shim, a webhook (beside the pre-labelling one of new tasks, which joins
or queues a job) and a task that is opened in Label Studio. 20 tasks besides are kept for that.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from benchmarks.prelabelling import tasks_and_height
from benchmarks.running import Running, environment, free_ports, serving
from benchmarks.timing import machine, percentile
from demo.invoices import LABELS, make_invoice
from demo.sheet import GoldRegion
from demo.studio import Account, running_studio
from demo.tasks import OCR, annotation_result, label_config
from handler.page import Box
from layoutloop.store.manifest import OCR_MODEL
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.predictions import ProjectPredictions

ANNOTATED, OPENED = 10, 20
LAYOUTS, INVOICES, STEP_PX = 4, 30, 12
PRELABELLING = "the pre-labelling"
QUIET_S = 60.0
_EVERY_S = 0.5
_POLL_S = 0.5
_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Strip:
    """A page, and what is to be marked on it."""

    image: Image.Image
    regions: list[GoldRegion]


def cut_strips(count: int, share: float) -> Iterator[Strip]:
    """Yield different pages: each invoice from its top, then from a bit further down and so on."""
    sheets = [make_invoice(seed, seed % LAYOUTS) for seed in range(INVOICES)]
    for number in range(count):
        sheet = sheets[number % INVOICES]
        width, whole = sheet.image.size
        height, top = round(whole * share), number // INVOICES * STEP_PX
        moved = (
            GoldRegion(one.label, Box(one.box.left, one.box.top - top, one.box.right, one.box.bottom - top), one.text)
            for one in sheet.regions
        )
        inside = [one for one in moved if one.box.top >= 0 and one.box.bottom <= height]
        yield Strip(sheet.image.crop((0, top, width, top + height)), inside)


@dataclass
class Probe:
    """Calls something again and again, and sorts what each call took by what happened meanwhile.

    Args:
        name: of the row.
        call: what is done, while something happens.
        phase: what happens now.
    """

    name: str
    call: Callable[[str], object]
    phase: str = ""
    took_ms: dict[str, list[float]] = field(default_factory=dict)

    def run(self, ended: threading.Event) -> None:
        """Call until the end."""
        while not ended.wait(_EVERY_S):
            phase, began = self.phase, time.perf_counter()
            self.call(phase)
            self.took_ms.setdefault(phase, []).append((time.perf_counter() - began) * 1000)


@dataclass(frozen=True)
class Scene:
    """What runs.

    Args:
        client: of Label Studio.
        ours: LayoutLoop.
        project: its id.
        tasks: ids; those annotated first, those opened last.
        strips: the pages of those that are annotated.
    """

    client: StudioClient
    ours: Running
    project: int
    tasks: list[int]
    strips: list[Strip]

    @property
    def waiting(self) -> list[int]:
        """The tasks that nobody touches."""
        return self.tasks[ANNOTATED:-OPENED]

    def jobs(self) -> list[dict[str, Any]]:
        """Return the project's jobs, newest first."""
        answer = requests.get(f"{self.ours.url}/jobs", params={"project": self.project}, timeout=30)
        found: list[dict[str, Any]] = answer.json()["jobs"]
        return found

    def lacking(self) -> int:
        """Return how many of the waiting tasks lack the version in service."""
        studio = ProjectPredictions(self.client, self.project)
        body = {"project": str(self.project), "schema": label_config(LABELS, OCR)}
        version = requests.post(f"{self.ours.url}/setup", json=body, timeout=30).json()["model_version"]
        return len(studio.still_lacking(version, self.waiting))

    def annotate(self, number: int) -> None:
        """Submit what a person would have drawn."""
        strip = self.strips[number]
        result = annotation_result(strip.regions, *strip.image.size, OCR)
        self.client.post(f"/api/tasks/{self.tasks[number]}/annotations", {"result": result, "lead_time": 30.0})

    def probes(self) -> list[Probe]:
        """Return what people and Label Studio do meanwhile."""
        opened = itertools.cycle(self.tasks[-OPENED:])
        url, project = self.ours.url, self.project

        def webhook(phase: str) -> None:
            action = "TASKS_CREATED" if phase == PRELABELLING else "TASKS_DELETED"
            event = {"action": action, "tasks": [], "project": {"id": project}}
            requests.post(f"{url}/webhook", json=event, timeout=60).raise_for_status()

        return [
            Probe("/health", lambda _: requests.get(f"{url}/health", timeout=60).raise_for_status()),
            Probe("a webhook", webhook),
            Probe("opening a task", lambda _: self.client.get(f"/api/tasks/{next(opened)}/", {"project": project})),
        ]


def wait_until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + _LONGEST_S
    while not done():
        assert time.monotonic() < end, "it does not come to an end"
        time.sleep(_POLL_S)


@contextmanager
def scene(folder: Path, count: int, share: float) -> Iterator[Scene]:
    """Start everything, and import the pages; they begin to be drawn, without labels."""
    account = Account("a-long-password-1", "0123456789abcdef" * 2 + "01234567")
    with running_studio(folder / "studio", free_ports(1), account) as studio:
        settings = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": account.token, "LAYOUTLOOP_PRELABEL": "all"}
        with (
            serving(environment(folder, settings), {OCR_MODEL}) as ours,
            open_studio(studio.url, account.token) as client,
        ):
            fields = {"title": "Drawn by itself", "label_config": label_config(LABELS, OCR)}
            project = int(client.post("/api/projects", fields)["id"])
            pages = folder / "pages"
            pages.mkdir()
            strips = []
            for number, strip in enumerate(cut_strips(count + ANNOTATED + OPENED, share)):
                strip.image.save(pages / f"{number:05d}.jpg", quality=85)
                strips += [strip] if number < ANNOTATED else []
            for module, *more in (("scripts.connect",), ("scripts.import_documents", str(pages))):
                command = [sys.executable, "-m", module, "--project", str(project), *more]
                subprocess.run(command, env=ours.environ, check=True, stdout=subprocess.DEVNULL)
            tasks = ProjectPredictions(client, project)
            ids: list[int] = []
            while listed := tasks.lacking(None, ids[-1] if ids else 0).tasks:
                ids += [int(task["id"]) for task in listed]
            yield Scene(client, ours, project, ids, strips)


def measure(made: Scene, probes: list[Probe]) -> dict[str, float]:
    """Submit the tenth annotation, wait; return minutes until each thing was done, from that on."""

    def enter(phase: str) -> None:
        print(phase, flush=True)
        for probe in probes:
            probe.phase = phase

    def promoted() -> bool:
        return any(job["verdict"] == "promoted" for job in made.jobs())

    enter("nothing")
    time.sleep(QUIET_S)
    began = time.monotonic()
    made.annotate(ANNOTATED - 1)
    enter("the training")
    wait_until(promoted)
    in_service = time.monotonic()
    enter(PRELABELLING)
    wait_until(lambda: not made.lacking())
    ended = time.monotonic()
    return {"in service": (in_service - began) / 60, "last task drawn": (ended - began) / 60}


def main() -> None:
    """Run it."""
    options = tasks_and_height(__doc__)
    count = options.tasks
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="by-itself-") as name, scene(Path(name), count, options.height) as made:
        began = time.monotonic()
        wait_until(lambda: not made.lacking())
        first = (time.monotonic() - began) / 60
        print(f"drawn before any model, from the end of the import: {first:.1f} min", flush=True)
        for number in range(ANNOTATED - 1):
            made.annotate(number)
        probes, ended = made.probes(), threading.Event()
        threads = [threading.Thread(target=probe.run, args=(ended,)) for probe in probes]
        for thread in threads:
            thread.start()
        try:
            minutes = measure(made, probes)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    print(f"from the tenth annotation, {count} waiting tasks:")
    print("\n".join(f"{what}: {taken:.1f} min" for what, taken in minutes.items()))
    print("\n| | meanwhile | calls | p50 | p99 | most |\n|---|---|---|---|---|---|")
    for probe in probes:
        for phase, took in probe.took_ms.items():
            shares = (percentile(took, 0.5), percentile(took, 0.99), max(took))
            figures = " | ".join(f"{value:.0f} ms" for value in shares)
            print(f"| {probe.name} | {phase} | {len(took)} | {figures} |")


if __name__ == "__main__":
    main()
