"""What is read from Label Studio before a job gets a process: a process imports torch, and leaves folders."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from layoutloop.errors import SettingsInvalid, StudioRefused, StudioUnavailable
from layoutloop.jobs.job import Job
from layoutloop.plural import counted
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import open_studio
from layoutloop.studio.export import read_project

logger = logging.getLogger(__name__)

_ANSWER_S = 10.0


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
    """Return how a job ends by what one small answer of Label Studio tells; None where that tells nothing.

    A project that is not known fails. A job of annotations is skipped where the whole project has fewer annotated tasks
    than start a training: of each task one annotation counts. Where Label Studio does not answer, or refuses the key,
    that is for the job's own process to say.
    """
    try:
        with open_studio(settings.label_studio_url, settings.label_studio_api_key, _ANSWER_S) as studio:
            project = read_project(studio, job.project)
    except StudioRefused as error:
        return Ending(True, str(error)) if error.studio_status == HTTPStatus.NOT_FOUND else None
    except (StudioUnavailable, SettingsInvalid) as error:
        logger.info("job %s: whether project %d is there is not known: %s", job.id, job.project, error)
        return None
    if job.trigger != "annotations" or project.annotated_tasks >= settings.train_every:
        return None
    most = counted(project.annotated_tasks, "annotation is", "annotations are")
    return Ending(
        False, f"at most {most} new since the last training; {settings.train_every} start one (LAYOUTLOOP_TRAIN_EVERY)"
    )
