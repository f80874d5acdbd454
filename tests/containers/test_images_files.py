"""What the Dockerfile, docker-compose.yml and .env.example promise, read from the files; nothing is built here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.images import OURS, VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
TRAINER_YAML = (ROOT / "deploy/kubernetes/base/trainer.yaml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
STUDIO = SERVICES["label-studio"]["environment"]

RUNTIME = sorted(OURS)
PUBLISHING = {"label-studio", "shim"}
SECRETS = {"LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_USER_TOKEN", "BASIC_AUTH_PASS", "REDIS_PASSWORD"}
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::[-?][^}]*)?\}")
_STAGE = re.compile(r"^FROM (?P<base>\S+) AS (?P<name>\S+)$(?P<body>.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
STAGES = {found["name"]: (found["base"], found["body"]) for found in _STAGE.finditer(DOCKERFILE)}
ALIVE = json.loads(STAGES["trainer"][1].partition("HEALTHCHECK ")[2].partition("CMD ")[2].splitlines()[0])
"""The trainer's health check."""


def lineage(stage: str) -> Iterator[str]:
    """The bodies of a stage and of those it stands on; what it copies from others is no part of them."""
    while stage in STAGES:
        stage, body = STAGES[stage]
        yield re.sub(r"^\s*#.*$", "", body, flags=re.MULTILINE)


def installed(stage: str) -> set[str]:
    """The Debian packages that end up in an image."""
    text = " ".join(lineage(stage)).replace("\\\n", " ")
    commands = re.findall(r"apt-get install -y --no-install-recommends([^&\n]*)", text)
    return {word for command in commands for word in command.split()}


def pins(name: str) -> dict[str, set[str]]:
    """The versions of each package in a requirements file, with their markers."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        package, _, version = line.partition("==")
        if not line.startswith("#"):
            found.setdefault(package, set()).add(version)
    return found


def variables(text: str) -> set[str]:
    return set(_VARIABLE.findall(text))


@pytest.mark.parametrize("target", RUNTIME)
def test_an_image_runs_as_nobody_in_particular(target: str) -> None:
    body = STAGES[target][1]
    assert re.findall(r"^USER (.*)$", body, flags=re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"^(RUN|COPY|ADD) ", body.partition("USER 10001")[2], flags=re.MULTILINE)


@pytest.mark.parametrize("target", RUNTIME)
def test_an_image_has_a_health_check_and_a_process_1_that_reaps(target: str) -> None:
    body = STAGES[target][1]
    assert "HEALTHCHECK " in body
    assert 'ENTRYPOINT ["tini", "--"]' in body


@pytest.mark.parametrize(
    ("age_s", "status"),
    [
        pytest.param(0, 0, id="touched now"),
        pytest.param(45, 0, id="a moment ago"),
        pytest.param(75, 1, id="the worker hangs"),
        pytest.param(None, 1, id="it never went round"),
    ],
)
def test_the_trainers_health_check_sees_a_worker_that_hangs(age_s: float | None, status: int, tmp_path: Path) -> None:
    if age_s is not None:
        alive = tmp_path / "worker.alive"
        alive.touch()
        os.utime(alive, (time.time() - age_s,) * 2)
    done = subprocess.run(ALIVE, env={"PATH": os.environ["PATH"], "LAYOUTLOOP_HOME": str(tmp_path)}, check=False)
    assert done.returncode == status


def test_kubernetes_asks_the_trainer_what_its_image_asks() -> None:
    (trainer,) = (one for one in yaml.safe_load_all(TRAINER_YAML) if one["kind"] == "StatefulSet")
    (container,) = trainer["spec"]["template"]["spec"]["containers"]
    assert container["startupProbe"]["exec"]["command"] == container["livenessProbe"]["exec"]["command"] == ALIVE


@pytest.mark.parametrize("target", RUNTIME)
def test_an_image_is_made_without_tools(target: str) -> None:
    """pip and whatever a package would be built with stay in the stages that are left behind."""
    assert not re.search(r"\bpip\b|PIP|requirements", " ".join(lineage(target)))
    assert not installed(target) & {
        "build-essential",
        "gcc",
        "g++",
        "make",
        "python3-venv",
        "python3-pip",
        "python3-dev",
    }


@pytest.mark.parametrize(
    ("target", "packages"),
    [
        pytest.param("shim", {"ca-certificates", "python3", "tini"}, id="shim"),
        pytest.param("trainer", {"ca-certificates", "python3", "tini"}, id="trainer"),
    ],
)
def test_java_and_tesseract_are_torchserves_alone(target: str, packages: set[str]) -> None:
    assert installed(target) == packages
    assert installed("torchserve") >= packages | {"openjdk-17-jre-headless", "tesseract-ocr"}


def test_the_shims_image_has_no_model_in_it() -> None:
    assert not pins("shim").keys() & {"torch", "transformers", "torchserve", "numpy", "pillow"}
    assert not re.search(r"model-packages|handler/(reading|tagging)|training|scripts", " ".join(lineage("shim")))


@pytest.mark.parametrize("target", ["torchserve", "trainer"])
def test_the_shim_is_in_no_other_image(target: str) -> None:
    assert "/opt/layoutloop/layoutloop layoutloop" in " ".join(lineage(target))
    assert "/opt/layoutloop/shim" not in " ".join(lineage(target))


def test_no_path_names_a_version_of_python() -> None:
    assert not re.search(r"python3\.\d", re.sub(r"^\s*#.*$|openjdk\S*", "", DOCKERFILE, flags=re.MULTILINE))


def test_every_base_is_one_argument() -> None:
    bases = {base for base, _ in STAGES.values()} - STAGES.keys()
    assert bases == {"${BASE}"}
    assert DOCKERFILE.count("\nARG BASE=docker.io/library/debian:bookworm-slim\n") == 1


def test_only_what_is_in_lists_of_pins_is_installed() -> None:
    installs = re.findall(r"(?:\$\{PIP\}|/pip) install([^\n&]*)", DOCKERFILE)
    lists = [re.findall(r"\S+", line.partition(" -r ")[2])[0] for line in installs]
    assert lists == [
        f"requirements/{name}.txt"
        for name in ("pip", "shim", "s3", "serve", "torch", "s3", "reader", "reader-gpu", "encoder")
    ]
    for name in ("pip", "shim", "s3", "serve", "torch", "reader", "reader-gpu", "encoder"):
        assert all(version for versions in pins(name).values() for version in versions), name


def test_how_a_digest_is_given_is_said() -> None:
    """Bases are named by tags. What the texts name must be what the files take."""
    deployment = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    base = STAGES["python"][0].strip("${}")
    assert all(f"--build-arg {base}=docker.io/library/debian@sha256:..." in text for text in (DOCKERFILE, deployment))
    names = {"REDIS_IMAGE", "LABEL_STUDIO_IMAGE"}
    assert names <= variables(COMPOSE_TEXT)
    assert all(f"`{name}`" in deployment for name in names)


def test_the_shims_pins_are_those_of_everybody() -> None:
    everybody = pins("serve")
    for package, versions in pins("shim").items():
        assert versions <= everybody[package], package


def test_the_labels_name_this_version() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\n[tool")[0]
    project = dict(re.findall(r'^(\w+) = "([^"]*)"$', text, flags=re.MULTILINE))
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE))
    assert labels["version"] == project["version"] == VERSION
    assert labels["licenses"] == project["license"]
    assert labels["description"] == project["description"]
    assert f"IMAGE_TAG:-{VERSION}" in COMPOSE_TEXT


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_write_beside_its_volumes_nowhere(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices"} & service.keys()
    assert all(volume.partition(":")[0] in COMPOSE["volumes"] for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_two_services_publish_a_port_on_this_machine_alone(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert len(ports) == (1 if name in PUBLISHING else 0)
    assert all(port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for port in ports)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_that_can_be_scaled_has_no_state_of_one(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    if name.startswith("torchserve"):
        assert not [volume for volume in SERVICES[name]["volumes"] if volume.endswith(":/var/lib/layoutloop")]


@pytest.mark.parametrize("name", ["torchserve", "torchserve-gpu"])
def test_torchserve_gets_no_key_of_label_studios_and_no_way_out(name: str) -> None:
    service = SERVICES[name]
    assert {*service["networks"]} == {"inference", "jobs"}
    assert all(COMPOSE["networks"][network]["internal"] is True for network in service["networks"])
    assert not re.search(r"KEY|TOKEN|PASS", " ".join(service["environment"]))


@pytest.mark.parametrize("name", ["shim", "torchserve", "torchserve-gpu", "trainer", "trainer-gpu", "demo"])
def test_whoever_changes_what_is_in_service_has_the_locks(name: str) -> None:
    """With one of them in Redis and another in files, a watcher throws out what a training is about to promote."""
    assert SERVICES[name]["environment"]["REDIS_URL"].endswith("@redis:6379/0")
    assert "jobs" in SERVICES[name]["networks"]


def test_every_secret_is_required_and_none_is_written_down() -> None:
    for text in (COMPOSE_TEXT, EXAMPLE):
        assert not re.search(r"\b[0-9a-f]{16,}\b", text)
    for name in SECRETS:
        uses = re.findall(rf"\$\{{{name}(.*?)\}}", COMPOSE_TEXT)
        assert {use[:2] for use in uses} == {":?"}, name
        assert f"\n{name}=\n" in EXAMPLE


def test_every_variable_is_in_the_example_and_every_example_is_one() -> None:
    named = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, flags=re.MULTILINE)) - {"COMPOSE_PROFILES"}  # read by compose
    assert variables(COMPOSE_TEXT) == named


def test_the_examples_show_the_defaults() -> None:
    shown = dict(re.findall(r"^#([A-Z_]+)=(.+)$", EXAMPLE, flags=re.MULTILINE))
    gpu = {"COMPOSE_PROFILES": "gpu", "TORCHSERVE_NODES": "0", "TRAINERS": "0"}
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", COMPOSE_TEXT))
    assert {name: value for name, value in shown.items() if gpu.get(name) != value} == {
        name: value for name, value in defaults.items() if gpu.get(name) != shown[name]
    }


def test_label_studio_asks_the_shim_by_a_name_that_it_takes_for_webhooks() -> None:
    (alias,) = SERVICES["shim"]["networks"]["studio"]["aliases"]
    assert "." in alias
    assert f'"http://{alias}:9090"' in (ROOT / "demo" / "stack.py").read_text(encoding="utf-8")


def test_label_studio_is_the_one_the_tests_know() -> None:
    known = re.search(r"^label-studio==(\S+)$", (ROOT / "requirements/label-studio.in").read_text(), flags=re.MULTILINE)
    assert known
    assert f"label-studio:{known[1]}}}" in SERVICES["label-studio"]["image"]


@pytest.mark.parametrize("name", ["shim", "torchserve", "torchserve-gpu", "trainer", "trainer-gpu", "demo"])
def test_an_image_of_ours_is_built_here_and_asked_of_no_registry(name: str) -> None:
    service = SERVICES[name]
    assert service["build"]["target"] in STAGES
    assert service["image"].startswith("localhost/layoutloop-")


def test_what_a_builder_is_sent_is_a_list() -> None:
    first, *rest = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
    ]
    assert first == "*"
    sent = {line[1:] for line in rest if line.startswith("!")}
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, flags=re.MULTILINE)
        for word in line.split()
    }
    assert {word.partition("/")[0] for word in copied} == {word.partition("/")[0] for word in sent}
    assert all((ROOT / word).exists() for word in copied | sent)


def test_an_env_file_is_kept_out_of_git() -> None:
    assert "/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_a_new_env_has_fresh_secrets_and_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deploy" / "containers"
    folder.mkdir(parents=True)
    script = folder / "new-env.sh"
    script.write_bytes((ROOT / "deploy/containers/new-env.sh").read_bytes())
    (tmp_path / ".env.example").write_text(EXAMPLE)
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    made = tmp_path / ".env"
    values = dict(re.findall(r"^([A-Z_]+)=([0-9a-f]{40})$", made.read_text(), flags=re.MULTILINE))
    assert values.keys() == SECRETS
    assert len(set(values.values())) == len(SECRETS)
    assert made.stat().st_mode & 0o777 == 0o600
    assert subprocess.run(["sh", str(script)], check=False, capture_output=True).returncode == 1
    assert values["BASIC_AUTH_PASS"] in made.read_text()
