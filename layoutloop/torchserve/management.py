"""TorchServe's management interface: register, scale, make default, drain, unregister.

The order that loses no request was measured (TorchServe 0.12.0): register synchronously, smoke-test the pinned
version, set-default, wait until the old version's queue is empty, wait a little longer for what its workers
have taken out of the queue, and only then unregister it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psutil
import requests

from layoutloop.errors import ManagementError, TorchServeUnavailable, TorchServeUnreachable
from layoutloop.torchserve.answers import torchserve_error, wants_key
from layoutloop.torchserve.inference import make_session
from layoutloop.torchserve.tokens import TokenFile

logger = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 30.0
_READ_TIMEOUT_S = 10.0
"""To say what is there takes milliseconds: a Java that hangs is known before a page has waited for long."""
_REGISTER_TIMEOUT_S = 330.0
"""Above the archives' startupTimeout of 300 s, so that TorchServe answers before this ends."""
_SETTLE_S = 3.0
_DRAIN_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """What TorchServe says of one registered version; a worker that is stopped (SIGSTOP) is not ready, as it says."""

    version: str
    min_workers: int
    ready_workers: int
    pending_requests: int


class ManagementClient:
    """One TorchServe's management interface.

    Args:
        url: of the interface.
        keys: its token file; None where it wants no keys.
    """

    def __init__(self, url: str, keys: TokenFile | None) -> None:
        """Open no connection yet."""
        self._url = url.rstrip("/")
        self._keys = keys or TokenFile(None)
        self._session = make_session()

    def models(self) -> list[str]:
        """Return the names of all registered models."""
        names: list[str] = []
        page = "0"
        while True:
            body = self._call("GET", "/models", {"limit": "100", "next_page_token": page})
            names += [str(model["modelName"]) for model in body["models"]]
            if "nextPageToken" not in body:
                return names
            page = str(body["nextPageToken"])

    def versions(self, model: str) -> list[ServedVersion]:
        """Return every registered version of a model; none where the model is unknown."""
        body = self._call("GET", f"/models/{quote(model, safe='')}/all")
        return [_served(entry) for entry in body or []]

    def default_version(self, model: str) -> str | None:
        """Return the version that unpinned requests get; None where the model is unknown."""
        body = self._call("GET", f"/models/{quote(model, safe='')}")
        return str(body[0]["modelVersion"]) if body else None

    def register(self, archive: str, model: str, workers: int) -> None:
        """Register an archive in TorchServe's store and wait until its workers are ready.

        Synchronously: an asynchronous registration of a broken archive answers 202 and stays registered. On an
        error unregister the version, since one that came up too late stays, without workers.
        """
        parameters = {
            "url": archive,
            "model_name": model,
            "initial_workers": str(workers),
            "synchronous": "true",
        }
        self._call("POST", "/models", parameters, _REGISTER_TIMEOUT_S)

    def scale(self, model: str, version: str, workers: int, *, wait: bool = True) -> None:
        """Bring a version to exactly `workers` workers; without `wait`, requests queue until these are ready.

        What a stopped worker was doing fails with a 500; what is queued stays queued, also without any worker.
        """
        parameters = {"min_worker": str(workers), "max_worker": str(workers), "synchronous": str(wait).lower()}
        self._call("PUT", _path(model, version), parameters, _REGISTER_TIMEOUT_S)

    def set_default(self, model: str, version: str) -> None:
        """Make a version the one that unpinned requests get."""
        self._call("PUT", f"{_path(model, version)}/set-default")

    def drain(self, model: str, version: str) -> None:
        """Wait until a version's queue is empty and what its workers hold has been answered."""
        end = time.monotonic() + _DRAIN_LIMIT_S
        while time.monotonic() < end:
            served = next((one for one in self.versions(model) if one.version == version), None)
            if served is None:
                return
            if served.pending_requests == 0:
                break
            time.sleep(0.2)
        else:
            raise ManagementError(f"{model} {version} still has queued requests after {_DRAIN_LIMIT_S:g} s")
        time.sleep(_SETTLE_S)

    def unregister(self, model: str, version: str) -> None:
        """Unregister a version at once; `drain` it first."""
        self._call("DELETE", _path(model, version))

    def _call(
        self, method: str, path: str, params: dict[str, str] | None = None, timeout_s: float | None = None
    ) -> Any:
        """Return the JSON of an answer; None where GET or DELETE finds no such model or version."""
        timeout_s = timeout_s or (_READ_TIMEOUT_S if method == "GET" else _CALL_TIMEOUT_S)
        for is_last in (False, True):
            try:
                answer = self._session.request(
                    method,
                    self._url + path,
                    params=params,
                    headers=self._keys.header("management"),
                    timeout=(2, timeout_s),
                )
            except (requests.RequestException, TorchServeUnavailable) as error:
                self._keys.forget()
                raise TorchServeUnreachable(f"TorchServe does not answer: {error}") from error
            if is_last or not wants_key(answer):
                break
            self._keys.forget()
        if answer.status_code == 404 and method in ("GET", "DELETE"):
            return None
        if answer.status_code >= 300:
            raise ManagementError(f"{method} {path}: {answer.status_code} {torchserve_error(answer)}")
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise ManagementError(
                f"{method} {path}: the answer is no JSON; is it TorchServe that listens there?"
            ) from error


def _path(model: str, version: str) -> str:
    return f"/models/{quote(model, safe='')}/{quote(version, safe='')}"


def _stands_still(pid: object) -> bool:
    """Whether a process of this machine is stopped: TorchServe notices that only when a page has waited for 40 s."""
    try:
        return isinstance(pid, int) and psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (psutil.Error, ValueError):
        return False


def _served(entry: dict[str, Any]) -> ServedVersion:
    workers = entry.get("workers", [])
    ready = sum(1 for one in workers if one.get("status") == "READY" and not _stands_still(one.get("pid")))
    queue = entry.get("jobQueueStatus") or {}
    return ServedVersion(
        version=str(entry["modelVersion"]),
        min_workers=int(entry.get("minWorkers", 0)),
        ready_workers=ready,
        pending_requests=int(queue.get("pendingRequests", 0)),
    )
