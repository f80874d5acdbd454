"""Corrections become the next model in service: the real worker, TorchServe and shim, a Label Studio at a socket."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import requests

from demo.tasks import label_config
from handler.page import TaggedPage
from handler.tagging.tagger import Tagger, TaggerSettings
from handler.wire import page_from_json
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from tests.end_to_end.conftest import Stack
from tests.end_to_end.training_stack import (
    LABELS,
    PROJECT,
    TASKS,
    VALIDATION,
    capture,
    current,
    draw_page,
    in_service_unchanged,
    job_of,
    model_folder,
    predicted,
    start_training,
    studio_project,
    wait_for_job,
)
from training.report.files import read_report
from training.report.report import Report

pytestmark = pytest.mark.end_to_end

MODEL = project_model(PROJECT)


@pytest.fixture(autouse=True)
def intact(trained: dict[str, Any], stack: Stack) -> None:
    stack.studio.projects[PROJECT] = studio_project()


def report_of(stack: Stack, version: str) -> Report:
    return read_report(ModelStore(stack.settings.model_dir).report_path(MODEL, version))


def train(stack: Stack, **flags: bool) -> dict[str, Any]:
    answer = requests.post(f"{stack.url}/train", json={"project": PROJECT, **flags}, timeout=30)
    assert answer.status_code == 202, answer.text
    return wait_for_job(stack, answer.json()["job"])


def annotated(stack: Stack) -> dict[str, Any]:
    """Send the event of a submitted annotation; return the record of the job that came of it."""
    answer = requests.post(f"{stack.url}/webhook", json=capture("ANNOTATION_CREATED"), timeout=30)
    assert answer.status_code == 200, answer.text
    return wait_for_job(stack, answer.json()["job"])


def follow(stack: Stack, job: str, labels: Sequence[str] = LABELS) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Ask for predictions until a job has ended; return its record and the states and steps that it went through.

    Every answer comes from the version that was in service before or is now.
    """
    before, seen = current(stack), set()
    while (record := job_of(stack, job))["state"] not in ("done", "failed"):
        seen.add((record["state"], record["step"]))
        assert predicted(stack, labels=labels)[0] in (before, current(stack))
        time.sleep(0.3)
    return record, seen


def test_start_training_puts_a_model_into_service(stack: Stack, trained: dict[str, Any]) -> None:
    version = trained["version"]
    assert (trained["project"], trained["trigger"], trained["attempt"]) == (PROJECT, "start_training", 1)
    assert "no model to compare with" in trained["message"]
    assert trained["error"] == ""
    listed = requests.get(f"{stack.url}/jobs", params={"project": PROJECT}, timeout=30).json()["jobs"]
    assert trained["id"] in [one["id"] for one in listed]
    card = ModelStore(stack.settings.model_dir).card(MODEL, version)
    assert (card.labels, card.base_model, card.language) == (LABELS, "scratch", "eng")
    report = report_of(stack, version)
    assert (report.trained_pages, report.validation_pages, report.labels) == (len(TASKS), len(VALIDATION), LABELS)
    assert report.trained_tasks == tuple(sorted(TASKS))
    assert report.scores is not None
    assert report.scores.overall.f1 == trained["f1"] >= 0.9
    assert set(report.seconds) == {"read pages", "train", "evaluate", "archive", "rollout"}
    beside = {path.name for path in model_folder(stack).glob(f"{MODEL}-{version}*")}
    endings = (".mar", ".json", ".report.json", ".report.html")
    assert beside == {f"{MODEL}-{version}{ending}" for ending in endings}
    assert ModelStore(stack.settings.model_dir).card_path(MODEL, version).name in beside


def test_progress_is_told_and_the_new_version_is_named_everywhere(stack: Stack) -> None:
    before = current(stack)
    record, seen = follow(stack, start_training(stack))
    assert (record["state"], record["verdict"]) == ("done", "promoted"), record
    assert {state for state, _ in seen} <= {"queued", "running"}
    assert ("running", "train") in seen
    version = record["version"]
    assert version > before
    assert current(stack) == version
    setup = requests.post(
        f"{stack.url}/setup", json={"project": f"{PROJECT}.1", "schema": label_config(LABELS)}, timeout=30
    ).json()
    assert setup["model_version"].startswith(f"{version}-")
    answers = [predicted(stack, number=task) for task in VALIDATION]
    assert {stamp for stamp, _ in answers} == {version}
    assert {label for _, found in answers for label, _ in found} == set(LABELS)
    assert f"of version {report_of(stack, version).compared[0].version} on" in record["message"]


def test_annotations_train_by_themselves_when_enough_are_new(stack: Stack) -> None:
    before = current(stack)
    job = annotated(stack)
    assert (job["state"], job["verdict"], job["version"]) == ("done", "skipped", "")
    assert job["message"] == "0 annotations are new since the last training; 3 start one (LAYOUTLOOP_TRAIN_EVERY)"
    assert current(stack) == before
    for task in stack.studio.projects[PROJECT].tasks[:3]:
        task["annotations"][0]["updated_at"] = "2026-11-23T09:30:00.000000Z"
    job = annotated(stack)
    assert (job["state"], job["verdict"]) == ("done", "promoted"), job
    assert current(stack) == job["version"] > before


def test_a_changed_label_config_is_trained_and_the_old_version_answers_until_then(stack: Stack) -> None:
    labels = ("vendor", "date")
    changed = studio_project(labels=labels)
    old = {task["id"]: task for task in studio_project().tasks}
    first = changed.tasks[0]  # was annotated before the change, with a label that is gone
    first["annotations"] = old[first["id"]]["annotations"]
    stack.studio.projects[PROJECT] = changed
    job, _ = follow(stack, start_training(stack), labels)
    assert (job["state"], job["verdict"]) == ("done", "promoted"), job
    report = report_of(stack, job["version"])
    assert report.labels == labels
    assert report.new_labels == ("date",)
    unknown = [why for why in report.left_out.values() if any('"total"' in one for one in why.examples)]
    assert [why.count for why in unknown] == [1]
    answers = [predicted(stack, labels=labels, number=task) for task in VALIDATION]
    assert {stamp for stamp, _ in answers} == {job["version"]}
    assert {label for _, found in answers for label, _ in found} == set(labels)


@pytest.fixture(scope="module")
def vandalised(stack: Stack, trained: dict[str, Any]) -> dict[str, Any]:
    """What came of a training on swapped labels, which is rejected, and of the same by force."""
    swap = {"vendor": "total", "total": "vendor"}
    swapped = studio_project(renamed=lambda task, label: swap[label] if task in TASKS else label)
    stack.studio.projects[PROJECT] = swapped
    with in_service_unchanged(stack):
        rejected = train(stack)
    reports = sorted(model_folder(stack).glob("rejected-*.report.json"))
    return {"rejected": rejected, "reports": reports, "forced": train(stack, force=True)}


def test_the_gate_rejects_what_is_worse_and_force_overrides_it(
    trained: dict[str, Any], vandalised: dict[str, Any]
) -> None:
    rejected, forced = vandalised["rejected"], vandalised["forced"]
    assert (rejected["state"], rejected["verdict"], rejected["version"]) == ("done", "rejected", "")
    assert "worse, and not by chance" in rejected["message"]
    assert rejected["f1"] < 0.5
    verdict = json.loads(vandalised["reports"][-1].read_text())["verdict"]
    assert (verdict["promote"], verdict["reason"]) == (False, rejected["message"])
    assert vandalised["reports"][-1].with_suffix(".html").is_file()
    assert (forced["state"], forced["verdict"]) == ("done", "promoted")
    assert forced["message"].startswith("Forced; this overrides the gate.")
    assert forced["version"] > trained["version"]


@pytest.mark.usefixtures("vandalised")
def test_back_to_an_older_version(stack: Stack, trained: dict[str, Any]) -> None:
    good, before = trained["version"], current(stack)
    restored = stack.command("scripts.rollout", "--project", str(PROJECT), "--back-to", good)
    assert restored.returncode == 0, restored.stderr
    version = current(stack)
    assert version > before
    assert restored.stdout == f"in service again, as {version}\n"
    assert ModelStore(stack.settings.model_dir).card(MODEL, version).restored_from == good
    assert report_of(stack, version) == replace(report_of(stack, good), version=version, restored_from=good)
    image = draw_page(77).png
    page = requests.post(stack.torchserve("/predictions/ocr"), data=image, headers=stack.token(), timeout=60).json()
    served = requests.post(
        stack.torchserve(f"/predictions/{MODEL}"), json=page, headers=stack.token(), timeout=60
    ).json()
    offline = Tagger.load(model_folder(stack) / f"checkpoint-{good}", TaggerSettings(device="cpu", threads=1))
    (expected,) = offline.tag([page_from_json(page)])
    assert isinstance(expected, TaggedPage)
    assert served["model_version"] == version
    assert [(one["label"], one["text"], one["words"]) for one in served["regions"]] == [
        (one.label, one.text, list(one.words)) for one in expected.regions
    ]
    assert {one["label"] for one in served["regions"]} == set(LABELS)
    assert predicted(stack)[0] == version
