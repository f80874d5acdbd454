"""Label Studio's webhook events: which of them queue a training or a pre-labelling, and of which project. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from layoutloop.errors import RequestInvalid
from layoutloop.jobs.job import Kind, Trigger
from shim.predict.request import parse_project

_ANNOTATED = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"})
"""Deleted annotations and tasks start nothing: there is nothing new to learn from."""
_NEW_TASKS = "TASKS_CREATED"


@dataclass(frozen=True, slots=True)
class Event:
    """What an event causes.

    Args:
        action: as Label Studio names it.
        project: of the job; None where nothing is to be done.
        trigger: of the job.
        kind: of the job.
        why: why nothing is to be done, where that is worth a line in the log.
    """

    action: str
    project: int | None = None
    trigger: Trigger = "annotations"
    why: str = ""
    kind: Kind = "retrain"


def read_event(body: Mapping[str, object]) -> Event:
    """Read a webhook's body.

    An event of annotations or tasks that cannot be understood is ignored, since no one would see the error: Label
    Studio discards the answer, and the next event's job takes everything that is there.

    Raises:
        RequestInvalid: no event, or a START_TRAINING without a project; a person waits for that one.
    """
    action = body.get("action")
    if not isinstance(action, str):
        raise RequestInvalid("`action` names the event, such as ANNOTATION_CREATED")
    if action == "START_TRAINING":
        project = _project(body)
        if project is None:
            raise RequestInvalid(f"START_TRAINING comes with `project`: {{`id`: 7}}; found {sorted(body)}")
        return Event(action, project, "start_training")
    if action == _NEW_TASKS:
        return _event(body, Event(action, trigger="tasks", kind="prelabel"))
    if action not in _ANNOTATED:
        return Event(action)
    if not _has_annotation(body.get("annotation")):
        return Event(action, why="it has no annotation, or skipped ones only")
    return _event(body, Event(action))


def _event(body: Mapping[str, object], event: Event) -> Event:
    """Return an event with its project, or with the reason why it has none."""
    try:
        project = _project(body)
    except RequestInvalid as error:
        return replace(event, why=str(error))
    return replace(event, project=project, why="" if project is not None else "it names no project")


def _project(body: Mapping[str, object]) -> int | None:
    project = body.get("project")
    return parse_project(project.get("id") if isinstance(project, Mapping) else project)


def _has_annotation(given: object) -> bool:
    """Whether one of them was submitted; skipped ones say `was_cancelled`."""
    annotations = given if isinstance(given, list) else [given]
    return any(isinstance(one, Mapping) and not one.get("was_cancelled") for one in annotations)
