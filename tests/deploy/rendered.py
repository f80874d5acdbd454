"""What Kubernetes would get: each folder of deploy/kubernetes, rendered by kubectl's own kustomize."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
VARIANTS = ("base", "overlays/gpu", "overlays/s3", "overlays/queue-latency")
WITHOUT_STORE = {"torchserve"}
"""Containers that are given neither the model store nor Redis: their workers run the code in archives."""
OURS = "layoutloop-"
"""What the names of our own images begin with."""
(VERSION,) = re.findall(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))

Object = dict[str, Any]


@functools.cache
def render(folder: str) -> tuple[Object, ...]:
    """The objects of a folder of deploy/kubernetes; kubectl asks no cluster for that."""
    kubectl = Path(sys.executable).with_name("kubectl")  # of requirements/test.txt
    done = subprocess.run(
        [str(kubectl), "kustomize", str(KUBERNETES / folder)], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # what is deprecated is an error as well
    return tuple(yaml.safe_load_all(done.stdout))


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod template, of the object that makes such pods.

    Args:
        owner: its name.
        labels: of the pods.
        spec: as in the template.
        claims: names of volumes that the owner makes for each pod.
    """

    owner: str
    labels: Mapping[str, str]
    spec: Object
    claims: tuple[str, ...]

    @property
    def containers(self) -> list[Object]:
        """All of its containers, those that run first among them."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Object:
        """The container of that name."""
        return named(self.containers, name)

    def port(self, port: int | str) -> int | None:
        """The number of a port that a container has, by name or number; None where there is none."""
        for one in (one for container in self.containers for one in container.get("ports", [])):
            if port in (one["name"], one["containerPort"]):
                return int(one["containerPort"])
        return None


def named(objects: list[Object], name: str) -> Object:
    """The one of a list that has that name."""
    (found,) = [one for one in objects if one["name"] == name]
    return found


def of_kind(variant: str, *kinds: str) -> list[Object]:
    """The objects of some kinds."""
    return [one for one in render(variant) if one["kind"] in kinds]


def pods(variant: str) -> dict[str, Pod]:
    """Pod templates by the name of their owner."""
    return {
        owner["metadata"]["name"]: Pod(
            owner=owner["metadata"]["name"],
            labels=owner["spec"]["template"]["metadata"]["labels"],
            spec=owner["spec"]["template"]["spec"],
            claims=tuple(claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])),
        )
        for owner in of_kind(variant, "Deployment", "StatefulSet")
    }


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector means something with these labels."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", "these tests know no other one"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def data_of(variant: str) -> dict[str, dict[str, str]]:
    """The settings of each ConfigMap."""
    return {one["metadata"]["name"]: one["data"] for one in of_kind(variant, "ConfigMap")}


def secret_keys() -> set[str]:
    """The keys of the Secret that a person makes of the example."""
    (secret,) = render("secret.example")
    assert (secret["kind"], secret["metadata"]["name"]) == ("Secret", "layoutloop")
    return set(secret["data"])


def our_containers(variant: str) -> Iterator[tuple[Pod, Object]]:
    """Every container that runs an image of ours."""
    for pod in pods(variant).values():
        for container in pod.containers:
            if container["image"].startswith(OURS):
                yield pod, container
