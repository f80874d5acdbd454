"""Locks in a real Redis."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layoutloop.errors import LeaseLost, StoreBusy, StoreUnavailable
from layoutloop.store.redis_locks import Leases
from tests.redis_server import RedisServer, redis_server

REPOSITORY = Path(__file__).resolve().parents[3]
SHORT_S = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def leases(server: RedisServer) -> Iterator[Leases]:
    found = Leases.at(server.new_url(), SHORT_S)
    yield found
    found.client.close()


def test_one_holder_at_a_time_and_others_are_not_held_up(leases: Leases) -> None:
    with leases.hold("project-7"):
        with (
            pytest.raises(StoreBusy, match="another process is changing project-7"),
            leases.hold("project-7", wait=False),
        ):
            pass
        with leases.hold("project-8", wait=False):
            pass
    with leases.hold("project-7", wait=False):
        pass


def test_a_lease_is_kept_for_longer_than_it_lasts_by_itself(leases: Leases) -> None:
    with leases.hold("project-7") as held:
        time.sleep(2 * SHORT_S)
        held.check()
        with pytest.raises(StoreBusy), leases.hold("project-7", wait=False):
            pass


def test_numbers_grow(leases: Leases) -> None:
    numbers = []
    for _ in range(3):
        with leases.hold("project-7") as held:
            numbers.append(held.number)
    assert numbers == [1, 2, 3]


def test_a_lock_without_a_number_is_let_go(leases: Leases) -> None:
    leases.client.set("layoutloop:store:number:project-7", "no number")
    with pytest.raises(StoreUnavailable, match="ResponseError"), leases.hold("project-7"):
        pass
    leases.client.delete("layoutloop:store:number:project-7")
    with leases.hold("project-7", wait=False) as held:
        assert held.number == 1


def test_a_redis_that_lost_its_data_goes_on_above(leases: Leases) -> None:
    with leases.hold("project-7", above=41) as held:
        assert held.number == 42
    with leases.hold("project-7", above=41) as held:
        assert held.number == 43


def test_a_killed_holder_is_waited_for_no_longer_than_its_lease(server: RedisServer, leases: Leases) -> None:
    program = (
        "import sys, time; from layoutloop.store.redis_locks import Leases\n"
        f"with Leases.at(sys.argv[1], {SHORT_S}).hold('project-7'): print('held', flush=True); time.sleep(60)"
    )
    arguments = leases.client.connection_pool.connection_kwargs
    url = f"redis://:{arguments['password']}@{arguments['host']}:{arguments['port']}/{arguments['db']}"
    with subprocess.Popen([sys.executable, "-c", program, url], cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
    began = time.monotonic()
    with leases.hold("project-7") as held:
        assert held.number == 2
    assert time.monotonic() - began < SHORT_S + 2


def test_who_waits_gets_it_next(leases: Leases) -> None:
    got = threading.Event()

    def wait() -> None:
        with leases.hold("project-7"):
            got.set()

    with leases.hold("project-7"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.6)
    assert got.wait(5)
    waiting.join()


def test_a_lease_that_another_took_is_lost(leases: Leases) -> None:
    with leases.hold("project-7") as held:
        leases.client.delete("layoutloop:store:lock:project-7")  # as a Redis that was emptied
        with leases.hold("project-7", wait=False) as later:
            with pytest.raises(LeaseLost, match="another process holds"):
                held.check()
            later.check()


def test_a_holder_that_stood_still_has_lost_it(server: RedisServer) -> None:
    leases = Leases.at(server.new_url(), 0.3)
    with leases.hold("project-7") as held:
        held.check()
        leases.client.persist("layoutloop:store:lock:project-7")  # Redis would still say yes
        held._until = time.monotonic() - 1
        with pytest.raises(LeaseLost, match="was not renewed"):
            held.check()
    leases.client.close()


def test_without_redis_there_is_no_lock_and_a_held_one_counts_as_lost(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        leases = Leases.at(server.new_url(), SHORT_S)
        with leases.hold("project-7") as held:
            server.kill()
            with pytest.raises(LeaseLost, match="does not say that this process still holds"):
                held.check()
        with (
            pytest.raises(StoreUnavailable, match=f"Redis at 127.0.0.1:{server.port}") as away,
            leases.hold("project-7"),
        ):
            pass
        assert "open-sesame" not in str(away.value)
        leases.client.close()
