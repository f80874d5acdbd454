"""The compose stack of the container test: started, asked from outside, taken down again."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from tests.containers.engine import CommandFailed, Engine
from tests.containers.images import Images

T = TypeVar("T")
METRICS_PORT = 7082
"""TorchServe's in its container; no other network has it."""
PROJECT_NAME = "layoutloop-test"
NODES = 2
SERVICES = ("label-studio", "redis", "shim", "torchserve", "trainer")
TRAIN = {
    "LAYOUTLOOP_TRAIN_BASE": "scratch",
    "LAYOUTLOOP_TRAIN_EPOCHS": "15",
    "LAYOUTLOOP_TRAIN_BATCH": "1",
    "LAYOUTLOOP_TRAIN_EVERY": "0",
    "LAYOUTLOOP_PRELABEL": "0",
}
"""A tiny model that is learned in a minute; the pages are as small."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that runs.

    Args:
        engine: its containers'.
        studio: Label Studio's address from outside.
        shim: the shim's.
        token: Label Studio's key.
        password: of the shim's Basic auth.
        started: when `up` was called, of `time.monotonic`.
    """

    engine: Engine
    studio: str
    shim: str
    token: str
    password: str
    started: float

    def ask_studio(self, method: str, path: str, **more: Any) -> Any:
        """Ask Label Studio's API; return the parsed answer."""
        header = {"Authorization": f"Token {self.token}"}
        answer = requests.request(method, self.studio + path, headers=header, timeout=600, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def ask_shim(self, method: str, path: str, **more: Any) -> Any:
        """Ask the shim once; return the parsed answer."""
        answer = requests.request(method, self.shim + path, auth=("layoutloop", self.password), timeout=120, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()

    def is_up(self, url: str) -> bool:
        """Whether something answers `url/health`."""
        with suppress(requests.RequestException):
            return requests.get(f"{url}/health", timeout=5).ok
        return False

    def containers(self, service: str = "") -> list[str]:
        """Return the ids of all containers, or of one service's."""
        return self.engine.containers(PROJECT_NAME, service)

    def in_trainer(self, *command: str) -> str:
        """Run a command in the trainer's container, as a person would."""
        (trainer,) = self.containers("trainer")
        return self.engine.exec(trainer, *command)

    def is_ready(self, container: str) -> bool:
        """Whether a TorchServe container holds all that is in service, by its own readiness probe."""
        with suppress(CommandFailed):
            self.engine.exec(container, "python", "-m", "scripts.rollout", "--ready")
            return True
        return False

    def pages_tagged(self, node: str) -> int:
        """Return how many pages a TorchServe container tagged since its start, for its watcher's questions too."""
        return count_tagged(self.engine.exec(node, *metrics_command(METRICS_PORT)))

    def seconds(self) -> float:
        """Return how long ago the stack was started."""
        return time.monotonic() - self.started

    def logs(self, tail: int = 60) -> str:
        """Return the ends of all logs."""
        found = []
        for service in SERVICES:
            for container in self.containers(service):
                with suppress(CommandFailed):
                    found.append(f"==== {service} {container}\n{self.log(container, tail)}")
        return "\n".join(found)

    def log(self, container: str, tail: int = 60) -> str:
        """Return the end of a container's log."""
        return self.engine.run("sh", "-c", f"podman logs --tail {tail} {container} 2>&1")


def metrics_command(port: int) -> list[str]:
    """Return a command that prints TorchServe's metrics, run beside it; its image has no curl."""
    ask = f"urllib.request.urlopen('http://127.0.0.1:{port}/metrics', timeout=10)"
    return ["python", "-c", f"import urllib.request; print({ask}.read().decode())"]


def count_tagged(metrics: str) -> int:
    """Return the sum of TorchServe's counters PagesTagged, over all models and versions."""
    return sum(int(float(count)) for count in re.findall(r"^PagesTagged\{.*\} (\S+)$", metrics, re.MULTILINE))


def wait_for(found: Callable[[], T], timeout_s: float = 300.0) -> T:
    """Wait until something is so, and return it."""
    end = time.monotonic() + timeout_s
    while not (what := found()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)
    return what


def free_ports(count: int) -> list[int]:
    """Return free ports of this machine."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def running_stack(engine: Engine, images: Images) -> Iterator[Stack]:
    """Run the compose stack with two TorchServe nodes until the block ends; its volumes go with it."""
    studio_port, shim_port = free_ports(2)
    token, password = secrets.token_hex(20), secrets.token_hex(20)
    variables = TRAIN | {
        "LABEL_STUDIO_PASSWORD": secrets.token_hex(20),
        "LABEL_STUDIO_USER_TOKEN": token,
        "BASIC_AUTH_PASS": password,
        "REDIS_PASSWORD": secrets.token_hex(20),
        "LABEL_STUDIO_PORT": str(studio_port),
        "SHIM_PORT": str(shim_port),
        "LABEL_STUDIO_IMAGE": images.label_studio,
        "REDIS_IMAGE": images.redis,
        "LAYOUTLOOP_OCR_WORKERS": "1",
    }
    env = engine.home / "stack.env"
    env.touch(mode=0o600)
    env.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    compose = [engine.compose, "--project-name", PROJECT_NAME, "--env-file", str(env), "--file", "docker-compose.yml"]
    _take_down(engine, compose)
    started = time.monotonic()
    try:
        engine.run(*compose, "up", "--detach", "--no-build", "--scale", f"torchserve={NODES}")
        stack = Stack(
            engine,
            f"http://127.0.0.1:{studio_port}",
            f"http://127.0.0.1:{shim_port}",
            token,
            password,
            started,
        )
        try:
            yield stack
        finally:
            (engine.home / "stack.log").write_text(stack.logs(tail=2000))
    finally:
        _take_down(engine, compose)


def _take_down(engine: Engine, compose: Sequence[str]) -> None:
    """Remove containers, then networks and volumes: podman-compose itself forgets the containers of `--scale`."""
    if left := engine.containers(PROJECT_NAME):
        engine.run("podman", "rm", "--force", "--volumes", "--time", "20", *left)
    with suppress(CommandFailed):  # there may be nothing
        engine.run(*compose, "down", "--volumes")
