"""How long a webhook takes while a training runs: Label Studio waits one second, and the annotator with it.

`python -m benchmarks.webhook_latency --project 7` sends ANNOTATION_CREATED events as Label Studio 1.23.2 does, one by
one, to a shim whose trainer is at work, and prints the spread. Every event joins or queues a job of that project,
which ends as skipped where nothing is new.
"""

from __future__ import annotations

import argparse
import time

import requests

from benchmarks.timing import machine, percentile, tail


def measure(url: str, project: int, calls: int, pause_s: float) -> list[float]:
    """Return milliseconds for each call."""
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"id": 1, "was_cancelled": False, "result": []},
        "task": {"id": 1, "data": {}},
        "project": {"id": project},
    }
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        # A connection for each, as Label Studio makes it.
        answer = requests.post(f"{url}/webhook", json=event, timeout=10)
        took.append((time.perf_counter() - began) * 1000)
        answer.raise_for_status()
        time.sleep(pause_s)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhook_latency", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:9090")
    parser.add_argument("--project", type=int, required=True)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--pause-s", type=float, default=0.1)
    given = parser.parse_args()
    print(machine())
    jobs = requests.get(f"{given.url}/jobs", timeout=10).json()["jobs"]
    running = [f"{job['id']} ({job['step']})" for job in jobs if job["state"] == "running"]
    took = measure(given.url, given.project, given.calls, given.pause_s)
    name, worst = tail(took)
    figures = f"p50 {percentile(took, 0.5):.1f}, {name} {worst:.1f}, most {max(took):.1f} ms"
    print(f"{len(took)} webhooks while {', '.join(running) or 'nothing'} ran: {figures}")


if __name__ == "__main__":
    main()
