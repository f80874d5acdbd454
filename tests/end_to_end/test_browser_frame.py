"""The frame of a page is the browser's: the same files, opened here and shown by the Chromium of this machine."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from handler.images import ImageLimits, open_page
from tests.end_to_end.screen import find_browser
from tests.handler.image_files import CASES, SHOWN_WHOLE, TURNED_AS

pytestmark = pytest.mark.end_to_end

_SHOW = """async ([url, wanted]) => {
    const image = new Image();
    image.src = url;
    await new Promise((shown, failed) => { image.onload = shown; image.onerror = failed; });
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const pixels = wanted ? context.getImageData(0, 0, canvas.width, canvas.height).data : [];
    return [canvas.width, canvas.height, Array.from(pixels)];
}"""

FILES = {name: data for name, (data, _) in TURNED_AS.items()} | SHOWN_WHOLE


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=find_browser(), args=options)
        try:
            yield browser.new_page()
        finally:
            browser.close()


def shown(page: Page, data: bytes, pixels: bool) -> tuple[tuple[int, int], list[int]]:
    """The size of an image in the browser, and its pixels if they are wanted, four values each."""
    width, height, values = page.evaluate(_SHOW, [f"data:;base64,{base64.b64encode(data).decode()}", pixels])
    return (width, height), values


@pytest.mark.parametrize("name", FILES)
def test_chromium_shows_the_page_that_is_read(browser_page: Page, name: str) -> None:
    size, pixels = shown(browser_page, FILES[name], pixels=True)
    page = open_page(FILES[name], ImageLimits()).convert("RGBA")
    assert size == page.size
    apart = [abs(one - other) for one, other in zip(pixels, page.tobytes(), strict=True)]
    assert max(apart) <= 40, "JPEGs are decoded a little differently"


@pytest.mark.parametrize("name", ["xmp6_only.jpg", "rawprofile6.png", "no_eoi.jpg"])
def test_chromium_shows_the_cases(browser_page: Page, name: str) -> None:
    data = (CASES / "frame" / name).read_bytes()
    assert shown(browser_page, data, pixels=False)[0] == open_page(data, ImageLimits()).size
