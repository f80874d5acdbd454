"""ML backends in Label Studio have the version that they serve as title, and their projects show just that version.

While `show_collab_predictions` is on and a project's `model_version` is a backend's *title*, the label stream calls
the backend and shows what its present version drew. But the Data Manager takes the prediction score of those alone
whose version is *equal* to the project's `model_version`, so under a title of its own the column stays empty and
sorts nothing. Both are right where the backend's title is its version; Label Studio itself (1.23.2) then changes the
project's `model_version` with the title, if it was that title.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from layoutloop.errors import StudioUnavailable
from layoutloop.studio.client import StudioClient
from layoutloop.studio.version import is_version

logger = logging.getLogger(__name__)

TITLE = "LayoutLoop"


class TitleState(Enum):
    """What a check of a project's ML backends found; what could be corrected is right now."""

    RIGHT = "all of LayoutLoop's have the version in service as title"
    PARTLY = "another one has a title of LayoutLoop's and serves something else"
    BEHIND = "those with a title of LayoutLoop's do not serve the version in service, or do not answer"
    NONE = "none has a title of LayoutLoop's"
    NO_BACKEND = "there is none at all, so no predictions are requested"


def is_ours(title: str | None) -> bool:
    """Return whether LayoutLoop gave this title, or this `model_version` of a project; a person's is never changed."""
    return title == TITLE or is_version(title)


def follow_version(client: StudioClient, backend: Mapping[str, Any]) -> str:
    """Give a backend its present version as title, unless a person named it; return the title it has now.

    Args:
        client: of Label Studio.
        backend: as Label Studio lists it, which has just requested its version.

    Raises:
        StudioUnavailable: Label Studio does not answer, or the backend does not answer it.
    """
    title, version = str(backend["title"]), backend["model_version"]
    if version in (None, "", title) or not is_ours(title):
        return title
    fields = {name: backend[name] for name in ("project", "url", "is_interactive", "auth_method", "basic_auth_user")}
    kept = {"basic_auth_pass": ""} if backend["basic_auth_pass_is_set"] else {}  # empty: the one it has
    client.patch(f"/api/ml/{backend['id']}", {**fields, **kept, "title": version})
    logger.info("project %s: the ML backend %s has the title %s now", backend["project"], backend["url"], version)
    return str(version)


def ensure_titles(client: StudioClient, project: int, stamp: str | None) -> TitleState:
    """Check all ML backends of a project, and correct the titles and what the project shows.

    Another LayoutLoop may serve the same project. Ours are those that report what is in service here.

    Args:
        client: of Label Studio, which requests /health and /setup of each backend now.
        project: its id.
        stamp: of the version in service; None before the first.

    Raises:
        StudioUnavailable: Label Studio does not answer, or has no such project.
    """
    with known_form():
        rows = sorted(client.get("/api/ml", {"project": project}), key=lambda row: int(row["id"]))
        named = [row for row in rows if is_ours(row["title"])]
        served = [row for row in named if _serves(row, stamp)]
        titles = [follow_version(client, row) for row in served]
        if served and served[0] is rows[0]:  # the first of a project is the one that is used
            _ensure_shown(client, project, titles[0])
    if not named:
        return TitleState.NONE if rows else TitleState.NO_BACKEND
    if not served:
        return TitleState.BEHIND
    return TitleState.RIGHT if len(served) == len(named) else TitleState.PARTLY


def _serves(row: Mapping[str, Any], stamp: str | None) -> bool:
    version = str(row["model_version"] or "")  # of a backend that does not answer it is the last one known
    return row["state"] == "CO" and is_ours(version) and version.startswith(f"{stamp or 'ocr'}-")


def _ensure_shown(client: StudioClient, project: int, title: str) -> None:
    """Let the project show what the backend draws, where it names a version that the backend no longer has.

    A connection made at the moment of a promotion may have written that. What is empty was switched off, and anything
    else was chosen by a person.
    """
    shown = client.get(f"/api/projects/{project}/")["model_version"]
    if shown != title and is_ours(shown):
        client.patch(f"/api/projects/{project}/", {"model_version": title})
        logger.info("project %d shows the predictions of %s now, no longer of %s", project, title, shown)


@contextmanager
def known_form() -> Iterator[None]:
    """Turn an answer of another form than Label Studio 1.23 gives into an error that says so.

    Raises:
        StudioUnavailable: something was missing, or of another type.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudioUnavailable(
            f"Label Studio answered in a form that LayoutLoop does not know ({error!r:.100}); it was made for 1.23", 200
        ) from error
