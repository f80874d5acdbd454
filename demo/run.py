"""The whole loop on this machine, with a real Label Studio: `scripts/demo.sh`.

Starts Label Studio, TorchServe, the shim and the trainer. Makes two projects of generated invoices, labels a third of
their pages through the API as a person would, connects them, trains a model for each and lets it draw the rest. Each
step is a command that anybody could type, and is shown. `--pages DIR` takes your own images instead; nothing is
labelled then, which is up to you.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from demo.invoices import LABELS, Invoice, make_invoice
from demo.studio import Account, RunningStudio, StudioFailed, running_studio
from demo.tasks import OCR, RECTANGLES, annotation_result, label_config
from scripts.node import REPOSITORY
from shim.credentials import LabelStudioKey
from shim.errors import LayoutLoopError
from shim.studio_client import StudioClient

TITLES = {OCR: "Invoices, OCR template", RECTANGLES: "Invoices, RectangleLabels"}
USER = "demo"
_LAYOUTS = 4
_SERVES_S = 600.0
_STOPS_S = 150.0
_PAGE_SIZE = 500


class DemoFailed(Exception):
    """A step failed; what it printed says why."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the steps share.

    Args:
        client: asks Label Studio.
        environ: variables of the commands.
        studio: Label Studio's address.
        shim: ours.
    """

    client: StudioClient
    environ: Mapping[str, str]
    studio: str
    shim: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.count < 3:
        parser.error("--count is 3 or more: a third gets labelled")
    signal.signal(signal.SIGTERM, _interrupt)
    home = options.home.resolve()
    try:
        account = Account.in_folder(home / "label-studio")
        say("Label Studio starts (the first time it makes its database, half a minute)")
        with (
            running_studio(home / "label-studio", options.studio_port, account) as studio,
            serving(home, studio) as demo,
        ):
            run(demo, options, home)
            say("Ctrl-C stops everything. The next scripts/demo.sh goes on with the same projects.")
            while studio.process.poll() is None:
                time.sleep(1)
            raise DemoFailed("Label Studio ended")
    except KeyboardInterrupt:
        say("everything is stopped")
        return 0
    except (DemoFailed, StudioFailed, LayoutLoopError) as error:
        say(f"error: {error}")
        return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/demo.sh", description=__doc__.split("\n\n")[1])
    parser.add_argument("--count", type=int, default=30, help="invoices in each project; a third gets labelled")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="your own images and PDFs instead of invoices")
    parser.add_argument(
        "--labels",
        help="of your own pages, separated by commas (default: those of the invoices)",
        default=",".join(LABELS),
    )
    parser.add_argument("--studio-port", type=int, default=8080, help="Label Studio's port (default: 8080)")
    parser.add_argument("--home", type=Path, default=REPOSITORY / "var" / "demo", help="where all of it is kept")
    return parser


def say(text: str) -> None:
    """Print a line about what goes on."""
    print(f"demo: {text}", flush=True)


@contextmanager
def serving(home: Path, studio: RunningStudio) -> Iterator[Demo]:
    """Run LayoutLoop until the block ends."""
    environ = {
        **os.environ,
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.account.token,
        "LAYOUTLOOP_HOME": str(home / "layoutloop"),
        "MODEL_DIR": str(home / "model_store"),
        "BASIC_AUTH_USER": USER,
        "BASIC_AUTH_PASS": studio.account.password,
    }
    environ.setdefault("LAYOUTLOOP_PORT", "9090")
    command = [sys.executable, "-m", "scripts.launch", "--", sys.executable, "-m", "scripts.serve"]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=subprocess.DEVNULL, start_new_session=True)
    key = LabelStudioKey(studio.url, studio.account.token)
    client = StudioClient(studio.url, key)
    try:
        shim = f"http://127.0.0.1:{environ['LAYOUTLOOP_PORT']}"
        _wait_until_ready(process, shim)
        yield Demo(client, environ, studio.url, shim)
    finally:
        client.close()
        key.close()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOPS_S)


def _wait_until_ready(process: subprocess.Popen[bytes], shim: str) -> None:
    end = time.monotonic() + _SERVES_S
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < end:
            if process.poll() is not None:
                raise DemoFailed("LayoutLoop could not start; its message is above")
            with suppress(requests.RequestException, ValueError):
                if session.get(f"{shim}/health", timeout=2).json().get("ready"):
                    return
            time.sleep(0.5)
    raise DemoFailed(f"LayoutLoop was not ready at {shim} within {_SERVES_S:g} s")


def run(demo: Demo, options: argparse.Namespace, home: Path) -> None:
    """Make the projects and bring them to the point where a person sees what it is about."""
    if options.pages:
        projects = [own_pages(demo, options.pages, options.labels.split(","))]
    else:
        projects = [invoice_project(demo, kind, options.count, home) for kind in (OCR, RECTANGLES)]
    tell(demo, projects, home, trained=not options.pages)


def own_pages(demo: Demo, folder: Path, labels: Sequence[str]) -> int:
    """Make a project of a person's own pages, with their text drawn."""
    project = make_project(demo, f"My pages: {folder.resolve().name}", label_config(labels, OCR))
    command(demo, "scripts.import_documents", "--project", str(project), str(folder.resolve()))
    command(demo, "scripts.connect", "--project", str(project))
    retrieve_predictions(demo, project)
    return project


def invoice_project(demo: Demo, kind: str, count: int, home: Path) -> int:
    """Make a project of invoices, label a third of them, train, and draw the others."""
    invoices = [make_invoice(number, number % _LAYOUTS) for number in tqdm(range(count), "invoices", disable=None)]
    folder = home / "invoices"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{invoice.name}.png" for invoice in invoices]
    for invoice, file in zip(invoices, files, strict=True):
        invoice.image.save(file)
    project = make_project(demo, TITLES[kind], label_config(LABELS, kind))
    command(demo, "scripts.import_documents", "--project", str(project), *map(str, files))
    annotate(demo, project, kind, invoices[: max(1, count // 3)])
    command(demo, "scripts.connect", "--project", str(project))
    if not _has_model(home, project):
        command(demo, "scripts.retrain", "--project", str(project), "--wait")
    retrieve_predictions(demo, project)
    return project


def make_project(demo: Demo, title: str, config: str) -> int:
    """Return the project with a title, made if it is missing."""
    found = demo.client.get("/api/projects", {"page_size": 1000})["results"]
    for project in found:
        if project["title"] == title:
            return int(project["id"])
    say(f"a new project: {title}")
    return int(demo.client.post("/api/projects", {"title": title, "label_config": config})["id"])


def tasks_of(demo: Demo, project: int) -> list[dict[str, Any]]:
    """Return a project's tasks, annotated or not."""
    query: dict[str, str | int] = {"project": project, "fields": "all", "page_size": _PAGE_SIZE}
    tasks: list[dict[str, Any]] = demo.client.get("/api/tasks", query)["tasks"]
    return tasks


def annotate(demo: Demo, project: int, kind: str, invoices: Sequence[Invoice]) -> None:
    """Label invoices as a person would who makes no mistake; those that are labelled are left alone."""
    by_file = {f"{invoice.name}.png": invoice for invoice in invoices}
    waiting = [
        (task["id"], by_file[name])
        for task in tasks_of(demo, project)
        if not task["total_annotations"] and (name := task["meta"]["layoutloop"]["file"]) in by_file
    ]
    if waiting:
        say(f"{len(waiting)} invoices are labelled through Label Studio's API")
    for task, invoice in tqdm(waiting, "labelling", disable=None):
        result = annotation_result(invoice.regions, *invoice.image.size, kind)
        demo.client.post(f"/api/tasks/{task}/annotations", {"result": result})


def retrieve_predictions(demo: Demo, project: int) -> None:
    """Do what Actions > Retrieve Predictions does for all tasks of a project, until each has its prediction."""
    missing = -1
    for _ in range(20):
        say(f"project {project}: Actions > Retrieve Predictions")
        demo.client.post(
            "/api/dm/actions",
            {"selectedItems": {"all": True, "excluded": []}},
            {"id": "retrieve_tasks_predictions", "project": project},
        )
        # Not the tasks' `total_predictions`, which Label Studio brings up to date a while later.
        done = {one["task"] for one in demo.client.get("/api/predictions", {"project": project})}
        before, missing = missing, sum(task["id"] not in done for task in tasks_of(demo, project))
        if missing in (0, before):
            break
        say(f"{missing} tasks are still being read")
    if missing:
        say(f"{missing} tasks of project {project} have no prediction; the shim's log says why")


def command(demo: Demo, *arguments: str) -> None:
    """Run one of our commands as a person would, and show it.

    Raises:
        DemoFailed: it failed.
    """
    shown = shlex.join(arguments)
    say(f"$ python -m {shown if len(shown) < 160 else shown[:150] + ' ...'}")
    ended = subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, env=demo.environ, check=False)
    if ended.returncode:
        raise DemoFailed(f"{arguments[0]} ended with status {ended.returncode}; what it printed is above")


TRAINED = """\
Look at: a task without an annotation. Its boxes, labels and texts were drawn by the model that learned from the others.
Correct and submit some: after ten, the next model is trained by itself; Start Training (Settings > Model) does it at
once. Follow it on the dashboard. Then Actions > Retrieve Predictions draws with the new model.
"""
UNTRAINED = """\
Look at: a task. Its lines of text are boxes already; give them labels. After ten annotated pages the first model is
trained by itself; follow it on the dashboard. Then Actions > Retrieve Predictions.
"""


def tell(demo: Demo, projects: Sequence[int], home: Path, *, trained: bool) -> None:
    """Say where everything is and what to look at."""
    account = Account.in_folder(home / "label-studio")
    lines = [
        "",
        f"Label Studio   {demo.studio}   sign in as {account.email} with {account.password}",
        f"Dashboard      {demo.shim}/dashboard   user {USER}, the same password",
        *(f"Project {project}      {demo.studio}/projects/{project}/data" for project in projects),
        "",
        TRAINED if trained else UNTRAINED,
    ]
    print("\n".join(lines), flush=True)


def _has_model(home: Path, project: int) -> bool:
    return (home / "model_store" / f"project-{project}" / "serving.json").exists()


if __name__ == "__main__":
    sys.exit(main())
