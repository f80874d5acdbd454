"""One HTTP request over guarded connections (`addresses`): no redirects, no decoding, one deadline for all of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3

from layoutloop.errors import HostUnreachable
from layoutloop.studio.addresses import CONNECT_TIMEOUT_S
from layoutloop.studio.web_address import WebAddress

_CHUNK_BYTES = 2**20
_LEAST_S = 0.05


@dataclass(frozen=True, slots=True)
class WebRequest:
    """One request.

    Args:
        address: where it goes.
        method: of HTTP; only a GET is sent a second time, for a server may have acted on anything else.
        body: None for none.
        content_type: of the body.
    """

    address: WebAddress
    method: str = "GET"
    body: bytes | None = None
    content_type: str = ""

    def send(
        self, pools: urllib3.PoolManager, headers: Mapping[str, str], timeout_s: float
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer, its body unread; a kept connection that the server had closed is replaced once for a GET.

        Raises:
            HostUnreachable: there is none.
            AddressRefused: the pools may not connect there.
        """
        end = time.monotonic() + timeout_s
        pool = pools.connection_from_host(self.address.host, self.address.port, self.address.scheme)
        typed = {"Content-Type": self.content_type} if self.content_type else {}
        for is_last in (False, True) if self.method == "GET" else (True,):
            left_s = max(_LEAST_S, end - time.monotonic())
            try:
                return pool.urlopen(
                    self.method,
                    self.address.target,
                    body=self.body,
                    headers={"Accept-Encoding": "identity", "User-Agent": "LayoutLoop", **typed, **headers},
                    redirect=False,
                    retries=False,
                    assert_same_host=False,
                    timeout=urllib3.Timeout(total=left_s, connect=min(CONNECT_TIMEOUT_S, left_s)),
                    preload_content=False,
                    decode_content=False,
                )
            except urllib3.exceptions.HTTPError as error:
                if is_last or not isinstance(error, urllib3.exceptions.ProtocolError):
                    raise _broken(error) from error
        raise AssertionError("unreachable")


def read_body(response: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    """Return the body, or where it is longer than `most_bytes` a beginning that is longer too.

    Raises:
        HostUnreachable: it broke off.
    """
    body = bytearray()
    try:
        while len(body) <= most_bytes and (chunk := response.read1(_CHUNK_BYTES)):
            body += chunk
    except urllib3.exceptions.HTTPError as error:
        raise _broken(error) from error
    return bytes(body)


def compression(response: urllib3.BaseHTTPResponse) -> str:
    """Return that an answer is compressed although that was not requested, "" where it is not."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return "" if encoding in ("identity", "") else f"sends its answer compressed ({encoding[:20]}), unrequested"


def _broken(error: urllib3.exceptions.HTTPError) -> HostUnreachable:
    """Return what went wrong, in words of our own; urllib3's hold the query string."""
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return HostUnreachable("it did not send its whole answer in time")
    if isinstance(error, urllib3.exceptions.SSLError):
        return HostUnreachable(f"it has no valid certificate for TLS (see SSL_CERT_FILE): {error}")
    return HostUnreachable(f"it broke off its answer ({type(error).__name__})")
