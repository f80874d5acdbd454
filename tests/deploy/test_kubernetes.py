"""The objects of deploy/kubernetes: known to Kubernetes' API, true to each other, and locked up."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

import kubernetes_validate
import pytest

from benchmarks.capacity import Costs
from layoutloop.settings.serving import Settings
from layoutloop.torchserve.in_service import _QUEUED
from tests.deploy.rendered import (
    OURS,
    ROOT,
    VARIANTS,
    VERSION,
    WITHOUT_STORE,
    Object,
    data_of,
    named,
    of_kind,
    our_containers,
    pods,
    render,
    secret_keys,
    selects,
)

RELEASES = ("1.30", "1.37")  # the first with per-container autoscaling for good, and the newest with schemas
MADE_ELSEWHERE = {"layoutloop-s3"}  # the Secret with an object store's keys; may be missing
TOPICS = ("networking.k8s.io/v1", "autoscaling/v2", "policy/v1", "apps/v1", "v1")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("variant", [*VARIANTS, "secret.example"])
def test_every_object_is_as_the_api_wants_it(variant: str, release: str) -> None:
    objects = render(variant)
    for one in objects:
        kubernetes_validate.validate(one, release, strict=True)
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == len(objects)


@pytest.mark.parametrize("release", RELEASES)
def test_a_field_that_the_api_does_not_know_is_found(release: str) -> None:
    (service,) = [one for one in of_kind("base", "Service") if one["metadata"]["name"] == "shim"]
    wrong = {**service, "spec": {**service["spec"], "sesionAffinity": "ClientIP"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="sesionAffinity"):
        kubernetes_validate.validate(wrong, release, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_object_names_a_namespace(variant: str) -> None:
    assert {one["apiVersion"] for one in render(variant)} <= set(TOPICS)
    assert not [one["metadata"]["name"] for one in render(variant) if "namespace" in one["metadata"]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_containers_read_is_there(variant: str) -> None:
    known = data_of(variant)
    for _, container in our_containers(variant):
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in known
            else:
                assert source["secretRef"]["name"] in MADE_ELSEWHERE
                assert source["secretRef"]["optional"] is True
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["name"] == "layoutloop"
                assert reference["key"] in secret_keys(), variable["name"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_key_of_the_secret_is_read(variant: str) -> None:
    read: set[str] = set()
    for pod in pods(variant).values():
        items = [item for one in pod.spec.get("volumes", []) for item in one.get("secret", {}).get("items", [])]
        read |= {item["key"] for item in items}
        for variable in (one for container in pod.containers for one in container.get("env", [])):
            read |= {variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key", "")}
    assert read - {""} == secret_keys()


@pytest.mark.parametrize("variant", VARIANTS)
def test_volumes_are_there_and_all_are_used(variant: str) -> None:
    claims = {one["metadata"]["name"] for one in of_kind(variant, "PersistentVolumeClaim")}
    asked = set()
    for pod in pods(variant).values():
        volumes = pod.spec.get("volumes", [])
        have = {one["name"] for one in volumes} | set(pod.claims)
        used = {mount["name"] for container in pod.containers for mount in container["volumeMounts"]}
        assert used == have, pod.owner
        asked |= {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
    assert asked == claims
    assert claims == (set() if variant == "overlays/s3" else {"layoutloop-models"})


@pytest.mark.parametrize("variant", VARIANTS)
def test_services_find_their_pods_and_ports(variant: str) -> None:
    for service in of_kind(variant, "Service"):
        spec = service["spec"]
        found = [pod for pod in pods(variant).values() if selects({"matchLabels": spec["selector"]}, pod.labels)]
        assert [pod.owner for pod in found] == [service["metadata"]["name"]]
        for port in spec.get("ports", []):
            assert found[0].port(port["targetPort"]) == port["port"]


def test_every_node_has_an_address_of_its_own() -> None:
    (service,) = [one for one in of_kind("base", "Service") if one["metadata"]["name"] == "torchserve"]
    assert service["spec"]["clusterIP"] == "None"
    assert not service["spec"].get("publishNotReadyAddresses")
    assert data_of("base")["layoutloop-nodes"] == {"LAYOUTLOOP_TORCHSERVE_URL": "http://torchserve:7080"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_selectors_mean_their_own_pods(variant: str) -> None:
    for owner in of_kind(variant, "Deployment", "StatefulSet"):
        assert selects(owner["spec"]["selector"], owner["spec"]["template"]["metadata"]["labels"])
        if owner["kind"] == "StatefulSet":
            services = {one["metadata"]["name"] for one in of_kind(variant, "Service")}
            assert owner["spec"]["serviceName"] in services
    for budget in of_kind(variant, "PodDisruptionBudget"):
        found = [pod.owner for pod in pods(variant).values() if selects(budget["spec"]["selector"], pod.labels)]
        assert found == [budget["metadata"]["name"]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_autoscaler_has_what_it_scales(variant: str) -> None:
    (scaler,) = of_kind(variant, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    (owner,) = [one for one in of_kind(variant, target["kind"]) if one["metadata"]["name"] == target["name"]]
    assert owner["apiVersion"] == target["apiVersion"]
    assert "replicas" not in owner["spec"], "each apply would undo what the autoscaler did"
    metric = scaler["spec"]["metrics"][0]["containerResource"]
    container = named(owner["spec"]["template"]["spec"]["containers"], metric["container"])
    assert metric["name"] in container["resources"]["requests"]
    assert scaler["spec"]["minReplicas"] >= 2


def test_waiting_pages_are_asked_for_beside_the_cpu() -> None:
    (scaler,) = of_kind("overlays/queue-latency", "HorizontalPodAutoscaler")
    names = [one["type"] for one in scaler["spec"]["metrics"]]
    assert names == ["ContainerResource", "External"]
    rule = (ROOT / "deploy/kubernetes/overlays/queue-latency/prometheus-adapter.yaml").read_text(encoding="utf-8")
    assert f"as: {scaler['spec']['metrics'][1]['external']['metric']['name']}\n" in rule


def test_pages_that_wait_bring_nodes_before_people_feel_it() -> None:
    """The figure is of pages that one node answers well within a predict's time, and comes before any is refused."""
    variant = "overlays/queue-latency"
    (scaler,) = of_kind(variant, "HorizontalPodAutoscaler")
    (shim,) = (one for one in of_kind(variant, "Deployment") if one["metadata"]["name"] == "shim")
    target = scaler["spec"]["metrics"][1]["external"]["target"]
    assert target["type"] == "AverageValue"  # of all pages over the nodes, not over the shims
    pages, costs = float(target["averageValue"]), Costs()
    cores = int(data_of(variant)["layoutloop"]["LAYOUTLOOP_OCR_WORKERS"])
    assert 10 < pages * (costs.read_cpu_s + costs.tag_cpu_s) / cores < Settings().deadline_s / 2
    most_waiting = Settings().max_waiting_pages * shim["spec"]["replicas"]
    assert pages * scaler["spec"]["maxReplicas"] < most_waiting
    # In TorchServe's own queue no more of them can be found than this, however many wait.
    assert _QUEUED * cores < pages


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pod_is_locked_up(variant: str) -> None:
    accounts = {one["metadata"]["name"]: one for one in of_kind(variant, "ServiceAccount")}
    for pod in pods(variant).values():
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert accounts[pod.spec["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False, "Kubernetes would add variables that look like settings"
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_containers_can_write_where_they_must(variant: str) -> None:
    settings = data_of(variant)["layoutloop"]
    for pod, container in our_containers(variant):
        mounted = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert {settings["LAYOUTLOOP_HOME"], "/tmp"} <= mounted, (pod.owner, container["name"])  # noqa: S108
        store = variant != "overlays/s3" and container["name"] not in WITHOUT_STORE
        assert ("/var/lib/layoutloop-models" in mounted) == store, (pod.owner, container["name"])
        assert pod.spec["securityContext"]["runAsUser"] == pod.spec["securityContext"]["fsGroup"] == 10001


def secret_looking(variable: Object) -> bool:
    return bool(re.search(r"KEY|PASS|TOKEN|SECRET|REDIS_URL", variable["name"]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_secrets_come_from_the_secret_alone(variant: str) -> None:
    for pod in pods(variant).values():
        for variable in (one for container in pod.containers for one in container.get("env", [])):
            assert ("secretKeyRef" in variable.get("valueFrom", {})) or not secret_looking(variable)
    for data in data_of(variant).values():
        assert not [name for name in data if secret_looking({"name": name}) and not name.endswith("_FILE")]


def commands(variant: str) -> list[tuple[str, Sequence[str]]]:
    found = []
    for _, container in our_containers(variant):
        assert "command" not in container, "tini, the image's entry point, would be left out"
        found.append((container["name"], container["args"]))
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            execution = container.get(probe, {}).get("exec")
            # The trainer's is a line of shell, which tests/containers/test_images_files.py runs.
            if execution and execution["command"][0] != "sh":
                found.append((container["name"], execution["command"]))
    return found


@cache
def help_of(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_command_is_one(variant: str) -> None:
    for name, (python, m, module, *options) in commands(variant):
        assert (python, m) == ("python", "-m")
        for option in options:
            assert not option.startswith("--") or option in help_of(module), f"{name}: {module} knows no {option}"


@pytest.mark.parametrize(
    ("pod", "probe"),
    [
        pytest.param("shim", {"httpGet": {"path": "/health", "port": "http"}}, id="shim answers without a password"),
        pytest.param("torchserve", {"tcpSocket": {"port": "inference"}}, id="node: /ping fails for one model's worker"),
    ],
)
def test_probes_that_restart_ask_for_the_program_alone(pod: str, probe: Object) -> None:
    container = pods("base")[pod].container(pod)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            assert {key: asked for key, asked in container[name].items() if key in ("httpGet", "tcpSocket")} == probe
    assert "livenessProbe" in container
    (asked,) = probe.values()
    assert pods("base")[pod].port(asked["port"]) is not None


@pytest.mark.parametrize(
    ("pod", "at_least"),
    [
        pytest.param("shim", Settings().deadline_s, id="a predict ends"),
        pytest.param("torchserve", 35, id="DNS forgets the node"),
    ],
)
def test_who_leaves_answers_until_nobody_asks(pod: str, at_least: float) -> None:
    spec = pods("base")[pod].spec
    for container in spec["containers"]:
        sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert sleep == "sleep"
        assert at_least <= int(seconds) < spec["terminationGracePeriodSeconds"] - 10


@pytest.mark.parametrize(("owner", "device"), [("torchserve", None), ("trainer", "gpu")])
def test_the_gpu_overlay_asks_for_gpus(owner: str, device: str | None) -> None:
    pod = pods("overlays/gpu")[owner]
    container = pod.container(owner)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert [one["key"] for one in pod.spec["tolerations"]] == ["nvidia.com/gpu"]
    assert pod.spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert container["image"] == f"{OURS}{owner}:{VERSION}-cuda"
    values = {one["name"]: one.get("value") for one in container["env"]}
    assert values.get("LAYOUTLOOP_TRAIN_DEVICE") == device
    before = pods("base")[owner].container(owner)["env"]
    assert len(container["env"]) == len(before), "the patch adds to the list and takes nothing away"
