"""The pod of a node: what its two containers are given, and how many projects it holds."""

from __future__ import annotations

import pytest

from benchmarks.capacity import Node
from layoutloop.settings.serving import Settings
from tests.deploy.rendered import VARIANTS, data_of, pods


def test_the_workers_of_archive_code_get_no_keys_of_the_object_store() -> None:
    node = pods("overlays/s3")["torchserve"]
    with_keys = [
        container["name"]
        for container in node.containers
        if any("secretRef" in source for source in container["envFrom"])
    ]
    assert with_keys == ["archive", "rollout"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_workers_of_archive_code_get_neither_redis_nor_the_store(variant: str) -> None:
    node = pods(variant)["torchserve"]
    with_redis = [
        container["name"]
        for container in node.containers
        if any(variable["name"] == "REDIS_URL" for variable in container["env"])
    ]
    assert with_redis == ["archive", "rollout"]
    torchserve = node.container("torchserve")
    assert [mount["name"] for mount in torchserve["volumeMounts"]] == ["home", "cache", "tmp"]
    archives = [mount for mount in node.container("rollout")["volumeMounts"] if mount["name"] == "home"]
    assert archives == torchserve["volumeMounts"][:1], "the watcher hands archives over in LAYOUTLOOP_HOME"


def test_readiness_asks_the_watcher() -> None:
    node = pods("base")["torchserve"]
    ready = ["python", "-m", "scripts.rollout", "--ready"]
    watcher = node.container("rollout")
    assert watcher["startupProbe"]["exec"]["command"] == watcher["readinessProbe"]["exec"]["command"] == ready
    # One slow look takes no node out, and one that lost its models is out before a predict's deadline.
    assert watcher["readinessProbe"]["failureThreshold"] > 1
    seconds = watcher["readinessProbe"]["periodSeconds"] * watcher["readinessProbe"]["failureThreshold"]
    assert seconds < Settings().deadline_s


@pytest.mark.parametrize("variant", VARIANTS)
def test_as_many_pages_are_read_at_a_time_as_there_are_cores(variant: str) -> None:
    resources = pods(variant)["torchserve"].container("torchserve")["resources"]
    workers = int(data_of(variant)["layoutloop"]["LAYOUTLOOP_OCR_WORKERS"])
    assert workers == int(resources["requests"]["cpu"]) == int(resources["limits"]["cpu"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_workers_of_a_project_share_the_cores(variant: str) -> None:
    container = pods(variant)["torchserve"].container("torchserve")
    (threads,) = [one["value"] for one in container["env"] if one["name"] == "OMP_NUM_THREADS"]
    workers = int(data_of(variant)["layoutloop"]["LAYOUTLOOP_PROJECT_WORKERS"])
    assert int(threads) * workers == int(container["resources"]["limits"]["cpu"])


@pytest.mark.parametrize(
    ("kind", "projects"), [pytest.param("requests", 5, id="request"), pytest.param("limits", 8, id="limit")]
)
def test_so_many_projects_may_be_awake_on_a_node(kind: str, projects: int) -> None:
    resources = pods("base")["torchserve"].container("torchserve")["resources"]
    settings = data_of("base")["layoutloop"]
    project_workers = int(settings["LAYOUTLOOP_PROJECT_WORKERS"])
    assert project_workers == Node().project_workers, "docs/scale.md counts with another number"
    node = Node(cores=int(settings["LAYOUTLOOP_OCR_WORKERS"]), projects=projects, project_workers=project_workers)
    given_mib = 1024 * int(resources[kind]["memory"].removesuffix("Gi"))
    assert node.memory_mib <= given_mib < node.memory_mib + project_workers * node.tag_mib
