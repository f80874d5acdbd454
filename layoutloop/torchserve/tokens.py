"""The keys of this machine's TorchServe, which it makes anew at each start."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from layoutloop.errors import TorchServeUnavailable


class TokenFile:
    """TorchServe's key_file.json, read again whenever a key turns out to be old.

    TorchServe makes new keys at each start and writes the file in place, so a read may find half of it.
    """

    def __init__(self, path: Path | None) -> None:
        """Read nothing yet: TorchServe may start later. Without a path there are no keys, and none are sent."""
        self.path = path
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}

    def header(self, kind: str) -> dict[str, str]:
        """Return the Authorization header for `inference` or `management`.

        Raises:
            TorchServeUnavailable: there is no such key, so no TorchServe has started here.
        """
        if self.path is None:
            return {}
        with self._lock:
            if kind not in self._keys:
                self._keys = _read_keys(self.path)
            if kind not in self._keys:
                raise TorchServeUnavailable(f"{self.path} holds no {kind} key; is TorchServe running?")
            return {"Authorization": f"Bearer {self._keys[kind]}"}

    def forget(self) -> None:
        """Read the file again at the next call."""
        with self._lock:
            self._keys = {}


def _read_keys(path: Path) -> dict[str, str]:
    try:
        return {str(kind): str(entry["key"]) for kind, entry in json.loads(path.read_text()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
