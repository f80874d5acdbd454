"""TorchServe's HTTP interface and its behaviour: inference.

Measured on TorchServe 0.12.0 (which is archived upstream): it can drop a request without any answer when a
worker dies or a version is deleted, answers 500 or 507 "Worker died." for a whole batch, and 503 when a queue
is full or a model has no worker. So every call has a read timeout and is tried again while there is time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from handler.errors import MachineFailed
from layoutloop.errors import DeadlineExceeded, ModelNotReady, PageRejected, TorchServeUnavailable
from layoutloop.settings.java_memory import bytes_in_flight
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import NODE_SILENT_S
from layoutloop.torchserve.answers import error_of, json_of, torchserve_error, wants_key
from layoutloop.torchserve.fifo_semaphore import FifoSemaphore
from layoutloop.torchserve.nodes import RESOLVE_WAIT_S, Nodes, Refusals
from layoutloop.torchserve.tokens import TokenFile

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 42.0
"""Above the archives' responseTimeout of 40 s, and short enough for two tries inside the 90 s of a predict."""

_DROPPED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_NO_KEYS = "there, set LAYOUTLOOP_TORCHSERVE_HOST to that address and LAYOUTLOOP_ALLOW_OPEN_BIND=1: no keys then"
_MAX_CRASHES = 3
_MAX_SHORTAGES = 3
"""How often all nodes may lack something before the page is given back, for a longer pause than this client makes."""
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0


class _TryAgain(Exception):
    """A request failed, and another one may succeed; `crashed` if a worker died, perhaps because of this page."""

    def __init__(self, failure: str, *, crashed: bool = False) -> None:
        super().__init__(failure)
        self.crashed = crashed


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page for one version of a model.

    Args:
        model: name.
        version: pinned; never the default.
        body: of the request.
        content_type: of the body.
        parameters: of the handler; sent as headers, since TorchServe drops the query string.
        in_flight: how many requests this version is sent at a time, for each node; others wait in the client.
    """

    model: str
    version: str
    body: bytes
    content_type: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    in_flight: int = 4

    @property
    def path(self) -> str:
        """Where each node takes it."""
        return f"/predictions/{quote(self.model, safe='')}/{quote(self.version, safe='')}"

    @property
    def headers(self) -> dict[str, str]:
        """The content type and the parameters."""
        return {"Content-Type": self.content_type} | {
            f"X-LayoutLoop-{name.title()}": value for name, value in self.parameters.items()
        }


@contextmanager
def _held(turns: FifoSemaphore, places: int, request: PageRequest, deadline: float) -> Iterator[None]:
    """Hold places.

    Raises:
        DeadlineExceeded: they did not come free in time.
    """
    if not turns.acquire(max(0.0, deadline - time.monotonic()), places):
        raise DeadlineExceeded(f"{request.model} was busy with other pages until the time was up")
    try:
        yield
    finally:
        turns.release(places)


class InferenceClient:
    """Sends pages to one or several TorchServe nodes; for use from many threads.

    Args:
        urls: of the inference interface; several nodes may be behind each (`layoutloop.torchserve.nodes`).
        keys: the token file; None where TorchServe wants no keys.
        read_timeout_s: after so long without an answer a request counts as dropped, and is sent again.
        start_s: for so long it is no failure that no node has answered yet.
        body_bytes: of all pages that are sent to one node at a time: its Java holds each in memory.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        keys: TokenFile | None,
        read_timeout_s: float = READ_TIMEOUT_S,
        start_s: float = NODE_SILENT_S,
        body_bytes: int = bytes_in_flight(1),
    ) -> None:
        """Open no connection yet."""
        self._nodes = Nodes([urls] if isinstance(urls, str) else urls)
        self._keys = keys or TokenFile(None)
        self._read_timeout_s = read_timeout_s
        self._starting_until = time.monotonic() + start_s
        self._turns: dict[str, FifoSemaphore] = {}
        self._body_bytes = body_bytes
        self._bodies = FifoSemaphore(body_bytes)
        self._lock = threading.Lock()
        self._session = make_session()

    def node_count(self, wait_s: float = 0.0) -> int:
        """Return how many nodes seem to answer, at least 1; DNS has `wait_s` to list them."""
        return self._nodes.count(wait_s)

    def refusals(self) -> Refusals:
        """Return why nodes lately refused the last page sent to them; sends nothing."""
        return self._nodes.refusals()

    def predict(self, request: PageRequest, deadline: float) -> dict[str, Any]:
        """Return the model's JSON answer for one page.

        Args:
            request: the page.
            deadline: `time.monotonic()` at which the answer is of no use any more.

        Raises:
            PageRejected: the handler refused this page.
            ModelNotReady: no node holds such a version, or it has no worker.
            TorchServeUnavailable: what answers is no TorchServe for us, or it crashed several times on this page.
            MachineFailed: each node lacks disk, memory or the like, several times; the page is not at fault.
            DeadlineExceeded: the time is up.
        """
        nodes = self._nodes.count(max(0.0, min(RESOLVE_WAIT_S, deadline - time.monotonic())))
        with self._lock:
            turns = self._turns.setdefault(request.path, FifoSemaphore(0))
            turns.resize(request.in_flight * nodes)
            self._bodies.resize(self._body_bytes * nodes)
        with _held(turns, 1, request, deadline), _held(self._bodies, len(request.body), request, deadline):
            return self._tries(request, deadline)

    def _tries(self, request: PageRequest, deadline: float) -> dict[str, Any]:
        """Try one node after the other, and after a pause all of them again, until one answers or the time is up."""
        pause, crashes, shortages, failure = _PAUSE_S, 0, 0, "nothing was tried"
        tried: set[str] = set()
        refused: list[ModelNotReady | TorchServeUnavailable] = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                return self._try_next(request, left, tried)
            except _TryAgain as again:
                failure = str(again)
                crashes += again.crashed
                if crashes >= _MAX_CRASHES:
                    raise TorchServeUnavailable(f"{failure}, {crashes} times on this page") from again
            except MachineFailed as error:
                failure = str(error)
                shortages += not self._nodes.others(tried)
                if shortages >= _MAX_SHORTAGES:
                    raise
            except (ModelNotReady, TorchServeUnavailable) as error:
                failure = str(error)
                refused.append(error)
            if refused and len(refused) >= len(tried) and not self._nodes.others(tried):  # every node says so
                raise next((one for one in refused if isinstance(one, ModelNotReady)), refused[0])
            if time.monotonic() < self._starting_until:
                logger.info("%s waits: TorchServe has not answered yet, it may be starting", request.path)
            else:
                logger.info("trying %s again: %s", request.path, failure)
            if not self._nodes.others(tried):
                tried, refused = set(), []
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise DeadlineExceeded(f"the time for this page is up; last: {failure}")

    def _try_next(self, request: PageRequest, left: float, tried: set[str]) -> dict[str, Any]:
        """Send to the next node and add it to `tried`; `left` seconds are left."""
        path = request.path
        try:
            url = self._nodes.take(path, tried, left)
        except TorchServeUnavailable as error:
            raise _TryAgain(str(error)) from error
        tried.add(url)
        try:
            answer = self._session.post(
                url + path,
                data=request.body,
                headers=request.headers | self._keys.header("inference"),
                timeout=(min(CONNECT_TIMEOUT_S, left), min(self._read_timeout_s, left)),
                allow_redirects=False,  # pages go to nodes alone
            )
        except (*_DROPPED, TorchServeUnavailable) as error:
            # Refused, cut off or silently dropped; a restarted TorchServe has new keys.
            if left > self._read_timeout_s or not isinstance(error, requests.ReadTimeout):  # else our time was up
                self._nodes.failed(url)
            self._keys.forget()
            raise _TryAgain(f"no answer from TorchServe: {type(error).__name__}") from error
        except requests.RequestException as error:
            self._nodes.failed(url)
            raise TorchServeUnavailable(f"the request to TorchServe failed: {error}") from error
        finally:
            self._nodes.hand_back(url, path)
        self._starting_until = 0.0  # it answered: from now on a failure is one
        failure = None if answer.status_code == 200 else self._failure(path, answer)
        lacks = f"{urlsplit(url).netloc}: {failure}" if isinstance(failure, MachineFailed) else ""
        self._nodes.note_refusal(url, lacks or self._refusal(answer))
        return self._content(answer, failure, url, path)

    def _content(self, answer: requests.Response, failure: Exception | None, url: str, path: str) -> dict[str, Any]:
        """Return an answer's JSON, or raise what it means; note whether its node serves this path."""
        try:
            if failure is not None:
                raise failure
            said = json_of(answer)
        except TorchServeUnavailable:  # whatever this is, it is quick and draws nothing: others come first
            self._nodes.failed(url)
            raise
        except (_TryAgain, ModelNotReady, MachineFailed):
            self._nodes.failed(url, path)
            raise
        except PageRejected:
            self._nodes.succeeded(url, path)
            raise
        self._nodes.succeeded(url, path)
        return said

    def _failure(self, path: str, answer: requests.Response) -> Exception:
        """Return what an answer means: `_TryAgain` where that makes sense."""
        if (rejection := error_of(answer)) is not None:
            return rejection
        kind, status = torchserve_error(answer), answer.status_code
        if refusal := self._refusal(answer):
            return TorchServeUnavailable(refusal)
        if wants_key(answer):
            self._keys.forget()
            return _TryAgain("the token was renewed")
        if status == 404 or (status == 503 and "no worker" in kind):
            return ModelNotReady(f"TorchServe does not serve {path}: {kind}")
        if status == 413:
            return PageRejected("image_too_large", "the image has more bytes than TorchServe's max_request_size", 413)
        if status == 507 and "Worker died" not in kind:
            return MachineFailed(f"TorchServe lacks memory for this page now: {kind}")
        if status in (500, 503, 507):
            return _TryAgain(f"{status} {kind}", crashed=status != 503 or "Prediction failed" in kind)
        return TorchServeUnavailable(f"TorchServe answered {status} for {path}: {kind}")

    def _refusal(self, answer: requests.Response) -> str:
        """Return what to do about a node that wants a key where there is none, "" where it does not."""
        refused = self._keys.path is None and wants_key(answer)
        return f"{answer.url} wants a key, and there is none: {_NO_KEYS}" if refused else ""


def inference_client(settings: Settings) -> InferenceClient:
    """Return the client of all nodes; a key goes to this machine's own TorchServe alone."""
    if settings.torchserve_url:
        return _client(settings, settings.torchserve_urls, None)
    return own_client(settings)


def own_client(settings: Settings) -> InferenceClient:
    """Return the client of this machine's TorchServe alone."""
    return _client(settings, settings.own_torchserve_url, token_file(settings))


def _client(settings: Settings, urls: str | Sequence[str], keys: TokenFile | None) -> InferenceClient:
    body_bytes = bytes_in_flight(settings.ocr_workers)
    return InferenceClient(urls, keys, start_s=settings.node_silent_s, body_bytes=body_bytes)


def token_file(settings: Settings) -> TokenFile:
    """Return the tokens of this machine's TorchServe."""
    return TokenFile(settings.token_path)


def make_session() -> requests.Session:
    """Return a session that connects only to the address it is given: no proxies, no netrc."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=64, pool_maxsize=32))
    return session
