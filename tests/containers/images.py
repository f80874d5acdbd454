"""The images of the container test: ours as the Dockerfile has them, on a base that can be had here.

Without a registry the base is made by debootstrap, and Label Studio and Redis have stand-ins on it. Packages are
installed in builds of their own, with this machine's pip settings; the builds of the images themselves find those
layers done and get no settings, so that no trace of them is left there.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.containers.engine import CommandFailed, Engine
from tests.containers.pip_settings import PipSettings

BASE = "docker.io/library/debian:bookworm-slim"
VERSION = "0.1.0"
OURS = {name: f"localhost/layoutloop-{name}:{VERSION}" for name in ("torchserve", "shim", "trainer")}
STAND_INS = Path("deploy/containers/stand-ins")
_PACKAGES = ("shim-packages", "model-packages", "reader", "encoder")
_BUILD_S = 3600
_DOCUMENTS = ("doc", "man", "info", "locale")
"""Below /usr/share; Debian's slim images have none of them either."""


@dataclass(frozen=True, slots=True)
class Images:
    """The names of the images that the stack runs."""

    label_studio: str
    redis: str


def build_images(engine: Engine) -> Images:
    """Build all that is missing or has changed."""
    pip = PipSettings.here().options(engine.home)
    if not engine.has_image(BASE):
        _make_base(engine)
    # An empty TORCH_INDEX is pip's own: whatever this machine's settings offer.
    torch = ["--build-arg", f"TORCH_INDEX={os.environ.get('TORCH_INDEX', '')}"]
    _build(engine, "Dockerfile", "python", *torch)
    for target in _PACKAGES:
        _build(engine, "Dockerfile", target, *torch, *pip)
    for target, name in OURS.items():
        _build(engine, "Dockerfile", target, *torch, "--tag", name)
    return Images(
        label_studio=os.environ.get("LABEL_STUDIO_IMAGE") or _stand_in(engine, "label-studio", pip),
        redis=os.environ.get("REDIS_IMAGE") or _stand_in(engine, "redis", []),
    )


def _build(engine: Engine, file: str, target: str, *options: str) -> None:
    command = ["buildah", "bud", "--format", "docker", "--layers", "--network", "host", "--file", file]
    command += ["--target", target] if target else []
    engine.run("nice", "-n", "19", *command, *options, ".", timeout_s=_BUILD_S)


def _stand_in(engine: Engine, service: str, pip: list[str]) -> str:
    name, file = f"localhost/stand-in-{service}:latest", str(STAND_INS / f"{service}.Dockerfile")
    if pip:
        _build(engine, file, "python")
        _build(engine, file, "packages", *pip)
    _build(engine, file, "", "--tag", name)
    return name


def _make_base(engine: Engine) -> None:
    """Take Debian's slim image from its registry, or make one like it."""
    try:
        engine.run("buildah", "pull", "--quiet", BASE, timeout_s=120)
    except CommandFailed:
        root = engine.home / "base"
        shutil.rmtree(root, ignore_errors=True)
        engine.run("nice", "-n", "19", "debootstrap", "--variant=minbase", "bookworm", str(root), *_mirror())
        _slim(root)
        container = engine.run("buildah", "from", "scratch")
        engine.run("buildah", "add", "--quiet", container, str(root), "/")
        engine.run("buildah", "commit", "--quiet", container, BASE)
        engine.run("buildah", "rm", container)
        shutil.rmtree(root)


def _mirror() -> list[str]:
    """Return the address that this machine's own apt asks, if it is a Debian that says so."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if path.exists() and (found := re.search(r"^(?:URIs: |deb )(\S+)", path.read_text(), re.MULTILINE)):
            return [found[1]]
    return []


def _slim(root: Path) -> None:
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
        for path in (root / folder).rglob("*"):
            if path.is_file():
                path.unlink()
    for folder in _DOCUMENTS:
        shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
        (root / "usr/share" / folder).mkdir()
    left_out = "".join(f"path-exclude /usr/share/{folder}/*\n" for folder in _DOCUMENTS)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(left_out)
