"""From the last step of a training to the new version in service: where the seconds go.

`python -m benchmarks.after_training [--pages 40] [--epochs N] [--times 2]` runs a LayoutLoop of its own (real
`scripts.serve`) and trains a project of generated invoices in it with `scripts.retrain --here`, so many times one after
the other: from the second on there is a version to be compared with. The job's folder and the model store are looked at
all the time, and tell when each step was done; the durations that the report notes stand below.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.running import Running, running
from benchmarks.timing import machine, spread
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from training.fit.progress import Progress
from training.report.files import read_report

PROJECT = 5
GOAL_S = 15.0
_POLL_S = 0.02


def moments(job: Path, store: ModelStore) -> dict[str, Callable[[], bool]]:
    """Return what tells that a step is done, in their order.

    Args:
        job: the training's folder.
        store: of the models.
    """
    name = project_model(PROJECT)
    before = store.manifest(name)
    archives = set(store.folder(name).glob("*.mar"))

    def steps_done() -> bool:
        progress = Progress.read(job)
        return progress is not None and 0 < progress.steps <= progress.step

    def asked_for() -> bool:
        serving = store.manifest(name)
        return serving is not None and (before is None or bool(set(serving.load) - set(before.load)))

    def in_service() -> bool:
        serving = store.manifest(name)
        return serving is not None and serving.current != (before.current if before else None)

    return {
        "the last step": steps_done,
        "last evaluation, state and weights saved": (job / "checkpoint").is_dir,
        "the process ended, candidate and kept versions measured": (job / "archived.json").is_file,
        "archived": lambda: bool(set(store.folder(name).glob("*.mar")) - archives),
        "report written, nodes asked to load": asked_for,
        "loaded by TorchServe, tried, in service": in_service,
    }


def watch(training: subprocess.Popen[bytes], ours: Running, home: Path) -> Iterator[tuple[str, float]]:
    """Yield each step and the seconds since the one before; the first counts from the start of the command."""
    last, jobs = time.perf_counter(), home / "training" / project_model(PROJECT)
    while not (found := [path for path in jobs.glob("here-*") if not path.name.endswith(".gone")]):
        assert training.poll() is None, "the training ended before it had a folder"
        time.sleep(_POLL_S)
    for step, is_done in moments(found[0], ModelStore(ours.store)).items():
        while not is_done():
            assert training.poll() in (None, 0), f"the training failed before: {step}"
            assert training.poll() is None or step.endswith("in service"), f"the training ended before: {step}"
            time.sleep(_POLL_S)
        now = time.perf_counter()
        yield step, now - last
        last = now


def train_once(ours: Running, folder: Path, settings: dict[str, str]) -> float:
    """Train, print each step; return the seconds from the last step to the new version in service."""
    pages = folder / "pages"
    command = [sys.executable, "-m", "scripts.retrain", "--project", str(PROJECT), "--here", "--force"]
    files = ["--annotations", "export.json", "--label-config", "label-config.xml", "--images", "."]
    files = [str(pages / part) if not part.startswith("--") else part for part in files]
    with (folder / "retrain.log").open("wb") as log:
        training = subprocess.Popen([*command, *files], env={**ours.environ, **settings}, stdout=log, stderr=log)
        try:
            steps = list(watch(training, ours, folder / "home"))
            assert training.wait(120) == 0, "the training failed"
        finally:
            if training.poll() is None:
                training.terminate()
                training.wait(60)
    after = sum(seconds for _, seconds in steps[1:])
    print(f"export, read pages, train: {steps[0][1]:.1f} s; from the last step to service: {after:.1f} s")
    print("\n".join(f"  {seconds:5.1f} s {step}" for step, seconds in steps[1:]))
    durations = report_durations(ModelStore(ours.store))
    print(f"  the report: {', '.join(f'{step} {seconds:.1f} s' for step, seconds in durations.items())}")
    sys.stdout.flush()
    return after


def report_durations(store: ModelStore) -> dict[str, float]:
    """Return what the report of the version in service says about the steps."""
    name = project_model(PROJECT)
    serving = store.manifest(name)
    assert serving is not None
    assert serving.current is not None
    return dict(read_report(store.report_path(name, serving.current)).seconds)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=0, help="instead of the recipe's")
    parser.add_argument("--times", type=int, default=2, help="trainings, one after the other")
    given = parser.parse_args()
    settings = {"LAYOUTLOOP_TRAIN_EPOCHS": str(given.epochs)} if given.epochs else {}
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="after-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "demo.tasks", "--count", str(given.pages), "--out", str(folder / "pages")]
        subprocess.run(command, check=True)
        with running(folder, None, {}) as ours:
            seconds = [train_once(ours, folder, settings) for _ in range(given.times)]
    print(f"from the last step to service: {spread(seconds, 1)} s (goal: under {GOAL_S:.0f})")


if __name__ == "__main__":
    main()
