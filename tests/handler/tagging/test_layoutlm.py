from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from handler.errors import CheckpointInvalid, LabelMismatch
from handler.tagging.fast_encoder import FastLayoutLM
from handler.tagging.layoutlm import load
from tests.checkpoints import LABELS


def set_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content)


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def pickled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def without_weights(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        del weights[name]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def bert(folder: Path) -> None:
    set_config(model_type="bert", architectures=["BertForTokenClassification"])(folder)


def with_many_tokens(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    size = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"] |= {f"extra{index}": size + index for index in range(50)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.fixture
def folder(text_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(text_checkpoint, tmp_path / "checkpoint"))


def test_load(folder: Path) -> None:
    model = load(folder, "cpu", "auto")
    assert model.labels.names == LABELS
    assert model.labels.tags[:3] == ("O", "B-vendor", "I-vendor")
    assert model.device == torch.device("cpu")
    assert (model.pad_id, model.max_tokens, model.uses_image) == (1, 512, False)
    assert not model.model.training
    assert model.tokenizer.get_vocab_size() > 250


def test_the_fast_forward_pass_shares_what_it_need_not_rearrange(folder: Path) -> None:
    model = load(folder, "cpu", "float32")
    fast = model.accelerated()
    assert isinstance(fast.model, FastLayoutLM)
    assert (fast.tokenizer, fast.labels, fast.dtype) == (model.tokenizer, model.labels, model.dtype)
    with torch.no_grad():
        model.model.layoutlmv3.embeddings.word_embeddings.weight.fill_(7)
    assert (fast.model._text._words == 7).all()


def test_the_image_branch_is_known_from_the_checkpoint(image_checkpoint: Path) -> None:
    assert load(image_checkpoint, "cpu").uses_image


def test_auto_is_bfloat16_where_the_processor_says_it_has_it(folder: Path) -> None:
    flags = Path("/proc/cpuinfo").read_text()
    expected = torch.bfloat16 if " avx512_bf16" in flags else torch.float32
    assert load(folder, "cpu", "auto").dtype == expected


def test_bfloat16(folder: Path) -> None:
    assert {each.dtype for each in load(folder, "cpu", "bfloat16").model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(shutil.rmtree, "no checkpoint with a tokenizer", id="no folder"),
        pytest.param(lambda folder: (folder / "config.json").unlink(), "no checkpoint", id="no config"),
        pytest.param(write("config.json", b"{half"), "no checkpoint", id="config no JSON"),
        pytest.param(bert, "is a bert checkpoint; this handler serves layoutlmv3", id="bert"),
        pytest.param(set_config(pad_token_id=None), "has no pad_token_id", id="no pad token"),
        pytest.param(without_tokenizer, r"no fast tokenizer \(tokenizer.json\)", id="no tokenizer"),
        pytest.param(write("tokenizer.json", b"{half"), "no checkpoint with a tokenizer", id="tokenizer no JSON"),
        pytest.param(with_many_tokens, r"tokenizer has \d+ tokens and the model \d+", id="more tokens than the model"),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded", id="no weights"),
        pytest.param(pickled, "cannot be loaded as a LayoutLMv3 checkpoint", id="pickled weights"),
        pytest.param(write("model.safetensors", bytes(100)), "cannot be loaded", id="weights damaged"),
        pytest.param(without_weights("classifier.weight"), "no weights for classifier.weight", id="no head"),
        pytest.param(
            without_weights("layoutlmv3.encoder.layer.1.output.dense.bias"), "no weights for", id="a layer short"
        ),
        pytest.param(
            set_config(id2label={0: "O", 1: "B-x"}, label2id={"O": 0, "B-x": 1}),
            "cannot be loaded",
            id="P19 head of another size",
        ),
        pytest.param(set_config(hidden_size=64), "cannot be loaded|no weights", id="layers of another size"),
    ],
)
def test_what_is_no_checkpoint(folder: Path, change: Callable[[Path], None], message: str) -> None:
    change(folder)
    with pytest.raises(CheckpointInvalid, match=message):
        load(folder, "cpu", "float32")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        pytest.param([f"LABEL_{index}" for index in range(7)], "only untrained labels", id="P19 untrained"),
        pytest.param(["O", "B-x", "B-x", "I-x", "B-y", "I-y", "B-z"], "number different tags", id="P16 twice"),
    ],
)
def test_labels_without_meaning(folder: Path, tags: list[str], message: str) -> None:
    set_config(id2label=dict(enumerate(tags)), label2id={tag: index for index, tag in enumerate(tags)})(folder)
    with pytest.raises(LabelMismatch, match=message):
        load(folder, "cpu", "float32")


@pytest.mark.parametrize("dtype", ["float16", "int8", "", "torch.float32"])
def test_dtype(folder: Path, dtype: str) -> None:
    with pytest.raises(CheckpointInvalid, match=f"dtype is auto, float32 or bfloat16, got '{dtype}'"):
        load(folder, "cpu", dtype)


def test_code_of_the_checkpoint_is_never_run(folder: Path, tmp_path: Path) -> None:
    """A config that names its own classes would need trust_remote_code."""
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    set_config(auto_map={"AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Slow", "evil.Fast"]})(folder)
    load(folder, "cpu", "float32")
    assert not (tmp_path / "ran").exists()
