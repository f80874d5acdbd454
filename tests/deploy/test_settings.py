"""Every container of deploy/kubernetes is given settings that LayoutLoop itself takes."""

from __future__ import annotations

import pytest

from layoutloop.errors import SettingsInvalid
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.settings.training import TrainSettings
from tests.deploy.rendered import KUBERNETES, VARIANTS, Object, data_of, our_containers, pods
from tests.test_docs import OF_SERVING, OF_TRAINING

SECRETS = {
    "basic-auth-user": "label-studio",
    "basic-auth-pass": "made-up",
    "redis-url": "redis://:made-up@redis:6379/0",
}
OF_TORCH = {"OMP_NUM_THREADS"}
"""Read by torch itself, so no setting of ours."""
CONTAINERS = [
    pytest.param(variant, pod.owner, container["name"], id=f"{variant} {pod.owner} {container['name']}")
    for variant in VARIANTS
    for pod, container in our_containers(variant)
]


def environment(variant: str, container: Object) -> dict[str, str]:
    """What the container's process sees."""
    seen: dict[str, str] = {"HOSTNAME": "torchserve-6d4cf56db6-abcde", "HOME": "/var/lib/layoutloop"}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            seen |= data_of(variant)[source["configMapRef"]["name"]]
    for variable in container.get("env", []):
        origin = variable.get("valueFrom", {})
        if "secretKeyRef" in origin:
            seen[variable["name"]] = SECRETS[origin["secretKeyRef"]["key"]]
        elif "resourceFieldRef" in origin:
            seen[variable["name"]] = str(container["resources"]["limits"]["cpu"])
        else:
            seen[variable["name"]] = variable["value"]
    return seen


def container_of(variant: str, pod: str, name: str) -> Object:
    return pods(variant)[pod].container(name)


@pytest.mark.parametrize(("variant", "pod", "name"), CONTAINERS)
def test_the_settings_are_taken(variant: str, pod: str, name: str) -> None:
    environ = environment(variant, container_of(variant, pod, name))
    given = Settings.from_env(environ)
    NodeSettings.from_env(environ)
    TrainSettings.from_env(environ)
    assert given.ocr_workers == 4
    # Where archive code runs there is no Redis to be found, nor a store that would want its locks.
    assert given.redis_url == ("" if name == "torchserve" else SECRETS["redis-url"])
    in_bucket = variant == "overlays/s3" and name != "torchserve"
    assert str(given.model_dir).startswith("s3://" if in_bucket else "/var/lib/layoutloop-models")


@pytest.mark.parametrize(("variant", "pod", "name"), CONTAINERS)
def test_every_variable_is_a_setting(variant: str, pod: str, name: str) -> None:
    given = set(environment(variant, container_of(variant, pod, name))) - {"HOSTNAME", "HOME"}
    assert given <= OF_SERVING | OF_TRAINING | OF_TORCH  # and of these docs/settings.md has a row each


@pytest.mark.parametrize("variable", ["REDIS_URL", "BASIC_AUTH_USER"])
def test_a_secret_that_was_not_filled_in_starts_nothing(variable: str) -> None:
    shim = container_of("base", "shim", "shim")
    (reference,) = [one["valueFrom"]["secretKeyRef"]["key"] for one in shim["env"] if one["name"] == variable]
    text = (KUBERNETES / "secret.example" / "secret.env").read_text(encoding="utf-8")
    values = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    with pytest.raises(SettingsInvalid, match=variable):
        Settings.from_env(environment("base", shim) | {variable: values[reference]})
