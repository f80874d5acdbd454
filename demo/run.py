"""The whole loop on this machine, with a real Label Studio: `scripts/demo.sh`.

Starts Label Studio, TorchServe, the shim and the trainer. Makes two projects of generated invoices, labels a third of
their pages through the API as a person would, connects them, trains a model for each and lets it draw the rest. Each
step is a command that anybody could type, and is shown. `--pages DIR` takes your own images instead; nothing is
labelled then, which is up to you.
"""

from __future__ import annotations

import argparse
import html
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from demo.errors import DemoFailed
from demo.invoices import LABELS, make_invoice
from demo.layoutloop import (
    USER,
    RunningLoop,
    check_settings,
    demo_environment,
    running_layoutloop,
    write_settings,
)
from demo.projects import annotate, make_project, project_title, retrieve_predictions, say, tasks_of
from demo.studio import Account, RunningStudio, running_studio
from demo.tasks import OCR, RECTANGLES, label_config
from layoutloop.named_files import named_file
from layoutloop.processes.command import as_command
from layoutloop.processes.parts import instance_lock
from layoutloop.settings.node import REPOSITORY
from layoutloop.studio.client import StudioClient, open_studio

SETTINGS_FILE = "env.sh"
TITLES = {OCR: "Invoices, OCR template", RECTANGLES: "Invoices, RectangleLabels"}
_LAYOUTS = 4


@dataclass(frozen=True, slots=True)
class Demo:
    """What the steps share.

    Args:
        client: of Label Studio's API.
        studio: Label Studio.
        loop: LayoutLoop.
        home: folder of all of it.
    """

    client: StudioClient
    studio: RunningStudio
    loop: RunningLoop
    home: Path


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C."""
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs start with SIGINT ignored
        signal.signal(number, _interrupt)
    home = options.home.resolve()
    try:
        with named_file(f"--home {options.home}", "it is a folder where you may write", "written"):
            home.mkdir(parents=True, exist_ok=True)
        with instance_lock(home) as held:
            if not held:
                raise DemoFailed(f"another demo runs in {home}: stop it, or choose another folder (--home)")
            _run_all(options, home)
    except KeyboardInterrupt:
        say("everything is stopped")
    return 0


def _run_all(options: argparse.Namespace, home: Path) -> None:
    """Start everything, do the steps, and stay until something ends."""
    account = Account.in_folder(home / "label-studio")
    url = f"http://127.0.0.1:{options.studio_port}"
    environ = demo_environment(os.environ, home, url, account)
    check_settings(environ)  # now, and not after Label Studio has started
    say("Label Studio starts (the first time it makes its database, half a minute)")
    with (
        running_studio(home / "label-studio", options.studio_port, account) as studio,
        running_layoutloop(environ, studio) as loop,
        open_studio(studio.url, account.token) as client,
    ):
        demo = Demo(client, studio, loop, home)
        write_settings(home / SETTINGS_FILE, environ)
        print("\n".join(addresses(demo)), flush=True)
        run(demo, options)
        say("Ctrl-C stops everything. The next scripts/demo.sh goes on with the same projects.")
        watch(demo)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(  # demo.sh knows the names in full alone
        prog="scripts/demo.sh", description=(__doc__ or "").split("\n\n")[1], allow_abbrev=False
    )
    parser.add_argument("--count", type=int, default=30, help="invoices in each project; a third gets labelled")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="your own images and PDFs instead of invoices")
    parser.add_argument(
        "--labels",
        help="of your own pages, separated by commas (default: those of the invoices)",
        default=",".join(LABELS),
    )
    parser.add_argument("--studio-port", type=int, default=8080, help="Label Studio's port (default: 8080)")
    parser.add_argument("--home", type=Path, default=REPOSITORY / "var" / "demo", help="where all of it is kept")
    options = parser.parse_args(arguments)
    if options.count < 3:
        parser.error("--count is 3 or more: a third gets labelled")
    if not 1 <= options.studio_port <= 65535:
        parser.error(f"--studio-port is between 1 and 65535, got {options.studio_port}")
    if options.pages and not options.pages.is_dir():
        parser.error(f"--pages: {options.pages} is no folder")
    options.labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    if not options.labels:
        parser.error("--labels names no label")
    return options


def watch(demo: Demo) -> None:
    """Wait until something ends that should not.

    Raises:
        DemoFailed: Label Studio or LayoutLoop ended.
    """
    watched = (
        ("Label Studio", demo.studio.process, demo.home / "label-studio"),
        ("LayoutLoop", demo.loop.process, demo.loop.logs),
    )
    while True:
        for name, process, logs in watched:
            if process.poll() is not None:
                raise DemoFailed(f"{name} ended with status {process.returncode}; its log is in {logs}")
        time.sleep(1)


def run(demo: Demo, options: argparse.Namespace) -> None:
    """Make the projects and bring them to the point where a person sees what it is about."""
    if options.pages:
        projects = [own_pages(demo, options.pages, options.labels)]
    else:
        projects = [invoice_project(demo, kind, options.count) for kind in (OCR, RECTANGLES)]
    tell(demo, projects, trained=not options.pages)


def own_pages(demo: Demo, folder: Path, labels: Sequence[str]) -> int:
    """Make a project of a person's own pages, with their text drawn; what cannot be read is left out.

    Raises:
        DemoFailed: not one page could be imported.
    """
    config = label_config([html.escape(label) for label in labels], OCR)
    project = make_project(demo.client, project_title(folder.resolve()), config)
    status = command(demo, "scripts.import_documents", "--project", str(project), str(folder.resolve()))
    if status and not tasks_of(demo.client, project):
        raise DemoFailed(f"no page of {folder} could be imported; what was printed above says why")
    if status:
        say("some files were left out; the reasons are above. The others go on")
    must(demo, "scripts.connect", "--project", str(project))
    retrieve_predictions(demo.client, project)
    return project


def invoice_project(demo: Demo, kind: str, count: int) -> int:
    """Make a project of invoices, label a third of them, train, and draw the others."""
    invoices = [
        make_invoice(number, number % _LAYOUTS)
        for number in tqdm(range(count), "drawing", unit=" invoices", disable=None)
    ]
    folder = demo.home / "invoices"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{invoice.name}.png" for invoice in invoices]
    for invoice, file in zip(invoices, files, strict=True):
        invoice.image.save(file)
    project = make_project(demo.client, TITLES[kind], label_config(LABELS, kind))
    must(demo, "scripts.import_documents", "--project", str(project), *map(str, files))
    annotate(demo.client, project, kind, invoices[: max(1, count // 3)])
    must(demo, "scripts.connect", "--project", str(project))
    if not (demo.home / "model_store" / f"project-{project}" / "serving.json").exists():
        must(demo, "scripts.retrain", "--project", str(project), "--wait")
    retrieve_predictions(demo.client, project)
    return project


def must(demo: Demo, *arguments: str) -> None:
    """Run a command that nothing works without.

    Raises:
        DemoFailed: it failed.
    """
    if status := command(demo, *arguments):
        raise DemoFailed(f"{arguments[0]} ended with status {status}; what it printed is above")


def command(demo: Demo, *arguments: str) -> int:
    """Run one of our commands as a person would, show it, and return its status."""
    shown = shlex.join(arguments)
    say(f"$ python -m {shown if len(shown) < 160 else shown[:150] + ' ...'}")
    # A session of its own, and ended by us: Ctrl-C would have it say where in its code it was.
    launcher = [sys.executable, "-m", "layoutloop.processes.launch", "--", sys.executable, "-m"]
    with subprocess.Popen(
        [*launcher, *arguments], cwd=REPOSITORY, env=demo.loop.environ, start_new_session=True
    ) as ran:
        try:
            return ran.wait()
        finally:
            ran.terminate()


TRAINED = """\
Look at: a task without an annotation. Its boxes, labels and texts were drawn by the model that learned from the others.
Correct and submit some: after ten, the next model is trained by itself; Start Training (Settings > Model) does it at
once (do that where fewer than ten are left). Follow it on the dashboard. Then Actions > Retrieve Predictions draws
with the new model.
"""
UNTRAINED = """\
Look at: a task. Its lines of text are boxes already; give them labels. After ten annotated pages the first model is
trained by itself; follow it on the dashboard. Then Actions > Retrieve Predictions.
"""


def addresses(demo: Demo) -> list[str]:
    """Return where everything is, how to sign in, and how to use commands with it."""
    account, settings = demo.studio.account, shlex.quote(str(demo.home / SETTINGS_FILE))
    return [
        "",
        f"Label Studio   {demo.studio.url}   sign in as {account.email} with {account.password}",
        f"Dashboard      {demo.loop.url}/dashboard   user {USER}, the same password",
        f"Commands       . {settings}   makes a shell's commands those of this LayoutLoop",
        "",
    ]


def tell(demo: Demo, projects: Sequence[int], *, trained: bool) -> None:
    """Say where everything is and what to look at."""
    lines = [
        *addresses(demo)[:-1],
        *(f"Project {project}      {demo.studio.url}/projects/{project}/data" for project in projects),
        "",
        TRAINED if trained else UNTRAINED,
    ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
