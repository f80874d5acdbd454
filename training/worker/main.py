"""Run jobs, each in a process of its own: `python -m scripts.worker`.

`scripts.serve` keeps it running. Trainings and restores run one at a time, as `python -m scripts.retrain`; beside them
pre-labellings do, as `python -m scripts.prelabel`: neither waits for the other.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial

from layoutloop.connect.version_titles import VersionTitles
from layoutloop.jobs.queue import open_jobs
from layoutloop.processes.command import as_command
from layoutloop.processes.logs import set_up_logging
from layoutloop.processes.side_threads import THREADS
from layoutloop.processes.signals import StopSignals
from layoutloop.settings.local_store import with_local_store
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from training.worker.first_look import first_look
from training.worker.loop import Worker, worker_lock
from training.worker.process import Place

logger = logging.getLogger(__name__)

RETRAIN = (sys.executable, "-m", "scripts.retrain")
PRELABEL = (sys.executable, "-m", "scripts.prelabel")
_AGAIN_S = 10.0


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run jobs until told to stop; 2 where the settings cannot be used."""
    argparse.ArgumentParser(prog="python -m scripts.worker", description=__doc__).parse_args(arguments)
    node = NodeSettings.from_env(os.environ)
    environ = {**os.environ, **node.environment()}
    settings = Settings.from_env(environ)
    set_up_logging(settings.log_level)
    stop = StopSignals()
    with worker_lock(node.home, stop) as held:
        if held:
            with with_local_store(settings, node.home / THREADS / "trainer") as near:
                _work(near, node, environ, stop)
    return 0


def _work(settings: Settings, node: NodeSettings, environ: Mapping[str, str], stop: StopSignals) -> None:
    titles = VersionTitles(settings)
    titles.start()
    # A daemon: should the trainings' lane fail, the process ends, and is started again with both.
    arguments = (settings, node, environ, stop)
    prelabelling = threading.Thread(target=_prelabel, args=arguments, name="prelabelling", daemon=True)
    prelabelling.start()
    logger.info("worker %s waits for jobs", node.node)
    with closing(open_jobs(settings.jobs_url)) as jobs:
        place = Place(RETRAIN, node.logs / "jobs", environ)
        look = partial(first_look, settings)
        Worker(jobs, node.node, place, stop, alive=node.home / "worker.alive", ending_of=look).run()
    prelabelling.join()
    titles.end()


def _prelabel(settings: Settings, node: NodeSettings, environ: Mapping[str, str], stop: StopSignals) -> None:
    """Run pre-labellings until a signal comes, whatever happens: nobody would see that this thread is gone."""
    place = Place(PRELABEL, node.logs / "prelabellings", environ)
    while not stop.received:
        try:
            with closing(open_jobs(settings.jobs_url)) as jobs:
                Worker(jobs, f"{node.node}-prelabel", place, stop, lane="prelabelling").run()
        except Exception:
            logger.exception("the lane of the pre-labellings failed, and begins anew")
            threading.Event().wait(_AGAIN_S)
