"""One node's settings and folders: what `scripts.serve` starts, where it listens, where its state lies."""

from __future__ import annotations

import ipaddress
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shim.errors import SettingsInvalid
from shim.settings import Settings
from training.settings import TrainSettings

REPOSITORY = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
TORCHSERVE_PORTS = 5
HIGHEST_TORCHSERVE_PORT = 65000  # leaves room for the ports counted from it


@dataclass(frozen=True)
class ServeSettings:
    """What one running LayoutLoop needs to know of its machine.

    Args:
        home: LAYOUTLOOP_HOME, absolute; all running state of this instance.
        model_dir: MODEL_DIR, absolute; the model store, which instances may share.
        host: LAYOUTLOOP_HOST, where the shim listens. TorchServe always listens on loopback.
        port: LAYOUTLOOP_PORT, the address that Label Studio is given.
        torchserve_port: LAYOUTLOOP_TORCHSERVE_PORT, the first of TorchServe's five ports.
    """

    home: Path
    model_dir: Path
    host: str = LOOPBACK
    port: int = 9090
    torchserve_port: int = 7080

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
    def from_env(cls, environ: Mapping[str, str]) -> ServeSettings:
        """Read the settings; state lies in the repository unless told otherwise.

        Every setting of the shim is checked with them, so that a mistyped one stops the start and not the shim.

        Raises:
            SettingsInvalid: a value that cannot be used.
        """
        places = {"LAYOUTLOOP_HOME": str(REPOSITORY / "var"), "MODEL_DIR": str(REPOSITORY / "model_store")}
        given = {name: value for name, value in environ.items() if value.strip()}
        shim = Settings.from_env(places | given)
        TrainSettings.from_env(given)
        if not given.get("LAYOUTLOOP_CACHE_BYTES", "1").isdigit():
            raise SettingsInvalid(f"LAYOUTLOOP_CACHE_BYTES is a number, got {given['LAYOUTLOOP_CACHE_BYTES']!r}")
        if not Path(given.get("LAYOUTLOOP_CACHE_DIR", "/")).is_absolute():  # TorchServe runs in another folder
            raise SettingsInvalid(f"LAYOUTLOOP_CACHE_DIR is an absolute path, got {given['LAYOUTLOOP_CACHE_DIR']!r}")
        return cls(shim.home, shim.model_dir, shim.host, shim.port, shim.torchserve_port)

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
    def supervisor_config(self) -> Path:
        """The rendered supervisord.conf."""
        return self.home / "supervisord.conf"

    @property
    def node(self) -> str:
        """The name of this node in the watchers' reports."""
        return f"{platform.node()}-{self.torchserve_port}"

    @property
    def node_report(self) -> Path:
        """Where this node's watcher says what its TorchServe holds."""
        return self.model_dir / ".nodes" / f"{self.node}.json"

    @property
    def address(self) -> str:
        """The shim's address as this machine reaches it: a wildcard host becomes loopback."""
        return f"http://{_reachable(self.host)}:{self.port}"

    def listening(self) -> list[tuple[str, int, str, str]]:
        """Every port this instance opens: (host, port, what for, variable that moves it)."""
        first = self.torchserve_port
        uses = ("inference", "management", "metrics", "gRPC inference", "gRPC management")
        torchserve = [
            (LOOPBACK, first + offset, f"TorchServe {use}", "LAYOUTLOOP_TORCHSERVE_PORT")
            for offset, use in enumerate(uses)
        ]
        return [(self.host, self.port, "the shim", "LAYOUTLOOP_PORT"), *torchserve]

    def environment(self) -> dict[str, str]:
        """These settings as variables, so that every child reads the same absolute ones."""
        return {
            "LAYOUTLOOP_HOME": str(self.home),
            "MODEL_DIR": str(self.model_dir),
            "LAYOUTLOOP_HOST": self.host,
            "LAYOUTLOOP_PORT": str(self.port),
            "LAYOUTLOOP_TORCHSERVE_PORT": str(self.torchserve_port),
        }


def _reachable(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host  # a name
    if address.version == 6:
        return "[::1]" if address.is_unspecified else f"[{address}]"
    return LOOPBACK if address.is_unspecified else str(address)
