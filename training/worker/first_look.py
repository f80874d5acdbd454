"""What is read from Label Studio before a job gets a process: a process imports torch, and leaves folders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http import HTTPStatus

from layoutloop.errors import LayoutLoopError, StudioRefused
from layoutloop.jobs.job import Job
from layoutloop.plural import counted
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import project_model
from layoutloop.studio.client import StudioClient, open_studio
from layoutloop.studio.export import Project, count_annotated, read_project
from training.data.learned import count_annotations, count_unread, learned_before, newest_moment

logger = logging.getLogger(__name__)

_ANSWER_S = 10.0
_OVERLAP = timedelta(minutes=1)
"""A change is stored a little after the moment that it has, so an export may have missed one that is older than
others in it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends at once.

    Args:
        is_failure: it can come to nothing; else there is nothing to do yet.
        sentence: why.
    """

    is_failure: bool
    sentence: str


def first_look(settings: Settings, job: Job) -> Ending | None:
    """Return how a job ends by what small answers of Label Studio tell; None where they tell nothing.

    A project that is not known fails. A job of annotations is skipped where no more can be new than do not start a
    training. Where Label Studio or the store does not answer, or a key is refused, that is for the job's own process
    to say.
    """
    try:
        with open_studio(settings.label_studio_url, settings.label_studio_api_key, _ANSWER_S) as studio:
            project = read_project(studio, job.project)
            if job.trigger != "annotations":
                return None
            known = learned_before(settings.model_dir / project_model(job.project))
            most = _most_new(studio, project, known)
    except StudioRefused as error:
        return Ending(True, str(error)) if error.studio_status == HTTPStatus.NOT_FOUND else None
    except (LayoutLoopError, OSError) as error:
        logger.info("job %s: what there is in project %d is not known: %s", job.id, job.project, error)
        return None
    if most >= settings.train_every:
        return None
    new = ("at most " if most else "") + counted(most, "annotation is", "annotations are")
    return Ending(
        False, f"{new} new since the last training; {settings.train_every} start one (LAYOUTLOOP_TRAIN_EVERY)"
    )


def _most_new(studio: StudioClient, project: Project, known: Mapping[str, str]) -> int:
    """Return how many annotations can be new since the last training, no fewer than are: of each task one counts.

    New is what could not be read then, and what changed since its newest annotation. That moment is Label Studio's; one
    in the future (of a file from elsewhere, or its clock was moved) tells nothing, and all count. Tasks that the
    training did not see count too, by their number: a long import may have ended after its own moments.
    """
    newest = newest_moment(known)
    since = newest - _OVERLAP if newest and newest <= datetime.now(timezone.utc) else None
    changed = count_annotated(studio, project.id, since)
    return max(count_unread(known) + changed, project.annotated_tasks - count_annotations(known))
