"""Jobs in threads, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from layoutloop.in_order import in_order


def test_only_a_window_of_jobs_is_taken() -> None:
    taken = 0

    def jobs() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    seen = 0
    for number, answer in in_order(slow, jobs(), 4):
        assert (number, answer) == (seen, seen * seen)
        seen += 1
        assert taken - seen < 4
    assert seen == 50


def test_an_answer_that_is_there_is_not_held_back() -> None:
    def jobs() -> Iterator[threading.Event]:
        first = threading.Event()
        yield first
        assert first.wait(10), "it was answered while the window had room"
        time.sleep(0.1)
        yield threading.Event()
        pytest.fail("the first answer is out before a third job is taken")

    answers = in_order(threading.Event.set, jobs(), 8)
    assert next(answers)[0].is_set()
    answers.close()


def test_what_stops_the_command_leaves_no_job_running() -> None:
    done = []

    def work(number: int) -> None:
        time.sleep(0.05)
        done.append(number)

    answers = in_order(work, range(100), 2)
    next(answers)
    answers.close()
    finished = len(done)
    assert finished <= 4
    time.sleep(0.2)
    assert len(done) == finished
