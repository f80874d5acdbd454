"""Label Studio as this machine reaches it: whether it answers, and whether it takes the key."""

from __future__ import annotations

import requests

from shim.credentials import LabelStudioKey
from shim.errors import LayoutLoopError
from shim.settings import Settings
from shim.torchserve import make_session

_TIMEOUT_S = 5.0


def label_studio_problem(settings: Settings) -> str | None:
    """Ask Label Studio who we are; return a sentence about what would keep images from being read, or None."""
    url = settings.label_studio_url.rstrip("/")
    if not settings.label_studio_api_key:
        return "LABEL_STUDIO_API_KEY is not set: Label Studio's uploads and local files cannot be read"
    key = LabelStudioKey(url, settings.label_studio_api_key)
    try:
        with make_session() as session:
            answer = session.get(
                f"{url}/api/current-user/whoami",
                headers=key.header(_TIMEOUT_S),
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
    except LayoutLoopError as error:
        return f"the key cannot be used: {error}"
    except requests.RequestException as error:
        return f"Label Studio does not answer at {url} (LABEL_STUDIO_URL): {type(error).__name__}"
    finally:
        key.close()
    if answer.status_code in (401, 403):
        return f"Label Studio at {url} refuses LABEL_STUDIO_API_KEY ({answer.status_code})"
    if answer.status_code != 200:
        return f"{url} answered {answer.status_code}; is that Label Studio's address (LABEL_STUDIO_URL)?"
    return None
