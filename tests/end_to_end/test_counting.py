"""The real Label Studio says how many annotations can be new, without an export."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.studio import Account, RunningStudio, running_studio
from demo.tasks import label_config
from layoutloop.jobs.job import Job
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import open_studio
from layoutloop.studio.export import count_annotated, export_project, read_project
from layoutloop.studio.label_config import parse_label_config
from tests.end_to_end.conftest import free_port
from training.data.annotations import fingerprint, select_pages
from training.data.learned import remember
from training.worker.first_look import first_look

pytestmark = pytest.mark.end_to_end

ACCOUNT = Account("a-long-password-1", "0123456789abcdef" * 2 + "01234567")
CONFIG = label_config(("total", "date"), "ocr")
DRAWN: dict[str, Any] = {"result": []}


@dataclass(frozen=True)
class Project:
    """A project of a Label Studio that runs, and what a person does in it."""

    studio: RunningStudio
    id: int

    def ask(self, method: str, path: str, body: object = None) -> Any:
        header = {"Authorization": f"Token {self.studio.account.token}"}
        answer = requests.request(method, self.studio.url + path, headers=header, json=body, timeout=60)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def add(self, count: int, **more: object) -> None:
        tasks = [{"data": {"image": f"http://127.0.0.1:9/{number}.png"}} | more for number in range(count)]
        self.ask("POST", f"/api/projects/{self.id}/import", tasks)

    def tasks(self) -> list[dict[str, Any]]:
        listed = self.ask("GET", f"/api/tasks?project={self.id}&page_size=100")["tasks"]
        return sorted(listed, key=lambda task: int(task["id"]))

    def annotate(self, task: dict[str, Any], **more: object) -> str:
        made = self.ask("POST", f"/api/tasks/{task['id']}/annotations/", DRAWN | more)
        return f"/api/annotations/{made['id']}/"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("label-studio"), free_port(), ACCOUNT) as running:
        yield running


@pytest.fixture
def project(studio: RunningStudio) -> Project:
    new = Project(studio, 0).ask("POST", "/api/projects", {"title": "Counting", "label_config": CONFIG})
    made = Project(studio, int(new["id"]))
    made.add(5)
    return made


def test_each_change_of_an_annotation_moves_its_tasks_moment(project: Project) -> None:
    first, second, third, fourth, _ = project.tasks()
    plain, starred = project.annotate(first), project.annotate(second, ground_truth=True)
    skipped = project.annotate(third, was_cancelled=True)
    prediction = {"task": fourth["id"], "result": [], "model_version": "a", "score": 0.5}
    of_predictions = f"/api/dm/actions?id=predictions_to_annotations&project={project.id}"
    everything = {"selectedItems": {"all": True, "excluded": []}}
    changes: list[tuple[str, Callable[[], object], int]] = [
        ("nothing", lambda: None, 0),
        ("changed", lambda: project.ask("PATCH", plain, DRAWN), 1),
        ("starred", lambda: project.ask("PATCH", plain, {"ground_truth": True}), 1),
        ("no longer starred", lambda: project.ask("PATCH", starred, {"ground_truth": False}), 1),
        ("no longer skipped", lambda: project.ask("PATCH", skipped, {"was_cancelled": False}), 1),
        ("a second one", lambda: project.annotate(first), 1),
        ("one of two is deleted", lambda: project.ask("DELETE", plain), 1),
        ("a prediction", lambda: project.ask("POST", "/api/predictions/", prediction), 0),
        ("made of it", lambda: project.ask("POST", of_predictions, everything), 1),
        ("imported with their tasks", lambda: project.add(3, annotations=[DRAWN]), 3),
        ("the last one is deleted", lambda: project.ask("DELETE", starred), 0),
    ]
    with open_studio(project.studio.url, ACCOUNT.token) as client:
        assert read_project(client, project.id).annotated_tasks == 1, "Label Studio leaves out ground truth"
        assert count_annotated(client, project.id) == 2

        def counted_after(change: Callable[[], object]) -> int:
            newest = max(datetime.fromisoformat(task["updated_at"].replace("Z", "+00:00")) for task in project.tasks())
            time.sleep(0.01)
            change()
            return count_annotated(client, project.id, newest + timedelta(milliseconds=1))

        assert [(name, counted_after(change)) for name, change, _ in changes] == [(name, n) for name, _, n in changes]


def test_a_training_gets_its_process_when_enough_may_be_new(project: Project, tmp_path: Path) -> None:
    def look(train_every: int) -> str:
        settings = Settings(
            label_studio_url=project.studio.url,
            label_studio_api_key=ACCOUNT.token,
            model_dir=tmp_path,
            train_every=train_every,
        )
        ending = first_look(settings, Job("0123456789ab", project.id, "retrain", "annotations", 0.0))
        assert ending is None or not ending.is_failure
        return "a process" if ending is None else ending.sentence.partition(";")[0]

    tasks = project.tasks()
    assert look(3) == "0 annotations are new since the last training"
    for task in tasks[:2]:
        project.annotate(task, ground_truth=True)
    assert look(3) == "at most 2 annotations are new since the last training"
    project.annotate(tasks[2])
    assert look(3) == "a process"
    with open_studio(project.studio.url, ACCOUNT.token) as client:
        pages = select_pages(export_project(client, project.id), parse_label_config(CONFIG)).pages
    learned = fingerprint(pages)
    assert len(learned) == 3
    remember(tmp_path / f"project-{project.id}", learned)
    assert look(4) == "at most 3 annotations are new since the last training", "those of its last minute"
    project.annotate(tasks[3])
    assert look(4) == "a process"
