"""What is asked of Label Studio before a job gets a process: a process imports torch, and leaves folders."""

from __future__ import annotations

import logging
from http import HTTPStatus

from layoutloop.errors import SettingsInvalid, StudioRefused, StudioUnavailable
from layoutloop.jobs.job import Job
from layoutloop.settings.serving import Settings
from layoutloop.studio.client import open_studio
from layoutloop.studio.export import read_project

logger = logging.getLogger(__name__)

_ANSWER_S = 10.0


def unknown_project(settings: Settings, job: Job) -> str:
    """Return why a job can come to nothing, as a sentence, where Label Studio does not know its project; else "".

    Where it does not answer, or refuses the key, that is for the job's own process to say.
    """
    try:
        with open_studio(settings.label_studio_url, settings.label_studio_api_key, _ANSWER_S) as studio:
            read_project(studio, job.project)
    except StudioRefused as error:
        return str(error) if error.studio_status == HTTPStatus.NOT_FOUND else ""
    except (StudioUnavailable, SettingsInvalid) as error:
        logger.info("job %s: whether project %d is there is not known: %s", job.id, job.project, error)
    return ""
