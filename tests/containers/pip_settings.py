"""How this machine's pip is told to install, carried into a build as a secret and as mounts: no image keeps it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CARRIED = frozenset(
    {"index-url", "extra-index-url", "find-links", "no-index", "cert", "trusted-host", "proxy", "default-timeout"}
)
_PLACE = "/mnt"
_LOCAL = re.compile(r"(?P<scheme>(?:file://)?)(?P<path>/[^\s]+)")


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What a build is given.

    Args:
        config: the text of a pip.conf.
        volumes: folders and files of this machine that it names, and where the build sees them.
    """

    config: str
    volumes: dict[str, str]

    @classmethod
    def of(cls, listed: str) -> PipSettings:
        """Read what `pip config list` printed; what comes last wins, as with pip."""
        values = {}
        for line in listed.splitlines():
            name, found, value = line.partition("=")
            key = name.rpartition(".")[2]
            if found and key in _CARRIED:
                values[key] = str(ast.literal_eval(value))
        volumes: dict[str, str] = {}
        lines = ["[global]"]
        for key, value in values.items():
            words = [_moved(word, volumes) for word in value.split()]
            lines.append(f"{key} = {' '.join(words)}")
        return cls("\n".join(lines) + "\n", volumes)

    @classmethod
    def here(cls) -> PipSettings:
        """Return this machine's."""
        command = [sys.executable, "-m", "pip", "config", "list"]
        return cls.of(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def options(self, folder: Path) -> list[str]:
        """Return buildah's options, after writing the configuration into a folder of this machine."""
        path = folder / "pip.conf"
        path.touch(mode=0o600)
        path.write_text(self.config)
        mounts = [part for here, there in self.volumes.items() for part in ("--volume", f"{here}:{there}:ro")]
        return ["--secret", f"id=pip.conf,src={path}", *mounts]


def _moved(word: str, volumes: dict[str, str]) -> str:
    """Return a word of the configuration as the build sees it; a path of this machine is mounted under another one."""
    local = _LOCAL.fullmatch(word)
    if not local or not Path(local["path"]).exists():
        return word
    path = Path(local["path"])
    mounted = path.parent if local["scheme"] else path  # an index's pages name files beside it
    there = volumes.setdefault(str(mounted), f"{_PLACE}/{len(volumes)}")
    return f"{local['scheme']}{Path(there, path.relative_to(mounted))}"
