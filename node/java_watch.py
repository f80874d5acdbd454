"""Whether TorchServe's Java still answers: one that hangs is not dead, so nothing else would start it again."""

from __future__ import annotations

import time
from pathlib import Path

import requests

from layoutloop.settings.values import reachable

HANGS_S = 60.0
"""After so long without any answer it is started again; longer than a machine with other work keeps it waiting."""
STARTS_S = 300.0
"""It may take so long until it answers at all."""
ANSWERS_S = 5.0


class JavaWatch:
    """Pings one TorchServe.

    Args:
        url: of its inference interface.
        hangs_s: how long it may give no answer, once it has given one.
        starts_s: how long it may give none before.
    """

    def __init__(self, url: str, hangs_s: float = HANGS_S, starts_s: float = STARTS_S) -> None:
        """Ping nothing yet."""
        self._url = url
        self.timeout_s = ANSWERS_S
        self._hangs_s = hangs_s
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between this machine and itself
        self._until = time.monotonic() + starts_s

    def hangs(self) -> bool:
        """Ping it; return whether it has given no answer for too long. Any answer is one: we have no key here."""
        try:
            self._session.get(f"{self._url}/ping", timeout=self.timeout_s)
        except requests.RequestException:
            return time.monotonic() > self._until
        self._until = time.monotonic() + self._hangs_s
        return False


def inference_url(config: Path) -> str:
    """Return where a rendered config.properties has TorchServe's inference listen, as this machine reaches it."""
    text = config.read_text(encoding="ascii")
    address = next(line for line in text.splitlines() if line.startswith("inference_address=http://"))
    host, _, port = address.partition("://")[2].strip().rpartition(":")
    return f"http://{reachable(host.strip('[]'))}:{port}"
