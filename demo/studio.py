"""A real Label Studio on this machine: started, waited for, stopped.

It has a virtual environment of its own (`scripts/setup.sh` makes it), keeps everything in one folder (SQLite),
listens on loopback and connects to no other host. Its protection against requests to internal addresses stays on; only
the loopback network, where LayoutLoop is, is taken off the list.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from demo.errors import StudioFailed
from layoutloop.connect.reserved_networks import networks_to_ban
from layoutloop.settings.node import REPOSITORY

EMAIL = "demo@example.com"
STARTS_S = 300.0
"""The first start makes the database: 25 s on a quiet machine of 2 cores."""
_STOPS_S = 30.0
_LOOPBACK = "127.0.0.0/8"


@dataclass(frozen=True, slots=True)
class Account:
    """Who may sign in, and with what.

    Args:
        password: for the sign-in page.
        token: legacy API token.
    """

    password: str
    token: str
    email: str = EMAIL

    @classmethod
    def in_folder(cls, folder: Path) -> Account:
        """Return the account of a data folder, made at the first call.

        Raises:
            StudioFailed: the folder's file about it is damaged.
        """
        path = folder / "account.txt"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = folder / "account.partial"
            partial.touch(mode=0o600)
            partial.write_text(f"{secrets.token_urlsafe(9)}\n{secrets.token_hex(20)}\n")
            partial.replace(path)  # whole or not there, wherever this process is killed
        words = path.read_text().split()
        if len(words) != 2:
            raise StudioFailed(
                f"{path} has {len(words)} words where a password and a token should be: "
                f"remove {folder} (with all that Label Studio keeps there), and it is made anew"
            )
        return cls(*words)


@dataclass(frozen=True, slots=True)
class RunningStudio:
    """A Label Studio that answers."""

    url: str
    account: Account
    process: subprocess.Popen[bytes]


def executable() -> Path:
    """Return Label Studio's command.

    Raises:
        StudioFailed: it is not installed.
    """
    venv = Path(os.environ.get("LAYOUTLOOP_LABEL_STUDIO_VENV") or REPOSITORY / ".venv-label-studio")
    command = venv / "bin" / "label-studio"
    if not command.exists():
        raise StudioFailed(f"{command} is not there; scripts/demo.sh and scripts/test.sh install Label Studio")
    return command


@contextmanager
def running_studio(folder: Path, port: int, account: Account) -> Iterator[RunningStudio]:
    """Run Label Studio until the block ends.

    Args:
        folder: its data; the same folder again is the same Label Studio.
        port: on loopback.
        account: made in a new folder.

    Raises:
        StudioFailed: it is not installed, the port is taken, or it did not answer in time.
    """
    if _is_taken(port):  # it would choose another port in silence
        raise StudioFailed(
            f"port {port} is taken: stop what uses it, or choose another one for Label Studio (--studio-port)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    url, log = f"http://127.0.0.1:{port}", folder / "label-studio.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "layoutloop.processes.launch", "--"),
                *(str(executable()), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)),
            ],
            cwd=REPOSITORY,
            env=_environ(folder, url, account),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, url, log)
        yield RunningStudio(url, account, process)
    finally:
        _stop(process)


def _environ(folder: Path, url: str, account: Account) -> dict[str, str]:
    # Nothing of ours: our keys are no business of its plug-ins.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": account.email,
        "LABEL_STUDIO_PASSWORD": account.password,
        "LABEL_STUDIO_USER_TOKEN": account.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_HOST": url,
        "ML_BLOCK_LOCAL_IP": "true",
        "SSRF_PROTECTION_ENABLED": "true",
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(networks_to_ban((), _LOOPBACK)),
        "PYTHONNOUSERSITE": "1",
    }


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + STARTS_S
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between this machine and itself
        while time.monotonic() < end:
            if process.poll() is not None:
                raise StudioFailed(f"Label Studio ended with status {process.returncode}; {log} says why")
            try:
                if session.get(f"{url}/health", timeout=2).status_code == 200:
                    return
            except requests.RequestException:
                pass  # not yet
            time.sleep(0.25)
    raise StudioFailed(f"Label Studio did not answer at {url} within {STARTS_S:g} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(_STOPS_S)
        except subprocess.TimeoutExpired:
            continue
        return
