"""LayoutLoop on a small disk of its own: what it answers and says while the disk is full, or a part hangs."""

from __future__ import annotations

import base64
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import requests

from demo.tasks import label_config
from node.stopped import STOPPED_S
from tests.end_to_end.conftest import Stack, make_stack, running, wait_for
from tests.end_to_end.label_studio import Studio
from tests.end_to_end.training_stack import LABELS, PROJECT, draw_page
from tests.full_disk import fill, small_disk

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, studio: Studio) -> Iterator[Stack]:
    """Tesseract as a program reads, which wrote temporary files."""
    folder = tmp_path_factory.mktemp("small")
    with small_disk(folder / "home", 128) as home:
        made = make_stack(home, studio)
        settings = replace(made.settings, model_dir=folder / "store")
        environ = made.environ | settings.environment() | {"LAYOUTLOOP_OCR_ENGINE": "pytesseract"}
        stack = replace(made, settings=settings, environ=environ)
        with running(stack, folder / "out"):
            yield stack


def ask(stack: Stack, *numbers: int) -> list[bool]:
    """Whether each page, which is a new one for each number, is answered with what stands on it."""
    pages = ["data:image/png;base64," + base64.b64encode(draw_page(number).png).decode() for number in numbers]
    tasks = [{"id": number, "data": {"image": page}} for number, page in zip(numbers, pages, strict=True)]
    body = {"tasks": tasks, "project": f"{PROJECT + 100}.1", "label_config": label_config(LABELS, "ocr")}
    return [bool(entry) and bool(entry["result"]) for entry in stack.predict(body)["results"]]


def health(stack: Stack) -> dict[str, Any]:
    answer = requests.get(f"{stack.url}/health", timeout=5)
    assert answer.status_code == 200
    return dict(answer.json())


def is_told(stack: Stack, words: str) -> bool:
    return any(words in note for note in health(stack)["notes"])


def test_a_full_disk_is_told_and_costs_no_page(small: Stack) -> None:
    assert ask(small, 1, 2) == [True, True]
    assert not is_told(small, "is full")
    filler = fill(small.settings.home)
    assert is_told(small, "The disk of LAYOUTLOOP_HOME")
    assert ask(small, *range(3, 9)) == [True] * 6
    assert ask(small, 1) == [True]
    refused = requests.post(f"{small.url}/train", json={"project": PROJECT + 100}, timeout=10)
    assert refused.status_code in (202, 503), refused.text  # what the page cache gave back may be enough for a record
    assert "The disk of LAYOUTLOOP_HOME" in requests.get(f"{small.url}/dashboard", timeout=10).text
    filler.unlink()
    wait_for(lambda: not is_told(small, "is full"), 20)  # the node says so with its next report
    assert ask(small, 3, 9) == [True, True]


def workers(stack: Stack) -> list[psutil.Process]:
    named = [one for one in stack.processes() if any("model_service_worker" in part for part in one.cmdline())]
    return [one for one in named if one.status() != psutil.STATUS_ZOMBIE]


def java(stack: Stack) -> list[psutil.Process]:
    return [one for one in stack.processes() if one.name() == "java"]


@pytest.mark.parametrize(
    "find", [pytest.param(workers, id="the workers of TorchServe"), pytest.param(java, id="its Java")]
)
def test_one_that_stands_still_is_started_again(small: Stack, find: Callable[[Stack], list[psutil.Process]]) -> None:
    wait_for(lambda: health(small)["ready"])
    stopped = find(small)
    assert stopped
    began = time.monotonic()
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    wait_for(lambda: not health(small)["ready"], 25)
    wait_for(lambda: not any(process.is_running() for process in stopped), STOPPED_S + 15)
    assert time.monotonic() - began > STOPPED_S
    wait_for(lambda: health(small)["ready"], 60)
    assert ask(small, 1000 + int(began), 2000 + int(began)) == [True, True]
