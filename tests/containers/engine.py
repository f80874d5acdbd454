"""buildah, podman and podman-compose with a store and a configuration of their own, so that nothing of the machine's
own containers is touched. They work without a daemon and without systemd.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent

_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[network]
network_backend = "netavark"
"""
_STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{home}/images"
runroot = "{home}/run"
"""


class CommandFailed(Exception):
    """A command failed; the message is the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Where images and containers lie.

    Args:
        home: folder of all of it.
        compose: the podman-compose command.
    """

    home: Path
    compose: str = "podman-compose"

    @classmethod
    def at(cls, home: Path, driver: str = "overlay", compose: str = "podman-compose") -> Engine:
        """Return an engine whose configuration lies in `home`."""
        home.mkdir(parents=True, exist_ok=True)
        (home / "containers.conf").write_text(_CONTAINERS_CONF)
        (home / "storage.conf").write_text(_STORAGE_CONF.format(driver=driver, home=home))
        return cls(home, compose)

    @property
    def environ(self) -> dict[str, str]:
        """The variables of every command."""
        return dict(os.environ) | {
            "CONTAINERS_CONF": str(self.home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.home / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "DISABLE_HC_SYSTEMD": "true",  # podman has systemd start the health checks, and there may be none
        }

    def run(self, *command: str, timeout_s: float = 600, more: Mapping[str, str] | None = None) -> str:
        """Run a command in the repository; return what it printed on stdout.

        Raises:
            CommandFailed: it failed.
        """
        ran = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.environ | dict(more or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if ran.returncode:
            raise CommandFailed(f"{' '.join(command)}: status {ran.returncode}\n{(ran.stdout + ran.stderr)[-6000:]}")
        return ran.stdout.strip()

    def has_image(self, name: str) -> bool:
        """Whether an image is in the store."""
        return bool(self.run("buildah", "images", "--filter", f"reference={name}", "--quiet"))

    def inspect_image(self, name: str) -> dict[str, Any]:
        """Return what podman says of an image."""
        found: dict[str, Any] = json.loads(self.run("podman", "image", "inspect", name))[0]
        return found

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what podman says of a container."""
        found: dict[str, Any] = json.loads(self.run("podman", "inspect", container))[0]
        return found

    def containers(self, project: str, service: str = "") -> list[str]:
        """Return the ids of a compose project's containers, or of one service's, oldest first."""
        filters = [f"label=com.docker.compose.project={project}"]
        filters += [f"label=com.docker.compose.service={service}"] if service else []
        options = [part for one in filters for part in ("--filter", one)]
        found = self.run("podman", "ps", "--all", "--sort", "created", "--format", "{{.ID}}", *options)
        return found.split()

    def exec(self, container: str, *command: str, timeout_s: float = 600) -> str:
        """Run a command in a container; return what it printed on stdout."""
        return self.run("podman", "exec", container, *command, timeout_s=timeout_s)

    def files_named(self, image: str, names: Sequence[str], *, programs: bool = False) -> list[str]:
        """Return the paths in an image with one of these names: of programs alone, or of whatever is there."""
        container = self.run("buildah", "from", "--pull-never", image)
        try:
            root = Path(self.run("buildah", "mount", container))
            wanted = set(names)
            return [
                f"/{Path(folder, name).relative_to(root)}"
                for folder, folders, files in os.walk(root)
                for name in (*files, *([] if programs else folders))
                if name in wanted and (not programs or _runs(Path(folder, name)))
            ]
        finally:
            self.run("buildah", "rm", container)


def _runs(path: Path) -> bool:
    """Whether a file is a program; a link is one wherever it leads, for it is read from outside of its image."""
    return path.is_symlink() or bool(path.stat().st_mode & 0o111)
