"""`python -m scripts.retrain --here` from an exported file: tried, promoted, continued."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from demo.tasks import label_config
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from tests.end_to_end.conftest import Stack
from tests.end_to_end.training_stack import LABELS, current, model_folder, predicted, studio_project
from training.report.files import read_report

pytestmark = pytest.mark.end_to_end
PROJECT = 31


def test_a_training_from_files(stack: Stack, tmp_path: Path) -> None:
    project = studio_project(PROJECT)
    (tmp_path / "export.json").write_text(json.dumps(project.tasks))
    (tmp_path / "config.xml").write_text(label_config(LABELS))
    for name, data in project.uploads.items():
        (tmp_path / name).write_bytes(data)

    def retrain(*more: str) -> str:
        files = ("--annotations", "export.json", "--label-config", "config.xml")
        paths = [str(tmp_path / part) if part in ("export.json", "config.xml") else part for part in files]
        done = stack.command(
            "scripts.retrain", "--project", str(PROJECT), "--here", *paths, "--images", str(tmp_path), *more
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert retrain("--dry-run").startswith("dry run")
    assert current(stack, PROJECT) is None
    assert len(list(model_folder(stack, PROJECT).glob("dry-run-*.report.html"))) == 1

    first = re.match(r"promoted (\S+) F1 ", retrain())
    assert first is not None
    assert current(stack, PROJECT) == first[1]
    assert predicted(stack, PROJECT)[0] == first[1]

    second = re.match(r"promoted (\S+) ", retrain("--from", "current", "--force"))
    assert second is not None
    assert current(stack, PROJECT) == second[1]
    report = read_report(ModelStore(stack.settings.model_dir).report_path(project_model(PROJECT), second[1]))
    assert report.base_kind == "current"
    assert report.compared[0].version == first[1]
    assert (
        report.losses[0][1]
        < read_report(ModelStore(stack.settings.model_dir).report_path(project_model(PROJECT), first[1])).losses[0][1]
    ), "it did not begin where the first one ended"
    assert not list((stack.settings.home / "training" / project_model(PROJECT)).glob("*"))
