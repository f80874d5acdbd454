"""Whether what `scripts.serve` started is ready, and the line that then says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import requests

from layoutloop.connect.queries import label_studio_problem
from layoutloop.settings.node import NodeSettings, note_path
from layoutloop.settings.serving import Settings

WAITING = "waiting for TorchServe and its ocr model"


@dataclass(frozen=True, slots=True)
class Startup:
    """Checks whether the parts that were started are ready.

    Args:
        node: what they were started with.
        settings: the shim's.
        parts: which.
        session: for requests to the shim and TorchServe.
        node_problem: returns why no pages should be sent to this node yet, None where they may be.
    """

    node: NodeSettings
    settings: Settings
    parts: tuple[str, ...]
    session: requests.Session
    node_problem: Callable[[Settings], str | None]

    def look(self) -> tuple[bool, str]:
        """Return whether they are, and the line that says so or what is being waited for."""
        if "shim" in self.parts:
            ready, state = health(self.session, self.node.address)
            if state == WAITING and "rollout" in self.parts:
                state = self._node_problem() or state
            return ready, ready_line(self.node) if ready else state
        if "rollout" in self.parts:
            problem = self._node_problem()
            return problem is None, problem or f"TorchServe holds all that is in service: {self.node.node} is ready."
        if "torchserve" in self.parts:
            url = f"{self.settings.own_torchserve_url}/ping"
            try:
                self.session.get(url, timeout=2)
            except requests.RequestException:
                return False, f"waiting for TorchServe at {self.settings.own_torchserve_url}"
            return True, f"TorchServe answers at {self.settings.own_torchserve_url}."
        return True, "The trainer waits for jobs."

    def _node_problem(self) -> str | None:
        """Return what this node's watcher waits for, None where it holds all that is in service."""
        if not note_path(self.settings.home).exists():
            return "waiting for the rollout watcher"
        return self.node_problem(self.settings)

    def studio_problem(self) -> str | None:
        """Return why Label Studio cannot be used, where a part uses it."""
        return label_studio_problem(self.settings) if {"shim", "trainer"} & set(self.parts) else None


def health(session: requests.Session, address: str) -> tuple[bool, str]:
    """Return whether the shim can predict pages, and what it waits for."""
    try:
        answer = session.get(f"{address}/health", timeout=2)
        status = answer.json()
    except requests.RequestException:
        return False, f"waiting for the shim at {address}"
    if not isinstance(status, dict) or status.get("status") != "UP":
        return False, f"waiting for the shim at {address} to be up (HTTP {answer.status_code})"
    return bool(status.get("ready")), WAITING


def ready_line(settings: NodeSettings) -> str:
    """Return the line that a person copies the address from."""
    return f"LayoutLoop is ready. Paste this address into Label Studio (Settings > Model): {settings.address}"
