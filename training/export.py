"""A project and its annotations, from Label Studio's API or from a file that it exported.

Measured with Label Studio 1.23.2: `GET /api/projects/{id}/export?exportType=JSON` lists, without more parameters,
only tasks that have an annotation (a skipped one counts), each with all its annotations in full, `was_cancelled`
and `ground_truth` among their fields. Drafts and predictions come as bare ids. `download_all_tasks=true` would add
the tasks without an annotation and nothing that training could use; `download_resources` changes nothing for JSON.
A key that may not see a project gets 404, as if it did not exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from shim.addresses import CONNECT_TIMEOUT_S, Guard, open_pools
from shim.credentials import LabelStudioKey
from shim.errors import ImageRefused, ImageUnavailable, SettingsInvalid
from shim.web_address import WebAddress, parse_web_address
from training.errors import ExportFailed, ExportInvalid, ExportRefused

MAX_BYTES = 2**30
TIMEOUT_S = 600.0
"""Label Studio puts the whole export together before it sends the first byte."""

_CHUNK_BYTES = 2**20
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "LayoutLoop"}
_WHICH_EXPORT = "choose Export > JSON in Label Studio (not JSON-MIN, CSV or another format)"


@dataclass(frozen=True, slots=True)
class Project:
    """What Label Studio says about a project.

    Args:
        id: its number.
        title: its name.
        label_config: XML.
        tasks: how many it has.
        annotated_tasks: how many of them have an annotation that was not skipped.
        annotations: how many annotations there are, skipped ones not counted.
    """

    id: int
    title: str
    label_config: str
    tasks: int
    annotated_tasks: int
    annotations: int


class LabelStudio:
    """Asks Label Studio's API, and only at its own address: no proxies, no netrc, no redirects.

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
        try:
            self._home = parse_web_address(url.strip())
        except ImageRefused as error:
            raise SettingsInvalid(f"LABEL_STUDIO_URL: {error}; write for example http://127.0.0.1:8080") from error
        self._key = key
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._pools = open_pools(Guard(anywhere=True))

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()

    def project(self, project_id: int) -> Project:
        """Return what Label Studio says about a project.

        Raises:
            ExportFailed: it did not answer, or not with 200.
        """
        address = self._address(f"/api/projects/{project_id}/")
        body = self._json(address)
        try:
            return Project(
                id=int(body["id"]),
                title=str(body["title"]),
                label_config=str(body["label_config"]),
                tasks=int(body.get("task_number") or 0),
                annotated_tasks=int(body.get("num_tasks_with_annotations") or 0),
                annotations=int(body.get("total_annotations_number") or 0),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportFailed(f"{address} answered something that is no project of Label Studio") from error

    def export(self, project_id: int) -> list[dict[str, Any]]:
        """Return the project's tasks that have an annotation, with all of them.

        Raises:
            ExportFailed: Label Studio did not answer, or not with 200.
            ExportInvalid: the answer is no export.
        """
        address = self._address(f"/api/projects/{project_id}/export", "exportType=JSON")
        return check_export(self._json(address), str(address))

    def _address(self, path: str, query: str = "") -> WebAddress:
        home = self._home
        return WebAddress(home.scheme, home.host, home.port, home.path.rstrip("/") + path, query)

    def _json(self, address: WebAddress) -> Any:
        body = self._body(address)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ExportFailed(f"{address} answered 200 with something that is no JSON") from error

    def _body(self, address: WebAddress) -> bytes:
        """Return the body of a 200; an access token that ended early is exchanged once more."""
        response = self._request(address)
        try:
            if response.status == 401:
                response.close()
                self._key.forget()
                response = self._request(address)
            if response.status != 200:
                failed = ExportRefused if response.status in (401, 403, 404) else ExportFailed
                raise failed(_status_sentence(address, response.status))
            return self._read(address, response)
        finally:
            response.close()

    def _request(self, address: WebAddress) -> urllib3.BaseHTTPResponse:
        """Send one request; a kept connection that the server closed meanwhile is tried once more."""
        pool = self._pools.connection_from_host(address.host, address.port, address.scheme)
        for is_last in (False, True):
            try:
                return pool.urlopen(
                    "GET",
                    address.target,
                    headers={**_HEADERS, **self._key.header()},
                    redirect=False,
                    retries=False,
                    assert_same_host=False,
                    timeout=urllib3.Timeout(total=self._timeout_s, connect=min(CONNECT_TIMEOUT_S, self._timeout_s)),
                    preload_content=False,
                    decode_content=False,
                )
            except urllib3.exceptions.ProtocolError as error:
                if is_last:
                    raise self._broken(address, error) from error
            except urllib3.exceptions.HTTPError as error:
                raise self._broken(address, error) from error
            except ImageUnavailable as error:  # no connection, or no access token for the key
                raise ExportFailed(f"{address} could not be asked: {error}") from error
        raise AssertionError("unreachable")

    def _read(self, address: WebAddress, response: urllib3.BaseHTTPResponse) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise ExportFailed(f"{address} sends its answer compressed ({encoding[:20]}), unasked")
        body = bytearray()
        try:
            while chunk := response.read1(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_bytes:
                    raise ExportFailed(
                        f"{address} answers with more than {self._max_bytes:,} bytes; "
                        "export in parts in Label Studio and train with --annotations FILE"
                    )
        except urllib3.exceptions.HTTPError as error:
            raise self._broken(address, error) from error
        return bytes(body)

    def _broken(self, address: WebAddress, error: urllib3.exceptions.HTTPError) -> ExportFailed:
        if isinstance(error, urllib3.exceptions.TimeoutError):
            return ExportFailed(f"{address} did not send its whole answer within {self._timeout_s:g} s")
        if isinstance(error, urllib3.exceptions.SSLError):
            return ExportFailed(f"{address} has no valid certificate for TLS (see SSL_CERT_FILE): {error}")
        return ExportFailed(f"{address} broke off its answer ({type(error).__name__})")


def read_export(path: Path) -> list[dict[str, Any]]:
    """Return the tasks of a file that Label Studio exported as JSON.

    Raises:
        ExportInvalid: it cannot be read, or is something else; says which export to choose.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExportInvalid(f"{path} has more than {MAX_BYTES:,} bytes; export in parts")
        body = json.loads(path.read_bytes())
    except OSError as error:
        raise ExportInvalid(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ExportInvalid(f"{path} is no JSON; {_WHICH_EXPORT}") from error
    return check_export(body, str(path))


def check_export(body: object, source: str) -> list[dict[str, Any]]:
    """Return the tasks of a JSON export whose outer shape is right.

    Raises:
        ExportInvalid: names the source, what was found there and which export to choose.
    """
    if not isinstance(body, list):
        raise ExportInvalid(f"{source} holds {_kind(body)}, not a list of tasks; {_WHICH_EXPORT}")
    tasks: dict[int, dict[str, Any]] = {}
    for position, task in enumerate(body):
        if not isinstance(task, dict):
            raise ExportInvalid(f"{source}: entry {position} is {_kind(task)}, not a task; {_WHICH_EXPORT}")
        if "data" not in task and "annotations" not in task:
            cause = "looks like JSON-MIN, which has lost the regions" if "annotation_id" in task else "has no `data`"
            raise ExportInvalid(f"{source}: entry {position} {cause}; {_WHICH_EXPORT}")
        if not isinstance(task.get("annotations"), list):
            raise ExportInvalid(f"{source}: entry {position} has no list of `annotations`; {_WHICH_EXPORT}")
        identity = task.get("id")
        if not isinstance(identity, int) or isinstance(identity, bool) or identity < 0:
            raise ExportInvalid(f"{source}: entry {position} has no task id, so it is no export; {_WHICH_EXPORT}")
        if identity in tasks:
            raise ExportInvalid(f"{source}: task {identity} stands in it twice; export once more, into a new file")
        tasks[identity] = task
    return list(tasks.values())


def _kind(value: object) -> str:
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def _status_sentence(address: WebAddress, status: int) -> str:
    """Say what a status means for the person who started the training; bodies are not shown, they may hold data."""
    sentence = f"{address} answered {status}"
    if status in (401, 403):
        return f"{sentence}: set LABEL_STUDIO_API_KEY to a key of a person who may export this project"
    if status == 404:
        return f"{sentence}: the project does not exist, or LABEL_STUDIO_API_KEY may not see it"
    if 300 <= status < 400:
        return f"{sentence} (a redirect, which is not followed): set LABEL_STUDIO_URL to the address it leads to"
    return f"{sentence}; is that Label Studio's address (LABEL_STUDIO_URL)? Its log says more"
