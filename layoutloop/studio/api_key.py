"""The Label Studio API key -> the Authorization header that Label Studio accepts.

Label Studio knows two kinds (measured with 1.23.2). A legacy token is sent as it is. A personal access token
is a JWT that cannot be used directly: it buys an access token that lives 300 seconds.

A key that lies in a file may be changed there at any time: it is read again when Label Studio refuses the one known.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from layoutloop.errors import AddressRefused, HostUnreachable, SettingsInvalid, StudioUnavailable
from layoutloop.studio.addresses import Guard, open_pools
from layoutloop.studio.api_key_file import KEY_FILE_VARIABLE, KEY_VARIABLE, check_key, read_key_file
from layoutloop.studio.web_address import WebAddress, parse_web_address

logger = logging.getLogger(__name__)

REFRESH_TIMEOUT_S = 10.0
REFRESH_PATH = "/api/token/refresh/"
RENEW_BEFORE_S = 30.0
LONGEST_LIFE_S = 300.0
MAX_ANSWER_BYTES = 64 * 1024
REREAD_S = 3.0
"""Between two looks into the key's file, however often Label Studio refuses."""
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _AccessToken:
    key: str = field(repr=False)  # what it was exchanged for
    value: str = field(repr=False)
    good_until: float  # time.monotonic()


@dataclass(frozen=True, slots=True)
class _Failure:
    key: str = field(repr=False)
    at: float  # time.monotonic()
    sentence: str


class _KeyRefused(StudioUnavailable):
    """Label Studio does not exchange this personal access token (any more)."""


class LabelStudioKey:
    """Makes Authorization headers; shared by all threads, which wait for one refresh instead of each asking.

    A file that holds no key now is read again, like one whose key is refused: until then there is none.

    Args:
        label_studio_url: where Label Studio is, with its path prefix if it has one.
        key: legacy token, personal access token, "" for none, or the file that holds one of them.
        reread_s: seconds between two looks into that file.

    Raises:
        SettingsInvalid: the key or the address cannot be used.
    """

    def __init__(self, label_studio_url: str, key: str | Path, *, reread_s: float = REREAD_S) -> None:
        self._url = label_studio_url
        self._file = key if isinstance(key, Path) else None
        self._reread_s = reread_s
        self._read_at = float("-inf")
        self._trouble = ""
        self._key = self._usable("" if isinstance(key, Path) else check_key(key.strip()))
        self._access: _AccessToken | None = None
        self._failure: _Failure | None = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._pools = open_pools(Guard(anywhere=True))
        self._read_again()
        self._read_at = self._changed_at = float("-inf")  # the first refusal is looked into at once

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
            whose: whose key, or which, it should be instead: `of a person who may do this`.
        """
        return f"put a key {whose} {self._into}" if self._file else f"set {KEY_VARIABLE} to a key {whose}"

    def header(self, timeout_s: float = REFRESH_TIMEOUT_S) -> dict[str, str]:
        """The header to send to Label Studio; empty without a key.

        Raises:
            StudioUnavailable: the personal access token could not be exchanged in time.
        """
        key = self._key  # another thread may put a new one in its place
        if not _is_personal(key):
            return _own_header(key)
        began = time.monotonic()
        if not self._lock.acquire(timeout=max(0.0, timeout_s)):
            raise StudioUnavailable(f"another request is still exchanging {self.variable} at Label Studio")
        try:
            return self._exchanged(began, timeout_s)
        finally:
            self._lock.release()

    def should_ask_again(self, status: int, asked: float) -> bool:
        """Return whether to ask once more after this HTTP status of Label Studio.

        After a 401 always: an access token that ended early was dropped, and the key read again from its file. After a
        403 or 404 only with another key from there, which may see more.

        Args:
            status: of the answer.
            asked: when the request was begun, on the monotonic clock.
        """
        if status == 401:
            self.forget()
            return True
        if status in (403, 404):
            self._read_again()
        return status in (403, 404) and self._changed_at >= asked  # perhaps changed for another thread

    def forget(self) -> None:
        """Drop what Label Studio answered 401 to: the access token, and the key where its file holds another now."""
        self._access = None
        self._read_again()

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()

    @property
    def _into(self) -> str:
        trouble = f"; now {self._trouble}" if self._trouble else ""
        return f"into {self._file} ({KEY_FILE_VARIABLE}), no restart is needed{trouble}"

    def _usable(self, key: str) -> str:
        """Return a key that has all it needs."""
        if _is_personal(key):
            try:
                parse_web_address(self._url)
            except AddressRefused as error:
                raise SettingsInvalid(f"LABEL_STUDIO_URL is needed for a personal access token: {error}") from error
        return key

    def _read_again(self) -> None:
        """Take the key that the file holds now if it is another; not just after a look, nor from a broken file."""
        if self._file is None:
            return
        with self._reading:
            if time.monotonic() < self._read_at + self._reread_s:
                return
            self._read_at = time.monotonic()
            try:
                key = self._usable(read_key_file(self._file))
            except SettingsInvalid as error:
                self._trouble = str(error)
                return
            self._trouble = ""
            if key != self._key:
                before, self._key, self._changed_at = self._key, key, time.monotonic()
                if before:
                    logger.info("%s (%s) holds another key now, a %s", self._file, KEY_FILE_VARIABLE, self.kind)

    def _exchanged(self, began: float, timeout_s: float) -> dict[str, str]:
        """The header with an access token, or with what the file holds after a refusal. The lock is held."""
        while _is_personal(key := self._key):
            try:
                return {"Authorization": f"Bearer {self._current_access(key, began, timeout_s)}"}
            except _KeyRefused:
                if self._key == key:
                    raise
        return _own_header(key)

    def _current_access(self, key: str, began: float, timeout_s: float) -> str:
        """The cached access token or a new one. The lock is held."""
        access, failure = self._access, self._failure
        if access is not None and access.key == key and time.monotonic() < access.good_until:
            return access.value
        if failure is not None and failure.key == key and failure.at >= began:
            raise StudioUnavailable(failure.sentence)  # for another thread while this one waited: no second wait
        try:
            access = self._access = self._refresh(key, max(0.1, began + timeout_s - time.monotonic()))
        except StudioUnavailable as error:
            self._failure = _Failure(key, time.monotonic(), str(error))
            raise
        return access.value

    def _refresh(self, key: str, timeout_s: float) -> _AccessToken:
        base = parse_web_address(self._url)
        status, body = self._post(base, key, timeout_s)
        if status in (400, 401, 403):
            self._read_again()
            raise _KeyRefused(
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
            access = json.loads(body)["access"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StudioUnavailable(f"{base} exchanged the personal access token for no token") from error
        if not isinstance(access, str) or not _JWT.fullmatch(access):
            raise StudioUnavailable(f"{base} exchanged the personal access token for something that is no JWT")
        return _AccessToken(key, access, time.monotonic() + _life_s(access) - RENEW_BEFORE_S)

    def _post(self, base: WebAddress, key: str, timeout_s: float) -> tuple[int, bytes]:
        """Ask for an access token, following no redirect; the timeout limits the whole exchange."""
        pool = self._pools.connection_from_host(base.host, base.port, base.scheme)
        try:
            response = pool.urlopen(
                "POST",
                base.path.rstrip("/") + REFRESH_PATH,
                body=json.dumps({"refresh": key}).encode(),
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
        except HostUnreachable as error:
            raise StudioUnavailable(str(error)) from error
        except urllib3.exceptions.HTTPError as error:
            raise StudioUnavailable(
                f"{base} did not answer the exchange of the personal access token: {type(error).__name__}"
            ) from error
        return response.status, body


def _is_personal(key: str) -> bool:
    return _JWT.fullmatch(key) is not None


def _own_header(key: str) -> dict[str, str]:
    return {"Authorization": f"Token {key}"} if key else {}


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
