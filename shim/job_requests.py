"""Jobs as they are queued here: a project that nothing speaks of leaves room for those that are known."""

from __future__ import annotations

import time
from collections.abc import Mapping

from layoutloop.jobs.job import Job, Kind, Scalar, Trigger
from layoutloop.store.manifest import project_model
from layoutloop.studio.status import read_studio_status
from shim.context import context


def submit(project: int, kind: Kind, trigger: Trigger, options: Mapping[str, Scalar | None] | None = None) -> Job:
    """Queue a job, or join the one that waits for the same.

    Known are projects that have a model or are in the trainer's list of connected ones. A webhook's word for it is not
    enough, since anyone may send one. The worker asks Label Studio itself; a request here must not wait for that.

    Raises:
        Overloaded: too many jobs wait already.
    """
    kept = context()
    has_model = kept.store.folder(project_model(project)).is_dir()
    is_known = has_model or project in read_studio_status(kept.settings.home, time.time()).titles
    return kept.jobs.submit(project, kind, trigger, options, is_known=is_known)
