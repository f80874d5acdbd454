"""A LiLT goes all the ways of a LayoutLMv3: trained, measured, archived, served, continued, restored, refreshed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from demo.tasks import label_config
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from tests.checkpoints import make_lilt_checkpoint, roberta_tokenizer
from tests.end_to_end.conftest import Stack
from tests.end_to_end.training_stack import LABELS, current, draw_page, predicted, studio_project

pytestmark = pytest.mark.end_to_end
PROJECT = 41
MODEL = project_model(PROJECT)
PAGE = 3
"""A page that is asked about again and again."""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project exported to files: its annotations, label config and images; and the base beside them."""
    folder = tmp_path_factory.mktemp("export")
    project = studio_project(PROJECT)
    (folder / "export.json").write_text(json.dumps(project.tasks))
    (folder / "config.xml").write_text(label_config(LABELS))
    for name, data in project.uploads.items():
        (folder / name).write_bytes(data)
    corpus = [region.text for task in range(30) for region in draw_page(task).regions] + ["Invoice Date Total"] * 9
    make_lilt_checkpoint(folder / "base", tokenizer=roberta_tokenizer(corpus), labels=("x",), initializer_range=0.05)
    return folder


def run(stack: Stack, *arguments: str, **variables: str) -> str:
    done = stack.command(*arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of(export: Path) -> tuple[str, ...]:
    """Where a command finds the project's annotations, labels and images."""
    given = {"annotations": export / "export.json", "label-config": export / "config.xml", "images": export}
    return tuple(part for name, path in given.items() for part in (f"--{name}", str(path)))


def retrain(stack: Stack, export: Path, *more: str) -> str:
    """Train here from the export; return the new version."""
    told = run(
        stack,
        *("scripts.retrain", "--project", str(PROJECT), "--here", *files_of(export), *more),
        LAYOUTLOOP_TRAIN_BASE=str(export / "base"),
        LAYOUTLOOP_TRAIN_LEARNING_RATE="3e-3",
        LAYOUTLOOP_TRAIN_EPOCHS="40",
    )
    found = re.match(r"promoted (\S+) ", told.splitlines()[-1])
    assert found is not None, told
    return found[1]


@pytest.fixture(scope="module")
def first(stack: Stack, export: Path) -> str:
    """The version of a first training."""
    return retrain(stack, export)


def test_a_lilt_is_trained_archived_and_served(stack: Stack, export: Path, first: str) -> None:
    stamp, found = predicted(stack, PROJECT, number=PAGE)
    assert stamp == first == current(stack, PROJECT)
    assert {label for label, _ in found} <= set(LABELS)
    store = ModelStore(stack.settings.model_dir)
    card = store.card(MODEL, first)
    assert (card.labels, card.base_model, card.uses_image) == (LABELS, str(export / "base"), False)
    assert json.loads((store.checkpoint_path(MODEL, first) / "config.json").read_text())["model_type"] == "lilt"


def test_a_training_goes_on_from_a_lilt_and_its_archive_is_measured(stack: Stack, export: Path, first: str) -> None:
    second = retrain(stack, export, "--from", "current", "--force")
    assert predicted(stack, PROJECT, number=PAGE)[0] == second > first
    archive = ("--checkpoint", str(ModelStore(stack.settings.model_dir).archive_path(MODEL, second)))
    told = run(stack, "scripts.evaluate", "--project", str(PROJECT), *archive, *files_of(export), "--json")
    assert json.loads(told)["scores"]["overall"]["f1"] > 0


def test_a_lilt_is_restored_and_refreshed(stack: Stack, first: str) -> None:
    store = ModelStore(stack.settings.model_dir)
    run(stack, "scripts.rollout", "--project", str(PROJECT), "--back-to", first)
    restored = current(stack, PROJECT)
    assert restored is not None
    assert store.card(MODEL, restored).restored_from == first
    stamp, found = predicted(stack, PROJECT, number=PAGE)
    assert stamp == restored

    run(stack, "scripts.archive", "--refresh")
    refreshed = current(stack, PROJECT)
    assert refreshed is not None
    assert refreshed > restored
    assert predicted(stack, PROJECT, number=PAGE) == (refreshed, found)
