"""Train a project's next model from its annotations: `python -m scripts.retrain --project 7`.

Queues the job that Start Training queues, prints its id and ends; `--wait` follows it. `--here` trains in this process
instead, with no worker; `--annotations FILE` does so from an exported file.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from layoutloop.errors import SettingsInvalid
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore, open_jobs
from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.settings.training import TrainSettings
from layoutloop.studio.api_key_file import NO_KEY

_FOLLOW_S = 1.0
_INTERRUPTED = 75
_BAR = "{desc:<10} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
"""A job is watched from outside, once a second: a rate made of that would say nothing."""


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the job was queued, or did its work."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.job is None and options.project is None:
        parser.error("--project is Label Studio's project id")
    if problem := _problem(options):
        parser.error(problem)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Its children are ended on the way out; a person is told how it goes on, as after Ctrl-C.
    by_worker = options.job is not None
    signal.signal(signal.SIGTERM, _end_quietly if by_worker else signal.default_int_handler)
    try:
        settings, training = _settings()
        with closing(open_jobs(settings.jobs_url)) as jobs:
            if options.job is not None:
                return _work(jobs, options, settings, training)
            if options.here:
                return _here(settings, training, options)
            return _queue(jobs, settings, options)
    except KeyboardInterrupt:
        again = "the same command goes on where it stopped" if options.here else "the job goes on without you"
        print(f"interrupted: {again}", file=sys.stderr)
        return _INTERRUPTED


def _end_quietly(*_: object) -> None:
    sys.exit(_INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.retrain", description=__doc__.split("\n\n")[0])
    parser.add_argument("--project", type=int, help="Label Studio's project id")
    parser.add_argument("--force", action="store_true", help="into service whatever the evaluation says")
    parser.add_argument("--dry-run", action="store_true", help="train and measure; nothing goes into service")
    parser.add_argument(
        "--from", dest="start", choices=["base", "current"], default="base", help="what to start from (default: base)"
    )
    parser.add_argument("--wait", action="store_true", help="follow the job; the exit status says what came of it")
    parser.add_argument("--here", action="store_true", help="train in this process, without a worker")
    parser.add_argument("--annotations", type=Path, help="Label Studio's JSON export instead of its API (with --here)")
    parser.add_argument("--label-config", type=Path, help="the label config's XML (with --annotations)")
    parser.add_argument("--images", type=Path, help="take the images from here, by their file names (with --here)")
    parser.add_argument("--untested", action="store_true", help="also where no TorchServe runs (with --here)")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # the worker's
    parser.add_argument("--attempt", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    """Return what would otherwise be passed over in silence."""
    if options.annotations and not (options.label_config and options.here):
        return "--annotations needs --label-config FILE and --here"
    if options.label_config and not options.annotations:
        return "--label-config goes with --annotations FILE; without an export both come from Label Studio"
    if options.images and not options.here:
        return "--images is read by this process, so it needs --here"
    if options.untested and not options.here:
        return "--untested needs --here: a worker's training is always tried in TorchServe"
    if options.wait and options.here:
        return "--wait follows a worker's job, and --here needs no worker; give one of them"
    if options.images and not os.path.isdir(options.images):  # Path.is_dir may raise
        return f"--images {options.images} is no folder that can be read"
    return None


def _settings() -> tuple[Settings, TrainSettings]:
    """Return the settings with the places that serve.sh uses, wherever this is called from."""
    places = NodeSettings.from_env(os.environ).environment()
    return Settings.from_env(os.environ | places), TrainSettings.from_env(os.environ)


def _work(jobs: JobStore, options: argparse.Namespace, settings: Settings, training: TrainSettings) -> int:
    """Do a job that a worker claimed."""
    from training.worker.job import Trainer, do_job  # torch takes seconds, and queueing needs none of it

    return do_job(jobs, options.job, options.attempt, Trainer(settings, training, settings.open_store()))


def _here(settings: Settings, training: TrainSettings, options: argparse.Namespace) -> int:
    from training.request import TrainingRequest
    from training.worker.job import Files, Trainer, train_here

    request = TrainingRequest(
        options.project,
        force=options.force,
        dry_run=options.dry_run,
        from_current=options.start == "current",
        untested=options.untested,
    )
    files = Files(options.annotations, options.label_config, options.images)
    train_here(request, files, Trainer(settings, training, settings.open_store()))
    return 0


def _queue(jobs: JobStore, settings: Settings, options: argparse.Namespace) -> int:
    if not settings.label_studio_api_key:
        raise SettingsInvalid(f"{NO_KEY}, and no annotations exported; or train from files: --here --annotations FILE")
    wishes = {"force": options.force, "dry_run": options.dry_run, "from_current": options.start == "current"}
    job = jobs.submit(options.project, "retrain", "command", wishes)
    print(f"job {job.id} is {job.state}; follow it at http://127.0.0.1:{settings.port}/jobs/{job.id}")
    return _follow(jobs, job) if options.wait else 0


def _follow(jobs: JobStore, job: Job) -> int:
    """Show a job's progress until it ended."""
    with tqdm(total=1, desc="queued", bar_format=_BAR, disable=None) as bar:
        while job.state not in ("done", "failed"):
            time.sleep(_FOLLOW_S)
            error, job = job.error, jobs.get(job.id)
            if job.error != error and job.state == "queued":
                tqdm.write(f"attempt {job.attempt}: {job.error}; tried again", file=sys.stderr)
            bar.set_description(job.step or job.state)
            bar.total, bar.n = job.total or 1, job.done
            figures = {"loss": job.loss, "f1": job.f1}
            bar.set_postfix({name: f"{value:.3f}" for name, value in figures.items() if value is not None})
        bar.set_description(job.state)
        if job.state == "done":
            bar.total = bar.n = 1
    print(f"{job.state}: {job.verdict or 'error'} {job.version} {job.message or job.error}".replace("  ", " "))
    return 0 if job.state == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
