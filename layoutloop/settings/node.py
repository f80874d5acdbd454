"""One node's settings and folders: what `scripts.serve` starts, where it listens, where its state lies."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from layoutloop.errors import SettingsInvalid, StoreUnavailable
from layoutloop.processes.parts import PARTS
from layoutloop.settings.serving import Settings
from layoutloop.settings.values import LOOPBACK, reachable
from layoutloop.store.path import StorePath, store_access

REPOSITORY = Path(__file__).resolve().parents[2]
TORCHSERVE_PORTS = 5
HIGHEST_TORCHSERVE_PORT = 65000  # leaves room for the ports counted from it


@dataclass(frozen=True)
class NodeSettings:
    """What one running LayoutLoop needs to know of its machine.

    Args:
        home: LAYOUTLOOP_HOME, absolute; all running state of this instance.
        model_dir: MODEL_DIR, absolute, or a URL; the model store, which instances may share.
        host: LAYOUTLOOP_HOST, where the shim listens.
        port: LAYOUTLOOP_PORT, the address that Label Studio is given.
        torchserve_port: LAYOUTLOOP_TORCHSERVE_PORT, the first of TorchServe's five ports.
        torchserve_host: LAYOUTLOOP_TORCHSERVE_HOST, where its inference and metrics listen; the rest is on loopback.
    """

    home: Path
    model_dir: StorePath
    host: str = LOOPBACK
    port: int = 9090
    torchserve_port: int = 7080
    torchserve_host: str = LOOPBACK

    def __post_init__(self) -> None:
        if not 1 <= self.torchserve_port <= HIGHEST_TORCHSERVE_PORT:
            raise SettingsInvalid(
                f"LAYOUTLOOP_TORCHSERVE_PORT must be between 1 and {HIGHEST_TORCHSERVE_PORT},"
                f" got {self.torchserve_port}"
            )

        first = self.torchserve_port
        if first <= self.port < first + TORCHSERVE_PORTS:
            raise SettingsInvalid(
                f"LAYOUTLOOP_PORT={self.port} is one of TorchServe's {TORCHSERVE_PORTS} ports, {first} to "
                f"{first + TORCHSERVE_PORTS - 1} (LAYOUTLOOP_TORCHSERVE_PORT); move one of them"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> NodeSettings:
        """Read the settings; state lies in the repository unless told otherwise.

        Every setting of the shim is checked with them, so that a mistyped one stops the start and not the shim.

        Raises:
            SettingsInvalid: a value that cannot be used.
        """
        from layoutloop.settings.training import (
            TrainSettings,  # brings numpy along, which a readiness probe need not wait for
        )

        given = {name: value for name, value in environ.items() if value.strip()}
        shim = shim_settings(environ)
        TrainSettings.from_env(given)
        if not given.get("LAYOUTLOOP_CACHE_BYTES", "1").isdigit():
            raise SettingsInvalid(f"LAYOUTLOOP_CACHE_BYTES is a number, got {given['LAYOUTLOOP_CACHE_BYTES']!r}")
        if not Path(given.get("LAYOUTLOOP_CACHE_DIR", "/")).is_absolute():  # TorchServe runs in another folder
            raise SettingsInvalid(f"LAYOUTLOOP_CACHE_DIR is an absolute path, got {given['LAYOUTLOOP_CACHE_DIR']!r}")
        return cls(shim.home, shim.model_dir, shim.host, shim.port, shim.torchserve_port, shim.torchserve_host)

    @property
    def logs(self) -> Path:
        """Everything that is logged, bounded in size."""
        return self.home / "logs"

    @property
    def torchserve(self) -> Path:
        """TorchServe's private working folder; key_file.json appears here."""
        return self.home / "torchserve"

    @property
    def archives(self) -> Path:
        """The flat folder TorchServe registers archives from (its `model_store`)."""
        return self.torchserve / "archives"

    @property
    def torchserve_config(self) -> Path:
        """The rendered copy of config.properties."""
        return self.torchserve / "config.properties"

    @property
    def page_cache(self) -> Path:
        """Where the `ocr` model keeps pages it has read, unless LAYOUTLOOP_CACHE_DIR says otherwise."""
        return self.home / "cache" / "pages"

    @property
    def node(self) -> str:
        """The name of this node in the watchers' reports."""
        return f"{platform.node()}-{self.torchserve_port}"

    @property
    def node_report(self) -> StorePath:
        """Where this node's watcher says what its TorchServe holds."""
        return self.model_dir / ".nodes" / f"{self.node}.json"

    def withdraw_report(self) -> None:
        """Delete that report, so that no promotion waits for this node; it stays where the store fails."""
        with suppress(StoreUnavailable, OSError), store_access(self.model_dir):
            self.node_report.unlink(missing_ok=True)

    @property
    def address(self) -> str:
        """The shim's address as this machine reaches it: a wildcard host becomes loopback."""
        return f"http://{reachable(self.host)}:{self.port}"

    @property
    def management_url(self) -> str:
        """Where TorchServe's management listens, whatever else does elsewhere."""
        return f"http://{LOOPBACK}:{self.torchserve_port + 1}"

    def listening(self, parts: Sequence[str] = PARTS) -> list[tuple[str, int, str, str]]:
        """Every port that these parts open: (host, port, what for, variable that moves it)."""
        first = self.torchserve_port
        hosts = (self.torchserve_host, LOOPBACK, self.torchserve_host, LOOPBACK, LOOPBACK)
        uses = ("inference", "management", "metrics", "gRPC inference", "gRPC management")
        torchserve = [
            (host, first + offset, f"TorchServe {use}", "LAYOUTLOOP_TORCHSERVE_PORT")
            for offset, (host, use) in enumerate(zip(hosts, uses, strict=True))
        ]
        shim = [(self.host, self.port, "the shim", "LAYOUTLOOP_PORT")]
        return (shim if "shim" in parts else []) + (torchserve if "torchserve" in parts else [])

    def environment(self) -> dict[str, str]:
        """These settings as variables, so that every child reads the same absolute ones."""
        return {
            "LAYOUTLOOP_HOME": str(self.home),
            "MODEL_DIR": str(self.model_dir),
            "LAYOUTLOOP_HOST": self.host,
            "LAYOUTLOOP_PORT": str(self.port),
            "LAYOUTLOOP_TORCHSERVE_PORT": str(self.torchserve_port),
        }


def note_path(home: Path) -> Path:
    """Return where the watcher's note lies."""
    return home / "torchserve" / "node.json"


def shim_settings(environ: Mapping[str, str]) -> Settings:
    """Read the shim's settings; state lies in the repository unless told otherwise.

    Raises:
        SettingsInvalid: a value that cannot be used.
    """
    places = {"LAYOUTLOOP_HOME": str(REPOSITORY / "var"), "MODEL_DIR": str(REPOSITORY / "model_store")}
    return Settings.from_env(places | {name: value for name, value in environ.items() if value.strip()})
