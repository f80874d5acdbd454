"""The shim as a pre-labelling uses it: the version in service, predictions behind people's, tasks taken for itself."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import requests

from layoutloop.connect.shim_address import ShimAddress
from layoutloop.errors import NoModelYet, NotConnected, ShimUnavailable
from layoutloop.torchserve.inference import make_session

_TIMEOUT_S = 30.0
_TAKEN_AT_A_TIME = 5_000
"""The shim refuses more than 10,000."""
_MORE_S = 30.0
"""What a predict may take beyond the shim's own deadline."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What the shim answers for one task.

    Args:
        prediction: as Label Studio stores it; empty where there is none.
        code: why there is none.
        message: likewise, a sentence.
        is_temporary: whether another try may do: it says nothing about the task.
    """

    prediction: Mapping[str, Any]
    code: str = ""
    message: str = ""
    is_temporary: bool = False


@dataclass(frozen=True, slots=True)
class PredictAnswer:
    """What the shim answers to one request.

    Args:
        version: in service when it was answered.
        tasks: in order.
        size: of the answer, in bytes.
    """

    version: str
    tasks: tuple[TaskAnswer, ...]
    size: int


class ShimPredictions:
    """Requests predictions of one project. Threads may share it.

    Every method raises ShimUnavailable where the shim does not answer or has nothing in service now, and NotConnected
    where it refuses the request.

    Args:
        shim: its address and Basic auth.
        project: id; None for pages of none.
        deadline_s: the shim's LAYOUTLOOP_DEADLINE_S.
    """

    def __init__(self, shim: ShimAddress, project: int | None, deadline_s: float) -> None:
        self._shim = shim
        self._project = "" if project is None else str(project)
        self._deadline_s = deadline_s
        self._owner = secrets.token_hex(8)
        self._session = make_session()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def node_count(self) -> int:
        """Return how many nodes report, one at least."""
        return max(1, int(self._call("GET", "/health", None, _TIMEOUT_S).json().get("node_count", 1)))

    def version(self, label_config: str) -> str:
        """Return the version that predictions have now."""
        body = {"project": self._project, "schema": label_config}
        return str(self._call("POST", "/setup", body, _TIMEOUT_S).json()["model_version"])

    def predict(self, label_config: str, tasks: Sequence[Mapping[str, Any]]) -> PredictAnswer:
        """Return an answer for each task; people's requests come first.

        Raises:
            NoModelYet: nothing can be drawn in this project before it has a model.
        """
        body = {"project": self._project, "label_config": label_config, "tasks": tasks, "background": True}
        response = self._call("POST", "/predict", body, self._deadline_s + _MORE_S)
        found = response.json()
        if "errors" not in found:
            raise NotConnected(f"the shim at {self._shim.url} is older than this command: restart scripts/serve.sh")
        if unserved := next((one for one in found["errors"] if one and one["code"] == NoModelYet.code), None):
            raise NoModelYet(unserved["message"])
        answers = tuple(map(_task_answer, found["results"], found["errors"]))
        return PredictAnswer(str(found["model_version"]), answers, len(response.content))

    def take(self, version: str, tasks: Collection[int]) -> set[int]:
        """Return those of the tasks that are ours to store: Label Studio neither got nor gets them."""
        remaining, ours = iter(sorted(tasks)), set[int]()
        while some := list(islice(remaining, _TAKEN_AT_A_TIME)):
            body = {"owner": self._owner, "version": version, "tasks": some}
            ours.update(self._call("POST", "/take", body, _TIMEOUT_S).json()["tasks"])
        return ours

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> requests.Response:
        try:
            response = self._session.request(
                method,
                self._shim.url + path,
                json=body,
                headers=self._shim.headers,
                timeout=timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ShimUnavailable(
                f"no shim answers at {self._shim.url} ({type(error).__name__}): start scripts/serve.sh, "
                "or give the address where it is (LAYOUTLOOP_PORT, --shim-url)"
            ) from error
        if response.status_code == 200:
            return response
        try:
            said = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = f"{response.status_code}, and no reason"
        kind = ShimUnavailable if response.status_code >= 500 else NotConnected
        raise kind(f"the shim at {self._shim.url} answers: {said}")


def _task_answer(result: Any, error: Mapping[str, Any] | None) -> TaskAnswer:
    if error is None:
        return TaskAnswer(result)
    # What is down, busy or full says nothing about a task; 424 is its image, or where that comes from.
    is_temporary = error["status"] in (502, 503, 504, 507) or error["code"] == "image_source_unreachable"
    return TaskAnswer({}, error["code"], error["message"], is_temporary)
