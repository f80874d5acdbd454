"""Calls Label Studio's API: its one address with its key, JSON in and out.

A refusal (measured with 1.23.2) is a JSON object with `detail`, and for a body that is not accepted also
`validation_errors`, a list of sentences for each field. A key that may not see something gets 404, as if that
did not exist.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import urllib3

from layoutloop.errors import HostUnreachable, StudioRefused, StudioUnavailable
from layoutloop.foreign_json import parse_message
from layoutloop.studio.addresses import Guard, open_pools
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.web_address import WebAddress, parse_studio_url
from layoutloop.studio.web_request import WebRequest, compression, read_body

MAX_BYTES = 2**30
TIMEOUT_S = 600.0
"""Label Studio assembles a whole export before it sends the first byte."""

_MAX_REASON_BYTES = 64 * 1024
_MAX_SEARCHED_CHARACTERS = 4096
_MAX_REASON_CHARACTERS = 400
_TOKEN = re.compile(r"\b[0-9a-f]{40}\b|[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
_MARKUP = re.compile(r"</?[a-z][^>]*>")
_NOTHING: Mapping[str, str | int] = MappingProxyType({})


class StudioClient:
    """Calls Label Studio, and only at its own address: no proxies, no netrc, no redirects. Threads may share it.

    Only a GET is sent a second time where the connection broke: anything else may have been carried out already. What
    was refused was not, so it is sent once more where there is a new access token, or another key in the key's file.

    Args:
        url: LABEL_STUDIO_URL, with its path prefix if it has one.
        key: for it; the caller closes it.
        timeout_s: limit for one whole answer.
        max_bytes: largest answer.

    Raises:
        SettingsInvalid: the address cannot be used.
    """

    def __init__(
        self, url: str, key: LabelStudioKey, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES
    ) -> None:
        """Open no connection yet."""
        self._home = parse_studio_url(url)
        self._key = key
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._pools = open_pools(Guard(anywhere=True))

    @property
    def key_kind(self) -> str:
        """Which of Label Studio's keys is used, for a person to read."""
        return self._key.kind

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()

    def address(self, path: str, query: Mapping[str, str | int] = _NOTHING) -> WebAddress:
        """Return where a path of the API is, below the prefix that Label Studio may have."""
        return self._home.below(path, urlencode(query))

    def get(self, path: str, query: Mapping[str, str | int] = _NOTHING) -> Any:
        """Return the parsed answer.

        Raises:
            StudioRefused: 401, 403 or 404.
            StudioUnavailable: no answer, not a 2xx, or no JSON.
        """
        return self._call(WebRequest(self.address(path, query)))

    def post(
        self, path: str, body: Mapping[str, Any] | Sequence[Any], query: Mapping[str, str | int] = _NOTHING
    ) -> Any:
        """Send JSON and return the parsed answer, None where it is empty; raises as `get`."""
        return self._call(WebRequest(self.address(path, query), "POST", json.dumps(body).encode(), "application/json"))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something and return the parsed answer; raises as `get`."""
        return self._call(WebRequest(self.address(path), "PATCH", json.dumps(body).encode(), "application/json"))

    def delete(self, path: str) -> None:
        """Delete something; raises as `get`."""
        self._call(WebRequest(self.address(path), "DELETE"))

    def upload(self, path: str, name: str, data: bytes, query: Mapping[str, str | int] = _NOTHING) -> Any:
        """Send a file as a form and return the parsed answer; raises as `get`.

        One file: of several in a form Label Studio 1.23.2 keeps the last one, without an error.
        """
        body, content_type = urllib3.encode_multipart_formdata([("file", (name, data))])
        return self._call(WebRequest(self.address(path, query), "POST", body, content_type))

    def _call(self, request: WebRequest) -> Any:
        """Return the JSON of a 2xx, None where a change is answered with nothing."""
        address, accepted = request.address, {"Accept": "application/json"}
        try:
            with closing(
                self._key.send(lambda key: request.send(self._pools, accepted | key, self._timeout_s))
            ) as response:
                status = response.status
                if not 200 <= status < 300:
                    raise _refusal(address, status, _reason(response), self._key)
                if problem := compression(response):
                    raise StudioUnavailable(f"{address} {problem}", status)
                body = read_body(response, self._max_bytes)
        except HostUnreachable as error:
            raise StudioUnavailable(
                f"{address} could not be reached: {error}. Is Label Studio running there (LABEL_STUDIO_URL)?"
            ) from error
        if len(body) > self._max_bytes:  # only an export is ever that long
            raise StudioUnavailable(
                f"{address} answers with more than {self._max_bytes:,} bytes; "
                "export in parts in Label Studio and train with --annotations FILE",
                status,
            )
        if not body and request.method != "GET":
            return None
        try:
            return parse_message(body)
        except ValueError as error:
            raise StudioUnavailable(f"{address} answered {status} with something that is no JSON", status) from error


@contextmanager
def open_studio(url: str, key: str | Path, timeout_s: float = TIMEOUT_S) -> Iterator[StudioClient]:
    """Open a client with the key of the settings, LABEL_STUDIO_API_KEY; all connections are closed at the end.

    Args:
        url: LABEL_STUDIO_URL.
        key: a personal or a legacy token, or the file that holds one.
        timeout_s: limit for one whole answer.

    Raises:
        SettingsInvalid: the address or the key cannot be used.
    """
    with closing(LabelStudioKey(url, key)) as opened, closing(StudioClient(url, opened, timeout_s=timeout_s)) as client:
        yield client


def _reason(response: urllib3.BaseHTTPResponse) -> str:
    """Return Label Studio's own sentences about a refusal, shortened; "" where the body is not its JSON."""
    try:
        body = parse_message(response.read(_MAX_REASON_BYTES))
    except (ValueError, urllib3.exceptions.HTTPError):
        return ""
    if not isinstance(body, Mapping):
        return ""
    sentences = list(_sentences(body.get("validation_errors"))) or list(_sentences(body.get("detail")))
    text = _MARKUP.sub("", " ".join(sentences))
    # Before a long run without a dot, the pattern of a token takes the square of its length.
    text = _TOKEN.sub("[token]", text[:_MAX_SEARCHED_CHARACTERS])
    return textwrap.shorten(text, _MAX_REASON_CHARACTERS, placeholder=" ...")


def _sentences(found: object) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, Mapping):
        for field, inner in found.items():
            for sentence in _sentences(inner):
                yield sentence if field == "non_field_errors" else f"{field}: {sentence}"
    elif isinstance(found, list):
        for inner in found:
            yield from _sentences(inner)


def _refusal(address: WebAddress, status: int, reason: str, key: LabelStudioKey) -> StudioUnavailable:
    """Return what a status means for the person who started this, with Label Studio's reason if it gave one."""
    refused = StudioRefused if status in (401, 403, 404) else StudioUnavailable
    said = f" (it says: {reason})" if reason else ""
    return refused(f"{address} answered {status}{_advice(address, status, key)}{said}", status, reason)


def _advice(address: WebAddress, status: int, key: LabelStudioKey) -> str:
    if status in (401, 403):
        return f": {key.remedy('of a person who may do this in the project')}"
    if status == 404 and "/api/projects/" in address.path:
        return f": the project does not exist, or {key.variable} may not see it"
    if status == 404:
        return f": is that Label Studio's address (LABEL_STUDIO_URL), and may {key.variable} see what was requested?"
    if 300 <= status < 400:
        return " (a redirect, which is not followed): set LABEL_STUDIO_URL to the address it leads to"
    if 400 <= status < 500:
        return ""
    return "; is that Label Studio's address (LABEL_STUDIO_URL)? Its log says more"
