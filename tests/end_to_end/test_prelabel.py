"""`scripts.prelabel` with the real Label Studio: each waiting task has one prediction of the version, come what may."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from demo.studio import running_studio
from demo.tasks import label_config
from layoutloop.settings.node import REPOSITORY
from tests.end_to_end.conftest import wait_for
from tests.end_to_end.training_stack import LABELS, draw_page
from tests.end_to_end.world import World

pytestmark = pytest.mark.end_to_end

COUNT = 60
_first_page = iter(range(5000, 10**6, 1000))


def new_project(world: World, title: str, count: int = COUNT) -> int:
    """Return a connected project with tasks whose pages nobody saw before."""
    project = world.new_project(title, label_config(LABELS, "ocr"))
    connected = world.loop.command("scripts.connect", "--project", str(project))
    assert connected.returncode == 0, connected.stderr
    add_tasks(world, project, count)
    return project


def add_tasks(world: World, project: int, count: int) -> None:
    first = next(_first_page)
    images = [base64.b64encode(draw_page(first + number).png).decode() for number in range(count)]
    tasks = [{"data": {"image": f"data:image/png;base64,{image}"}} for image in images]
    world.ask("POST", f"/api/projects/{project}/import", json=tasks)


def versions(world: World, project: int) -> dict[int, list[str]]:
    """Return the versions of each task's predictions."""
    stored = world.ask("GET", "/api/predictions", params={"project": project})
    found: dict[int, list[str]] = {task["id"]: [] for task in world.tasks(project)}
    for one in stored:
        found[one["task"]].append(one["model_version"])
    return found


def in_service(world: World, project: int) -> str:
    (backend,) = world.ask("GET", "/api/ml", params={"project": project})
    return str(backend["model_version"])


def assert_one_each(world: World, project: int, count: int = COUNT) -> None:
    assert [*versions(world, project).values()] == [[in_service(world, project)]] * count


@contextmanager
def prelabelling(world: World, project: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command beside the block; it is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.prelabel", "--project", str(project), *more],
        cwd=REPOSITORY,
        env=world.loop.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_listed(world: World, project: int, process: subprocess.Popen[str]) -> None:
    """Wait until the command has looked for tasks."""
    log = world.folder / "label-studio" / "label-studio.log"
    wait_for(lambda: process.poll() is not None or f"?project={project}&page=1&page_size=100&" in log.read_text())


def stored(world: World, project: int) -> int:
    return sum(world.ask("GET", f"/api/projects/{project}/model-versions/").values())


def test_one_command_draws_what_the_button_draws_once_for_each_task(world: World) -> None:
    project = new_project(world, "One command")
    annotated, *_, last = (task["id"] for task in world.tasks(project))
    world.ask("POST", f"/api/tasks/{annotated}/annotations", json={"result": []})
    done = world.loop.command("scripts.prelabel", "--project", str(project))
    assert done.returncode == 0, done.stderr
    version = in_service(world, project)
    assert f"{COUNT - 1} tasks got a prediction of version {version}" in done.stdout
    assert versions(world, project) == {task: [version] for task in versions(world, project)} | {annotated: []}
    (imported,) = world.predictions(last)
    (task,) = (task for task in world.tasks(project) if task["id"] == last)
    body = {"tasks": [task], "project": str(project), "label_config": label_config(LABELS, "ocr"), "background": True}
    (drawn,) = world.loop.predict(body)["results"]
    assert len(drawn["result"]) > 4
    assert {name: imported[name] for name in drawn} == drawn
    again = world.loop.command("scripts.prelabel", "--project", str(project), "--all")
    assert again.returncode == 0, again.stderr
    assert_one_each(world, project)


def test_killed_on_the_way_the_same_command_finishes(world: World) -> None:
    project = new_project(world, "Killed")
    for wanted in (0, 1, 20):
        with prelabelling(world, project) as process:
            wait_for(lambda wanted=wanted: process.poll() is not None or stored(world, project) >= wanted)  # type: ignore[misc]
            time.sleep(2)
            process.send_signal(signal.SIGKILL)
    done = world.loop.command("scripts.prelabel", "--project", str(project))
    assert done.returncode == 0, done.stderr
    assert_one_each(world, project)


def test_two_people_press_the_button_meanwhile_and_tasks_come_and_go(world: World) -> None:
    project = new_project(world, "Pressed meanwhile")
    gone = world.tasks(project)[COUNT // 2]["id"]
    with prelabelling(world, project) as process, ThreadPoolExecutor(2) as people:
        wait_until_listed(world, project, process)
        world.ask("DELETE", f"/api/tasks/{gone}/")
        presses = [people.submit(world.retrieve_predictions, project) for _ in range(2)]
        add_tasks(world, project, 5)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        for one in presses:
            one.result()
    assert_one_each(world, project, COUNT + 4)


def test_label_studio_is_restarted_in_the_middle(world: World) -> None:
    project = new_project(world, "Restarted")
    with prelabelling(world, project) as process:
        wait_until_listed(world, project, process)
        world.studio.process.terminate()
        world.studio.process.wait(60)
        time.sleep(3)
        port = int(world.studio.url.rpartition(":")[2])
        with running_studio(world.folder / "label-studio", port, world.studio.account):
            said, _ = process.communicate(timeout=300)
            assert process.returncode == 0, said
            assert "It is tried again for five minutes" in said
            assert_one_each(world, project)
