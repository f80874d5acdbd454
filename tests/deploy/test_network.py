"""Who may speak to whom, as the NetworkPolicies of deploy/kubernetes say it: none of it but what is named."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.deploy.rendered import VARIANTS, Object, Pod, of_kind, pods, selects

OURS = ("shim", "torchserve", "trainer", "redis")
INFERENCE, MANAGEMENT, METRICS, SHIM, REDIS = 7080, 7081, 7082, 9090, 6379


@dataclass(frozen=True, slots=True)
class Outsider:
    """Somebody who is no pod of ours: in another namespace, or at an address."""

    namespace: str = ""
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


LABEL_STUDIO, PROMETHEUS, DNS = Outsider("label-studio"), Outsider("monitoring"), Outsider("kube-system")
STRANGER, INTERNET = Outsider("default"), Outsider(address="93.184.216.34")
METADATA = Outsider(address="169.254.169.254")


def is_meant(peer: Object, who: Pod | Outsider) -> bool:
    """Whether a `from` or `to` means somebody; a podSelector alone means pods of our own namespace."""
    if "ipBlock" in peer:
        if isinstance(who, Pod) or not who.address:
            return False
        address = ipaddress.ip_address(who.address)
        inside = address in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return inside and all(address not in ipaddress.ip_network(one) for one in peer["ipBlock"].get("except", []))
    if "namespaceSelector" in peer:
        assert "podSelector" not in peer, "kustomize would add our labels to it"
        if isinstance(who, Pod):
            return False
        return selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": who.namespace})
    return isinstance(who, Pod) and selects(peer["podSelector"], who.labels)


def allows(variant: str, direction: str, pod: Pod, other: Pod | Outsider, port: int, target: Pod | None) -> bool:
    """Whether the policies on a pod let it speak to (Egress) or be spoken to by (Ingress) another at a port.

    Args:
        variant: the folder.
        direction: `Ingress` or `Egress`.
        pod: whose policies count.
        other: the far end.
        port: its number.
        target: whose ports a name means.
    """
    on_it = [
        one["spec"]
        for one in of_kind(variant, "NetworkPolicy")
        if selects(one["spec"]["podSelector"], pod.labels) and direction in one["spec"]["policyTypes"]
    ]
    assert on_it, f"no policy is on {pod.owner}, so everything is allowed"
    rules = [rule for spec in on_it for rule in spec.get(direction.lower(), [])]
    side = "from" if direction == "Ingress" else "to"
    for rule in rules:
        numbers = {target.port(one["port"]) if target else one["port"] for one in rule["ports"]}
        if port in numbers and any(is_meant(peer, other) for peer in rule[side]):
            return True
    return False


def may_speak(variant: str, who: str | Outsider, to: str | Outsider, port: int) -> bool:
    """Whether both ends allow it."""
    ours = pods(variant)
    source, target = (ours[one] if isinstance(one, str) else one for one in (who, to))
    pod = target if isinstance(target, Pod) else None
    leaves = not isinstance(source, Pod) or allows(variant, "Egress", source, target, port, pod)
    return leaves and (pod is None or allows(variant, "Ingress", pod, source, port, pod))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("who", "to", "port"),
    [
        pytest.param("shim", "torchserve", INFERENCE, id="shim asks nodes"),
        pytest.param("trainer", "torchserve", INFERENCE, id="trainer asks nodes"),
        pytest.param("shim", "redis", REDIS, id="shim keeps jobs"),
        pytest.param("trainer", "redis", REDIS, id="trainer takes jobs"),
        pytest.param("torchserve", "redis", REDIS, id="watcher locks"),
        pytest.param(LABEL_STUDIO, "shim", SHIM, id="Label Studio asks the shim"),
        pytest.param("shim", LABEL_STUDIO, 8080, id="shim fetches uploads"),
        pytest.param("trainer", LABEL_STUDIO, 8080, id="trainer exports"),
        pytest.param(PROMETHEUS, "shim", SHIM, id="Prometheus reads the shim"),
        pytest.param(PROMETHEUS, "torchserve", METRICS, id="Prometheus reads the nodes"),
        pytest.param("trainer", "shim", SHIM, id="scripts.connect tries the shim"),
        pytest.param("shim", INTERNET, 443, id="images of other hosts"),
        *(pytest.param(pod, DNS, 53, id=f"{pod} looks up names") for pod in OURS),
    ],
)
def test_what_must_be_reached(variant: str, who: str | Outsider, to: str | Outsider, port: int) -> None:
    assert may_speak(variant, who, to, port)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("who", "to", "port"),
    [
        *(pytest.param(STRANGER, pod, port, id=f"a stranger and {pod}")
          for pod, port in (("shim", SHIM), ("torchserve", INFERENCE), ("redis", REDIS))),
        pytest.param(LABEL_STUDIO, "torchserve", INFERENCE, id="Label Studio past the shim"),
        pytest.param(PROMETHEUS, "torchserve", INFERENCE, id="Prometheus and inference"),
        pytest.param("shim", "torchserve", MANAGEMENT, id="management from the shim"),
        pytest.param("trainer", "torchserve", MANAGEMENT, id="management from the trainer"),
        pytest.param("redis", "torchserve", INFERENCE, id="redis and nodes"),
        pytest.param("torchserve", "shim", SHIM, id="nodes and the shim"),
        pytest.param("torchserve", LABEL_STUDIO, 8080, id="nodes and Label Studio"),
        pytest.param("redis", INTERNET, 443, id="redis and the Internet"),
        *(pytest.param(pod, METADATA, 80, id=f"{pod} and cloud metadata") for pod in OURS),
        pytest.param("shim", METADATA, 443, id="shim and cloud metadata over TLS"),
    ],
)  # fmt: skip
def test_what_must_not_be_reached(variant: str, who: str | Outsider, to: str | Outsider, port: int) -> None:
    assert not may_speak(variant, who, to, port)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nodes_call_outside_only_for_an_object_store(variant: str) -> None:
    assert may_speak(variant, "torchserve", INTERNET, 443) == (variant == "overlays/s3")
