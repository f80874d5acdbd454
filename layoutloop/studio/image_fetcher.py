"""Image reference of a task -> bytes, asking only who may be asked.

| reference | asked |
|---|---|
| `data:` | nobody |
| uploads, local files, storage and resolve paths of Label Studio | Label Studio, with the key |
| `s3://`, `gs://`, `azure-blob://` | Label Studio at `/tasks/<id>/resolve/`, with the key |
| `http(s)://` on an allowed host | that host, never with the key |

Everything else is refused. Redirects are followed by hand and every hop is judged from scratch.
"""

from __future__ import annotations

import base64
import re
import ssl
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, urljoin

import urllib3

from handler.errors import ImageTooLarge
from layoutloop.errors import (
    AddressRefused,
    HostUnreachable,
    ImageSourceUnreachable,
    ImageUnavailable,
    SettingsInvalid,
    StudioUnavailable,
)
from layoutloop.studio.addresses import CONNECT_TIMEOUT_S, Guard, Resolver, open_pools, parse_networks, resolve
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.api_key_file import KEY_VARIABLE
from layoutloop.studio.data_uri import decode_data_uri
from layoutloop.studio.web_address import (
    HostRule,
    WebAddress,
    check_characters,
    check_path,
    parse_host_rules,
    parse_web_address,
)

MAX_REFERENCE_CHARS = 8192
MAX_REDIRECTS = 5
CHUNK_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CLOUD = ("s3://", "gs://", "azure-blob://")
# Accept is */* because Label Studio's resolve view answers 406 to a client that only takes images.
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "LayoutLoop"}
_KEYED_PATHS = re.compile(
    r"/data/upload/.+|/data/local-files/?|/storage-data/uploaded/?|/(?:tasks|projects)/[0-9]+/(?:resolve|presign)/?"
)


@dataclass(frozen=True, slots=True)
class _Hop:
    """One request: where, and whether Label Studio's key goes with it."""

    address: WebAddress
    keyed: bool


class ImageFetcher:
    """Fetches images; one for all threads, it keeps connections open.

    Args:
        label_studio_url: Label Studio's own address, allowed to be private; "" when there is none.
        key: the key for it.
        image_hosts: other hosts: `host`, `host:port`, `*.host`, `*.host:port`; no port means 80 or 443.
        image_networks: networks allowed beside the public internet, such as `10.20.0.0/16`.
        max_bytes: largest image.
        timeout_s: limit for one whole fetch with all its redirects; only the system's name look-up has its own.
        resolver: how host names become numeric addresses.
        context: whom to trust for TLS; the system's authorities by default.

    Raises:
        SettingsInvalid: an address, host or network cannot be read.
    """

    def __init__(
        self,
        label_studio_url: str,
        key: LabelStudioKey,
        image_hosts: tuple[str, ...] = (),
        image_networks: tuple[str, ...] = (),
        max_bytes: int = 32 * 1024 * 1024,
        timeout_s: float = 30,
        *,
        resolver: Resolver = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._home = _parse_home(label_studio_url)
        self._key = key
        self._rules: tuple[HostRule, ...] = parse_host_rules(image_hosts)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._home_pools = open_pools(Guard(resolver=resolver, anywhere=True), context)
        self._other_pools = open_pools(Guard(parse_networks(image_networks), resolver), context)

    def fetch(self, reference: str, task_id: int | None = None) -> bytes:
        """The bytes behind an image reference of a task.

        A cloud reference needs the task's id: Label Studio reads it with the storage of the task's project,
        at `/tasks/<id>/resolve/?fileuri=<urlsafe base64>` (label_studio/io_storages/proxy_api.py decodes
        with base64.urlsafe_b64decode; it streams the bytes or answers 303 to a presigned address).

        Raises:
            AddressRefused: the reference, or a redirect, points to something that may not be fetched.
            ImageTooLarge, ImageUnreadable: more bytes than allowed; a `data:` reference that is no image.
            ImageSourceUnreachable: no connection, no answer in time or a 5xx.
            ImageUnavailable: everything else; the message never holds the key or a query string.
        """
        if reference[:5].lower() == "data:":
            return decode_data_uri(reference, self._max_bytes)
        deadline = time.monotonic() + self._timeout_s
        hop = self._first_hop(reference, task_id)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._ask(hop, deadline)
            try:
                if response.status not in REDIRECTS:
                    return self._body(hop, response)
                hop = self._next_hop(hop, response.headers.get("Location", ""))
            finally:
                response.close()
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
        check_characters(reference)
        scheme = reference.partition("://")[0].lower() if "://" in reference else ""
        if reference.lower().startswith(CLOUD):
            if task_id is None:
                raise ImageUnavailable(f"a {scheme}:// reference is read through its task, and no task id is known")
            encoded = base64.urlsafe_b64encode(reference.encode("utf-8", "replace")).decode().replace("=", "%3D")
            return self._home_hop(f"/tasks/{task_id}/resolve/", f"fileuri={encoded}")
        if reference.startswith("/"):
            path, _, query = reference.partition("#")[0].partition("?")
            return self._home_hop(path, query)
        if scheme in ("http", "https"):
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
            raise AddressRefused(f"{hop.address} redirects into Label Studio; another host may not choose what is read")
        return following

    def _web_hop(self, address: WebAddress) -> _Hop:
        """Label Studio's own address with the key, an allowed host without, or a refusal."""
        home = self._home
        if home is not None and address.origin == home.origin:
            if not address.path.startswith(home.path):
                raise AddressRefused(f"{address} is on Label Studio's host but not below {home} (LABEL_STUDIO_URL)")
            return self._home_hop(address.path, address.query)
        if any(rule.allows(address) for rule in self._rules):
            return _Hop(address, keyed=False)
        hint = ""
        if home is not None and (_KEYED_PATHS.fullmatch(address.path) or address.host == home.host):
            hint = f" (if it is Label Studio itself: LABEL_STUDIO_URL is {home}, and only that gets the key)"
        host = address.base.partition("://")[2]
        raise AddressRefused(f"{address} is not on an allowed host; add {host} to LAYOUTLOOP_IMAGE_HOSTS{hint}")

    def _home_hop(self, path: str, query: str) -> _Hop:
        """A path of Label Studio, with or without its prefix, if it is one that serves images."""
        if self._home is None:
            raise ImageUnavailable("the image is at Label Studio; set LABEL_STUDIO_URL to its address")
        home = self._home
        inner = path.removeprefix(home.path.rstrip("/")) if path.startswith(home.path) else path
        if not _KEYED_PATHS.fullmatch(inner):
            login = f"; it asks for a login: set {KEY_VARIABLE}" if inner.startswith("/user/login") else ""
            raise AddressRefused(f"{inner[:200]} of Label Studio serves no image and is not asked{login}")
        check_path(inner, query)
        full = home.path.rstrip("/") + inner
        return _Hop(WebAddress(home.scheme, home.host, home.port, full, query), keyed=True)

    def _ask(self, hop: _Hop, deadline: float) -> urllib3.BaseHTTPResponse:
        asked = time.monotonic()
        response = self._request(hop, deadline)
        if hop.keyed and self._key.should_ask_again(response.status, asked):
            response.close()
            response = self._request(hop, deadline)
        return response

    def _request(self, hop: _Hop, deadline: float) -> urllib3.BaseHTTPResponse:
        """Send one request; what goes wrong before there is an answer is not this image's fault."""
        try:
            return self._send(hop, deadline)
        except (HostUnreachable, StudioUnavailable) as error:  # the latter: no access token for the key
            raise ImageSourceUnreachable(str(error)) from error

    def _send(self, hop: _Hop, deadline: float) -> urllib3.BaseHTTPResponse:
        """Send one request; a kept connection that the server closed meanwhile is tried once more."""
        headers = dict(HEADERS)
        if hop.keyed:
            headers |= self._key.header(_left_s(hop, deadline))
        pools = self._home_pools if hop.keyed else self._other_pools
        pool = pools.connection_from_host(hop.address.host, hop.address.port, hop.address.scheme)
        for is_last in (False, True):
            left_s = _left_s(hop, deadline)
            try:
                return pool.urlopen(
                    "GET",
                    hop.address.target,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    assert_same_host=False,
                    timeout=urllib3.Timeout(total=left_s, connect=min(CONNECT_TIMEOUT_S, left_s)),
                    preload_content=False,
                    decode_content=False,
                )
            except urllib3.exceptions.ProtocolError as error:
                if is_last:
                    raise _broken(hop, error) from error
            except urllib3.exceptions.HTTPError as error:
                raise _broken(hop, error) from error
        raise AssertionError("unreachable")

    def _body(self, hop: _Hop, response: urllib3.BaseHTTPResponse) -> bytes:
        if response.status != 200:
            # A key that is refused says nothing about this image: with another one all of them can be had.
            is_down = response.status >= 500 or (hop.keyed and response.status == 401)
            error = ImageSourceUnreachable if is_down else ImageUnavailable
            raise error(_status_sentence(hop, response.status, self._key))
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise ImageUnavailable(f"{hop.address} sends its answer compressed ({encoding[:20]}), unasked")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            raise ImageTooLarge(f"{hop.address} has {length[:20]} bytes; at most {self._max_bytes} are read")
        body = bytearray()
        try:
            while chunk := response.read1(CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_bytes:
                    raise ImageTooLarge(f"{hop.address} has more than {self._max_bytes} bytes")
        except urllib3.exceptions.HTTPError as error:
            raise _broken(hop, error) from error
        return bytes(body)


def _parse_home(label_studio_url: str) -> WebAddress | None:
    """Label Studio's address with a path that ends in a slash."""
    if not label_studio_url:
        return None
    try:
        address = parse_web_address(label_studio_url.strip())
    except AddressRefused as error:
        raise SettingsInvalid(f"LABEL_STUDIO_URL: {error}; write for example http://127.0.0.1:8080") from error
    return WebAddress(address.scheme, address.host, address.port, address.path.rstrip("/") + "/", "")


def _left_s(hop: _Hop, deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise ImageSourceUnreachable(f"{hop.address} did not send the image in time")
    return left_s


def _broken(hop: _Hop, error: urllib3.exceptions.HTTPError) -> ImageSourceUnreachable:
    """A sentence for a connection that failed; urllib3's own would hold the query string."""
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return ImageSourceUnreachable(f"{hop.address} did not send the image in time")
    if isinstance(error, urllib3.exceptions.SSLError):
        return ImageSourceUnreachable(f"{hop.address} has no valid certificate for TLS (see SSL_CERT_FILE): {error}")
    return ImageSourceUnreachable(f"{hop.address} broke off its answer ({type(error).__name__})")


def _status_sentence(hop: _Hop, status: int, key: LabelStudioKey) -> str:
    if not hop.keyed:
        return f"{hop.address} answered {status}"
    sentence = f"Label Studio answered {status} for {_file_named(hop.address)}"
    if status in (401, 403):
        return f"{sentence}: {key.remedy('that may read this project')} (or the image is gone)"
    return sentence


def _file_named(address: WebAddress) -> str:
    """The path with the file it names, and no other part of the query."""
    named = [f"?{name}={value}" for name, value in parse_qsl(address.query) if name in ("d", "filepath")]
    return (str(address) + "".join(named[:1]))[:400]
