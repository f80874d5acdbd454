"""Who may call: Basic auth, and pages of other sites."""

from __future__ import annotations

import hmac
import logging

from flask import request
from werkzeug.datastructures import Authorization

from layoutloop.errors import CrossSite, LayoutLoopError, Unauthorized
from shim.context import context

logger = logging.getLogger(__name__)

_OPEN = ("routes.health",)


def authenticate() -> None:
    """Require Basic auth where it is set; health stays open, but shows a stranger only that the shim is up."""
    if request.endpoint not in _OPEN and not is_authenticated():
        raise Unauthorized(
            "this shim requires Basic auth: give user and password in Label Studio's model settings (to curl with -u)"
        )


def refuse_other_sites() -> None:
    """Refuse what another site's page makes a browser send: it names that site, and Label Studio names none."""
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
        raise CrossSite(
            f"a page of {origin!r:.100} may not send changes here; use {request.host} itself (a proxy in front "
            "must pass the Host header on)"
        )


def is_authenticated() -> bool:
    """Whether this request gave user and password, where they are set."""
    settings = context().settings
    if not settings.basic_auth_user:
        return True
    given = given_authorization()
    if given is None or given.type != "basic":
        return False
    user = hmac.compare_digest(_bytes(given.username or ""), _bytes(settings.basic_auth_user))
    password = hmac.compare_digest(_bytes(given.password or ""), _bytes(settings.basic_auth_pass))
    return user and password


def given_authorization() -> Authorization | None:
    """Return what the request says it is allowed by; a header that cannot be understood says nothing."""
    try:
        return request.authorization
    except ValueError:  # werkzeug decodes base64 of other letters than ASCII
        return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # a setting may be in another encoding than UTF-8


def log_refusal(error: LayoutLoopError, level: int = logging.WARNING) -> dict[str, str]:
    """Log what this request was refused for; return the headers of its answer."""
    extra = {"code": error.code, "sentence": str(error)}
    where = f"{request.method} {request.path:.200}"
    logger.log(level, "%s: %s: %a", where, error.code, str(error), extra=extra)
    return {"WWW-Authenticate": 'Basic realm="LayoutLoop"'} if error.status == 401 else {}
