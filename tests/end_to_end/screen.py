"""Label Studio's screen in headless Chromium: what an annotator sees and presses."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from demo.studio import RunningStudio

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 120_000
"""For one thing to appear, on a machine that is busy."""
_REGIONS_COME_MS = 10_000
"""After the image; a task without a prediction waits for nothing."""
_REGIONS = """() => window.Htx.annotationStore.selected.regionStore.regions.map(region => ({
    labels: (region.labeling && region.labeling.mainValue) || [],
    texts: region.results.filter(one => one.type === 'textarea').flatMap(one => Array.from(one.mainValue)),
    score: region.score,
    page: region.item_index || 0,
    box: [region.x, region.y, region.width, region.height].map(number => Math.round(number * 100) / 100),
}))"""

_NOTHING_ROUGH = """() => window.Htx.annotationStore.selected.regionStore.regions.every(region => !region.dynamic)"""
"""`dynamic` is what the magic wand drew, until an accepted answer takes its place."""

_LISTED = """Array.from(document.querySelectorAll('[aria-label^="Select Task "]'), row => +row.ariaLabel.slice(12))"""


@dataclass(frozen=True, slots=True)
class DrawnRegion:
    """A region in the page's own state.

    Args:
        labels: names.
        texts: transcriptions.
        score: of the prediction; None where it has none.
        page: of a task of several pages, from 0.
        box: x, y, width and height in percent of the page.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    score: float | None
    page: int
    box: tuple[float, ...]


class Screen:
    """A signed-in person's browser window.

    Args:
        page: Playwright's.
        studio: Label Studio.
        pictures: folder for screenshots.
    """

    def __init__(self, page: Page, studio: RunningStudio, pictures: Path) -> None:
        """Sign in."""
        self.page, self._url, self._pictures = page, studio.url, pictures
        page.goto(f"{self._url}/user/login/")
        page.fill("input[name=email]", studio.account.email)
        page.fill("input[name=password]", studio.account.password)
        page.click("button[type=submit]")
        page.wait_for_load_state()

    def open_task(self, project: int, task: int) -> list[DrawnRegion]:
        """Open a task in the Data Manager's quick view; return what is drawn."""
        self.page.goto(f"{self._url}/projects/{project}/data?task={task}")
        return self.drawn()

    def open_label_stream(self, project: int) -> tuple[int, list[DrawnRegion]]:
        """Press Label All Tasks; return the task that comes and what is drawn on it."""
        self.page.goto(f"{self._url}/projects/{project}/data?labeling=1")
        drawn = self.drawn()
        return int(self.page.evaluate("window.Htx.task.id")), drawn

    def drawn(self) -> list[DrawnRegion]:
        """Wait for the page's image, and return the regions of the annotation or prediction that is shown."""
        self.page.wait_for_selector("canvas")
        self.page.wait_for_function("window.Htx && window.Htx.annotationStore && window.Htx.annotationStore.selected")
        # The regions are there before the image is; boxes have their size only after it.
        self.page.wait_for_function("Array.from(document.images).every(image => image.complete)")
        # Before its predictions have come, a task is shown without a region, as one that has none.
        with suppress(PlaywrightTimeout):
            self.page.wait_for_function(
                "window.Htx.annotationStore.selected.regionStore.regions.length", timeout=_REGIONS_COME_MS
            )
        self.page.wait_for_timeout(500)
        return [
            DrawnRegion(tuple(one["labels"]), tuple(one["texts"]), one["score"], one["page"], tuple(one["box"]))
            for one in self.page.evaluate(_REGIONS)
        ]

    def start_annotation(self) -> None:
        """Press the plus above the open task: an annotation with nothing on it."""
        self.page.get_by_label("Create an annotation").click()
        self.page.wait_for_function("!window.Htx.annotationStore.selected.regionStore.regions.length")

    def draw_smart(self, box: tuple[float, float, float, float]) -> list[DrawnRegion]:
        """Draw a rectangle with the magic wand, suggestions accepted at once; return what is drawn after the answer.

        Args:
            box: x, y, width and height in percent of the page.
        """
        self.page.get_by_test_id("bottombar-auto-annotation-toggle").check()
        self.page.get_by_test_id("bottombar-auto-accept-toggle").check()
        self.page.locator("button[class*=tool_smart]").first.click()
        shown = self.page.locator("img[src^='blob:']").bounding_box()
        assert shown is not None
        left, right = (shown["x"] + shown["width"] * part / 100 for part in (box[0], box[0] + box[2]))
        top, bottom = (shown["y"] + shown["height"] * part / 100 for part in (box[1], box[1] + box[3]))
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(right, bottom, steps=5)
        with self.page.expect_response(lambda answer: "/interactive-annotating" in answer.url):
            self.page.mouse.up()
        self.page.wait_for_function(_NOTHING_ROUGH)
        return self.drawn()

    def submit(self) -> dict[str, Any]:
        """Press Submit; return the annotation as Label Studio stored it."""
        with self.page.expect_response(
            lambda answer: answer.request.method == "POST" and answer.url.partition("?")[0].endswith("/annotations")
        ) as answered:
            self.page.get_by_role("button", name="Submit").click()
        stored: dict[str, Any] = answered.value.json()
        return stored

    def start_training(self, project: int) -> None:
        """Press Start Training on the project's settings page, and confirm."""
        self.page.goto(f"{self._url}/projects/{project}/settings/ml")
        self.page.get_by_label("Machine learning model options").first.click()
        self.page.get_by_text("Start Training", exact=True).first.click()
        with self.page.expect_response(lambda answer: "/train" in answer.url and answer.ok):
            self.page.get_by_role("button", name="Start Training").last.click()

    def retrieve_predictions(self, project: int) -> None:
        """Select all tasks in the Data Manager, choose Retrieve Predictions in the Actions menu, and confirm."""
        self.page.goto(f"{self._url}/projects/{project}/data")
        self.page.get_by_label("Select all rows").check()
        self.page.get_by_label("Tasks Actions").click()
        self.page.get_by_text("Retrieve Predictions", exact=True).click()
        with self.page.expect_response(
            lambda answer: answer.request.method == "POST" and "id=retrieve_tasks_predictions" in answer.url
        ) as answered:
            self.page.get_by_role("button", name="Confirm").click()
        assert answered.value.ok, answered.value.text()

    def order_by_prediction_score(self, project: int) -> list[int]:
        """Choose Prediction score under the Data Manager's Order by; return the tasks' ids as they are listed then.

        The order stays with the project's tab. For as many tasks as the table shows at once, 16 at least: it waits
        until all that Label Studio answered stand there.
        """
        self.page.goto(f"{self._url}/projects/{project}/data")
        self.page.get_by_role("button", name="Order by").click()
        with self.page.expect_response(
            lambda answer: "interaction=ordering" in answer.url and "/tasks?" in answer.url
        ) as answered:
            self.page.get_by_text("Prediction score", exact=True).last.click()
        answer = [task["id"] for task in answered.value.json()["tasks"]]
        self.page.wait_for_function(f"ids => {_LISTED}.join() === ids.join()", arg=answer)
        listed: list[int] = self.page.evaluate(_LISTED)
        return listed

    def picture(self, name: str) -> Path:
        """Take a screenshot."""
        path = self._pictures / f"{name}.png"
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return path


def find_browser() -> str:
    """Return LAYOUTLOOP_CHROMIUM where it is set, else the first browser that starts, as scripts/setup.sh does."""
    given = os.environ.get("LAYOUTLOOP_CHROMIUM")
    for name in (given,) if given else BROWSERS:
        found = shutil.which(name)
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    pytest.fail(f"no browser starts ({given or ', '.join(BROWSERS)}): set LAYOUTLOOP_CHROMIUM to Chromium or Chrome")


@contextmanager
def open_screen(studio: RunningStudio, pictures: Path) -> Iterator[Screen]:
    """Open a window that reaches nothing but this Label Studio."""

    def local_only(route: Route) -> None:
        if route.request.url.startswith((studio.url, "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            page = browser.new_context(viewport={"width": 1500, "height": 1000}).new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.route("**/*", local_only)
            yield Screen(page, studio, pictures)
        finally:
            browser.close()
