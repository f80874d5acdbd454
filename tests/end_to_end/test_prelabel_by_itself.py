"""Waiting tasks are drawn without a hand, after an import and after a training; a button stops it, kill -9 does not.

The real Label Studio and Chromium, in front of a real LayoutLoop. The tests tell one story, in order.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from demo.tasks import annotation_result, label_config
from tests.end_to_end.conftest import is_ready, wait_for
from tests.end_to_end.training_stack import HEIGHT, LABELS, WIDTH, DrawnPage, draw_page, wait_for_job
from tests.end_to_end.world import PASSWORD, World

pytestmark = pytest.mark.end_to_end

SETTINGS = {"LAYOUTLOOP_PRELABEL": "all"}
PAGES, ANNOTATED, CROWD = 40, 12, 60
_numbers = count(9000)


def import_pages(world: World, project: int, pages: list[DrawnPage]) -> None:
    images = [base64.b64encode(page.png).decode() for page in pages]
    tasks = [{"data": {"image": f"data:image/png;base64,{image}"}} for image in images]
    world.ask("POST", f"/api/projects/{project}/import", json=tasks)


def versions(world: World, project: int) -> dict[int, list[str]]:
    """Return the versions of each task's predictions, by task, oldest first."""
    found: dict[int, list[str]] = {task["id"]: [] for task in world.tasks(project)}
    for one in sorted(world.ask("GET", "/api/predictions", params={"project": project}), key=lambda one: one["id"]):
        found[one["task"]].append(one["model_version"])
    return found


def next_job(world: World, project: int, trigger: str) -> dict[str, Any]:
    """Wait for a pre-labelling that something queued."""

    def found() -> dict[str, Any] | None:
        jobs = (job for job in world.jobs(project) if (job["kind"], job["trigger"]) == ("prelabel", trigger))
        return next(jobs, None)

    job: dict[str, Any] = wait_for(found)
    return job


@pytest.fixture(scope="module")
def pages() -> list[DrawnPage]:
    return [draw_page(number) for number in range(PAGES)]


@pytest.fixture(scope="module")
def project(world: World, pages: list[DrawnPage]) -> int:
    """A connected project; its tasks were imported afterwards."""
    made = world.new_project("By itself", label_config(LABELS, "ocr"))
    connected = world.loop.command("scripts.connect", "--project", str(made))
    assert connected.returncode == 0, connected.stderr
    import_pages(world, made, pages)
    return made


def test_new_tasks_are_drawn(world: World, project: int) -> None:
    job = wait_for_job(world.loop, next_job(world, project, "tasks")["id"])
    assert (job["state"], job["verdict"]) == ("done", "done"), job
    (found,) = {tuple(one) for one in versions(world, project).values()}
    assert found[0].startswith("ocr-")
    assert len(found) == 1


def test_after_a_training_the_waiting_tasks_have_the_new_boxes(
    world: World, project: int, pages: list[DrawnPage]
) -> None:
    before = versions(world, project)
    tasks = sorted(before)
    for task, page in zip(tasks[:ANNOTATED], pages, strict=False):
        result = annotation_result(page.regions, WIDTH, HEIGHT)
        world.ask("POST", f"/api/tasks/{task}/annotations", json={"result": result, "lead_time": 5.0})
    draft = tasks[-1]
    world.ask("POST", f"/api/tasks/{draft}/drafts", json={"result": [], "lead_time": 1.0})
    asked = requests.post(f"{world.loop.url}/train", json={"project": project, "force": True}, timeout=30)
    training = wait_for_job(world.loop, asked.json()["job"])
    assert training["verdict"] == "promoted", training
    job = wait_for_job(world.loop, next_job(world, project, "promotion")["id"])
    assert (job["state"], job["version"]) == ("done", training["version"]), job
    after = versions(world, project)
    alone = {*tasks[:ANNOTATED], draft}
    assert {task: after[task] for task in alone} == {task: before[task] for task in alone}
    for task in set(tasks) - alone:
        older, newer = after[task]
        assert ([older], newer.partition("-")[0]) == (before[task], training["version"])
    drawn = world.screen.open_task(project, tasks[-2])
    assert {label for region in drawn for label in region.labels} == set(LABELS)


@pytest.fixture
def dashboard(world: World) -> Iterator[Page]:
    browser = world.screen.page.context.browser
    assert browser is not None
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, http_credentials={"username": "annotation", "password": PASSWORD}
    )
    page = context.new_page()
    page.goto(f"{world.loop.settings.address}/dashboard")
    yield page
    context.close()


@pytest.fixture(scope="module")
def crowd(world: World) -> int:
    """A connected project with more tasks than are drawn in a moment."""
    project = world.new_project("Too many", label_config(LABELS, "ocr"))
    connected = world.loop.command("scripts.connect", "--project", str(project))
    assert connected.returncode == 0, connected.stderr
    import_pages(world, project, [draw_page(next(_numbers)) for _ in range(CROWD)])
    return project


def test_the_button_stops_it(world: World, crowd: int, dashboard: Page, tmp_path: Path) -> None:
    project, pictures = crowd, Path(os.environ.get("TEST_PICTURES") or tmp_path)
    job = next_job(world, project, "tasks")["id"]
    bar = dashboard.locator(f"#job-{job} progress[value]")
    expect(bar).to_be_visible(timeout=60_000)
    wait_for(lambda: world.job(job)["done"] > 5)
    dashboard.screenshot(path=pictures / "dashboard-prelabelling.png", full_page=True)
    dashboard.locator(f"#stop-{job}").click()
    expect(dashboard.locator(f"#job-{job} .state")).to_have_text("Stopped", timeout=30_000)
    expect(dashboard.locator(f"#job-{job}")).to_contain_text("Stopped on the dashboard.")
    dashboard.screenshot(path=pictures / "dashboard-stopped.png", full_page=True)
    wait_for(lambda: f"job {job}: attempt 1 is superseded" in world.loop.log("trainer") or gone(world, job))
    stored = sum(len(found) for found in versions(world, project).values())
    assert stored < CROWD
    dashboard.wait_for_timeout(5_000)
    assert sum(len(found) for found in versions(world, project).values()) == stored


def gone(world: World, job: str) -> bool:
    """Whether the worker is through with a job."""
    return f"job {job}: done - stopped" in world.loop.log("trainer")


def test_the_trainer_and_the_shim_are_killed_on_the_way(world: World, crowd: int) -> None:
    import_pages(world, crowd, [draw_page(next(_numbers))])
    job = wait_for(lambda: next((one for one in world.jobs(crowd) if one["state"] == "running"), None))["id"]
    before = sum(len(found) for found in versions(world, crowd).values())
    wait_for(lambda: sum(len(found) for found in versions(world, crowd).values()) > before)
    killed = [one for one in world.loop.processes() if {"scripts.worker", "shim"} & set(one.cmdline())]
    assert len(killed) > 1
    for process in killed:
        process.kill()
    wait_for(lambda: is_ready(world.loop.settings, ()))
    ended = wait_for_job(world.loop, job)
    assert (ended["state"], ended["verdict"], ended["attempt"]) == ("done", "done", 2), ended
    assert [len(found) for found in versions(world, crowd).values()] == [1] * (CROWD + 1)
