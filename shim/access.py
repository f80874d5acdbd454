"""Who may call: Basic auth, and pages of other sites."""

from __future__ import annotations

import hmac
import logging

from flask import request

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
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    user = hmac.compare_digest((given.username or "").encode(), settings.basic_auth_user.encode())
    password = hmac.compare_digest((given.password or "").encode(), settings.basic_auth_pass.encode())
    return user and password


def log_refusal(error: LayoutLoopError, level: int = logging.WARNING) -> dict[str, str]:
    """Log what this request was refused for; return the headers of its answer."""
    extra = {"code": error.code, "sentence": str(error)}
    logger.log(level, "%s %s: %s: %a", request.method, request.path, error.code, str(error), extra=extra)
    return {"WWW-Authenticate": 'Basic realm="LayoutLoop"'} if error.status == 401 else {}
