"""The dashboard in headless Chromium, in front of a LayoutLoop that runs: train by keyboard, restore by button."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.end_to_end.conftest import Stack
from tests.end_to_end.screen import find_browser
from tests.end_to_end.training_stack import JOB_S, PROJECT, current, job_of, studio_project

pytestmark = pytest.mark.end_to_end

MOST_TABS = 200
JOB_MS = JOB_S * 1000


@pytest.fixture
def page() -> Iterator[Page]:
    """A window of a browser that complains of nothing: no script fails, and the page's own policy forbids nothing."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        yield page
        browser.close()
    assert complaints == []


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the keyboard stands on an element."""
    for _ in range(MOST_TABS):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{MOST_TABS} tabs do not lead to {selector}")


def follow_job(page: Page) -> str:
    """Watch the job that a button queued, from its progress to its end, on a page that is never loaded anew."""
    page.wait_for_url(re.compile(r"/dashboard#job-\w+$"))
    job = page.url.partition("#job-")[2]
    page.evaluate("window.stayed = true")
    expect(page.locator(f"#job-{job} progress")).to_be_visible(timeout=JOB_MS)
    expect(page.locator(f"#job-{job} .state")).to_have_text("Promoted", timeout=JOB_MS)
    assert page.evaluate("window.stayed") is True
    return job


def test_train_by_keyboard_and_restore_by_button(
    stack: Stack, trained: dict[str, Any], page: Page, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("TEST_PICTURES") or tmp_path)
    stack.studio.projects[PROJECT] = studio_project()
    older = current(stack)
    project = page.locator(f"#project-{PROJECT}")
    in_service = project.locator(".facts dt:text-is('In service') + dd code")

    page.goto(f"{stack.url}/dashboard")
    expect(in_service).to_have_text(str(older))
    assert re.fullmatch(r"[01]\.\d{3}", project.locator(".facts .large").inner_text())

    tab_to(page, f"#train-{PROJECT}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"project {PROJECT}", ignore_case=True)
    tab_to(page, "button.main")
    page.keyboard.press("Enter")
    made = job_of(stack, follow_job(page))["version"]
    expect(in_service).to_have_text(made)
    assert made == current(stack) != older
    page.screenshot(path=pictures / "dashboard-trained.png", full_page=True)

    if project.locator("details").get_attribute("open") is None:
        project.locator("summary").click()
    project.locator(f"#restore-{PROJECT}-{older}").click()
    page.get_by_role("button", name="Restore this version").click()
    restored = job_of(stack, follow_job(page))["version"]
    expect(in_service).to_have_text(restored)
    expect(project.locator(".facts dt:text-is('Restored from') + dd code")).to_have_text(str(older))
    assert restored == current(stack) > made

    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.screenshot(path=pictures / "dashboard-360.png", full_page=True)
    if project.locator("details").get_attribute("open") is None:
        project.locator("summary").click()
    project.get_by_role("link", name=f"Report of version {made}").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.url.endswith(f"/dashboard/projects/{PROJECT}/versions/{made}/report")
    assert made in page.inner_text("body")
