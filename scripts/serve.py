"""Start TorchServe, the rollout watcher, the shim and the trainer under one supervisor: `python -m scripts.serve`.

`scripts/serve.sh` prepares the machine and then runs this. It stays in the foreground, says in one line on stdout when
everything is ready, and takes every process with it when it ends.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import requests

from scripts.node import REPOSITORY, ServeSettings
from scripts.processes import INSTANCE, instance_processes, stop_child, stop_processes
from scripts.studio import label_studio_problem
from scripts.supervision import Commands, programs, supervisor_config, torchserve_config
from shim.errors import SettingsInvalid
from shim.settings import Settings

LONGEST_TMP = 60  # bytes; a unix socket's path has room for 107, and TorchServe adds its own name
SUPERVISOR_STOPS_S = 90.0  # the programs stop one after the other; this is more than all of them may take
POLL_S = 0.25
ENDED = re.compile(r"(?:exited|gave up): (?P<name>\S+) (?P<how>.*)")


class StopSignals:
    """Counts SIGINT and SIGTERM from its creation on, instead of ending this process."""

    def __init__(self) -> None:
        self.received = 0
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGTERM, self._count)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.received += 1


class SupervisorNews:
    """Tells, once each, what supervisord logged about programs that ended."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.log = logs / "supervisord.log"
        self.read = self.log.stat().st_size if self.log.exists() else 0

    def ended(self) -> list[str]:
        """A sentence for each program that ended since the last call."""
        if not self.log.exists():
            return []
        if self.log.stat().st_size < self.read:
            self.read = 0  # the log was rotated
        with self.log.open("rb") as log:
            log.seek(self.read)
            news = log.read()
        self.read += len(news)
        return [self._sentence(match) for match in ENDED.finditer(news.decode(errors="replace"))]

    def _sentence(self, match: re.Match[str]) -> str:
        log = self.logs / f"{match['name']}.log"
        said = last_line(log)
        return f"{match['name']} ended {match['how']} and is started again; {log}" + (
            f" ends with: {said}" if said else ""
        )


def say(text: str) -> None:
    """Print a progress line; stdout is kept for the one line that matters."""
    print(f"serve: {text}", file=sys.stderr, flush=True)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, at most 300 characters of it."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def port_problem(settings: ServeSettings) -> str | None:
    """Try every port; the sentence about the first that cannot be opened, or None."""
    for host, port, use, variable in settings.listening():
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            return f"port {port} on {host} ({use}) cannot be opened: {error.strerror}. {_advice(variable)}"
    return None


def _advice(variable: str) -> str:
    if variable == "LAYOUTLOOP_TORCHSERVE_PORT":
        return f"Stop what uses it, or set {variable} to the first of five free ports."
    return f"Stop what uses it, or set {variable} to a free port."


@contextmanager
def instance_lock(home: Path) -> Iterator[bool]:
    """Hold the home's lock; False if another process has it."""
    with (home / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def private_tmp(settings: ServeSettings) -> Iterator[Path]:
    """TorchServe's temporary folder, removed afterwards: below home, or below /tmp where that path is too long.

    The folder below /tmp is written down, so that the next start removes it if this one is killed.
    """
    note = settings.torchserve / "tmpdir.txt"
    tmp = settings.torchserve / "tmp"
    if note.exists():
        left = Path(note.read_text().strip())
        if left.name.startswith("layoutloop-") and left.parent == Path("/tmp"):  # noqa: S108
            shutil.rmtree(left, ignore_errors=True)
        note.unlink()
    if len(os.fsencode(tmp)) > LONGEST_TMP:
        tmp = Path(tempfile.mkdtemp(prefix="layoutloop-", dir="/tmp"))
        note.write_text(f"{tmp}\n")
    tmp.mkdir(mode=0o700, exist_ok=True)
    try:
        yield tmp
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        note.unlink(missing_ok=True)


def write_configuration(settings: ServeSettings, commands: Commands, tmp: Path, environ: Mapping[str, str]) -> None:
    """Render config.properties and supervisord.conf into the home."""
    template = (REPOSITORY / "config.properties").read_text(encoding="utf-8")
    settings.torchserve_config.write_text(torchserve_config(settings, template), encoding="ascii")
    started = programs(settings, commands, tmp, environ)
    settings.supervisor_config.write_text(supervisor_config(settings, started), encoding="utf-8")


def serve(settings: ServeSettings, environ: Mapping[str, str], commands: Commands) -> int:
    """Run everything until a signal comes.

    Returns:
        0 after SIGINT or SIGTERM, 1 if it could not start or the supervisor ended.
    """
    stop = StopSignals()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (settings.model_dir, settings.logs, settings.archives, settings.page_cache):
        folder.mkdir(parents=True, exist_ok=True)
    with instance_lock(settings.home) as held:
        if held:
            stop_processes(instance_processes(settings.home))  # what a killed predecessor left
        problem = port_problem(settings)
        if not problem and not held:
            problem = f"another LayoutLoop runs in {settings.home}. Stop it, or set LAYOUTLOOP_HOME to another folder."
        if problem:
            say(problem)
            return 1
        inherited = {**environ, **settings.environment(), INSTANCE: str(settings.home), "PYTHONNOUSERSITE": "1"}
        with private_tmp(settings) as tmp:
            write_configuration(settings, commands, tmp, environ)
            settings.node_report.unlink(missing_ok=True)  # of a run that was killed: it would hold up the archive
            say("building the archive of the ocr model, if its code changed")
            built = subprocess.run(commands.archive, cwd=REPOSITORY, env=inherited, stdout=sys.stderr, check=False)
            if built.returncode:
                say("the archive of the ocr model could not be built")
                return 1
            return 0 if stop.received else supervise(settings, inherited, stop)


def supervise(settings: ServeSettings, environ: Mapping[str, str], stop: StopSignals) -> int:
    """Run supervisord until a signal comes or it ends; then see to it that nothing is left."""
    news = SupervisorNews(settings.logs)
    launcher = [sys.executable, "-m", "scripts.launch", "--"]
    supervisord = [sys.executable, "-m", "supervisor.supervisord", "-c", str(settings.supervisor_config)]
    # A session of its own: Ctrl-C reaches this process alone, which then stops the rest in order.
    supervisor = subprocess.Popen([*launcher, *supervisord], cwd=REPOSITORY, env=environ, start_new_session=True)
    say(f"starting TorchServe, the rollout watcher, the shim and the trainer; logs are in {settings.logs}")
    try:
        watch(settings, supervisor, news, stop, environ)
    finally:
        stop_child(supervisor, SUPERVISOR_STOPS_S)
        stop_processes(instance_processes(settings.home))
    say("everything is stopped")
    return 0 if stop.received else 1


def watch(
    settings: ServeSettings,
    supervisor: subprocess.Popen[bytes],
    news: SupervisorNews,
    stop: StopSignals,
    environ: Mapping[str, str],
) -> None:
    """Report progress, readiness (once, on stdout) and restarts, until a signal comes or supervisord ends."""
    ready, state = False, ""
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between this machine and itself
        while not stop.received:
            if supervisor.poll() is not None:
                say(f"the supervisor ended with status {supervisor.returncode}; stopping the rest")
                return
            for sentence in news.ended():
                say(sentence)
            if not ready:
                before, (ready, state) = state, health(session, settings.address)
                if ready:
                    print(ready_line(settings), flush=True)
                    if problem := label_studio_problem(Settings.from_env(environ)):
                        say(f"warning: {problem}")
                elif state != before:
                    say(state)
            time.sleep(POLL_S)
    say("stopping; this takes a few seconds")


def health(session: requests.Session, address: str) -> tuple[bool, str]:
    """Ask the shim whether pages can be predicted; (ready, what is being waited for)."""
    try:
        answer = session.get(f"{address}/health", timeout=2)
        status = answer.json()
    except requests.RequestException:
        return False, f"waiting for the shim at {address}"
    if not isinstance(status, dict) or status.get("status") != "UP":
        return False, f"waiting for the shim at {address} to be up (HTTP {answer.status_code})"
    return bool(status.get("ready")), "waiting for TorchServe and its ocr model"


def ready_line(settings: ServeSettings) -> str:
    """The line a person copies the address from."""
    return f"LayoutLoop is ready. Paste this address into Label Studio (Settings > Model): {settings.address}"


def main(arguments: Sequence[str]) -> int:
    """Read the command line and the environment, then serve."""
    argparse.ArgumentParser(prog="scripts/serve.sh", description=__doc__).parse_args(arguments)
    try:
        settings = ServeSettings.from_env(os.environ)
    except SettingsInvalid as error:
        say(str(error))
        return 2
    try:
        return serve(settings, os.environ, Commands())
    except OSError as error:
        say(f"{error}; LAYOUTLOOP_HOME and MODEL_DIR must be folders that can be written")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
