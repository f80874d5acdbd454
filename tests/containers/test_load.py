"""The load itself, at a small server in the shim's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.engine import Engine
from tests.containers.load import BATCH, CLIENTS, Load
from tests.containers.stack import Stack
from tests.far_servers import _Handler, serve

pytestmark = pytest.mark.timeout(30)
TASKS = 2 * BATCH * CLIENTS


def answer(handler: _Handler) -> None:
    """An empty prediction for each task, and status 500 to a batch with a bad one."""
    port = handler.client_address[1]
    body = next(seen.body for seen in reversed(handler.server.seen) if seen.client_port == port)
    tasks = json.loads(body)["tasks"]
    bad = any(task["data"]["bad"] for task in tasks)
    handler.reply(500 if bad else 200, json.dumps({"results": [None] * len(tasks)}).encode())


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with serve("127.0.0.1", answer) as server:
        address = f"http://127.0.0.1:{server.port}"
        yield Load(Stack(Engine(tmp_path), address, address, "token", "password", 0.0), 1, "<View/>")


def tasks(bad: int | None = None) -> list[dict[str, Any]]:
    return [{"id": number, "data": {"bad": number == bad}} for number in range(TASKS)]


def test_every_task_is_asked_and_what_is_to_happen_happens_in_order(load: Load) -> None:
    done: list[tuple[str, bool]] = []
    events = {TASKS: lambda: done.append(("last", load.answered >= TASKS)), BATCH: lambda: done.append(("first", True))}
    answers = load.ask(tasks(), events)
    assert [one.task for one in answers] == list(range(TASKS))
    assert done == [("first", True), ("last", True)]


@pytest.mark.parametrize("bad", [pytest.param(0, id="the first batch"), pytest.param(TASKS - 1, id="the last batch")])
def test_a_batch_that_fails_ends_it(load: Load, bad: int) -> None:
    done: list[str] = []
    with pytest.raises(AssertionError, match="500"):
        load.ask(tasks(bad), {TASKS: lambda: done.append("it went on")})
    assert done == []


def test_more_answers_than_tasks_are_waited_for_in_vain(load: Load) -> None:
    with pytest.raises(AssertionError, match=rf"after {TASKS} answers, {TASKS + 1} were waited for"):
        load.ask(tasks(), {TASKS + 1: lambda: None})
