"""The images that Kubernetes asks for are those that are built here."""

from __future__ import annotations

import json
import re

import pytest

from tests.deploy.rendered import OURS, ROOT, VARIANTS, VERSION, WITHOUT_STORE, our_containers, pods


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_of_this_version(variant: str) -> None:
    tags = {container["image"].partition(":")[2] for _, container in our_containers(variant)}
    assert tags == ({VERSION, f"{VERSION}-cuda"} if variant == "overlays/gpu" else {VERSION})


def test_redis_is_the_one_of_compose() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert f"REDIS_IMAGE:-{pods('base')['redis'].container('redis')['image']}}}" in compose


def test_the_s3_overlay_says_how_its_images_are_built() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "ARG MODEL_STORE=" in dockerfile
    assert '"${MODEL_STORE}" = s3 ]' in dockerfile
    for place in ("overlays/s3/kustomization.yaml", "README.md"):
        text = (ROOT / "deploy" / "kubernetes" / place).read_text(encoding="utf-8")
        assert "--build-arg MODEL_STORE=s3" in text, place


def dockerfile_targets() -> dict[str, set[str]]:
    """The folders that are volumes, by target of the Dockerfile."""
    stages = re.split(r"(?m)^FROM ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))[1:]
    found = {}
    for stage in stages:
        if name := re.match(r"\S+ AS (\S+)", stage):
            volumes = re.search(r"(?m)^VOLUME (\[.*\])$", stage)
            found[name[1]] = set(json.loads(volumes[1])) if volumes else set()
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_images_are_targets_of_the_dockerfile(variant: str) -> None:
    targets = dockerfile_targets()
    for pod, container in our_containers(variant):
        without = variant == "overlays/s3" or container["name"] in WITHOUT_STORE
        store = {"/var/lib/layoutloop-models"} if without else set()
        name = container["image"].removeprefix(OURS).partition(":")[0]
        assert name == pod.owner
        assert targets[name] - store <= {mount["mountPath"] for mount in container["volumeMounts"]}
