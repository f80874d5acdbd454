"""What a checkpoint's folder may hold: each case is refused with one sentence, and nothing is left in the store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from handler.errors import CheckpointInvalid
from handler.tagging.layoutlm import load
from layoutloop.errors import ArchiveFailed
from layoutloop.store.model_store import ModelStore
from training.archive.archive import ProjectSettings, build_project

Change = Callable[[Path], Any]
DEEP = "[" * 100_000


def config(**changes: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def written(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def weights(cast: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file({name: cast(one) for name, one in load_file(path).items()}, path, metadata={"format": "pt"})

    return change


def linked(name: str) -> Change:
    """Its file is moved away, and a link is there."""

    def change(folder: Path) -> None:
        (folder.parent / "elsewhere").mkdir()
        shutil.move(folder / name, folder.parent / "elsewhere" / name)
        (folder / name).symlink_to(folder.parent / "elsewhere" / name)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(config(num_attention_heads=0), id="no heads"),
        pytest.param(config(num_attention_heads=5), id="heads that do not divide"),
        pytest.param(config(num_hidden_layers=0), id="no layers"),
        pytest.param(config(num_hidden_layers=-1), id="layers: negative"),
        pytest.param(config(hidden_size="48"), id="size: a word"),
        pytest.param(config(coordinate_size=9), id="odd size"),
        pytest.param(config(max_2d_position_embeddings=10), id="a small grid"),
        pytest.param(config(visual_embed=True, patch_size=0), id="patches of nothing"),
        pytest.param(config(pad_token_id=10**6), id="pad beyond the vocabulary"),
        pytest.param(config(pad_token_id=-5), id="pad: negative"),
        pytest.param(config(pad_token_id=1.5), id="pad: a fraction"),
        pytest.param(config(dtype="banana"), id="dtype: none"),
        pytest.param(config(hidden_act="banana"), id="no such activation"),
        pytest.param(config(layer_norm_eps=float("inf")), id="eps: infinity"),
        pytest.param(config(id2label=["O"]), id="labels: a list"),
        pytest.param(config(model_type=[1]), id="kind: a list"),
        pytest.param(config(quantization_config=5), id="quantized"),
        pytest.param(written("config.json", DEEP), id="deep config"),
        pytest.param(written("config.json", "null"), id="config: null"),
        pytest.param(written("tokenizer.json", DEEP), id="deep tokenizer"),
        pytest.param(written("tokenizer.json", '{"version": "1.0"}'), id="half a tokenizer"),
        pytest.param(written("tokenizer_config.json", "[]"), id="tokenizer's config: a list"),
        pytest.param(written("model.safetensors.index.json", DEEP), id="deep index"),
        pytest.param(
            written("model.safetensors.index.json", '{"weight_map": {"x": "../../x.safetensors"}}'),
            id="index leads out",
        ),
        pytest.param(weights(lambda one: one * float("nan")), id="weights: NaN"),
        pytest.param(weights(lambda one: one.to(torch.int8)), id="weights: integers"),
        pytest.param(weights(lambda one: one.to(torch.complex64)), id="weights: complex"),
        pytest.param(weights(lambda one: one.to(torch.float8_e4m3fn)), id="weights: 8 bits"),
        pytest.param(linked("config.json"), id="config: a link out"),
        pytest.param(linked("model.safetensors"), id="weights: a link out"),
        pytest.param(linked("tokenizer_config.json"), id="tokenizer: a link out"),
    ],
)
def test_what_cannot_be_served_is_refused_and_leaves_nothing(
    tmp_path: Path, text_checkpoint: Path, change: Change
) -> None:
    source = tmp_path / "source"
    shutil.copytree(text_checkpoint, source)
    change(source)
    with pytest.raises((ArchiveFailed, CheckpointInvalid)) as refused:
        build_project(ModelStore(tmp_path / "store"), 7, source, ProjectSettings())
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("value", ["flash_attention_2", "kernels-community/flash-attn", 7])
def test_how_attention_is_computed_is_not_the_checkpoints_choice(
    tmp_path: Path, text_checkpoint: Path, value: object
) -> None:
    source = tmp_path / "source"
    shutil.copytree(text_checkpoint, source)
    config(attn_implementation=value, _attn_implementation=value)(source)
    assert load(source, device="cpu", dtype="float32").model.config._attn_implementation == "eager"


def test_a_snapshot_of_the_hub_is_taken_with_its_blobs(tmp_path: Path, text_checkpoint: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(text_checkpoint.iterdir())):
        shutil.copyfile(path, blobs / f"{number}")
        (snapshot / path.name).symlink_to(os.path.relpath(blobs / f"{number}", snapshot))
    store = ModelStore(tmp_path / "store")
    card = build_project(store, 7, snapshot, ProjectSettings())
    kept = tmp_path / "store" / "project-7" / f"checkpoint-{card.version}"
    assert sorted(path.name for path in kept.iterdir()) == sorted(path.name for path in text_checkpoint.iterdir())
    assert not any(path.is_symlink() for path in kept.iterdir())


def test_in_a_folder_that_hands_its_group_on_the_group_may_read(tmp_path: Path, text_checkpoint: Path) -> None:
    """A volume of Kubernetes, which containers share by its group."""
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o2770)
    build_project(ModelStore(store), 7, text_checkpoint, ProjectSettings())
    assert {path.stat().st_mode & 0o777 for path in store.rglob("*") if path.is_file()} == {0o660}
