"""Nothing is lost: every process is killed in turn while pages are asked about and a training runs."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

from demo.tasks import label_config
from tests.end_to_end.conftest import Stack, make_stack, running, wait_for
from tests.end_to_end.label_studio import Studio
from tests.end_to_end.training_stack import (
    LABELS,
    PROJECT,
    Promotions,
    current,
    draw_page,
    start_training,
    studio_project,
    training_processes,
    wait_for_job,
)
from tests.redis_server import redis_server

pytestmark = pytest.mark.end_to_end
TASKS = 100
AT_A_TIME = 25
PATIENCE_S = 300.0


def victims(stack: Stack) -> dict[str, Callable[[], list[psutil.Process]]]:
    """How to find each kind of process at the moment it is killed."""

    def with_argument(part: str) -> list[psutil.Process]:
        return [one for one in stack.processes() if any(part in argument for argument in one.cmdline())]

    return {
        "TorchServe frontend": lambda: [one for one in stack.processes() if one.name() == "java"],
        "TorchServe worker": lambda: with_argument("model_service_worker.py")[:1],
        "shim": lambda: with_argument("shim")[:2],
        "training process": lambda: training_processes(stack, "scripts.retrain"),
        "trainer": lambda: training_processes(stack, "scripts.worker"),
    }


def ask_until_answered(stack: Stack, waiting: dict[int, bytes]) -> tuple[int, dict[int, str]]:
    """Ask as a person does who presses Retrieve Predictions again: only about tasks that have no answer yet."""
    asks, answered = 0, {}
    end = time.monotonic() + PATIENCE_S
    while waiting:
        assert time.monotonic() < end, f"{len(waiting)} tasks never had an answer"
        asks += 1
        for some in [list(waiting)[at : at + AT_A_TIME] for at in range(0, len(waiting), AT_A_TIME)]:
            tasks = [
                {"id": number, "data": {"image": "data:image/png;base64," + base64.b64encode(waiting[number]).decode()}}
                for number in some
            ]
            body = {"tasks": tasks, "project": f"{PROJECT}.1", "label_config": label_config(LABELS, "ocr")}
            try:
                response = requests.post(f"{stack.url}/predict", json=body, timeout=100)
                entries = response.json()["results"]
            except (requests.RequestException, ValueError, KeyError):
                time.sleep(0.5)
                continue
            for number, entry in zip(some, entries, strict=True):
                if entry:
                    assert entry["result"], "an answer without regions"
                    answered[number] = str(entry["model_version"])
                    del waiting[number]
    return asks, answered


def test_every_process_is_killed_and_nothing_is_lost(
    tmp_path: Path, studio: Studio, record_property: Callable[[str, object], None]
) -> None:
    studio.projects[PROJECT] = studio_project()
    with redis_server(tmp_path) as redis:
        made = make_stack(tmp_path / "home", studio)
        stack = replace(made, environ=made.environ | {"REDIS_URL": redis.new_url()})
        with running(stack, tmp_path / "out"):
            first = wait_for_job(stack, start_training(stack))
            assert first["verdict"] == "promoted", first
            waiting = {number: draw_page(number).png for number in range(TASKS)}
            answers: list[tuple[int, dict[int, str]]] = []
            with Promotions(stack) as promotions:
                job = start_training(stack)
                began = time.monotonic()
                asking = threading.Thread(target=lambda: answers.append(ask_until_answered(stack, waiting)))
                asking.start()
                killed = kill_all(stack, redis.kill, redis.start)
                asking.join()
                took_s = time.monotonic() - began
                record = wait_for_job(stack, job)
            assert answers, "the asking thread failed"
            asks, answered = answers[0]
            assert set(answered) == set(range(TASKS))
            assert (record["state"], record["verdict"]) == ("done", "promoted"), record
            assert promotions.seen == [first["version"], record["version"]], "one promotion, not two"
            assert current(stack) == record["version"]
    del studio.projects[PROJECT]  # what others ask for in its name is not to be trained
    record_property(
        "figures",
        f"killed {', '.join(killed)}: {TASKS} tasks answered after {asks} asks and {took_s:.0f} s; "
        f"the training took {record['attempt']} attempts",
    )


def kill_all(stack: Stack, kill_redis: Callable[[], None], start_redis: Callable[[], None]) -> list[str]:
    """Kill each kind of process with SIGKILL, some seconds apart; return which were there to be killed."""
    killed = []
    for name, find in victims(stack).items():
        for process in wait_for(find, 60):
            process.kill()
        killed.append(name)
        time.sleep(4)
    kill_redis()
    time.sleep(3)
    start_redis()
    return [*killed, "Redis"]
