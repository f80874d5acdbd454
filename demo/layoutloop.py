"""A LayoutLoop of the demo's own: started, waited for, stopped."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from demo.errors import LoopFailed
from demo.studio import Account, RunningStudio
from layoutloop.settings.node import REPOSITORY, NodeSettings
from layoutloop.settings.serving import refuse_mistyped
from node.processes import instance_processes, stop_child, stop_processes
from node.serve import port_problem

USER = "demo"
_READY_S = 600.0
_STOPS_S = 150.0
_SETTINGS = (
    *("LAYOUTLOOP_", "LABEL_STUDIO_", "BASIC_AUTH_", "ML_SERVER_", "REDIS_"),
    *("MODEL_DIR", "USE_REDIS", "RQ_QUEUE_NAME"),
)
_KEPT = (
    *("LAYOUTLOOP_PORT", "LAYOUTLOOP_TORCHSERVE_PORT"),
    *("LAYOUTLOOP_TRAIN_", "LAYOUTLOOP_OCR_", "LAYOUTLOOP_PROJECT_WORKERS", "LAYOUTLOOP_LOG_LEVEL"),
)
"""Ports and what decides how long things take; all else that a shell may have set is about another LayoutLoop."""


@dataclass(frozen=True, slots=True)
class RunningLoop:
    """A LayoutLoop that is ready.

    Args:
        url: the shim's.
        environ: variables that make a command one of this LayoutLoop's.
        process: `scripts.serve`.
        logs: folder.
    """

    url: str
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes]
    logs: Path


def demo_environment(environ: Mapping[str, str], home: Path, studio: str, account: Account) -> dict[str, str]:
    """Return the variables of the demo's LayoutLoop: nothing of it is outside of `home`.

    Args:
        environ: this process's own. Its proxies, caches and paths stay; of our settings a few do.
        home: the demo's folder.
        studio: Label Studio's address.
        account: in it.

    Raises:
        SettingsInvalid: a name with our prefix is no setting: dropped in silence, it would seem to have been heeded.
    """
    refuse_mistyped(environ)
    kept = {name: value for name, value in environ.items() if not name.startswith(_SETTINGS) or name.startswith(_KEPT)}
    return kept | {
        "LABEL_STUDIO_URL": studio,
        "LABEL_STUDIO_API_KEY": account.token,
        "LAYOUTLOOP_HOME": str(home / "layoutloop"),
        "LAYOUTLOOP_HOST": "127.0.0.1",
        "MODEL_DIR": str(home / "model_store"),
        "BASIC_AUTH_USER": USER,
        "BASIC_AUTH_PASS": account.password,
    }


def write_settings(path: Path, environ: Mapping[str, str]) -> None:
    """Write the settings among the variables as a file for a shell to read, for its owner alone: keys are in it."""
    lines = [f"export {name}={shlex.quote(environ[name])}\n" for name in sorted(environ) if name.startswith(_SETTINGS)]
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)


def check_settings(environ: Mapping[str, str]) -> NodeSettings:
    """Return the settings of a LayoutLoop that can be started.

    Raises:
        SettingsInvalid: a setting cannot be used.
        LoopFailed: a port is taken.
    """
    settings = NodeSettings.from_env(environ)
    if problem := port_problem(settings):
        raise LoopFailed(problem)
    return settings


@contextmanager
def running_layoutloop(environ: Mapping[str, str], studio: RunningStudio) -> Iterator[RunningLoop]:
    """Run LayoutLoop until the block ends.

    Args:
        environ: of `demo_environment`.
        studio: its Label Studio.

    Raises:
        SettingsInvalid: a setting cannot be used.
        LoopFailed: a port is taken, it ended, or it was not ready in time.
    """
    settings = check_settings(environ)
    command = [sys.executable, "-m", "layoutloop.processes.launch", "--", sys.executable, "-m", "scripts.serve"]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_until_ready(process, settings, studio.account)
        yield RunningLoop(settings.address, environ, process, settings.logs)
    finally:
        _stop(process, settings)


def _wait_until_ready(process: subprocess.Popen[bytes], settings: NodeSettings, account: Account) -> None:
    end = time.monotonic() + _READY_S
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between this machine and itself
        session.auth = (USER, account.password)
        while time.monotonic() < end:
            if process.poll() is not None:
                raise LoopFailed("LayoutLoop could not start; its message is above")
            if _is_ready(session, settings):
                return
            time.sleep(0.5)
    raise LoopFailed(f"LayoutLoop was not ready at {settings.address} within {_READY_S:g} s; see {settings.logs}")


def _is_ready(session: requests.Session, settings: NodeSettings) -> bool:
    """Whether this LayoutLoop is ready: another one at the port does not know the password, or has another store."""
    with suppress(requests.RequestException):
        body = session.get(f"{settings.address}/health", timeout=2, allow_redirects=False).json()
        if isinstance(body, dict):
            return body.get("model_dir") == str(settings.model_dir) and bool(body.get("ready"))
    return False


def _stop(process: subprocess.Popen[bytes], settings: NodeSettings) -> None:
    """End it in order, and by force what does not end."""
    stop_child(process, _STOPS_S)
    stop_processes(instance_processes(settings.home))
