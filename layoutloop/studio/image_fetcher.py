"""Image reference of a task -> bytes, from allowed places alone.

| reference | fetched from |
|---|---|
| `data:` | itself |
| uploads, local files, storage and resolve paths of Label Studio | Label Studio, with the key |
| `s3://`, `gs://`, `azure-blob://` | Label Studio at `/tasks/<id>/resolve/`, with the key |
| `http(s)://` on an allowed host | that host, never with the key |

Everything else is refused. Redirects are followed here, and each hop is judged from scratch.
"""

from __future__ import annotations

import base64
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urljoin

import urllib3

from handler.errors import ImageTooLarge
from layoutloop.errors import (
    AddressRefused,
    HostUnreachable,
    ImageSourceUnreachable,
    ImageUnavailable,
    StudioUnavailable,
)
from layoutloop.studio.addresses import Guard, Resolver, open_pools, parse_networks, resolve
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.api_key_file import KEY_VARIABLE
from layoutloop.studio.data_uri import decode_data_uri
from layoutloop.studio.reference import IMAGE_PATHS, named_file, read_reference
from layoutloop.studio.web_address import (
    HostRule,
    WebAddress,
    check_characters,
    check_controls,
    check_path,
    parse_host_rules,
    parse_studio_url,
    parse_web_address,
)
from layoutloop.studio.web_request import WebRequest, compression, read_body

MAX_REFERENCE_CHARS = 8192
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {"Accept": "*/*"}
"""Label Studio's resolve view answers 406 to a client that only takes images."""
_ANOTHER_TIME = frozenset({408, 424, 425, 429})
"""Statuses that say nothing about the image: too slow, too early, too often; 424 is Label Studio's for a storage."""


@dataclass(frozen=True, slots=True)
class _Hop:
    """One request: where, and whether Label Studio's key goes with it."""

    address: WebAddress
    keyed: bool


@dataclass(frozen=True, slots=True)
class ImageRules:
    """Which images may be fetched, beside those of Label Studio itself.

    Args:
        hosts: `host`, `host:port`, `*.host`, `*.host:port`; no port means 80 or 443.
        networks: networks allowed beside the public internet, such as `10.20.0.0/16`.
        max_bytes: largest image, wherever it is.
        timeout_s: limit for one whole fetch with all its redirects; only the system's name look-up has its own.
        resolver: how host names become numeric addresses.
        context: authorities trusted for TLS; the system's by default.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    max_bytes: int = 32 * 1024 * 1024
    timeout_s: float = 30
    resolver: Resolver = resolve
    context: ssl.SSLContext | None = None


_DEFAULT_RULES = ImageRules()


class ImageFetcher:
    """Fetches images; one for all threads, it keeps connections open.

    Args:
        label_studio_url: Label Studio's own address, allowed to be private; "" when there is none.
        key: the key for it.
        rules: what else may be fetched.

    Raises:
        SettingsInvalid: an address, host or network cannot be read.
    """

    def __init__(self, label_studio_url: str, key: LabelStudioKey, rules: ImageRules = _DEFAULT_RULES) -> None:
        self._home = parse_studio_url(label_studio_url).below("/") if label_studio_url else None
        self._key = key
        self._rules = rules
        self._hosts: tuple[HostRule, ...] = parse_host_rules(rules.hosts)
        self._home_pools = open_pools(Guard(resolver=rules.resolver, anywhere=True), rules.context)
        self._other_pools = open_pools(Guard(parse_networks(rules.networks), rules.resolver), rules.context)

    def fetch(self, reference: str, task_id: int | None = None, max_bytes: int | None = None) -> bytes:
        """Return the bytes behind an image reference of a task.

        A cloud reference needs the task's id: Label Studio reads it with the storage of the task's project,
        at `/tasks/<id>/resolve/?fileuri=<urlsafe base64>` (label_studio/io_storages/proxy_api.py decodes
        with base64.urlsafe_b64decode; it streams the bytes or answers 303 to a presigned address).

        Args:
            reference: as the task's data has it.
            task_id: Label Studio's.
            max_bytes: largest file; None for the largest image.

        Raises:
            AddressRefused: the reference, or a redirect, points to something that may not be fetched.
            ImageTooLarge, ImageUnreadable: more bytes than allowed; a `data:` reference that is no image.
            ImageSourceUnreachable: no connection, no answer in time or a 5xx.
            ImageUnavailable: everything else; the message never holds the key or a query string.
        """
        most = self._rules.max_bytes if max_bytes is None else min(max_bytes, self._rules.max_bytes)
        if reference[:5].lower() == "data:":
            return decode_data_uri(reference, most)
        deadline = time.monotonic() + self._rules.timeout_s
        hop = self._first_hop(reference, task_id)
        for _ in range(MAX_REDIRECTS + 1):
            with closing(self._send(hop, deadline)) as response:
                if response.status not in REDIRECTS:
                    return self._body(hop, response, most)
                hop = self._next_hop(hop, response.headers.get("Location", ""))
        raise ImageUnavailable(f"more than {MAX_REDIRECTS} redirects; the last one led to {hop.address}")

    def close(self) -> None:
        """Close the connections."""
        self._home_pools.clear()
        self._other_pools.clear()

    def _first_hop(self, reference: str, task_id: int | None) -> _Hop:
        if len(reference) > MAX_REFERENCE_CHARS:
            raise AddressRefused(
                f"an image reference of {len(reference)} characters is too long ({MAX_REFERENCE_CHARS})"
            )
        check_controls(reference)
        read = read_reference(reference)
        if read.kind == "cloud":
            if task_id is None:
                scheme = reference.partition(":")[0].lower()
                raise ImageUnavailable(f"a {scheme}:// reference is read through its task, and no task id is known")
            encoded = base64.urlsafe_b64encode(reference.encode("utf-8", "replace")).decode().replace("=", "%3D")
            return self._home_hop(f"/tasks/{task_id}/resolve/", f"fileuri={encoded}")
        if read.kind == "studio":
            return self._home_hop(read.path, read.query)
        if read.kind == "web":
            return self._web_hop(parse_web_address(reference))
        raise AddressRefused(
            f"an image reference that begins with {reference.partition(':')[0][:20]!r} is not fetched: use an upload, "
            "local files or cloud storage of Label Studio, or http(s) on a host of LAYOUTLOOP_IMAGE_HOSTS "
            "(and LAYOUTLOOP_IMAGE_NETWORKS, if it is private)"
        )

    def _next_hop(self, hop: _Hop, location: str) -> _Hop:
        """Judge a redirect like a reference that came from nowhere; only http(s) goes on from http(s)."""
        if not location or len(location) > MAX_REFERENCE_CHARS:
            raise ImageUnavailable(f"{hop.address} redirects to nowhere, or to an address that is too long")
        check_characters(location)
        try:
            target = parse_web_address(urljoin(f"{hop.address.base}{hop.address.path}", location))
        except ValueError as error:
            raise AddressRefused(f"{hop.address} redirects to an address that cannot be read") from error
        if hop.address.scheme == "https" and target.scheme == "http":
            raise AddressRefused(f"{hop.address} redirects from https to http, which is refused")
        following = self._web_hop(target)
        if following.keyed and not hop.keyed:
            raise AddressRefused(
                f"{hop.address} redirects into Label Studio; another host may not choose what is read there"
            )
        return following

    def _web_hop(self, address: WebAddress) -> _Hop:
        """Return Label Studio's own address with the key or an allowed host without it; refuse all others."""
        home = self._home
        if home is not None and address.origin == home.origin:
            if not address.path.startswith(home.path):
                raise AddressRefused(f"{address} is on Label Studio's host but not below {home} (LABEL_STUDIO_URL)")
            return self._home_hop(address.path, address.query)
        if any(rule.allows(address) for rule in self._hosts):
            return _Hop(address, keyed=False)
        hint = ""
        if home is not None and (IMAGE_PATHS.fullmatch(address.path) or address.host == home.host):
            hint = f" (if it is Label Studio itself: LABEL_STUDIO_URL is {home}, and only that gets the key)"
        host = address.base.partition("://")[2]
        raise AddressRefused(f"{address} is not on an allowed host; add {host} to LAYOUTLOOP_IMAGE_HOSTS{hint}")

    def _home_hop(self, path: str, query: str) -> _Hop:
        """Return a path of Label Studio, with or without its prefix, if it is one that serves images."""
        if self._home is None:
            raise ImageUnavailable("the image is at Label Studio; set LABEL_STUDIO_URL to its address")
        home = self._home
        inner = path.removeprefix(home.path.rstrip("/")) if path.startswith(home.path) else path
        if not IMAGE_PATHS.fullmatch(inner):
            login = f"; it wants a login: set {KEY_VARIABLE}" if inner.startswith("/user/login") else ""
            raise AddressRefused(f"{inner[:200]} of Label Studio serves no image and is not fetched{login}")
        check_path(inner, query)
        return _Hop(home.below(inner, query), keyed=True)

    def _send(self, hop: _Hop, deadline: float) -> urllib3.BaseHTTPResponse:
        """Send one request; an error before there is an answer says nothing about this image."""

        def request(key: dict[str, str]) -> urllib3.BaseHTTPResponse:
            pools = self._home_pools if hop.keyed else self._other_pools
            return WebRequest(hop.address).send(pools, HEADERS | key, _left_s(hop, deadline))

        try:
            return self._key.send(request, _left_s(hop, deadline)) if hop.keyed else request({})
        except (HostUnreachable, StudioUnavailable) as error:  # the latter: no access token for the key
            raise ImageSourceUnreachable(f"{hop.address} could not be reached: {error}") from error

    def _body(self, hop: _Hop, response: urllib3.BaseHTTPResponse, most: int) -> bytes:
        if response.status != 200:
            # A key that is refused says nothing about this image: with another one all of them can be had.
            refused = hop.keyed and response.status == 401
            is_down = response.status >= 500 or response.status in _ANOTHER_TIME or refused
            error = ImageSourceUnreachable if is_down else ImageUnavailable
            raise error(_status_sentence(hop, response.status, self._key))
        if problem := compression(response):
            raise ImageUnavailable(f"{hop.address} {problem}")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > most:
            raise ImageTooLarge(f"{hop.address} has {length[:20]} bytes; at most {most} are read")
        try:
            body = read_body(response, most)
        except HostUnreachable as error:
            raise ImageSourceUnreachable(f"{hop.address} could not be read: {error}") from error
        if len(body) > most:
            raise ImageTooLarge(f"{hop.address} has more than {most} bytes")
        return body


def _left_s(hop: _Hop, deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise ImageSourceUnreachable(f"{hop.address} did not send the image in time")
    return left_s


def _status_sentence(hop: _Hop, status: int, key: LabelStudioKey) -> str:
    if not hop.keyed:
        return f"{hop.address} answered {status}"
    sentence = f"Label Studio answered {status} for {_file_named(hop.address)}"
    if status in (401, 403):
        return f"{sentence}: {key.remedy('that may read this project')} (or the image is gone)"
    return sentence


def _file_named(address: WebAddress) -> str:
    """Return the path with the file it names, and no other part of the query."""
    named = named_file(address.path, address.query)
    return (f"{address}?{named[0]}={named[1]}" if named else str(address))[:400]
