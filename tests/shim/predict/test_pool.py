from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from layoutloop.errors import Overloaded, TaskInvalid
from shim.predict.pool import BACKGROUND, Again, PagePool

WAIT_S = 10.0


class Gate:
    """A job that says when it started, and goes on when it is let through."""

    def __init__(self, result: str = "done") -> None:
        self.started = threading.Event()
        self.open = threading.Event()
        self.runs = 0
        self._result = result

    def __call__(self) -> str:
        self.runs += 1
        self.started.set()
        assert self.open.wait(WAIT_S)
        return self._result


def test_equal_keys_share_one_run() -> None:
    pool: PagePool[str] = PagePool(threads=4, max_waiting=10)
    gate = Gate()
    first = pool.submit("page", 0, gate)
    assert gate.started.wait(WAIT_S)
    second = pool.submit("page", 7, Gate("never asked"))
    assert second is first
    assert pool.waiting == 1
    gate.open.set()
    assert second.result(WAIT_S) == "done"
    assert gate.runs == 1


def test_threads_come_with_the_pages() -> None:
    before = threading.active_count()
    pool: PagePool[str] = PagePool(threads=4, max_waiting=10)
    assert threading.active_count() == before
    assert pool.submit("page", 0, lambda: "done").result(WAIT_S) == "done"
    assert threading.active_count() == before + 2, "one for the page, one that wakes what waits"


def test_a_machine_without_a_thread_left_refuses_the_page_and_reads_it_later() -> None:
    pool: PagePool[str] = PagePool(threads=4, max_waiting=10)
    before = threading.stack_size(2**46)  # more than there is: the kernel refuses each thread
    try:
        with pytest.raises(Overloaded, match="no thread for a page"):
            pool.submit("page", 0, lambda: "done")
    finally:
        threading.stack_size(before)
    assert pool.waiting == 0
    assert pool.submit("page", 0, lambda: "done").result(WAIT_S) == "done"


def test_a_key_runs_again_after_its_job_is_done() -> None:
    pool: PagePool[int] = PagePool(threads=2, max_waiting=10)
    counted = iter(range(3))
    results = [pool.submit("page", 0, lambda: next(counted)).result(WAIT_S) for _ in range(3)]
    assert results == [0, 1, 2]
    assert pool.waiting == 0


def test_different_keys_run_side_by_side() -> None:
    pool: PagePool[str] = PagePool(threads=3, max_waiting=10)
    gates = [Gate(str(number)) for number in range(3)]
    futures = [pool.submit(number, 0, gate) for number, gate in enumerate(gates)]
    assert all(gate.started.wait(WAIT_S) for gate in gates)
    for gate in reversed(gates):
        gate.open.set()
    assert [future.result(WAIT_S) for future in futures] == ["0", "1", "2"]


def test_a_lower_turn_goes_first_and_equal_turns_in_order() -> None:
    """One person's single task waits for the page under way, not for all pages of a large request."""
    pool: PagePool[None] = PagePool(threads=1, max_waiting=20)
    gate = Gate()
    held = pool.submit("held", 0, lambda: gate() and None)
    assert gate.started.wait(WAIT_S)
    order: list[str] = []
    large = [pool.submit(f"large-{turn}", turn, noting(order, f"large-{turn}")) for turn in range(4)]
    small = pool.submit("small", 0, noting(order, "small"))
    gate.open.set()
    for future in (held, small, *large):
        future.result(WAIT_S)
    assert order == ["large-0", "small", "large-1", "large-2", "large-3"]


def noting(order: list[str], name: str) -> Callable[[], None]:
    return lambda: order.append(name)


def test_more_than_may_wait_is_refused_but_merging_is_not() -> None:
    pool: PagePool[str] = PagePool(threads=1, max_waiting=2)
    gate = Gate()
    first = pool.submit(1, 0, gate)
    second = pool.submit(2, 0, gate)
    with pytest.raises(Overloaded, match="no more than 2 pages may wait"):
        pool.submit(3, 0, gate)
    assert pool.submit(2, 0, gate) is second
    gate.open.set()
    assert [first.result(WAIT_S), second.result(WAIT_S)] == ["done", "done"]
    assert pool.submit(3, 0, gate).result(WAIT_S) == "done"


def test_the_background_leaves_half_of_the_places_to_people() -> None:
    pool: PagePool[str] = PagePool(threads=1, max_waiting=6)
    gate = Gate()
    behind = [pool.submit(number, BACKGROUND + number, gate) for number in range(3)]
    with pytest.raises(Overloaded, match="no more than 3 pages may wait"):
        pool.submit(3, BACKGROUND + 3, gate)
    assert pool.submit(2, 0, gate) is behind[2]
    opened = [pool.submit(number, 0, gate) for number in range(3, 6)]
    with pytest.raises(Overloaded, match="no more than 6 pages may wait"):
        pool.submit(6, 0, gate)
    gate.open.set()
    assert [future.result(WAIT_S) for future in (*behind, *opened)] == ["done"] * 6


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TaskInvalid("no image"), id="one of ours"),
        pytest.param(ZeroDivisionError("a bug"), id="a bug"),
        pytest.param(SystemExit(3), id="one that would end a thread"),
    ],
)
def test_exceptions_travel_and_the_thread_goes_on(error: BaseException) -> None:
    pool: PagePool[str] = PagePool(threads=1, max_waiting=4)

    def fail() -> str:
        raise error

    with pytest.raises(type(error)) as raised:
        pool.submit("page", 0, fail).result(WAIT_S)
    assert raised.value is error
    assert pool.submit("page", 0, lambda: "done").result(WAIT_S) == "done"


def test_a_job_that_must_wait_occupies_no_thread() -> None:
    pool: PagePool[str] = PagePool(1, 10)
    moments = []

    def not_yet() -> str:
        moments.append(time.monotonic())
        if len(moments) < 3:
            raise Again(0.2)
        return "at last"

    waiting = pool.submit("a", 0, not_yet)
    others = [pool.submit(number, 1, lambda: "other") for number in range(5)]
    assert [one.result(5) for one in others] == ["other"] * 5
    assert len(moments) < 3
    assert waiting.result(5) == "at last"
    assert all(after - before >= 0.2 for before, after in pairwise(moments))
    assert pool.waiting == 0


def test_a_page_asked_for_again_gets_the_better_turn() -> None:
    pool: PagePool[int] = PagePool(1, 100)
    gate, done = threading.Event(), []
    pool.submit("first", 0, lambda: gate.wait(5) and 0)
    for number in range(1, 11):
        pool.submit(number, number, lambda number=number: done.append(number) or number)
    last = pool.submit(10, 0, lambda: -1)
    gate.set()
    assert last.result(5) == 10
    assert done[0] == 10
    while pool.waiting:
        time.sleep(0.01)
    assert sorted(done) == list(range(1, 11))


@pytest.mark.parametrize("when", ["it waits for its next try", "it runs"])
def test_a_job_that_is_tried_again_keeps_the_better_turn(when: str) -> None:
    """A person opens a task of a pre-labelling whose model has no worker yet."""
    pool: PagePool[int] = PagePool(1, 100)
    first_try = {number: Gate() for number in range(6)}
    done: list[int] = []

    def job(number: int) -> Callable[[], int]:
        def run() -> int:
            if not first_try[number].started.is_set():
                first_try[number]()
                raise Again(0.3)
            done.append(number)
            return number

        return run

    futures = [pool.submit(number, number, job(number)) for number in range(6)]
    if when == "it waits for its next try":
        for gate in first_try.values():
            gate.open.set()
            assert gate.started.wait(WAIT_S)
    else:
        for gate in list(first_try.values())[:5]:
            gate.open.set()
        assert first_try[5].started.wait(WAIT_S)
    assert pool.submit(5, -1, lambda: -1) is futures[5]
    held = pool.submit("held", -2, lambda: time.sleep(1.0) or 0)
    first_try[5].open.set()
    assert [future.result(WAIT_S) for future in (held, *futures)] == [0, *range(6)]
    assert done[0] == 5


def test_more_run_at_a_time_where_there_are_more_nodes() -> None:
    nodes = [1]
    pool: PagePool[int] = PagePool(1, 10, lambda: nodes[0])
    together = threading.Barrier(3)
    pool.submit("alone", 0, lambda: 0).result(5)
    nodes[0] = 3
    running = [pool.submit(number, 0, lambda: together.wait(5)) for number in range(3)]
    assert sorted(one.result(5) for one in running) == [0, 1, 2]


def test_a_failed_page_keeps_no_traceback() -> None:
    """Its frames hold the image, the request and TorchServe's answer, for as long as the future is kept."""

    def fails() -> None:
        data = bytes(1000)
        try:
            raise KeyError(len(data))
        except KeyError as error:
            raise Overloaded("too much") from error

    future = PagePool[None](1, 10).submit("page", 0, fails)
    error = future.exception(5)
    assert isinstance(error, Overloaded)
    assert error.__cause__ is error.__context__ is None
    assert error.__traceback__ is None


def test_a_fault_that_was_not_foreseen_is_in_the_log_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise KeyError("nobody foresaw this")

    future = PagePool[None](1, 10).submit("page", 0, fails)
    assert isinstance(future.exception(5), KeyError)
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.exc_info is not None
    assert "nobody foresaw this" in caplog.text
