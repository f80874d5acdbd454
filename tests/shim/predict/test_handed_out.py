"""Each prediction goes to a pre-labelling or to Label Studio: the rule by itself, then in the app."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shim.predict.handed_out import MOST_TASKS, STORING_ONE_S, STORING_S, TAKE_OVER_S, TAKEN_S, HandedOut
from tests.far_servers import Seen
from tests.layoutloop.torchserve.test_inference import Reply
from tests.shim.predict.test_predictor import OCR_CARD, RECTANGLES, V1, WAIT_S, Bench, image, ocr, open_bench

ALL = [1, 2, 3]


class Clock:
    """Seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def handed_out(clock: Clock) -> HandedOut:
    return HandedOut(clock)


def test_what_a_prelabelling_took_label_studio_does_not_get(handed_out: HandedOut, clock: Clock) -> None:
    assert handed_out.take("a", "v1", [1, 2]) == [1, 2]
    assert handed_out.give("v1", ALL, is_press=True) == [3]
    assert handed_out.give("v1", [1], is_press=False) == []
    assert handed_out.give("v2", ALL, is_press=True) == ALL, "of another version both may be stored"
    clock.now += TAKEN_S
    assert handed_out.give("v1", ALL, is_press=True) == ALL


def test_of_two_prelabellings_the_first_has_it(handed_out: HandedOut, clock: Clock) -> None:
    assert handed_out.take("a", "v1", [1, 2]) == [1, 2]
    assert handed_out.take("b", "v1", ALL) == [3]
    assert handed_out.take("a", "v1", ALL) == [1, 2], "it may try its own again"
    clock.now += TAKE_OVER_S
    assert handed_out.take("b", "v1", ALL) == ALL
    assert handed_out.give("v1", ALL, is_press=True) == []


@pytest.mark.parametrize(("is_press", "for_s"), [(True, STORING_S), (False, STORING_ONE_S)])
def test_what_label_studio_got_is_not_taken_until_it_is_stored(
    handed_out: HandedOut, clock: Clock, is_press: bool, for_s: float
) -> None:
    assert handed_out.give("v1", [1], is_press=is_press) == [1]
    assert handed_out.take("a", "v1", ALL) == [2, 3]
    clock.now += for_s
    assert handed_out.take("a", "v1", ALL) == ALL


def test_a_second_press_gets_it_too_unless_a_prelabelling_runs(handed_out: HandedOut, clock: Clock) -> None:
    assert handed_out.give("v1", ALL, is_press=True) == ALL
    assert handed_out.give("v1", ALL, is_press=True) == ALL
    handed_out.note_run()
    assert handed_out.give("v1", [*ALL, 4], is_press=True) == [4]
    assert handed_out.give("v1", [1], is_press=False) == [1], "a person who opens a task sees its boxes"
    clock.now += STORING_S
    assert handed_out.give("v1", ALL, is_press=True) == ALL


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        opened.serve_project()
        yield opened


def take(bench: Bench, *tasks: int) -> list[int]:
    status, body = bench.post("/take", {"owner": "somebody", "version": bench.setup(), "tasks": tasks})
    assert status == 200, body
    found: list[int] = body["tasks"]
    return found


def background(bench: Bench, *data: dict[str, str]) -> dict[str, Any]:
    tasks = [{"id": 100 + number, "data": one} for number, one in enumerate(data)]
    body = {"tasks": tasks, "label_config": RECTANGLES, "project": "7", "background": True}
    status, answer = bench.post("/predict", body)
    assert status == 200, answer
    return dict(answer)


def test_the_app_leaves_out_what_was_taken(bench: Bench) -> None:
    assert take(bench, 101) == [101]
    answers = bench.predict(image("Total"), image("Date"), image("Total Date"))["results"]
    assert [bool(answer) for answer in answers] == [True, False, True]
    assert answers[1] == []
    assert take(bench, 100, 101, 102) == [101], "the others went to Label Studio"


def test_a_prelabelling_hears_why_and_gets_what_it_did_not_take(bench: Bench) -> None:
    take(bench, 100)
    answer = background(bench, image("Total"), image("unreadable"))
    assert answer["results"][0] == background(bench, image("Total"))["results"][0]
    assert answer["results"][0]["model_version"].startswith(V1)
    assert answer["results"][1] == []
    assert answer["errors"][0] is None
    assert (answer["errors"][1]["code"], answer["errors"][1]["status"]) == ("image_unreadable", 422)
    assert take(bench, 100, 101) == [100, 101], "nothing was handed out by that"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"owner": "", "version": "v", "tasks": []}, id="nobody"),
        pytest.param({"owner": "a", "version": 3, "tasks": []}, id="no version"),
        pytest.param({"owner": "a", "version": "v", "tasks": "1"}, id="no list"),
        pytest.param({"owner": "a", "version": "v", "tasks": [True]}, id="no ids"),
        pytest.param({"owner": "a", "version": "v" * 64, "tasks": [1]}, id="too long"),
    ],
)
def test_what_is_no_request_is_refused(bench: Bench, body: dict[str, Any]) -> None:
    status, answer = bench.post("/take", body)
    assert status == 400
    assert "`tasks`, a list of task ids" in answer["error"]["message"]


def test_more_tasks_than_are_taken_at_a_time_are_refused(bench: Bench) -> None:
    body = {"owner": "a", "version": "v", "tasks": list(range(MOST_TASKS + 1))}
    status, answer = bench.post("/take", body)
    assert (status, answer["error"]["code"]) == (413, "too_many_tasks")
    assert "10,001 tasks, at most 10,000" in answer["error"]["message"]
    assert bench.post("/take", body | {"tasks": body["tasks"][1:]})[0] == 200


def test_what_was_taken_long_ago_is_dropped(handed_out: HandedOut, clock: Clock) -> None:
    handed_out.take("a", "v1", range(1000))
    clock.now += TAKEN_S
    handed_out.take("b", "v2", [1])
    assert list(handed_out._owners) == [("v2", 1)]


def test_another_sites_page_takes_nothing(bench: Bench) -> None:
    body = {"owner": "a", "version": "v", "tasks": [1]}
    answer = bench.app.test_client().post("/take", json=body, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_pages_that_people_wait_for_come_first(bench: Bench) -> None:
    read: list[str] = []
    may_read = threading.Event()

    def slow_ocr(seen: Seen) -> Reply:
        read.append(seen.body.decode())
        may_read.wait(WAIT_S)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = slow_ocr
    with ThreadPoolExecutor(2) as requests:
        behind = requests.submit(background, bench, *(image(f"behind {number}") for number in range(20)))
        while bench.metric("pages_waiting") < 20:
            time.sleep(0.01)
        pressed = requests.submit(bench.predict, *(image(f"pressed {number}") for number in range(8)))
        while bench.metric("pages_waiting") < 28:
            time.sleep(0.01)
        may_read.set()
        assert all(pressed.result(WAIT_S)["results"])
        assert all(behind.result(WAIT_S)["results"])
    before = [page for page in read[: read.index("pressed 7")] if page.startswith("behind")]
    assert len(before) <= 4 + 1, "what was begun before, one for each of the four threads"
