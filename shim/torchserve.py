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
from collections.abc import Mapping, Sequence
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
from shim.gate import Gate
from shim.nodes import Nodes
from shim.settings import Settings

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 42.0
"""Above the archives' responseTimeout of 40 s, and short enough for two tries inside the 90 s of a predict."""

_DROPPED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_NOT_JSON = (ValueError, RecursionError)
_OTHER_NODE = (404, 500, 503, 507)
"""What one node answers and another may not: it does not hold the version, is full, or its worker died."""
_NO_KEYS = "there, set LAYOUTLOOP_TORCHSERVE_HOST to the address asked and LAYOUTLOOP_ALLOW_OPEN_BIND=1: no keys then"
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


class _TryAgain(Exception):
    """A request came to nothing, and another one may do better; `crashed` if a worker died, perhaps of this page."""

    def __init__(self, failure: str, *, crashed: bool = False) -> None:
        super().__init__(failure)
        self.crashed = crashed


class InferenceClient:
    """Asks models of one or several TorchServe nodes for predictions; for use from many threads.

    Args:
        urls: of the inference interface; several nodes may stand behind each (`shim.nodes`).
        keys: the token file; None where no keys are asked for.
        read_timeout_s: after so long without an answer a request counts as dropped, and is sent again.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        keys: TokenFile | None,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        """Open no connection yet."""
        self._nodes = Nodes([urls] if isinstance(urls, str) else urls)
        self._keys = keys
        self._read_timeout_s = read_timeout_s
        self._gates: dict[str, Gate] = {}
        self._lock = threading.Lock()
        self._session = make_session()

    def node_count(self) -> int:
        """Return how many nodes are thought to answer, at least 1."""
        return self._nodes.count()

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
            in_flight: how many requests this version is sent at a time, for each node; further ones wait here.

        Raises:
            PageRejected: the handler refused this page.
            ModelNotReady: no node holds such a version, or it has no worker.
            TorchServeUnavailable: it did not answer, or crashed several times on this page.
            DeadlineExceeded: the time is up.
        """
        path = f"/predictions/{quote(model, safe='')}/{quote(version, safe='')}"
        gate = self._gate(path, in_flight * self._nodes.count())
        if not gate.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded(f"{model} was busy with other pages until the time was up")
        headers = {f"X-LayoutLoop-{name.title()}": value for name, value in (parameters or {}).items()}
        try:
            return self._tries(path, body, {"Content-Type": content_type, **headers}, deadline)
        finally:
            gate.release()

    def _gate(self, path: str, places: int) -> Gate:
        with self._lock:
            gate = self._gates.setdefault(path, Gate(places))
            gate.resize(places)
            return gate

    def _tries(self, path: str, body: bytes, headers: dict[str, str], deadline: float) -> dict[str, Any]:
        """Ask one node after the other, and after a pause all of them again, until one answers or the time is up."""
        pause, crashes, failure = _PAUSE_S, 0, "nothing was tried"
        tried: set[str] = set()
        missing = 0
        while (left := deadline - time.monotonic()) > 0:
            try:
                return self._try_next(path, body, headers, left, tried)
            except _TryAgain as again:
                failure = str(again)
                crashes += again.crashed
                if crashes >= _MAX_CRASHES:
                    raise TorchServeUnavailable(f"{failure}, {crashes} times on this page") from again
            except ModelNotReady as error:
                failure = str(error)
                missing += 1
                if missing >= len(tried) and not self._nodes.others(tried):
                    raise  # every node says so
            logger.info("trying %s again: %s", path, failure)
            if not self._nodes.others(tried):
                tried, missing = set(), 0
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise DeadlineExceeded(f"the time for this page is up; last: {failure}")

    def _try_next(
        self, path: str, body: bytes, headers: dict[str, str], left: float, tried: set[str]
    ) -> dict[str, Any]:
        """Ask the next node and add it to `tried`; `left` seconds are left."""
        try:
            url = self._nodes.take(path, tried)
        except TorchServeUnavailable as error:
            raise _TryAgain(str(error)) from error
        tried.add(url)
        try:
            answer = self._session.post(
                url + path,
                data=body,
                headers={**headers, **(self._keys.header("inference") if self._keys else {})},
                timeout=(min(CONNECT_TIMEOUT_S, left), min(self._read_timeout_s, left)),
            )
        except (*_DROPPED, TorchServeUnavailable) as error:
            # Refused, cut off or silently dropped; a restarted TorchServe has new keys.
            if left > self._read_timeout_s or not isinstance(error, requests.ReadTimeout):  # else our time was up
                self._nodes.failed(url)
            self._forget_keys()
            raise _TryAgain(f"no answer from TorchServe: {type(error).__name__}") from error
        except requests.RequestException as error:
            raise TorchServeUnavailable(f"the request to TorchServe failed: {error}") from error
        finally:
            self._nodes.hand_back(url, path)
        if error_of(answer) is None and answer.status_code in _OTHER_NODE:
            self._nodes.failed(url, path)
        else:
            self._nodes.succeeded(url, path)
        if answer.status_code == 200:
            return _json_of(answer)
        raise self._failure(path, answer)

    def _failure(self, path: str, answer: requests.Response) -> Exception:
        """Return what an answer means: `_TryAgain` where that makes sense."""
        verdict = error_of(answer)
        if verdict is not None:
            return verdict
        kind, status = torchserve_error(answer), answer.status_code
        if status == 400 and "InvalidKey" in kind and self._keys:
            self._forget_keys()
            return _TryAgain("the token was renewed")
        if status == 400 and "InvalidKey" in kind:
            return TorchServeUnavailable(f"{answer.url} asks for a key, and there is none: {_NO_KEYS}")
        if status == 404 or (status == 503 and "no worker" in kind):
            return ModelNotReady(f"TorchServe does not serve {path}: {kind}")
        if status == 413:
            return PageRejected("image_too_large", "the image has more bytes than TorchServe's max_request_size", 413)
        if status in (500, 503, 507):
            return _TryAgain(f"{status} {kind}", crashed=status != 503 or "Prediction failed" in kind)
        return TorchServeUnavailable(f"TorchServe answered {status} for {path}: {kind}")

    def _forget_keys(self) -> None:
        if self._keys:
            self._keys.forget()


def inference_client(settings: Settings) -> InferenceClient:
    """Return the client of all nodes; a key goes to this machine's own TorchServe alone."""
    if settings.torchserve_url:
        return InferenceClient(settings.torchserve_urls, None)
    return own_client(settings)


def own_client(settings: Settings) -> InferenceClient:
    """Return the client of this machine's TorchServe, whoever else there is."""
    return InferenceClient(settings.own_torchserve_url, token_file(settings))


def token_file(settings: Settings) -> TokenFile | None:
    """Return the tokens of this machine's TorchServe; None where it asks for none."""
    return TokenFile(settings.key_file) if settings.key_file else None


def make_session() -> requests.Session:
    """Return a session that asks only the address it is given: no proxies, no netrc, no redirects kept."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=64, pool_maxsize=32))
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
