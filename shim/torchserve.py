"""TorchServe's HTTP interface, and its habits: the inference part.

Measured on TorchServe 0.12.0 (which is archived upstream): it can drop a request without any answer when a
worker dies or a version is deleted, answers 500 or 507 "Worker died." for a whole batch, and 503 when a queue
is full or a model has no worker. So every call has a read timeout and is tried again while there is time.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from shim.errors import (
    DeadlineExceeded,
    LayoutLoopError,
    ModelNotReady,
    PageRejected,
    TorchServeUnavailable,
)

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 42.0
"""Above the archives' responseTimeout of 40 s, and short enough for two tries inside the 90 s of a predict."""

_DROPPED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_NOT_JSON = (ValueError, RecursionError)
_MAX_CRASHES = 3
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0


class TokenFile:
    """TorchServe's key_file.json, read again whenever a key turns out to be old.

    TorchServe makes new keys at each start and writes the file in place, so a read may meet half of it.
    """

    def __init__(self, path: Path) -> None:
        """Read nothing yet: TorchServe may start later."""
        self._path = path
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}

    def header(self, kind: str) -> dict[str, str]:
        """Return the Authorization header for `inference` or `management`.

        Raises:
            TorchServeUnavailable: there is no such key, so no TorchServe has started here.
        """
        with self._lock:
            if kind not in self._keys:
                self._keys = self._read()
            if kind not in self._keys:
                raise TorchServeUnavailable(f"{self._path} holds no {kind} key; is TorchServe running?")
            return {"Authorization": f"Bearer {self._keys[kind]}"}

    def forget(self) -> None:
        """Read the file again at the next call."""
        with self._lock:
            self._keys = {}

    def _read(self) -> dict[str, str]:
        try:
            body = json.loads(self._path.read_text())
            return {str(kind): str(entry["key"]) for kind, entry in body.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


class _Gate:
    """A semaphore that lets threads through in the order they came.

    threading's own lets a thread that comes back at once past those that wait, until these run out of time.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def acquire(self, timeout: float) -> bool:
        """Take a place; False where none came free in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        if turn.wait(timeout):
            return True
        with self._lock:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
        return False

    def release(self) -> None:
        """Hand the place to whoever waits longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1


class InferenceClient:
    """Asks models of one TorchServe for predictions; for use from many threads.

    Args:
        url: of the inference interface.
        keys: its token file.
        read_timeout_s: after so long without an answer a request counts as dropped, and is sent again.
    """

    def __init__(
        self,
        url: str,
        keys: TokenFile,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        """Open no connection yet."""
        self._url = url.rstrip("/")
        self._keys = keys
        self._read_timeout_s = read_timeout_s
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()
        self._session = make_session()

    def predict(
        self,
        model: str,
        version: str,
        body: bytes,
        *,
        content_type: str,
        parameters: Mapping[str, str] | None = None,
        deadline: float,
        in_flight: int = 4,
    ) -> dict[str, Any]:
        """Return the model's JSON answer for one page.

        Args:
            model: name.
            version: pinned; never the default.
            body: of the request.
            content_type: of the body.
            parameters: of the handler; sent as headers, TorchServe drops the query string.
            deadline: `time.monotonic()` at which the answer is of no use any more.
            in_flight: how many requests this version is sent at a time; further ones wait here.

        Raises:
            PageRejected: the handler refused this page.
            ModelNotReady: TorchServe holds no such version, or it has no worker.
            TorchServeUnavailable: it did not answer, or crashed several times on this page.
            DeadlineExceeded: the time is up.
        """
        path = f"/predictions/{quote(model, safe='')}/{quote(version, safe='')}"
        gate = self._gate(path, in_flight)
        if not gate.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded(f"{model} was busy with other pages until the time was up")
        headers = {f"X-LayoutLoop-{name.title()}": value for name, value in (parameters or {}).items()}
        try:
            return self._tries(path, body, {"Content-Type": content_type, **headers}, deadline)
        finally:
            gate.release()

    def _gate(self, path: str, places: int) -> _Gate:
        with self._lock:
            if path not in self._gates:
                self._gates[path] = _Gate(places)
            return self._gates[path]

    def _tries(self, path: str, body: bytes, headers: dict[str, str], deadline: float) -> dict[str, Any]:
        pause, crashes, failure = _PAUSE_S, 0, "nothing was tried"
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = self._session.post(
                    self._url + path,
                    data=body,
                    headers={**headers, **self._keys.header("inference")},
                    timeout=(min(CONNECT_TIMEOUT_S, left), min(self._read_timeout_s, left)),
                )
            except (*_DROPPED, TorchServeUnavailable) as error:
                # Refused, cut off or silently dropped; a restarted TorchServe has new keys.
                failure = f"no answer from TorchServe: {type(error).__name__}"
                self._keys.forget()
            except requests.RequestException as error:
                raise TorchServeUnavailable(f"the request to TorchServe failed: {error}") from error
            else:
                if answer.status_code == 200:
                    return _json_of(answer)
                failure = self._failure(path, answer)
                crashes += answer.status_code in (500, 507) or "Prediction failed" in failure
                if crashes >= _MAX_CRASHES:
                    raise TorchServeUnavailable(f"{failure}, {crashes} times on this page")
            logger.info("trying %s again: %s", path, failure)
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise DeadlineExceeded(f"the time for this page is up; last: {failure}")

    def _failure(self, path: str, answer: requests.Response) -> str:
        """Return why another try makes sense; raise where it does not."""
        verdict = error_of(answer)
        if verdict is not None:
            raise verdict
        kind = torchserve_error(answer)
        if answer.status_code == 400 and "InvalidKey" in kind:
            self._keys.forget()
            return "the token was renewed"
        if answer.status_code == 404 or (answer.status_code == 503 and "no worker" in kind):
            raise ModelNotReady(f"TorchServe does not serve {path}: {kind}")
        if answer.status_code == 413:
            raise PageRejected("image_too_large", "the image has more bytes than TorchServe's max_request_size", 413)
        if answer.status_code in (500, 503, 507):
            return f"{answer.status_code} {kind}"
        raise TorchServeUnavailable(f"TorchServe answered {answer.status_code} for {path}: {kind}")


def make_session() -> requests.Session:
    """Return a session that asks only the address it is given: no proxies, no netrc, no redirects kept."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=32))
    return session


def error_of(answer: requests.Response) -> LayoutLoopError | None:
    """Return the handler's own error in an answer, None where the answer is TorchServe's."""
    try:
        error = answer.json()["error"]
        return PageRejected(str(error["code"]), str(error["message"]), answer.status_code)
    except (*_NOT_JSON, KeyError, TypeError):
        return None


def torchserve_error(answer: requests.Response) -> str:
    """Return TorchServe's own error as `Type: message`."""
    try:
        body = answer.json()
        return f"{body['type']}: {body['message']}"
    except (*_NOT_JSON, KeyError, TypeError):
        return answer.text[:200]


def _json_of(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except _NOT_JSON as error:
        raise TorchServeUnavailable("TorchServe's answer is no JSON") from error
    if not isinstance(body, dict):
        raise TorchServeUnavailable(f"TorchServe's answer is a {type(body).__name__}, not an object")
    return body
