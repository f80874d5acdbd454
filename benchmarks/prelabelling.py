"""One command against Retrieve Predictions, pressed as often as it takes: time, presses, one prediction for each task.

`python -m benchmarks.prelabelling --tasks 300 [--height 0.1]`
starts a real Label Studio (as the demo does) and a LayoutLoop of its own, without a model: pages are read, and each
line is drawn. Four projects of the OCR template, of two sets of pages (strips of generated invoices, of a share of
their height): the command and the button each get a set that nobody read before (cold), then the other's set (warm).
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.running import Running, environment, free_ports, label_config, serving
from benchmarks.timing import machine
from demo.invoices import make_invoice
from demo.studio import Account, running_studio
from layoutloop.errors import StudioUnavailable
from layoutloop.store.manifest import OCR_MODEL
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.predictions import ProjectPredictions

MOST_PRESSES = 50
INVOICES = 30


def page_uris(count: int, height: float) -> list[str]:
    """Return different pages as data: URIs that a task can hold: strips of generated invoices."""
    chance = random.Random(0)
    sheets = [make_invoice(seed).image for seed in range(INVOICES)]
    uris: dict[str, None] = {}
    while len(uris) < count:
        sheet = sheets[len(uris) % INVOICES]
        top = chance.randrange(max(1, round(sheet.height * (1 - height))))
        buffer = io.BytesIO()
        strip = sheet.crop((0, top, sheet.width, top + round(sheet.height * height)))
        strip.save(buffer, format="JPEG", quality=80 + chance.randrange(10))
        uris["data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()] = None
    return list(uris)


def tasks_and_height(description: str | None) -> argparse.Namespace:
    """Read the command line of a measurement with generated tasks: `tasks`, and `height` of their pages."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--height", type=float, default=1.0, help="share of an invoice's height that is a page")
    return parser.parse_args()


def make_project(client: StudioClient, ours: Running, title: str, pages: list[str]) -> int:
    """Return a new project with a task for each page, connected while it has none."""
    fields = {"title": title, "label_config": label_config(None)}
    project = int(client.post("/api/projects", fields)["id"])
    command(ours, "scripts.connect", project)
    client.post(f"/api/projects/{project}/import", [{"data": {"image": page}} for page in pages])
    return project


def command(ours: Running, module: str, project: int) -> None:
    """Run a command of ours for a project."""
    subprocess.run([sys.executable, "-m", module, "--project", str(project)], env=ours.environ, check=True)


def press(client: StudioClient, project: int, tasks: int) -> int:
    """Press Retrieve Predictions until no task is without one; return how often."""
    everything = {"selectedItems": {"all": True, "excluded": []}}
    for presses in range(1, MOST_PRESSES):
        try:
            client.post("/api/dm/actions", everything, {"id": "retrieve_tasks_predictions", "project": project})
        except StudioUnavailable as error:
            print(f"press {presses}: {error}", flush=True)
        if sum(counts(client, project).values()) >= tasks:
            return presses
    raise SystemExit(f"not done after {MOST_PRESSES} presses")


def counts(client: StudioClient, project: int) -> Mapping[str, int]:
    """Return how many predictions of each version a project has."""
    found: Mapping[str, int] = client.get(f"/api/projects/{project}/model-versions/")
    return found


def measure(name: str, client: StudioClient, project: int, tasks: int, do: Callable[[], int]) -> str:
    """Return a line of the table; the run ends where a task has not exactly one prediction."""
    began = time.perf_counter()
    presses = do()
    took_s = time.perf_counter() - began
    ((version, stored),) = counts(client, project).items()
    lacking = ProjectPredictions(client, project).lacking(version).total
    assert (stored, lacking) == (tasks, 0), f"{stored} predictions for {tasks} tasks, {lacking} without one"
    line = f"| {name} | {took_s:.0f} s | {presses} | {tasks / took_s:.1f} |"
    print(line, flush=True)
    return line


def main() -> None:
    """Run it."""
    options = tasks_and_height(__doc__)
    count = options.tasks
    print(machine(), flush=True)
    pages = page_uris(2 * count, options.height)
    ours_pages, their_pages = pages[:count], pages[count:]
    account = Account("a-long-password-1", "0123456789abcdef" * 2 + "01234567")
    with tempfile.TemporaryDirectory(prefix="prelabelling-") as name:
        folder = Path(name)
        with running_studio(folder / "studio", free_ports(1), account) as studio:
            settings = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": account.token}
            with (
                serving(environment(folder, settings), {OCR_MODEL}) as ours,
                open_studio(studio.url, account.token) as client,
            ):
                lines = []
                for heat, first, second in (("cold", ours_pages, their_pages), ("warm", their_pages, ours_pages)):
                    one = make_project(client, ours, f"Command, {heat}", first)
                    other = make_project(client, ours, f"Button, {heat}", second)
                    sides: tuple[tuple[str, int, Callable[[], int]], ...] = (
                        ("scripts.prelabel", one, lambda one=one: command(ours, "scripts.prelabel", one) or 1),  # type: ignore[misc, func-returns-value]
                        ("Retrieve Predictions", other, lambda other=other: press(client, other, count)),  # type: ignore[misc]
                    )
                    lines += [measure(f"{side}, {heat}", client, project, count, do) for side, project, do in sides]
    print("\n| | time | commands or presses | tasks/s |\n|---|---|---|---|\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
