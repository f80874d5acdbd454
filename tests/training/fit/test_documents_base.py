"""The base that has seen generated documents: made once, kept, and what a project's training begins at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from layoutloop.errors import BaseUnavailable
from scripts.make_base import main
from tests.training.fit.test_text_encoders import make_encoder
from training.fit.bases import make_base, uses_image
from training.fit.documents_base import make_documents_base

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("total", "date")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    make_encoder(folder, "bert")
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


@pytest.fixture(scope="module")
def made(encoder: Path, bases: Path) -> Path:
    return make_documents_base(f"graft:{encoder}", bases, steps=3)


def test_it_keeps_what_was_learned_but_not_the_head(made: Path, encoder: Path) -> None:
    kept = load_file(made / "model.safetensors")
    assert not any(name.startswith("classifier") for name in kept)
    torch.manual_seed(0)
    before = make_base(f"graft:{encoder}", LABELS).model.state_dict()
    assert set(kept) == {name for name in before if not name.startswith("classifier")}
    moved = {name for name in kept if not torch.equal(kept[name], before[name])}
    assert "layoutlmv3.embeddings.x_position_embeddings.weight" in moved
    assert "layoutlmv3.encoder.layer.1.output.dense.weight" in moved
    assert "layoutlmv3.encoder.rel_pos_x_bias.weight" not in moved


def test_a_training_begins_at_it_by_the_recipe_of_grafts(made: Path) -> None:
    base = make_base(f"graft:{made}", LABELS)
    assert (base.kind, base.fresh, base.model.config.num_labels) == ("graft", ("classifier",), 5)
    assert base.model.config.attention_probs_dropout_prob == 0
    kept = load_file(made / "model.safetensors")
    assert all(torch.equal(weight, kept[name]) for name, weight in base.model.state_dict().items() if name in kept)


def test_it_has_no_image_branch_whatever_is_asked(made: Path) -> None:
    assert not uses_image(f"graft:{made}", True)


def test_it_is_made_once(made: Path, encoder: Path, bases: Path) -> None:
    before = (made / "model.safetensors").stat()
    assert make_documents_base(f"graft:{encoder}", bases, steps=3) == made
    assert (made / "model.safetensors").stat() == before
    assert [path.name for path in bases.iterdir() if not path.name.startswith(".")] == [made.name]


def test_other_steps_or_another_encoder_make_another(made: Path, encoder: Path, bases: Path, tmp_path: Path) -> None:
    make_encoder(tmp_path, "roberta")
    others = {
        make_documents_base(f"graft:{encoder}", bases, steps=2),
        make_documents_base(f"graft:{tmp_path}", bases, steps=2),
    }
    assert len(others | {made}) == 3


def test_the_command_prints_the_setting(encoder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.make_base", "--base", f"graft:{encoder}", "--steps", "1"]
    environ = os.environ | {"LAYOUTLOOP_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, _, base = done.stdout.strip().splitlines()[-1].partition("=")
    assert name == "LAYOUTLOOP_TRAIN_BASE"
    assert Path(base.removeprefix("graft:")).parent == tmp_path / "bases"
    assert make_base(base, LABELS).kind == "graft"


@pytest.mark.parametrize("base", [pytest.param("scratch", id="no graft"), pytest.param("graft:", id="no name")])
def test_the_command_takes_grafts_alone(base: str) -> None:
    with pytest.raises(SystemExit):
        main(["--base", base])


def test_an_encoder_that_is_not_there_is_named(bases: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseUnavailable, match="nowhere"):
        make_documents_base(f"graft:{tmp_path / 'nowhere'}", bases, steps=1)
