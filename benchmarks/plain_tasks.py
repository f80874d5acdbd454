"""Runs `plain_backend.py` as its kind is run, asks it as Label Studio does, and compares its answers with ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.running import HERE, PROJECT, free_ports
from benchmarks.task_files import KEY
from benchmarks.timing import cpu_seconds_of

LABEL_STUDIO_WAITS_S = 100.0
SAME = 0.95
SAFE = 0.8  # of the time: pages differ, and a request that does not fit is lost whole

Task = dict[str, Any]
Prediction = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlainAnswers:
    """What the plain back end did.

    Args:
        predictions: by task id.
        seconds: spent waiting for it, lost requests included.
        cpu_s: CPU seconds of its processes and of the programs they started.
        selections: how many tasks each request held.
    """

    predictions: dict[int, Prediction]
    seconds: float
    cpu_s: float
    selections: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return len(self.predictions) / self.seconds


@contextmanager
def plain_backend(checkpoint: Path, files_url: str) -> Iterator[tuple[str, int]]:
    """Run it with an empty folder of downloads; yield its address and process id."""
    with tempfile.TemporaryDirectory(prefix="plain-") as folder:
        environ = {key: value for key, value in os.environ.items() if key != "OMP_THREAD_LIMIT"} | {
            "PLAIN_CHECKPOINT": str(checkpoint),
            "PLAIN_FOLDER": folder,
            "LABEL_STUDIO_URL": files_url,
            "LABEL_STUDIO_API_KEY": KEY,
        }
        address = f"{HERE}:{free_ports(1)}"
        command = [sys.executable, "-m", "gunicorn", "--preload", "--bind", address, "--workers", "1"]
        command += ["--threads", "8", "--timeout", "0", "--graceful-timeout", "1", "--log-level", "warning"]
        process = subprocess.Popen([*command, "benchmarks.plain_backend:make_app()"], env=environ)
        url = f"http://{address}"
        try:
            wait_until_up(url, process)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(60)


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until it answers."""
    for _ in range(240):
        assert process.poll() is None, "the plain back end ended"
        try:
            requests.get(f"{url}/health", timeout=5).raise_for_status()
        except requests.ConnectionError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit("the plain back end did not get ready")


def ask_once(url: str, tasks: Sequence[Task], config: str) -> list[Prediction] | None:
    """POST one predict as Label Studio does; None where it takes longer than Label Studio waits."""
    body = {"tasks": list(tasks), "project": f"{PROJECT}.1", "label_config": config}
    try:
        answer = requests.post(f"{url}/predict", json=body, timeout=LABEL_STUDIO_WAITS_S)
    except requests.ReadTimeout:
        return None
    answer.raise_for_status()
    results: list[Prediction] = answer.json()["results"]
    return results


def ask_in_selections(url: str, process_id: int, tasks: Sequence[Task], config: str, first: int = 4) -> PlainAnswers:
    """Ask for all tasks the way a person has to: a small selection, then the largest that should fit."""
    predictions: dict[int, Prediction] = {}
    selections: list[int] = []
    began, cpu, size = time.perf_counter(), cpu_seconds_of(process_id), first
    while len(predictions) < len(tasks):
        chosen = tasks[len(predictions) :][:size]
        asked = time.perf_counter()
        results = ask_once(url, chosen, config)
        selections.append(len(chosen))
        if results is None:
            assert len(chosen) > 1, "one page takes longer than Label Studio waits"
            size = len(chosen) // 2
            continue
        predictions |= {task["id"]: one for task, one in zip(chosen, results, strict=True)}
        rate = len(chosen) / (time.perf_counter() - asked)
        size = max(1, int(SAFE * LABEL_STUDIO_WAITS_S * rate))
    seconds = time.perf_counter() - began
    return PlainAnswers(predictions, seconds, cpu_seconds_of(process_id) - cpu, tuple(selections))


def drawn(prediction: Prediction) -> list[tuple[object, ...]]:
    """Return what a prediction draws: box in percent, label and text of each region, sorted."""
    regions: dict[str, dict[str, object]] = {}
    for result in prediction["result"]:
        value = result["value"]
        region = regions.setdefault(result["id"], {})
        region["box"] = tuple(round(value[side], 3) for side in ("x", "y", "width", "height"))
        region |= {kind: tuple(value[kind]) for kind in ("labels", "text") if kind in value}
    return sorted((one["box"], one.get("labels"), one.get("text")) for one in regions.values())


def compare(plain: Mapping[int, Prediction], ours: Mapping[int, Prediction]) -> str:
    """Return how many tasks, and how many of their regions, have the same boxes, labels and texts on both sides.

    Pages longer than the plain back end's one window may differ. Of the others at least 19 of 20 regions are the same:
    the plain back end computes in float32, and in bfloat16 a word on the edge goes the other way now and then. Pages
    without any region would agree about nothing, so there are some.
    """
    whole = [number for number, one in plain.items() if not one["words_cut"]]
    sides = [(Counter(drawn(plain[number])), Counter(drawn(ours[number]))) for number in whole]
    regions = sum(max(one.total(), other.total()) for one, other in sides)
    common = sum((one & other).total() for one, other in sides)
    assert regions, f"no region on either side of {len(whole)} tasks, so nothing was compared"
    assert common >= SAME * regions, f"only {common} of {regions} regions are the same"
    return (
        f"{len(plain)} tasks: of the {len(whole)} that fit 512 tokens, where the plain back end stops, "
        f"{sum(one == other for one, other in sides)} the same, and {common} of their {regions} regions"
    )
