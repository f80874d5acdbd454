"""What the value of one setting may be: text to its type, and the shapes of addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from layoutloop.errors import SettingsInvalid

LOOPBACK = "127.0.0.1"
EVERY_TASK = 2**31
"""As many as there are."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")


def convert(variable: str, text: str, default: object) -> object:
    """Return what an environment variable says, in the type of its default.

    Raises:
        SettingsInvalid: it says something else.
    """
    try:
        if isinstance(default, bool):
            if text.lower() not in TRUE + FALSE:
                raise ValueError
            return text.lower() in TRUE
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if isinstance(default, Path):
            return Path(text).expanduser().resolve()
        return type(default)(text)  # type: ignore[call-arg]
    except ValueError as error:
        wanted = {int: "a whole number", float: "a number"}.get(type(default), "1 or 0")
        raise SettingsInvalid(f"{variable}: {wanted} is wanted, got {text!r}") from error


def task_count(text: str) -> int:
    """Return how many tasks LAYOUTLOOP_PRELABEL says.

    Raises:
        SettingsInvalid: it says something else.
    """
    if text.lower() == "all":
        return EVERY_TASK
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SettingsInvalid(f"LAYOUTLOOP_PRELABEL is a number of tasks, 0 for none, or all, got {text!r:.80}")
    return int(text)


def check_host_names(names: Sequence[str]) -> None:
    """See that LAYOUTLOOP_HOSTS has names alone.

    Raises:
        SettingsInvalid: one is something else, such as an address with a port.
    """
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise SettingsInvalid(
                f"LAYOUTLOOP_HOSTS has names as in http://NAME:9090, without a port, commas between them; got {name!r}"
            )


def check_networks(networks: Sequence[str]) -> None:
    """See that LAYOUTLOOP_IMAGE_NETWORKS has networks in CIDR alone.

    Raises:
        SettingsInvalid: one is something else.
    """
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise SettingsInvalid(f"LAYOUTLOOP_IMAGE_NETWORKS: {error}") from error


def redis_address(environ: Mapping[str, str]) -> str:
    """Return the address that REDIS_HOST and REDIS_PORT make, "" where there is no host.

    Raises:
        SettingsInvalid: the port is none.
    """
    host, port = environ.get("REDIS_HOST", "").strip(), environ.get("REDIS_PORT", "").strip() or "6379"
    if not host:
        return ""
    # Kubernetes sets REDIS_PORT=tcp://10.0.0.5:6379 by itself beside a service that is called redis.
    port = port.rpartition(":")[2] if port.startswith("tcp://") else port
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise SettingsInvalid(f"REDIS_PORT is between 1 and 65535, got {port!r}")
    return f"redis://[{host}]:{port}/0" if ":" in host else f"redis://{host}:{port}/0"


def is_address(url: str) -> bool:
    """Whether this is an http(s) address without a user, a password or a query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.username or parts.query)


def is_node_address(url: str) -> bool:
    """Whether this is like http://torchserve:7080: a host and a port, spoken to without TLS."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # as DNS takes it: no part may be empty, or over 63 bytes
        return is_address(url) and parts.scheme == "http" and bool(parts.port) and parts.path in ("", "/")
    except ValueError:
        return False


def is_redis(url: str) -> bool:
    """Whether this is a Redis address: a host, perhaps a port and the number of a database."""
    try:
        parts = urlsplit(url)
        database = parts.path.strip("/")
        return (
            parts.scheme in ("redis", "rediss")
            and bool(parts.hostname)
            and parts.port != 0  # raises where it is no port
            and (not database or database.isdigit())
        )
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(host: str) -> str:
    """Return where this machine reaches what listens on `host`, as a URL writes it: a wildcard becomes loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host  # a name
    if address.version == 6:
        return "[::1]" if address.is_unspecified else f"[{address}]"
    return LOOPBACK if address.is_unspecified else str(address)
