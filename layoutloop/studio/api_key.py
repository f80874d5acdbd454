"""The Label Studio API key -> the Authorization header that Label Studio accepts.

Label Studio knows two kinds (measured with 1.23.2). A legacy token is sent as it is. A personal access token is a JWT
that cannot be used directly: it is exchanged for an access token that is valid for 300 seconds.

A key in a file may be replaced there at any time: the file is read again when Label Studio refuses the known key.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from layoutloop.errors import AddressRefused, HostUnreachable, SettingsInvalid, StudioUnavailable
from layoutloop.studio.addresses import Guard, open_pools
from layoutloop.studio.api_key_file import KEY_FILE_VARIABLE, KEY_VARIABLE, check_key, read_key_file
from layoutloop.studio.web_address import parse_web_address
from layoutloop.studio.web_request import WebRequest, read_body

logger = logging.getLogger(__name__)

REFRESH_TIMEOUT_S = 10.0
REFRESH_PATH = "/api/token/refresh/"
RENEW_BEFORE_S = 30.0
LONGEST_LIFE_S = 300.0
MAX_ANSWER_BYTES = 64 * 1024
REREAD_S = 3.0
"""Between two reads of the key's file, however often Label Studio refuses."""
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _AccessToken:
    key: str = field(repr=False)  # what it was exchanged for
    value: str = field(repr=False)
    good_until: float  # time.monotonic()


class LabelStudioKey:
    """Makes Authorization headers; shared by all threads, which wait for one exchange instead of one each.

    A file without a key is read again like one whose key is refused: until then there is none.

    Args:
        url: Label Studio's address, with its path prefix if it has one.
        key: legacy token, personal access token, "" for none, or the file that holds one of them.
        reread_s: seconds between two reads of that file.

    Raises:
        SettingsInvalid: the key or the address cannot be used.
    """

    def __init__(self, url: str, key: str | Path, *, reread_s: float = REREAD_S) -> None:
        self._url = url
        self._file = key if isinstance(key, Path) else None
        self._reread_s = reread_s
        self._read_at = float("-inf")
        self._file_problem = ""
        self._key = self._usable("" if isinstance(key, Path) else check_key(key.strip()))
        self._access: _AccessToken | None = None
        self._exchanging = threading.Lock()
        self._reading = threading.Lock()
        self._pools = open_pools(Guard(anywhere=True))
        self._read_again()
        self._read_at = float("-inf")  # after the first refusal it is read at once

    @property
    def kind(self) -> str:
        """`personal access token`, `legacy token` or `no key`."""
        key = self._key
        return "personal access token" if _is_personal(key) else "legacy token" if key else "no key"

    @property
    def variable(self) -> str:
        """The setting that the key comes from."""
        return KEY_FILE_VARIABLE if self._file else KEY_VARIABLE

    def __repr__(self) -> str:
        """Say the kind of key, never the key."""
        return f"LabelStudioKey({self.kind})"

    def remedy(self, whose: str) -> str:
        """Return what to do where Label Studio refuses the key, and what is wrong with its file, in half a sentence.

        Args:
            whose: which key it should be instead: `of a person who may do this`.
        """
        return f"put a key {whose} {self._into}" if self._file else f"set {KEY_VARIABLE} to a key {whose}"

    def header(self, timeout_s: float = REFRESH_TIMEOUT_S) -> dict[str, str]:
        """Return the header to send to Label Studio; empty without a key.

        Raises:
            StudioUnavailable: the personal access token could not be exchanged in time.
        """
        end = time.monotonic() + timeout_s
        while _is_personal(key := self._key):  # another thread, or a refusal, may replace it by one of the other kind
            if not self._exchanging.acquire(timeout=max(0.0, end - time.monotonic())):
                raise StudioUnavailable(f"another request is still exchanging {self.variable} at Label Studio")
            try:
                access = self._access
                if not (access and access.key == key and time.monotonic() < access.good_until):  # which may be NaN
                    access = self._access = self._exchanged(key, max(0.1, end - time.monotonic()))
            finally:
                self._exchanging.release()
            if access is not None:
                return {"Authorization": f"Bearer {access.value}"}
        return {"Authorization": f"Token {key}"} if key else {}

    def send(
        self, request: Callable[[dict[str, str]], urllib3.BaseHTTPResponse], timeout_s: float = REFRESH_TIMEOUT_S
    ) -> urllib3.BaseHTTPResponse:
        """Send a request with the header; once more where it is refused and there is another key or access token.

        After a 401 the access token is dropped and the key's file read again. After a 403 or 404 the file is read
        again too, since another key there may see more.

        Args:
            request: sends it with a header, and returns the answer.
            timeout_s: for an exchange of the key.

        Raises:
            StudioUnavailable: as `header`.
        """
        refused = self.header(timeout_s)
        response = request(refused)
        if response.status not in (401, 403, 404):
            return response
        if response.status == 401:
            self._access = None
        self._read_again()
        try:
            header = self.header(timeout_s)
        except StudioUnavailable:
            response.close()
            raise
        if header == refused:
            return response
        response.close()
        return request(header)

    def forget(self) -> None:
        """Drop the access token, and the key where its file holds another now."""
        self._access = None
        self._read_again()

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()

    @property
    def _into(self) -> str:
        problem = f"; now {self._file_problem}" if self._file_problem else ""
        return f"into {self._file} ({KEY_FILE_VARIABLE}), no restart is needed{problem}"

    def _usable(self, key: str) -> str:
        """Return a key that has all it needs."""
        if _is_personal(key):
            try:
                parse_web_address(self._url)
            except AddressRefused as error:
                raise SettingsInvalid(f"LABEL_STUDIO_URL is needed for a personal access token: {error}") from error
        return key

    def _read_again(self) -> None:
        """Take the key that the file holds now if it is another; not soon after a read, nor from a broken file."""
        if self._file is None:
            return
        with self._reading:
            if time.monotonic() < self._read_at + self._reread_s:
                return
            self._read_at = time.monotonic()
            try:
                key = self._usable(read_key_file(self._file))
            except SettingsInvalid as error:
                self._file_problem = str(error)
                return
            self._file_problem = ""
            before, self._key = self._key, key
            if before and before != key:
                logger.info("%s (%s) holds another key now, a %s", self._file, KEY_FILE_VARIABLE, self.kind)

    def _exchanged(self, key: str, timeout_s: float) -> _AccessToken | None:
        """Return a new access token; None where the key is refused and its file holds another now."""
        base = parse_web_address(self._url)
        body = json.dumps({"refresh": key}).encode()
        request = WebRequest(base.below(REFRESH_PATH), "POST", body, "application/json")
        try:
            response = request.send(self._pools, {}, timeout_s)
            try:
                status, answer = response.status, read_body(response, MAX_ANSWER_BYTES)
            finally:
                response.close()
        except HostUnreachable as error:
            raise StudioUnavailable(
                f"{base} did not answer the exchange of the personal access token: {error}"
            ) from error
        if status in (400, 401, 403):
            self._read_again()
            if self._key != key:
                return None
            raise StudioUnavailable(
                f"Label Studio does not take the personal access token of {self.variable} ({status}); "
                "make a new one under Account & Settings, Personal Access Token"
                + (f", and put it {self._into}" if self._file else "")
            )
        if 300 <= status < 400:
            raise StudioUnavailable(
                f"{base} redirects ({status}): set LABEL_STUDIO_URL to the address that it redirects to"
            )
        if status != 200:
            raise StudioUnavailable(f"{base} answered {status} to the exchange of the personal access token")
        try:
            access = json.loads(answer)["access"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StudioUnavailable(f"{base} exchanged the personal access token for no token") from error
        if not isinstance(access, str) or not _JWT.fullmatch(access):
            raise StudioUnavailable(f"{base} exchanged the personal access token for something that is no JWT")
        return _AccessToken(key, access, time.monotonic() + _life_s(access) - RENEW_BEFORE_S)


def _is_personal(key: str) -> bool:
    return _JWT.fullmatch(key) is not None


def _life_s(access: str) -> float:
    """Return seconds until the `exp` of a JWT that was just issued, at most 300; 0 when it names none.

    They are counted from its `iat`, since Label Studio's clock may be another one than ours.

    The signature is not checked: Label Studio judges the token, here it is only a cache time.
    """
    payload = access.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issued = float(claims.get("iat", time.time()))
        return min(float(claims["exp"]) - issued, LONGEST_LIFE_S)  # a NaN stays one, and is never cached
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
        return 0.0
