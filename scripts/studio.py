"""Label Studio as this machine reaches it: whether it answers, and whether it takes the key."""

from __future__ import annotations

from contextlib import closing

from shim.credentials import LabelStudioKey
from shim.errors import LayoutLoopError, StudioUnavailable
from shim.settings import Settings
from shim.studio_client import StudioClient

_TIMEOUT_S = 5.0
_WHO_AM_I = "/api/current-user/whoami"


def label_studio_problem(settings: Settings) -> str | None:
    """Ask Label Studio who we are; return a sentence about what would keep images from being read, or None."""
    if not settings.label_studio_api_key:
        return "LABEL_STUDIO_API_KEY is not set: Label Studio's uploads and local files cannot be read"
    try:
        with (
            closing(LabelStudioKey(settings.label_studio_url, settings.label_studio_api_key)) as key,
            closing(StudioClient(settings.label_studio_url, key, timeout_s=_TIMEOUT_S)) as client,
        ):
            who_am_i(client)
    except LayoutLoopError as error:
        return str(error)
    return None


def who_am_i(client: StudioClient) -> str:
    """Return the e-mail address of the person whose key this is.

    Raises:
        StudioUnavailable: Label Studio does not answer there, or does not take the key; says what to set.
    """
    body = client.get(_WHO_AM_I)
    if not isinstance(body, dict) or "email" not in body:
        raise StudioUnavailable(
            f"{client.address(_WHO_AM_I)} answered as Label Studio does not: set LABEL_STUDIO_URL to its address"
        )
    return str(body["email"])
