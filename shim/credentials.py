"""The Label Studio API key -> the Authorization header that Label Studio accepts.

Label Studio knows two kinds (measured with 1.23.2). A legacy token is sent as it is. A personal access token
is a JWT that cannot be used directly: it buys an access token that lives 300 seconds.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from dataclasses import dataclass

import urllib3

from shim.addresses import Guard, open_pools
from shim.errors import ImageRefused, ImageUnavailable, SettingsInvalid
from shim.web_address import parse_web_address

REFRESH_TIMEOUT_S = 10.0
REFRESH_PATH = "/api/token/refresh/"
RENEW_BEFORE_S = 30.0
LONGEST_LIFE_S = 300.0
MAX_ANSWER_BYTES = 64 * 1024
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _AccessToken:
    value: str
    good_until: float  # time.monotonic()


class LabelStudioKey:
    """Makes Authorization headers; shared by all threads, which wait for one refresh instead of each asking.

    Args:
        label_studio_url: where Label Studio is, with its path prefix if it has one.
        key: legacy token, personal access token, or "" for none.

    Raises:
        SettingsInvalid: the key or the address cannot be used.
    """

    def __init__(self, label_studio_url: str, key: str) -> None:
        self._key = key.strip()
        if not (self._key.isascii() and all("!" <= char <= "~" for char in self._key)):
            raise SettingsInvalid("LABEL_STUDIO_API_KEY holds white space or characters that no key has")
        self._is_personal = _JWT.fullmatch(self._key) is not None
        self._access: _AccessToken | None = None
        self._failure: tuple[float, str] = (float("-inf"), "")
        self._lock = threading.Lock()
        self._pools = open_pools(Guard(anywhere=True))
        if not self._is_personal:
            return
        try:
            self._base = parse_web_address(label_studio_url)
        except ImageRefused as error:
            raise SettingsInvalid(f"LABEL_STUDIO_URL is needed for a personal access token: {error}") from error

    @property
    def kind(self) -> str:
        """`personal access token`, `legacy token` or `no key`."""
        return "personal access token" if self._is_personal else "legacy token" if self._key else "no key"

    def __repr__(self) -> str:
        """Say the kind of key, never the key."""
        return f"LabelStudioKey({self.kind})"

    def header(self, timeout_s: float = REFRESH_TIMEOUT_S) -> dict[str, str]:
        """The header to send to Label Studio; empty without a key.

        Raises:
            ImageUnavailable: the personal access token could not be exchanged in time.
        """
        if not self._key:
            return {}
        if not self._is_personal:
            return {"Authorization": f"Token {self._key}"}
        began = time.monotonic()
        if not self._lock.acquire(timeout=max(0.0, timeout_s)):
            raise ImageUnavailable("another request is still exchanging LABEL_STUDIO_API_KEY at Label Studio")
        try:
            return {"Authorization": f"Bearer {self._current_access(began, timeout_s)}"}
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Drop the access token, after Label Studio answered 401 to it."""
        self._access = None

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()

    def _current_access(self, began: float, timeout_s: float) -> str:
        """The cached access token or a new one. The lock is held."""
        access = self._access
        if access is not None and time.monotonic() < access.good_until:
            return access.value
        if self._failure[0] >= began:  # failed for another thread while this one waited: no second wait
            raise ImageUnavailable(self._failure[1])
        try:
            access = self._access = self._refresh(max(0.1, began + timeout_s - time.monotonic()))
        except ImageUnavailable as error:
            self._failure = (time.monotonic(), str(error))
            raise
        return access.value

    def _refresh(self, timeout_s: float) -> _AccessToken:
        status, body = self._post(timeout_s)
        if status in (400, 401, 403):
            raise ImageUnavailable(
                f"Label Studio does not take the personal access token of LABEL_STUDIO_API_KEY ({status}); "
                "make a new one under Account & Settings, Personal Access Token"
            )
        if 300 <= status < 400:
            raise ImageUnavailable(
                f"{self._base} redirects ({status}): set LABEL_STUDIO_URL to the address that it redirects to"
            )
        if status != 200:
            raise ImageUnavailable(f"{self._base} answered {status} to the exchange of the personal access token")
        try:
            access = json.loads(body)["access"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ImageUnavailable(f"{self._base} exchanged the personal access token for no token") from error
        if not isinstance(access, str) or not _JWT.fullmatch(access):
            raise ImageUnavailable(f"{self._base} exchanged the personal access token for something that is no JWT")
        return _AccessToken(access, time.monotonic() + _life_s(access) - RENEW_BEFORE_S)

    def _post(self, timeout_s: float) -> tuple[int, bytes]:
        """Ask for an access token, following no redirect; the timeout limits the whole exchange."""
        pool = self._pools.connection_from_host(self._base.host, self._base.port, self._base.scheme)
        try:
            response = pool.urlopen(
                "POST",
                self._base.path.rstrip("/") + REFRESH_PATH,
                body=json.dumps({"refresh": self._key}).encode(),
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(total=timeout_s),
                preload_content=False,
                decode_content=False,
            )
            try:
                body = response.read(MAX_ANSWER_BYTES)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise ImageUnavailable(
                f"{self._base} did not answer the exchange of the personal access token: {type(error).__name__}"
            ) from error
        return response.status, body


def _life_s(access: str) -> float:
    """Seconds until the `exp` of a JWT, at most 300; 0 when it names none.

    The signature is not checked: the token is for Label Studio to judge, here it is only a cache time.
    """
    payload = access.split(".")[1]
    try:
        expires = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return min(float(expires) - time.time(), LONGEST_LIFE_S)  # a NaN stays one, and is never cached
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error):
        return 0.0
