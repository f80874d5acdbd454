"""What Label Studio sends to /predict: tasks, label config, project, and in an interactive request what was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from layoutloop.errors import RequestInvalid, TooManyTasks
from layoutloop.store.manifest import project_model
from layoutloop.studio.label_config import LabelConfig, parse_label_config
from shim.predict.interactive import Drawn, parse_context


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A /predict body as far as it matters here.

    Args:
        tasks: one mapping each, as Label Studio sends them.
        project_id: None where the request names none.
        config: of the project.
        is_interactive: for what a person is drawing. It is never answered like an ordinary request, whatever is
            drawn: the editor would take the whole page's boxes for its suggestions.
        drawn: the rectangle of an interactive request; None where it has none that can be answered.
        is_background: a pre-labelling's: it comes behind all others, and stores nothing that it did not take.
    """

    tasks: tuple[Mapping[str, object], ...]
    project_id: int | None
    config: LabelConfig
    is_interactive: bool = False
    drawn: Drawn | None = None
    is_background: bool = False

    @property
    def model(self) -> str | None:
        """Name of the project's model."""
        return None if self.project_id is None else project_model(self.project_id)


def parse_predict(body: object, max_tasks: int) -> PredictRequest:
    """Read a /predict body with at most so many tasks.

    Raises:
        RequestInvalid: it is not what Label Studio sends.
        TooManyTasks: it has more.
        LabelConfigUnsupported: the label config cannot be served.
    """
    if not isinstance(body, Mapping):
        raise RequestInvalid(f"/predict takes a JSON object with tasks and label_config, got {type(body).__name__}")
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        raise RequestInvalid(f"`tasks` is a list of task objects, got {type(tasks).__name__}; found {sorted(body)}")
    if len(tasks) > max_tasks:
        raise TooManyTasks(
            f"the request has {len(tasks):,} tasks, at most {max_tasks:,} are taken at a time; select fewer, or set "
            "LAYOUTLOOP_MAX_TASKS"
        )
    xml = body.get("label_config")
    if not isinstance(xml, str):
        kind = type(xml).__name__
        raise RequestInvalid(f"`label_config` is the label config as XML, got {kind}; found {sorted(body)}")
    config = parse_label_config(xml)
    project = body.get("project")
    if project is None and tasks:
        project = tasks[0].get("project")
    params = body.get("params")
    context = params.get("context") if isinstance(params, Mapping) else None
    return PredictRequest(
        tuple(tasks),
        parse_project(project),
        config,
        context is not None,
        parse_context(context, config),
        is_background=body.get("background") is True,
    )


def parse_project(value: object) -> int | None:
    """Read a project id: 7, "7", or Label Studio's "7.1795327242"; None where none is given.

    Raises:
        RequestInvalid: it is something else.
    """
    if value is None or value == "":
        return None
    text = str(value).split(".", 1)[0]
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise RequestInvalid(f'`project` is a project id such as 7 or "7.1795327242", got {value!r:.80}')
    return int(text)
