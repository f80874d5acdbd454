"""What a person does in Label Studio's screen, through its API: makes projects, labels tasks, retrieves predictions."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from demo.invoices import Invoice
from demo.tasks import annotation_result
from layoutloop.plural import counted
from layoutloop.studio.client import StudioClient

_LONGEST_TITLE = 50
"""Label Studio answers 400 to a longer one."""
_PROJECTS_AT_A_TIME = 100
_TASKS_AT_A_TIME = 500
_PRESSES = 20
_STILL, _PAUSE_S = 5, 3.0


def say(text: str) -> None:
    """Print a line about what goes on."""
    print(f"demo: {text}", flush=True)


def project_title(folder: Path) -> str:
    """Return the title of the project that shows a folder, as Label Studio keeps it."""
    name = os.fsencode(folder.name).decode(errors="replace")
    return f"My pages: {name}"[:_LONGEST_TITLE].strip()


def make_project(client: StudioClient, title: str, config: str) -> int:
    """Return the project with a title, made if it is missing."""
    page = 1
    while True:
        query: dict[str, str | int] = {"page": page, "page_size": _PROJECTS_AT_A_TIME, "include": "id,title"}
        found = client.get("/api/projects", query)
        for project in found["results"]:
            if project["title"] == title:
                return int(project["id"])
        if not found["next"]:
            break
        page += 1
    say(f"a new project: {title}")
    return int(client.post("/api/projects", {"title": title, "label_config": config})["id"])


def tasks_of(client: StudioClient, project: int) -> list[dict[str, Any]]:
    """Return a project's tasks, annotated or not."""
    tasks: list[dict[str, Any]] = []
    page, total = 1, 1
    while len(tasks) < total:
        query: dict[str, str | int] = {"project": project, "page": page, "page_size": _TASKS_AT_A_TIME, "fields": "all"}
        body = client.get("/api/tasks", query)
        if not body["tasks"]:
            break
        tasks += body["tasks"]
        page, total = page + 1, body["total"]
    return tasks


def annotate(client: StudioClient, project: int, kind: str, invoices: Sequence[Invoice]) -> None:
    """Label invoices as a person would who makes no mistake; those that are labelled are left alone."""
    by_file = {f"{invoice.name}.png": invoice for invoice in invoices}
    waiting = [
        (task["id"], by_file[name])
        for task in tasks_of(client, project)
        if not task["total_annotations"] and (name := task["meta"]["layoutloop"]["file"]) in by_file
    ]
    if waiting:
        say(f"labelling {len(waiting)} of the tasks through Label Studio's API, as a person would")
    for task, invoice in tqdm(waiting, "labelling", unit=" tasks", disable=None):
        result = annotation_result(invoice.regions, *invoice.image.size, kind)
        client.post(f"/api/tasks/{task}/annotations", {"result": result})


def retrieve_predictions(client: StudioClient, project: int) -> None:
    """Do what Actions > Retrieve Predictions does for all tasks of a project, until each has its prediction."""
    missing, still = -1, 0
    say(f"project {project}: Actions > Retrieve Predictions (a page that was not read yet takes a second or two)")
    for _ in range(_PRESSES):
        client.post(
            "/api/dm/actions",
            {"selectedItems": {"all": True, "excluded": []}},
            {"id": "retrieve_tasks_predictions", "project": project},
        )
        # Not the tasks' `total_predictions`, which Label Studio brings up to date a while later.
        done = {one["task"] for one in client.get("/api/predictions", {"project": project})}
        before, missing = missing, sum(task["id"] not in done for task in tasks_of(client, project))
        if not missing:
            break
        if missing == before:
            # What LayoutLoop draws by itself is no press's to store; it is there a moment later.
            still += 1
            if still == _STILL:
                break
            time.sleep(_PAUSE_S)
            continue
        still = 0
        say(f"{counted(missing, 'task')} still to be read; the same again")
    if missing:
        say(f"{counted(missing, 'task')} of project {project} without a prediction; the shim's log says why")
