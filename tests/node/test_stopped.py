from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from node.stopped import StoppedProcesses

WAIT_S = 0.4


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def looked(stopped: StoppedProcesses, seconds: float) -> list[str]:
    said, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        said += stopped.kill()
        time.sleep(0.05)
    return said


def test_one_that_stands_still_is_killed_after_a_while(sleeper: subprocess.Popen[bytes]) -> None:
    stopped = StoppedProcesses(lambda: [psutil.Process(sleeper.pid)], WAIT_S)
    assert looked(stopped, 2 * WAIT_S) == []
    sleeper.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert looked(stopped, WAIT_S / 2) == []
    (sentence,) = looked(stopped, 2 * WAIT_S)
    assert time.monotonic() - began > WAIT_S
    assert sentence.startswith(f"process {sleeper.pid} ({sys.executable}")
    assert sleeper.wait(5) == -signal.SIGKILL


def test_one_that_goes_on_in_time_stays(sleeper: subprocess.Popen[bytes]) -> None:
    stopped = StoppedProcesses(lambda: [psutil.Process(sleeper.pid)], WAIT_S)
    for _ in range(3):
        sleeper.send_signal(signal.SIGSTOP)
        assert looked(stopped, WAIT_S / 2) == []
        sleeper.send_signal(signal.SIGCONT)
        assert looked(stopped, WAIT_S / 2) == []
    assert sleeper.poll() is None


def test_one_that_is_gone_is_no_error(sleeper: subprocess.Popen[bytes]) -> None:
    gone = psutil.Process(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert looked(StoppedProcesses(lambda: [gone], WAIT_S), WAIT_S) == []
