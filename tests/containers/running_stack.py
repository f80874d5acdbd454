"""The images and the compose stack, really built and run: `scripts/test-containers.sh`.

One story in order: the images, a cold start, a training, then 500 tasks while a new version goes into service and one
of two TorchServe nodes, which answered until then, is killed and started again and answers once more. What is measured
is printed.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.sheet import GoldRegion
from demo.tasks import OCR, annotation_result, label_config
from tests.containers.engine import Engine
from tests.containers.images import OURS, Images, build_images
from tests.containers.load import Answer, Load
from tests.containers.stack import NODES, SERVICES, Stack, running_stack, wait_for
from tests.end_to_end.training_stack import HEIGHT, LABELS, WIDTH, draw_page

ASKED = 500
HELD_BACK = 100
"""Of these: asked when the node that was killed is back and ready, so that it has a share of them."""
SHARE = 10
"""Pages that a node tagged, and were no questions of its watcher: that asks each version it registers one."""
ANNOTATED = 24
UPLOADED_AT_A_TIME = 50
CONFIG = label_config(LABELS, OCR)
SHIM = "http://layoutloop.internal:9090"
COMPILERS = ("gcc", "cc", "g++", "c++", "make", "ld", "as", "clang", "javac", "cargo", "rustc")
INSTALLERS = ("pip", "pip3", "ensurepip")
MEBIBYTE = 2**20


def say(text: str) -> None:
    print(f"containers: {text}", flush=True)  # noqa: T201 - what is measured is what it is run for


@pytest.fixture(scope="session")
def engine() -> Engine:
    home = Path(os.environ["CONTAINERS_HOME"])
    return Engine.at(home, os.environ["STORAGE_DRIVER"], os.environ["PODMAN_COMPOSE"])


@pytest.fixture(scope="session")
def images(engine: Engine) -> Images:
    began = time.monotonic()
    built = build_images(engine)
    say(f"the images are built, in {time.monotonic() - began:.0f} s")
    return built


@pytest.fixture(scope="session")
def stack(engine: Engine, images: Images) -> Iterator[Stack]:
    with running_stack(engine, images) as running:
        yield running


@pytest.fixture(scope="session")
def project(stack: Stack) -> int:
    """A project with ASKED uploaded pages, all different."""
    wait_for(lambda: stack.is_up(stack.studio))
    made = stack.ask_studio("POST", "/api/projects", json={"title": "Small invoices", "label_config": CONFIG})
    for first in range(0, ASKED, UPLOADED_AT_A_TIME):
        files = {
            f"page-{number}.png": (f"page-{number}.png", draw_page(number).png, "image/png")
            for number in range(first, first + UPLOADED_AT_A_TIME)
        }
        stack.ask_studio("POST", f"/api/projects/{made['id']}/import", files=files)
    return int(made["id"])


@pytest.fixture(scope="session")
def tasks(stack: Stack, project: int) -> list[dict[str, Any]]:
    query = {"project": project, "fields": "all", "page_size": ASKED}
    found: list[dict[str, Any]] = stack.ask_studio("GET", "/api/tasks", params=query)["tasks"]
    assert len(found) == ASKED
    return sorted(found, key=lambda task: int(task["id"]))


def regions_of(task: Mapping[str, Any]) -> list[GoldRegion]:
    """What stands on a task's page, by the name of its upload."""
    number = int(task["data"]["image"].rpartition("page-")[2].removesuffix(".png"))
    return [region for region in draw_page(number).regions if region.label in LABELS]


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_image_is_small_rootless_and_without_tools(engine: Engine, images: Images, name: str) -> None:
    image = engine.inspect_image(OURS[name])
    size = image["Size"] / MEBIBYTE
    say(f"{name}: {size:.0f} MiB, user {image['User']}")
    assert image["User"] == "10001:10001"
    assert engine.files_named(OURS[name], COMPILERS, programs=True) == []
    assert engine.files_named(OURS[name], INSTALLERS) == []
    assert image["Healthcheck"]["Test"]
    if name == "shim":
        assert engine.files_named(OURS[name], ("torch", "transformers", "java", "tesseract")) == []
        assert size < 200


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_image_has_nothing_of_the_machine_that_built_it(engine: Engine, images: Images, name: str) -> None:
    assert engine.files_named(OURS[name], ("pip.conf", ".env", ".git")) == []
    container = engine.run("buildah", "from", "--pull-never", OURS[name])
    try:
        mounted = Path(engine.run("buildah", "mount", container), "mnt")
        assert list(mounted.iterdir()) == []
    finally:
        engine.run("buildah", "rm", container)


def test_the_stack_starts(stack: Stack) -> None:
    with ThreadPoolExecutor(1) as beside:
        trainer_s = beside.submit(_seconds_until_the_trainer_waits, stack)
        wait_for(lambda: stack.is_up(stack.shim))
        say(f"the shim answers {stack.seconds():.0f} s after `up`")
        say(f"the trainer waits for jobs {trainer_s.result():.0f} s after `up`")
    wait_for(lambda: stack.is_up(stack.studio))
    say(f"Label Studio answers after {stack.seconds():.0f} s (its first start makes the database)")
    wait_for(lambda: stack.ask_shim("GET", "/health")["ready"])
    say(f"pages can be read after {stack.seconds():.0f} s")
    nodes = stack.containers("torchserve")
    assert len(nodes) == NODES
    wait_for(lambda: all(stack.is_ready(node) for node in nodes))
    say(f"{NODES} TorchServe nodes are ready after {stack.seconds():.0f} s")


def _seconds_until_the_trainer_waits(stack: Stack) -> float:
    (trainer,) = stack.containers("trainer")
    wait_for(lambda: "waits for jobs" in stack.log(trainer))
    return stack.seconds()


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_contained(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        found = stack.engine.inspect(container)
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert found["EffectiveCaps"] in ([], None)
        assert "no-new-privileges" in found["HostConfig"]["SecurityOpt"]
        assert stack.engine.exec(container, "id", "-u") not in ("", "0")
        published = {port: host for port, host in (found["NetworkSettings"]["Ports"] or {}).items() if host}
        assert len(published) == (1 if service in ("label-studio", "shim") else 0)


@pytest.mark.parametrize("service", ["torchserve", "shim", "trainer"])
def test_a_health_check_passes(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        stack.engine.run("podman", "healthcheck", "run", container)


@pytest.mark.parametrize(
    ("service", "host", "port"),
    [
        pytest.param("torchserve", "label-studio", 8080, id="TorchServe does not see Label Studio"),
        pytest.param("torchserve", "deb.debian.org", 80, id="TorchServe has no way out"),
    ],
)
def test_a_network_ends_where_it_should(stack: Stack, service: str, host: str, port: int) -> None:
    reach = f"import socket; socket.create_connection(({host!r}, {port}), 5)"
    code = f"try:\n {reach}\nexcept OSError as error:\n print('refused', error)\nelse:\n print('reached')"
    assert stack.engine.exec(stack.containers(service)[0], "python", "-c", code).startswith("refused")


def test_no_key_is_in_torchserves_container(stack: Stack) -> None:
    for node in stack.containers("torchserve"):
        environ = stack.engine.exec(node, "env")
        assert stack.token not in environ
        assert stack.password not in environ


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("172.30.91.9", id="of another network"),
        pytest.param("172.30.90.1", id="the gateway, which is this machine"),
    ],
)
def test_label_studio_asks_no_other_internal_address(stack: Stack, project: int, host: str) -> None:
    with pytest.raises(AssertionError, match="reserved network address"):
        stack.ask_studio("POST", "/api/ml", json={"project": project, "url": f"http://{host}:9090"})


def test_the_default_base_is_in_the_trainers_image(stack: Stack) -> None:
    found = stack.in_trainer("python", "-c", "from training.fit.graft import minilm_folder as f; print(f().is_dir())")
    assert found == "True"


def test_a_project_is_connected_and_drawn_before_any_model(
    stack: Stack, project: int, tasks: list[dict[str, Any]]
) -> None:
    said = stack.in_trainer("python", "-m", "scripts.connect", "--project", str(project), "--shim-url", SHIM)
    assert "gets 6 regions" in said, said  # four lines, two of which have their value far behind a short caption
    body = {"tasks": tasks[:5], "project": f"{project}.1", "label_config": CONFIG, "params": {}}
    for task, entry in zip(tasks, stack.ask_shim("POST", "/predict", json=body)["results"], strict=False):
        texts = {one["value"]["text"][0] for one in entry["result"] if one["type"] == "textarea"}
        assert {region.text.split()[-1] for region in regions_of(task)} <= {
            word for one in texts for word in one.split()
        }


def train(stack: Stack, project: int) -> dict[str, Any]:
    """Press Start Training in Label Studio and wait for the job's end."""
    (backend,) = stack.ask_studio("GET", "/api/ml", params={"project": project})
    before = {job["id"] for job in stack.ask_shim("GET", "/jobs")["jobs"]}
    stack.ask_studio("POST", f"/api/ml/{backend['id']}/train")
    (job,) = wait_for(lambda: [one for one in stack.ask_shim("GET", "/jobs")["jobs"] if one["id"] not in before])
    ended = wait_for(lambda: _ended(stack, str(job["id"])), timeout_s=900)
    assert (ended["state"], ended["verdict"]) == ("done", "promoted"), ended
    return ended


def _ended(stack: Stack, job: str) -> dict[str, Any] | None:
    record: dict[str, Any] = stack.ask_shim("GET", f"/jobs/{job}")
    return record if record["state"] in ("done", "failed") else None


def test_corrections_become_a_model(stack: Stack, project: int, tasks: list[dict[str, Any]]) -> None:
    for task in tasks[:ANNOTATED]:
        result = annotation_result(regions_of(task), WIDTH, HEIGHT, OCR)
        stack.ask_studio("POST", f"/api/tasks/{task['id']}/annotations", json={"result": result})
    began = time.monotonic()
    job = train(stack, project)
    say(f"a training of {ANNOTATED} pages took {time.monotonic() - began:.0f} s, by way of Redis: {job['message']}")
    assert len(stack.engine.exec(stack.containers("redis")[0], "redis-cli", "--scan").split()) > 0


def test_no_task_is_lost_while_a_node_dies_and_a_version_changes(
    stack: Stack, project: int, tasks: list[dict[str, Any]]
) -> None:
    victim = stack.containers("torchserve")[-1]
    first = current(stack, project)
    asked_before = stack.pages_tagged(victim)
    swapped_after: list[int] = []

    def swap() -> None:
        # The same weights under a new stamp: what is right stays right, and every answer tells who gave it.
        checkpoint = f"/var/lib/layoutloop-models/project-{project}/checkpoint-{first}"
        command = ("python", "-m", "scripts.archive", "--project", str(project), "--checkpoint", checkpoint, "--serve")
        began = load.answered
        said = stack.in_trainer(*command)
        swapped_after.append(load.answered)
        say(f"after {began} tasks a version is promoted, in service after {load.answered}: {said.splitlines()[-1]}")

    def kill() -> None:
        share = stack.pages_tagged(victim) - asked_before
        say(f"after {load.answered} tasks: the node that will be killed tagged {share} of them")
        assert share >= SHARE, "the node that is killed was one that answered"
        stack.engine.run("podman", "kill", "--signal", "KILL", victim)
        say(f"after {load.answered} tasks: a TorchServe container is killed")

    def start() -> None:
        stack.engine.run("podman", "start", victim)
        say(f"after {load.answered} tasks: it is started again")

    load = Load(stack, project, CONFIG)
    began = time.monotonic()
    answers = load.ask(tasks[:-HELD_BACK], {60: kill, 120: start, 160: swap})
    took = time.monotonic() - began
    assert swapped_after[0] < len(answers), "the version came into service under load"
    wait_for(lambda: stack.is_ready(victim))
    asked_when_back, began = stack.pages_tagged(victim), time.monotonic()
    say(f"after {load.answered} tasks: the node is ready again, and tagged {asked_when_back} pages since its start")
    answers += load.ask(tasks[-HELD_BACK:], {})
    took, second = took + time.monotonic() - began, current(stack, project)
    share = stack.pages_tagged(victim) - asked_when_back
    say(f"of the last {HELD_BACK} tasks it tagged {share}")
    assert share >= SHARE, "the node that came back answers again"

    slowest = max(answer.seconds for answer in answers)
    say(f"{len(answers)} tasks in {took:.0f} s, the slowest request {slowest:.0f} s")
    assert first != second, "another version came into service meanwhile"
    check_answers(answers, tasks, {first, second})


def check_answers(answers: Sequence[Answer], tasks: Sequence[Mapping[str, Any]], versions: set[str]) -> None:
    """Every task has a right answer, of one of these versions, and each of them gave some."""
    counts = Counter(answer.version for answer in answers)
    truth = {int(task["id"]): frozenset((one.label, one.text) for one in regions_of(task)) for task in tasks}
    wrong = [answer for answer in answers if answer.found != truth[answer.task]]
    say(f"{len(wrong)} of them without an answer or with a wrong one; by version {dict(counts)}")
    assert wrong == []
    assert set(counts) == versions, "every answer is of a version in service, and both answered"
    assert len(answers) == len({answer.task for answer in answers}) == ASKED


def current(stack: Stack, project: int) -> str:
    """Return the version in service."""
    path = f"/var/lib/layoutloop-models/project-{project}/serving.json"
    return str(json.loads(stack.in_trainer("cat", path))["current"])


def test_every_node_holds_all_that_is_in_service_again(stack: Stack) -> None:
    nodes = stack.containers("torchserve")
    assert len(nodes) == NODES
    wait_for(lambda: all(stack.is_ready(node) for node in nodes))
