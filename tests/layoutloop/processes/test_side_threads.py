from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from layoutloop.processes.side_threads import SILENT_S, THREADS, TITLES, Rounds, beat_path, stopped_threads
from layoutloop.store.model_store import ModelStore
from shim.health import read_health


def test_what_a_round_meets_is_no_end_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    met: list[Exception] = [KeyError("title"), KeyError("title"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "x")]

    def one_round() -> int:
        if met:
            raise met.pop(0)
        return 7

    rounds = Rounds("the check of the titles")
    assert [rounds.run(one_round, 0) for _ in range(4)] == [0, 0, 0, 7]
    told = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage().partition(":")[0] for record in told] == [
        "the check of the titles failed, and is tried again"
    ] * 2


@pytest.mark.parametrize(
    ("name", "is_copy", "says"),
    [
        pytest.param(TITLES, False, "The trainer has not compared titles", id="titles"),
        pytest.param("trainer", True, "The copy of the model store that trainer reads", id="copy"),
        pytest.param("trainer", False, "", id="a copy that nobody reads any more"),
    ],
)
def test_a_thread_that_has_stopped_is_told(tmp_path: Path, name: str, is_copy: bool, says: str) -> None:
    store = tmp_path / "models"
    store.mkdir()
    if is_copy:
        (store / ".origin").write_text("s3://bucket/models")
    rounds = Rounds("it", beat := beat_path(tmp_path / THREADS / name))
    rounds.run(lambda: None, None)
    assert stopped_threads(tmp_path / THREADS, time.time()) == {}
    since = time.time() + 3600  # and the clock was moved back since
    os.utime(beat, (since, since))
    assert stopped_threads(tmp_path / THREADS, time.time()) == {name: pytest.approx(since)}
    since = time.time() - SILENT_S - 5
    os.utime(beat, (since, since))
    assert stopped_threads(tmp_path / THREADS, time.time()) == {name: pytest.approx(since)}
    told = [one for one in read_health(ModelStore(store), tmp_path, has_key=True).missing if "has stopped" in one]
    assert len(told) == bool(says)
    assert all(one.startswith(says) for one in told)
    rounds.end()
    assert not any("has stopped" in one for one in read_health(ModelStore(store), tmp_path, has_key=True).missing)
