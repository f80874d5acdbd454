"""The command, the shim's real app and a small Label Studio that lists and imports as 1.23.2 was seen to."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.serving import make_server

from layoutloop.connect.shim_address import ShimAddress
from layoutloop.errors import FileUnusable
from layoutloop.prelabel.run import Prelabelling
from layoutloop.prelabel.shim import ShimPredictions
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import open_studio
from layoutloop.studio.predictions import ProjectPredictions
from scripts.prelabel import main, read_task_ids
from shim.predict import handed_out
from tests.far_servers import LEGACY_KEY, _Handler
from tests.shim.predict.test_predictor import OCR_TEMPLATE, RECTANGLES, Bench, data_uri, open_bench
from tests.studio_server import serve_studio

COUNT = 230
"""More than Label Studio lists at a time, or the shim is sent in a request."""


@dataclass
class Studio:
    """Project 7, its tasks and predictions.

    Args:
        before: called with method and path before each answer; returns a status to refuse with, or None.
        drops: tasks whose predictions it leaves out, with a 201.
    """

    config: str = RECTANGLES
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    annotated: set[int] = field(default_factory=set)
    drafts: set[int] = field(default_factory=set)
    predictions: dict[int, dict[str, Any]] = field(default_factory=dict)
    before: Callable[[str, str], int | None] = lambda _method, _path: None
    drops: set[int] = field(default_factory=set)
    imports: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_tasks(self, count: int, text: str = "Total") -> None:
        for number in range(len(self.tasks) + 1, len(self.tasks) + count + 1):
            self.tasks[number] = {"id": number, "data": {"image": data_uri(f"{text} {number}".encode())}}

    def store(self, task: int, version: str, result: object = ()) -> None:
        number = max(self.predictions, default=0) + 1
        self.predictions[number] = {"id": number, "task": task, "model_version": version, "result": list(result)}

    def versions(self, task: int) -> list[str]:
        return [one["model_version"] for one in self.predictions.values() if one["task"] == task]

    def __call__(self, handler: _Handler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.lock:
            status = self.before(handler.command, parts.path)
            if status is None:
                body = json.loads(handler.server.seen[-1].body or b"null")
                status, answer = self.answer(f"{handler.command} {parts.path}", query, body)
            else:
                answer = {"detail": "no"}
        handler.reply(status, b"" if status == 204 else json.dumps(answer).encode())

    def answer(self, route: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if route == "GET /api/projects/7/":
            return 200, {"id": 7, "label_config": self.config}
        if route == "GET /api/projects/7/model-versions/":
            names = [one["model_version"] for one in self.predictions.values()]
            return 200, {name: names.count(name) for name in names}
        if route == "GET /api/tasks":
            return self.list(query)
        if route == "GET /api/dm/views/3/":
            return 200, {"id": 3, "project": 7}
        if route == "POST /api/projects/7/import/predictions":
            return self.store_all(body)
        if route == "GET /api/predictions":
            return 200, [one for one in self.predictions.values() if one["task"] == int(query["task"])]
        method, _, number = route.rstrip("/").partition(" /api/predictions/")
        if method == "DELETE":
            return (204, self.predictions.pop(int(number))) if int(number) in self.predictions else (404, {})
        return 404, {"detail": "Not found."}

    def list(self, query: dict[str, str]) -> tuple[int, Any]:
        found = [self.tasks[2], self.tasks[4]] if "view" in query else list(self.tasks.values())
        wanted = json.loads(query.get("query", '{"filters": {"items": []}}'))
        if "selectedItems" in wanted:
            found = [task for task in found if task["id"] in wanted["selectedItems"]["included"]]
        for one in wanted["filters"]["items"]:
            found = [task for task in found if self.matches(task["id"], one["filter"], one["operator"], one["value"])]
        page, size = int(query["page"]), int(query["page_size"])
        return 200, {"total": len(found), "tasks": found[(page - 1) * size : page * size]}

    def matches(self, task: int, column: str, operator: str, value: Any) -> bool:
        match column.rpartition(":")[2], operator:
            case "id", "greater":
                return bool(task > value)
            case "id", "less_or_equal":
                return bool(task <= value)
            case "draft_exists", "equal":
                return (task in self.drafts) == value
            case "total_annotations", "equal":
                return (task in self.annotated) == bool(value)
            case "total_predictions", "greater":
                return len(self.versions(task)) > value
            case "predictions_model_versions", "contains":
                return value[0] in self.versions(task)
            case "predictions_model_versions", "not_contains":
                return value[0] not in self.versions(task)
        raise AssertionError(column, operator)

    def store_all(self, predictions: list[dict[str, Any]]) -> tuple[int, Any]:
        if any(one["task"] not in self.tasks for one in predictions):
            return 400, {"detail": 'invalid "task" field'}
        kept = [one for one in predictions if one["task"] not in self.drops]
        for one in kept:
            self.store(one["task"], one["model_version"], one["result"])
        self.imports.append(len(predictions))
        return 201, {"created": len(kept)}


@dataclass
class Scene:
    """All that runs, and the command.

    Args:
        bench: the shim's app before a TorchServe at a socket.
        studio: Label Studio.
    """

    bench: Bench
    studio: Studio
    capsys: pytest.CaptureFixture[str]

    def command(self, *more: str) -> tuple[int, str, str]:
        status = main(["--project", "7", *more])
        said = self.capsys.readouterr()
        return status, said.out, said.err

    def assert_one_each(self, *, but: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        version = self.bench.setup(self.studio.config)
        assert {task: self.studio.versions(task) for task in self.studio.tasks} == {
            task: [] if task in but else [version] for task in self.studio.tasks
        }


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Scene]:
    studio = Studio()
    with open_bench(tmp_path) as bench, serve_studio(studio) as server:
        bench.serve_project()
        shim = make_server("127.0.0.1", 0, bench.app, threaded=True)
        thread = threading.Thread(target=shim.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        for name, value in {
            "LABEL_STUDIO_URL": f"http://127.0.0.1:{server.port}",
            "LABEL_STUDIO_API_KEY": LEGACY_KEY,
            "LAYOUTLOOP_PORT": str(shim.server_port),
            "LAYOUTLOOP_HOME": str(tmp_path / "var"),
            "LAYOUTLOOP_OCR_WORKERS": "8",
        }.items():
            monkeypatch.setenv(name, value)
        yield Scene(bench, studio, capsys)
        shim.shutdown()
        thread.join()
        shim.server_close()


def test_every_waiting_task_gets_one_prediction_in_few_calls(scene: Scene) -> None:
    scene.studio.add_tasks(COUNT)
    scene.studio.annotated = {1, 2}
    scene.studio.store(5, "an older version")
    version = scene.bench.setup()
    scene.studio.store(6, version)
    status, out, _ = scene.command()
    assert (status, out) == (0, f"{COUNT - 3} tasks got a prediction of version {version}\n")
    assert scene.studio.versions(5) == ["an older version", version]
    del scene.studio.predictions[1]
    scene.assert_one_each(but={1, 2})
    assert scene.studio.imports == [COUNT - 3]
    status, out, _ = scene.command("--all")
    assert (status, out) == (0, f"2 tasks got a prediction of version {version}\n")
    scene.assert_one_each()


def test_more_tasks_than_the_shim_takes_at_a_time_are_taken_in_parts(scene: Scene) -> None:
    settings = Settings.from_env(os.environ)
    with closing(ShimPredictions(ShimAddress.of(f"http://127.0.0.1:{settings.port}", settings), 7, 10.0)) as shim:
        tasks = range(handed_out.MOST_TASKS + 1)
        assert shim.take("v", tasks) == set(tasks)


def test_only_tasks_of_a_file_or_a_view(scene: Scene, tmp_path: Path) -> None:
    scene.studio.add_tasks(9)
    file = tmp_path / "ids.txt"
    file.write_text("3\n5, 3\n999\n")
    assert scene.command("--tasks", str(file))[0] == 0
    assert [task for task in scene.studio.tasks if scene.studio.versions(task)] == [3, 5]
    assert scene.command("--view", "3")[0] == 0
    assert [task for task in scene.studio.tasks if scene.studio.versions(task)] == [2, 3, 4, 5]


def test_a_task_that_failed_is_named_and_the_others_are_stored(scene: Scene) -> None:
    scene.studio.add_tasks(3)
    scene.studio.add_tasks(1, "unreadable")
    scene.studio.tasks[5] = {"id": 5, "data": {"text": "no image"}}
    status, out, _ = scene.command()
    assert status == 1
    assert "3 tasks got a prediction" in out
    assert "2 tasks got none (1 image_unreadable, 1 task_invalid):" in out
    assert "task 4: image_unreadable: the bytes are no image" in out
    scene.assert_one_each(but={4, 5})


class Quiet:
    """Nobody looks on."""

    def found(self, tasks: int) -> None: ...

    def answered(self, tasks: int, pages: int) -> None: ...

    def say(self, sentence: str) -> None: ...


def test_a_page_whose_source_stays_down_is_given_up_and_named(scene: Scene) -> None:
    scene.studio.add_tasks(3)
    scene.studio.tasks[2]["data"]["image"] = "/data/upload/7/broken"
    settings = Settings.from_env(os.environ)
    address = ShimAddress.of(f"http://127.0.0.1:{settings.port}", settings)
    key = settings.label_studio_api_key
    with (
        closing(ShimPredictions(address, 7, 10.0)) as shim,
        open_studio(settings.label_studio_url, key, 10.0) as client,
    ):
        outcome = Prelabelling(ProjectPredictions(client, 7), shim, Quiet(), portion=4, standstill_s=1.0).run()
    assert outcome.stored == 2
    assert [sentence.partition(":")[0] for sentence in outcome.failed.values()] == ["image_source_unreachable"]
    scene.assert_one_each(but={2})


def test_tasks_that_vanish_are_annotated_or_predicted_meanwhile_are_left_alone(scene: Scene) -> None:
    scene.studio.add_tasks(6)
    version = scene.bench.setup()

    def meanwhile(method: str, path: str) -> int | None:
        if path.endswith("/import/predictions") and not scene.studio.imports:
            scene.studio.tasks.pop(1, None)  # between the last look and the import
        if method == "GET" and path == "/api/tasks" and scene.bench.metric("tasks_total", outcome="ok") >= 6:
            scene.studio.annotated.add(2)
            if not scene.studio.versions(3):
                scene.studio.store(3, version)
        return None

    scene.studio.before = meanwhile
    status, out, _ = scene.command()
    assert status == 0
    assert "3 tasks got a prediction" in out
    assert "3 tasks got one from Retrieve Predictions, or were annotated or deleted" in out
    scene.assert_one_each(but={2})


def test_what_label_studio_got_a_moment_ago_is_not_stored_a_second_time(scene: Scene) -> None:
    scene.studio.add_tasks(4)
    answered = scene.bench.predict(scene.studio.tasks[1]["data"], scene.studio.tasks[2]["data"])
    # The bench numbers its tasks from 100.
    scene.studio.tasks = {
        100 + number: {**task, "id": 100 + number} for number, task in enumerate(scene.studio.tasks.values())
    }
    looked = 0

    def press_ends(method: str, path: str) -> int | None:
        nonlocal looked
        looked += path == "/api/tasks"
        if looked == 4:  # Label Studio stores what it got, after the command's first import
            for task in (100, 101):
                if not scene.studio.versions(task):
                    scene.studio.store(task, answered["model_version"])
        return None

    scene.studio.before = press_ends
    status, out, _ = scene.command()
    assert status == 0
    assert "2 tasks got a prediction" in out
    scene.assert_one_each()


def test_what_was_stored_twice_all_the_same_is_removed_and_nothing_else(scene: Scene) -> None:
    scene.studio.add_tasks(6)
    scene.studio.annotated = {5}
    version = scene.bench.setup()
    for _ in range(2):
        scene.studio.store(1, version, ["the same"])  # doubled before
        scene.studio.store(2, "another's", ["the same"])
        scene.studio.store(5, version, ["a person has answered"])
    scene.studio.store(3, version, ["one"])
    scene.studio.store(3, version, ["another"])
    store_all = scene.studio.store_all

    def beside_another_shim(predictions: list[dict[str, Any]]) -> tuple[int, Any]:
        answer = store_all(predictions)
        scene.studio.store(4, version, next(one["result"] for one in predictions if one["task"] == 4))
        return answer

    scene.studio.store_all = beside_another_shim  # type: ignore[method-assign]
    status, out, _ = scene.command()
    assert status == 0
    assert "3 tasks got a prediction" in out
    assert "2 doubles removed" in out
    counts = {task: len(scene.studio.versions(task)) for task in scene.studio.tasks}
    assert counts == {1: 1, 2: 3, 3: 2, 4: 1, 5: 2, 6: 1}
    assert [one["id"] for one in scene.studio.predictions.values() if one["task"] == 1] == [1], "the older one stays"


def test_a_prediction_that_is_left_out_is_named(scene: Scene) -> None:
    scene.studio.add_tasks(3)
    scene.studio.drops = {2}
    status, out, _ = scene.command()
    assert status == 1
    assert "2 tasks got a prediction" in out
    assert "task 2: Label Studio left its prediction out" in out
    assert scene.studio.imports == [3]


def test_a_restart_of_label_studio_is_waited_for(scene: Scene) -> None:
    scene.studio.add_tasks(5)
    refused = {"/api/tasks": 2, "/api/projects/7/import/predictions": 2}

    def restarting(_: str, path: str) -> int | None:
        refused[path] = refused.get(path, 0) - 1
        return 502 if refused[path] >= 0 else None

    scene.studio.before = restarting
    status, _, err = scene.command()
    assert status == 0
    assert "answered 502" in err
    assert "It is tried again for five minutes" in err
    scene.assert_one_each()


def test_an_import_that_breaks_off_after_it_stored_is_not_sent_again(scene: Scene) -> None:
    scene.studio.add_tasks(5)
    store_all = scene.studio.store_all

    def breaks_off(predictions: list[dict[str, Any]]) -> tuple[int, Any]:
        store_all(predictions)
        return 504, {"detail": "gateway timeout"}

    scene.studio.store_all = breaks_off  # type: ignore[method-assign]
    status, out, _ = scene.command()
    assert status == 0
    assert "5 tasks got a prediction" in out
    assert "Retrieve Predictions" not in out
    scene.assert_one_each()


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        pytest.param("/api/projects/7/", 404, "the project does not exist, or LABEL_STUDIO_API_KEY may not", id="gone"),
        pytest.param("/api/tasks", 404, "see what was requested?", id="gone in the middle"),
        pytest.param("/api/projects/7/import/predictions", 403, "of a person who may do this in the project", id="key"),
        pytest.param("/api/projects/7/import/predictions", 404, "cannot import predictions into a project", id="old"),
    ],
)
def test_what_cannot_go_on_is_a_sentence(scene: Scene, path: str, status: int, sentence: str) -> None:
    scene.studio.add_tasks(3)
    scene.studio.before = lambda _, asked: status if asked == path else None
    ended, out, err = scene.command()
    assert (ended, out) == (1, "")
    assert sentence in err
    assert "Traceback" not in err
    scene.studio.before = lambda *_: None
    assert scene.command()[0] == 0
    scene.assert_one_each()


def test_a_view_that_is_gone(scene: Scene) -> None:
    ended, _, err = scene.command("--view", "99")
    assert ended == 1
    assert "project 7 has no view 99" in err


def test_without_a_model_rectangles_cannot_be_drawn(scene: Scene) -> None:
    scene.studio.add_tasks(3)
    for file in (scene.bench.model_dir / "project-7").iterdir():
        file.unlink()
    ended, _, err = scene.command()
    assert ended == 1
    assert "no model is in service for this project yet" in err


def test_another_config_in_the_middle_is_drawn_with(scene: Scene) -> None:
    scene.studio.add_tasks(COUNT)
    for task in scene.studio.tasks.values():
        task["data"] |= {"ocr": task["data"]["image"]}
    changed = False

    def change(_: str, path: str) -> int | None:
        nonlocal changed
        if path.endswith("/import/predictions") and not changed:
            changed, scene.studio.config = True, OCR_TEMPLATE
        return None

    scene.studio.before = change
    first = scene.bench.setup()
    assert scene.command()[0] == 0
    second = scene.bench.setup(OCR_TEMPLATE)
    assert {tuple(scene.studio.versions(task)) for task in scene.studio.tasks} == {(first, second)}


def test_no_shim(scene: Scene) -> None:
    ended, _, err = scene.command("--shim-url", "http://127.0.0.1:9")
    assert ended == 1
    assert "no shim answers at http://127.0.0.1:9" in err


@pytest.mark.parametrize("text", ["", "seven", "1\n-2", "9" * 30])
def test_a_file_of_something_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ids"
    file.write_text(text)
    with pytest.raises(FileUnusable, match="a text file with one task id a line"):
        read_task_ids(file)


def test_a_file_has_the_tasks_with_their_predictions(scene: Scene, tmp_path: Path) -> None:
    scene.studio.add_tasks(COUNT)
    scene.studio.add_tasks(1, "unreadable")
    version = scene.bench.setup()
    scene.studio.store(3, version)
    scene.bench.fake.script.extend([(503, {"code": 503, "message": "busy"})] * 2)
    out = tmp_path / "predictions.json"
    status, said, _ = scene.command("--out", str(out))
    assert status == 1
    assert f"{COUNT} tasks got a prediction of version {version}; they are in {out}" in said
    assert f"task {COUNT + 1}: image_unreadable" in said
    written = json.loads(out.read_text())
    assert [task["id"] for task in written] == list(range(1, COUNT + 1))
    (prediction,) = written[4]["predictions"]
    assert written[4]["data"] == scene.studio.tasks[5]["data"]
    assert prediction["model_version"] == version
    assert prediction["result"]
    assert [path.name for path in tmp_path.iterdir() if "predictions" in path.name] == [out.name]
    assert not scene.studio.imports


@pytest.mark.parametrize("to_a_file", [False, True])
def test_what_an_interrupted_run_leaves_is_said(scene: Scene, tmp_path: Path, to_a_file: bool) -> None:
    scene.studio.add_tasks(COUNT)

    def interrupt(_method: str, path: str) -> None:
        if path.startswith("/api/tasks"):
            os.kill(os.getpid(), signal.SIGINT)

    scene.studio.before = interrupt
    out = tmp_path / "out.json"
    status, _, said = scene.command(*(["--out", str(out)] if to_a_file else []))
    assert status == 1
    ending = "begins anew: no file was written" if to_a_file else "goes on where this one stopped"
    assert said.rstrip().endswith(f"interrupted. The same command, run again, {ending}")
    assert list(tmp_path.glob("*out.json*")) == []


def test_images_of_no_project(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    config, out, scans = tmp_path / "config.xml", tmp_path / "predictions.json", tmp_path / "scans"
    config.write_text(OCR_TEMPLATE)
    scans.mkdir()
    for number in range(30):
        (scans / f"{number:02d} a.png").write_text(f"Total {number}")
    (scans / "30.pdf").write_text("unreadable")
    monkeypatch.chdir(tmp_path)
    prefix = "/data/local-files/?d="
    status = main(["--label-config", str(config), "--out", str(out), "--image-url", prefix, "scans", "gone.png"])
    said = scene.capsys.readouterr().out
    assert status == 1
    assert "30 tasks got a prediction" in said
    assert "2 tasks got none" in said
    assert "task scans/30.pdf: image_unreadable" in said
    assert "task gone.png: document_unreadable: it cannot be read: No such file" in said
    written = json.loads(out.read_text())
    assert [task["data"] for task in written] == [{"ocr": f"{prefix}scans/{n:02d}%20a.png"} for n in range(30)]
    texts = [one["value"]["text"] for one in written[7]["predictions"][0]["result"] if one["type"] == "textarea"]
    assert texts == [["Total 7"]]


@pytest.mark.parametrize("target", ["nowhere/predictions.json", "."])
def test_a_file_that_cannot_be_written(scene: Scene, tmp_path: Path, target: str) -> None:
    scene.studio.add_tasks(1)
    status, _, err = scene.command("--out", str(tmp_path / target))
    assert status == 1
    assert "cannot be written" in err


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="no project"),
        pytest.param(["--project", "7", "a.png"], id="images without --out"),
        pytest.param(["--project", "7", "--label-config", "x"], id="a label config without images"),
        pytest.param(["--project", "7", "--view", "3", "--tasks", "x"], id="two selections"),
    ],
)
def test_options_that_do_not_go_together(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(options)
