"""By which names the shim may be called while nobody has to give a password."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from flask import request

from layoutloop.errors import HostUnknown
from shim.context import context

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{0,5})?")


def refuse_unknown_names() -> None:
    """Refuse a request by a name that is not known, on every route.

    A page of another site can read what it should not where its own name is made to resolve to this machine (DNS
    rebinding): its browser then takes the shim for that site, and still sends the name. An address is no name, and a
    password is not known to that page.

    Raises:
        HostUnknown: it names the setting.
    """
    settings, host = context().settings, request.environ.get("HTTP_HOST", "")
    if settings.basic_auth_user or not host or is_known(host, (settings.host, *settings.hosts)):
        return
    raise HostUnknown(
        "without Basic auth the shim answers by its address, by localhost and by the names in LAYOUTLOOP_HOSTS, not "
        f"by {host!r:.100}; add the name to LAYOUTLOOP_HOSTS and start the shim again, or set BASIC_AUTH_USER and "
        "BASIC_AUTH_PASS"
    )


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a Host header is an address, localhost, or one of some names, with any port."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost") or name in {one.lower().rstrip(".") for one in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
