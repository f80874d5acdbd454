"""The loop in the containers of docker-compose.yml: `docker compose --profile demo up`.

Makes a project of generated invoices in the stack's Label Studio, labels a third of them through the API as a person
would, connects the project, trains a model and lets it draw the rest. Run again it goes on with the same project.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import requests

from demo.errors import DemoFailed
from demo.invoices import LABELS, make_invoice
from demo.projects import annotate, make_project, retrieve_predictions, say
from demo.tasks import OCR, label_config
from layoutloop.processes.command import as_command
from layoutloop.settings.node import REPOSITORY
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.studio.client import StudioClient, open_studio

TITLE = "Invoices, OCR template"
READY_S = 600.0
_LAYOUTS = 4
_POLL_S = 1.0


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo once; 0 when the model has drawn."""
    options = _parser().parse_args(arguments)
    settings = Settings.from_env(os.environ)
    wait_until_ready(settings, options.shim_url)
    with open_studio(settings.label_studio_url, settings.label_studio_api_key) as client:
        project = draw_invoices(client, settings, options.shim_url, options.count)
    say(
        f"project {project} is drawn: look at a task without an annotation, correct and submit some. After ten the next"
    )
    say("model is trained by itself; the dashboard shows it")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.stack", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--count", type=int, default=15, help="invoices; a third gets labelled")
    parser.add_argument(
        "--shim-url", default="http://layoutloop.internal:9090", help="the shim as Label Studio reaches it"
    )
    return parser


def wait_until_ready(settings: Settings, shim: str) -> None:
    """Wait for Label Studio, and for the shim to have a TorchServe that reads pages.

    Raises:
        DemoFailed: they took longer than READY_S.
    """
    end = time.monotonic() + READY_S
    auth = (settings.basic_auth_user, settings.basic_auth_pass)
    while time.monotonic() < end:
        with suppress(requests.RequestException):
            studio = requests.get(f"{settings.label_studio_url}/health", timeout=5)
            ready = requests.get(f"{shim}/health", auth=auth, timeout=5).json()
            if studio.ok and ready.get("ready"):
                return
        time.sleep(_POLL_S)
    raise DemoFailed(
        f"Label Studio ({settings.label_studio_url}) and the shim ({shim}) were not ready within {READY_S:g} s; "
        "`docker compose logs` says why"
    )


def draw_invoices(client: StudioClient, settings: Settings, shim: str, count: int) -> int:
    """Bring a project to the point where a model draws its pages; return its id.

    Raises:
        DemoFailed: a command failed.
    """
    invoices = [make_invoice(number, number % _LAYOUTS) for number in range(count)]
    project = make_project(client, TITLE, label_config(LABELS, OCR))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{invoice.name}.png") for invoice in invoices]
        for invoice, file in zip(invoices, files, strict=True):
            invoice.image.save(file)
        _must("scripts.import_documents", "--project", str(project), *map(str, files))
    annotate(client, project, OCR, invoices[: max(1, count // 3)])
    _must("scripts.connect", "--project", str(project), "--shim-url", shim)
    if ModelStore(settings.model_dir).manifest(project_model(project)) is None:
        _must("scripts.retrain", "--project", str(project), "--wait")
    retrieve_predictions(client, project)
    return project


def _must(*arguments: str) -> None:
    """Run one of our commands as a person would, and show it."""
    shown = " ".join(arguments)
    say(f"$ python -m {shown if len(shown) < 160 else shown[:150] + ' ...'}")
    status = subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, check=False).returncode
    if status:
        raise DemoFailed(f"{arguments[0]} ended with status {status}; what it printed is above")


if __name__ == "__main__":
    sys.exit(main())
