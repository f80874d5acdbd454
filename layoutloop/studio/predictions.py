"""The predictions of a project's tasks: which tasks lack one, the bulk import, doubles.

Measured with Label Studio 1.23.2, and read in its data_import/api.py, data_manager/managers.py and data_manager/api.py:

- `POST /api/projects/{id}/import/predictions` reads the ids of all tasks and counts all anew, whatever it is sent: few
  large calls. A task that is gone makes it store nothing, with 400. A prediction that does not fit the label config is
  left out, with 201: `created` is how many were stored. It stores what it is sent, also a second time.
- `GET /api/projects/{id}/model-versions/` counts the predictions of each version, `GET /api/tasks` with a filter by
  version the tasks that have one: where they differ, some task has two.
- `review=true` keeps that list from requesting predictions by itself, in projects that have this (old) setting on.
- `DELETE /api/predictions/{id}/` removes one. The Data Manager's action removes those of all versions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layoutloop.errors import StudioRefused, StudioUnavailable
from layoutloop.studio.client import StudioClient
from layoutloop.studio.version import is_version

_TASKS_AT_A_TIME = 100
"""Their ids stand in the address, which has 2 kB then; Label Studio reads all their predictions to list them."""
_IDS_AT_A_TIME = 500
_MOST_OTHERS = 1000


@dataclass(frozen=True, slots=True)
class TaskList:
    """Some of the tasks that lack a prediction.

    Args:
        tasks: `id` and `data` of each, by id.
        total: how many there are behind the ones before, these among them.
        new: how many of `total` were in no list before; of one list alone it is all.
    """

    tasks: tuple[dict[str, Any], ...]
    total: int
    new: int


class ProjectPredictions:
    """Tasks of a project and their predictions. Every method raises StudioUnavailable where Label Studio does.

    Args:
        client: of Label Studio's API.
        project: its id.
        annotated: whether tasks that have an annotation count too.
        drafts: whether tasks count on which somebody has begun.
        until: the highest id that counts; None for all.
    """

    def __init__(
        self,
        client: StudioClient,
        project: int,
        *,
        annotated: bool = False,
        drafts: bool = True,
        until: int | None = None,
    ) -> None:
        self._client = client
        self._project = project
        self._base = f"/api/projects/{project}"
        self._counted = [
            *([] if annotated else [_filter("total_annotations", "equal", "Number", 0)]),
            *([] if drafts else [_filter("draft_exists", "equal", "Boolean", False)]),
            *([] if until is None else [_filter("id", "less_or_equal", "Number", until)]),
        ]

    def label_config(self) -> str:
        """Return the label config as it is now."""
        return str(self._field(self._client.get(f"{self._base}/"), "label_config"))

    def last_of(self, count: int) -> int | None:
        """Return the id of the last of the first `count` tasks that count, by id; None where there are no more."""
        total = int(self._field(self._list(self._counted, {}, "id", 1, 1), "total"))
        if total <= count:
            return None
        found = self._field(self._list(self._counted, {}, "id", 1, count), "tasks")
        return int(found[0]["id"]) if found else None

    def view_tasks(self, view: int) -> list[int]:
        """Return the ids of the tasks that a view (a tab of the Data Manager) shows, by its own filters.

        Raises:
            StudioRefused: the project has no such view.
        """
        try:
            found = self._client.get(f"/api/dm/views/{view}/")
            of_project = self._field(found, "project")
        except StudioRefused as error:
            if error.studio_status != 404:
                raise
            of_project = None
        if of_project != self._project:
            raise StudioRefused(
                f"project {self._project} has no view {view}: its number is `tab` in the Data Manager's address", 404
            )
        return self._ids({"view": view})

    def lacking(self, version: str | None, after: int = 0, among: Sequence[int] | None = None) -> TaskList:
        """Return tasks that have no prediction of a version: the first with higher ids than `after`, or among some.

        With None in place of a version it does not matter which they have.
        """
        filters = list(self._counted)
        if version is not None:
            filters.append(_filter("predictions_model_versions", "not_contains", "List", [version]))
        query: dict[str, Any] = {}
        if among is None:
            filters.append(_filter("id", "greater", "Number", after))
        else:
            query["selectedItems"] = {"all": False, "included": list(among)}
        body = self._list(filters, query, "id,data", _TASKS_AT_A_TIME, 1)
        tasks = [{"id": int(task["id"]), "data": task["data"]} for task in self._field(body, "tasks")]
        total = int(self._field(body, "total"))
        new = len(tasks) if among is not None else total
        return TaskList(tuple(sorted(tasks, key=lambda task: int(task["id"]))), total, new)

    def still_lacking(self, version: str, tasks: Collection[int]) -> set[int]:
        """Return those of the tasks that are there, count, and have no prediction of a version."""
        return {int(task["id"]) for some in chunks(sorted(tasks)) for task in self.lacking(version, among=some).tasks}

    def store(self, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Import predictions, each with its `task`; return how many were stored.

        Raises:
            StudioUnavailable: 400 where a task is gone; nothing was stored then.
            StudioRefused: the project is gone, the key may not import, or this Label Studio cannot.
        """
        try:
            return int(self._field(self._client.post(f"{self._base}/import/predictions", predictions), "created"))
        except StudioRefused as error:
            if error.studio_status != 404:
                raise
            self.label_config()
            raise StudioRefused(
                f"{self._client.address('/')} is a Label Studio that cannot import predictions into a project: update "
                "it (1.23.2 can), or write them into a file with --out",
                404,
            ) from error

    def remove_doubles(self, version: str, likely: Collection[int] = ()) -> int:
        """Delete, one by one, predictions of a version that say what an older one of the task says; return how many.

        Where Label Studio has one for each task, which takes two requests to see, no task is looked at.

        Args:
            version: whose.
            likely: tasks that are looked at first; of the others a thousand, since each takes a request.
        """
        counts = self._client.get(f"{self._base}/model-versions/")
        of_version = _filter("predictions_model_versions", "contains", "List", [version])
        having_one = int(self._field(self._list([of_version], {}, "id", 1, 1), "total"))
        doubles = int(counts.get(version, 0)) - having_one
        removed = 0
        if doubles > 0:
            several = _filter("total_predictions", "greater", "Number", 1)
            found = self._ids({"filters": [*self._counted, several, of_version]})
            looked_at = sorted(found, key=lambda task: task not in likely)[: len(likely) + _MOST_OTHERS]
            for task in looked_at:
                removed += self._remove_doubles(task, version)
                if removed == doubles:
                    break
        return removed

    def holding_others(self, version: str, after: int) -> list[int]:
        """Return the next tasks, by id, that have a prediction of a version and two others besides."""
        has_it = _filter("predictions_model_versions", "contains", "List", [version])
        filters = [*self._counted, has_it, _filter("total_predictions", "greater", "Number", 2)]
        body = self._list([*filters, _filter("id", "greater", "Number", after)], {}, "id", _TASKS_AT_A_TIME, 1)
        return sorted(int(task["id"]) for task in self._field(body, "tasks"))

    def remove_older(self, task: int, version: str) -> int:
        """Delete a task's predictions that are LayoutLoop's and of another version, but for the last; return how many.

        Nothing is deleted where the task does not count (any more). The last one may be on somebody's screen: Label
        Studio (1.23.2) refuses an annotation whose `parent_prediction` is gone.
        """
        if not self.lacking(None, among=[task]).tasks:
            return 0
        rows = self._client.get("/api/predictions", {"task": task})
        ours = [row for row in rows if is_version(row["model_version"]) and row["model_version"] != version]
        return self._delete(sorted(ours, key=lambda row: int(row["id"]))[:-1])

    def _remove_doubles(self, task: int, version: str) -> int:
        rows = [row for row in self._client.get("/api/predictions", {"task": task}) if row["model_version"] == version]
        first, *others = sorted(rows, key=lambda row: int(row["id"])) or [{}]
        return self._delete([row for row in others if row["result"] == first["result"]])

    def _delete(self, rows: Sequence[Mapping[str, Any]]) -> int:
        for row in rows:
            try:
                self._client.delete(f"/api/predictions/{row['id']}/")
            except StudioRefused as error:
                if error.studio_status != 404:  # somebody else was faster
                    raise
        return len(rows)

    def _ids(self, which: Mapping[str, Any]) -> list[int]:
        """Return the ids of tasks, by id; of the tasks of a view in its order."""
        ids: list[int] = []
        page = 1
        while True:
            body = self._list(which.get("filters", []), {}, "id", _IDS_AT_A_TIME, page, view=which.get("view"))
            found = [int(task["id"]) for task in self._field(body, "tasks")]
            ids += found
            if not found or len(ids) >= int(self._field(body, "total")):
                return ids
            page += 1

    def _list(
        self,
        filters: Sequence[Mapping[str, Any]],
        more: Mapping[str, Any],
        include: str,
        count: int,
        page: int,
        view: int | None = None,
    ) -> Any:
        query: dict[str, str | int] = {"project": self._project, "page": page, "page_size": count, "review": "true"}
        query |= {"fields": "task_only", "include": include, "resolve_uri": "false"}
        if view is not None:
            return self._client.get("/api/tasks", query | {"view": view})
        wanted = {"filters": {"conjunction": "and", "items": list(filters)}, **more}
        return self._client.get("/api/tasks", query | {"query": json.dumps(wanted)})

    def _field(self, body: Any, name: str) -> Any:
        if not isinstance(body, Mapping) or name not in body:
            raise StudioUnavailable(f'Label Studio\'s answer about project {self._project} has no "{name}"')
        return body[name]


def chunks(tasks: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the ids in parts that `ProjectPredictions.lacking` takes."""
    return (tasks[start : start + _TASKS_AT_A_TIME] for start in range(0, len(tasks), _TASKS_AT_A_TIME))


def _filter(column: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
