"""A project and its annotations, from Label Studio's API or from a file that it exported.

Measured with Label Studio 1.23.2: `GET /api/projects/{id}/export?exportType=JSON` lists, without more parameters,
only tasks that have an annotation (a skipped one counts), each with all its annotations in full, `was_cancelled`
and `ground_truth` among their fields. Drafts and predictions come as bare ids. `download_all_tasks=true` would add
the tasks without an annotation and nothing that training could use; `download_resources` changes nothing for JSON.
A key that may not see a project gets 404, as if it did not exist.

`updated_at` of a task moves with every change of its annotations: one that is made, changed, starred, skipped, taken
back or deleted, made of a prediction, or imported; with new predictions too. `num_tasks_with_annotations` of a project
leaves out annotations that are ground truth, `total_annotations` of a task leaves out skipped ones alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from layoutloop.errors import ExportInvalid, StudioUnavailable
from layoutloop.foreign_json import parse_message
from layoutloop.named_files import named_file, read_named_text
from layoutloop.studio.client import MAX_BYTES, StudioClient

_WHICH_EXPORT = "choose Export > JSON in Label Studio (not JSON-MIN, CSV or another format)"


@dataclass(frozen=True, slots=True)
class Project:
    """What Label Studio says about a project.

    Args:
        id: its number.
        title: its name.
        label_config: XML.
        tasks: how many it has.
        annotated_tasks: how many of them have an annotation that was not skipped and is no ground truth.
        annotations: how many annotations there are, skipped ones not counted.
    """

    id: int
    title: str
    label_config: str
    tasks: int
    annotated_tasks: int
    annotations: int


def read_project(client: StudioClient, project_id: int) -> Project:
    """Return what Label Studio says about a project.

    Raises:
        StudioUnavailable: it did not answer, or not with 200.
    """
    path = f"/api/projects/{project_id}/"
    body = client.get(path)
    try:
        return Project(
            id=int(body["id"]),
            title=str(body["title"]),
            label_config=str(body["label_config"]),
            tasks=int(body.get("task_number") or 0),
            annotated_tasks=int(body.get("num_tasks_with_annotations") or 0),
            annotations=int(body.get("total_annotations_number") or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudioUnavailable(
            f"{client.address(path)} answered something that is no project of Label Studio", 200
        ) from error


def count_annotated(client: StudioClient, project_id: int, since: datetime | None = None) -> int:
    """Return how many of a project's tasks have an annotation that was not skipped: one small answer, for any project.

    Args:
        client: asks.
        project_id: of the project.
        since: count only tasks that changed then or later, in what way so ever.

    Raises:
        StudioUnavailable: it did not answer, or not with 200.
    """
    conditions = [_condition("total_annotations", "greater", "Number", 0)]
    if since is not None:
        moment = since.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        conditions.append(_condition("updated_at", "greater_or_equal", "Datetime", moment))
    query = json.dumps({"filters": {"conjunction": "and", "items": conditions}})
    path = "/api/tasks"
    body = client.get(path, {"project": project_id, "page_size": 1, "resolve_uri": "false", "query": query})
    total = body.get("total") if isinstance(body, Mapping) else None
    if not isinstance(total, int):
        raise StudioUnavailable(f"{client.address(path)} answered something that is no list of tasks", 200)
    return total


def _condition(column: str, operator: str, kind: str, value: int | str) -> dict[str, int | str]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def export_project(client: StudioClient, project_id: int) -> list[dict[str, Any]]:
    """Return the project's tasks that have an annotation, with all of them.

    Raises:
        StudioUnavailable: Label Studio did not answer, or not with 200.
        ExportInvalid: the answer is no export.
    """
    path = f"/api/projects/{project_id}/export"
    return check_export(client.get(path, {"exportType": "JSON"}), str(client.address(path)))


def read_export(path: Path) -> list[dict[str, Any]]:
    """Return the tasks of a file that Label Studio exported as JSON.

    Raises:
        FileUnusable: it cannot be read.
        ExportInvalid: it is something else; says which export to choose.
    """
    named = f"--annotations {path}"
    with named_file(named, _WHICH_EXPORT):
        if path.stat().st_size > MAX_BYTES:
            raise ExportInvalid(f"{named} has more than {MAX_BYTES:,} bytes; export in parts")
        content = path.read_bytes()
    try:
        body = parse_message(content)
    except ValueError as error:
        raise ExportInvalid(f"{named} is no JSON; {_WHICH_EXPORT}") from error
    return check_export(body, named)


def read_label_config(path: Path) -> str:
    """Return the XML of a file with a label config.

    Raises:
        FileUnusable: it cannot be read, or is not in UTF-8.
    """
    return read_named_text("--label-config", path, "it is the XML of Settings > Labeling Interface > Code")


def check_export(body: object, source: str) -> list[dict[str, Any]]:
    """Return the tasks of a JSON export whose outer shape is right.

    Raises:
        ExportInvalid: names the source, what was found there and which export to choose.
    """
    if not isinstance(body, list):
        raise ExportInvalid(f"{source} holds {_kind(body)}, not a list of tasks; {_WHICH_EXPORT}")
    tasks: dict[int, dict[str, Any]] = {}
    for position, task in enumerate(body):
        if not isinstance(task, dict):
            raise ExportInvalid(f"{source}: entry {position} is {_kind(task)}, not a task; {_WHICH_EXPORT}")
        if "data" not in task and "annotations" not in task:
            cause = "looks like JSON-MIN, which has lost the regions" if "annotation_id" in task else "has no `data`"
            raise ExportInvalid(f"{source}: entry {position} {cause}; {_WHICH_EXPORT}")
        if not isinstance(task.get("annotations"), list):
            raise ExportInvalid(f"{source}: entry {position} has no list of `annotations`; {_WHICH_EXPORT}")
        identity = task.get("id")
        if not isinstance(identity, int) or isinstance(identity, bool) or identity < 0:
            raise ExportInvalid(f"{source}: entry {position} has no task id, so it is no export; {_WHICH_EXPORT}")
        if identity in tasks:
            raise ExportInvalid(f"{source}: task {identity} is in it twice; export once more, into a new file")
        tasks[identity] = task
    return list(tasks.values())


def _kind(value: object) -> str:
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
