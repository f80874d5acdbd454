"""A graft of each family of text encoders computes, without layout, what the encoder does, and reads words alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

from handler.tagging.layoutlm import load
from layoutloop.errors import BaseUnavailable
from tests.checkpoints import byte_level_bpe
from training.fit.bases import make_base
from training.fit.graft import SPATIAL, graft
from training.fit.text_encoders import TEXT_ENCODERS

LABELS = ("total", "date")
WORDS = ["Invoice", "total", "12.50", "EUR"]
LENGTHS = (300, 7, 120)
"""Tokens of windows: MPNet's biases saturate from a distance of 128 on."""
_PIECES = ["to", "##tal", "in", "##voice", "eu", "##r", "1", "##2", ".", "50"]


def make_tokenizer(family: str) -> Any:
    if family == "roberta":
        bpe = byte_level_bpe().backend_tokenizer
        merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
        return RobertaTokenizer(vocab=bpe.get_vocab(), merges=merges)
    if family == "xlm-roberta":
        special = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
        pieces = ["▁", "▁Inv", "oice", "▁total", "▁12", ".", "50", "▁EUR", "to", "tal", "EUR"]
        return XLMRobertaTokenizer(vocab=[*special, *((piece, -1.0) for piece in pieces), ("<mask>", 0.0)])
    if family == "mpnet":
        special = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
        return MPNetTokenizer(vocab={piece: index for index, piece in enumerate([*special, *_PIECES])})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab={piece: index for index, piece in enumerate([*special, *_PIECES])})


CLASSES: dict[str, tuple[Any, Any]] = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "mpnet": (MPNetConfig, MPNetModel),
}


def make_encoder(folder: Path, family: str, **changes: Any) -> Path:
    """Save a random encoder of two layers with its own kind of tokenizer."""
    tokenizer = make_tokenizer(family)
    configuration, model = CLASSES[family]
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 512 if family == "bert" else 514,
        "initializer_range": 0.3,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    encoder = model(configuration(**settings | changes))
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "bias" in name or "LayerNorm" in name:
                weight.normal_(
                    mean=float(name.endswith("LayerNorm.weight")), std=0.3
                )  # zeros and ones would hide errors
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_inputs(vocabulary: int, pad_id: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(pad_id + 1, vocabulary, mask.shape, generator=generator)
    return {"input_ids": ids.where(mask.bool(), torch.tensor(pad_id)), "attention_mask": mask}


def without_layout(model: Any) -> Any:
    """Put embeddings of boxes and biases for distances on the page at zero."""
    tables = [getattr(model.layoutlmv3.embeddings, name) for name in SPATIAL]
    encoder = model.layoutlmv3.encoder
    with torch.no_grad():
        for module in (*tables, encoder.rel_pos_x_bias, encoder.rel_pos_y_bias):
            module.weight.zero_()
    return model.layoutlmv3


@pytest.mark.parametrize("family", TEXT_ENCODERS)
def test_each_layer_says_what_the_encoder_s_does(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family)
    model, _ = graft(folder, LABELS)
    inputs = make_inputs(model.config.vocab_size, model.config.pad_token_id)
    encoder = CLASSES[family][1].from_pretrained(folder, add_pooling_layer=False).eval()
    boxes = torch.zeros(*inputs["input_ids"].shape, 4, dtype=torch.long)
    with torch.inference_mode():
        expected = encoder(**inputs, output_hidden_states=True).hidden_states
        found = without_layout(model)(**inputs, bbox=boxes, output_hidden_states=True).hidden_states
    assert len(found) == len(expected) == 4
    seen = inputs["attention_mask"].bool()
    for layer, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert theirs[seen].std() > 0.1
        torch.testing.assert_close(ours[seen], theirs[seen], atol=1e-4, rtol=0, msg=f"layer {layer} differs")


def test_mpnet_s_biases_matter(tmp_path: Path) -> None:
    """The test above would not see them if they were small."""
    model, _ = graft(make_encoder(tmp_path, "mpnet"), LABELS)
    inputs = make_inputs(model.config.vocab_size, model.config.pad_token_id)
    inputs["bbox"] = torch.zeros(*inputs["input_ids"].shape, 4, dtype=torch.long)
    with torch.inference_mode():
        before = model(**inputs).logits
        model.layoutlmv3.encoder.rel_pos_bias.weight.div_(2)
        assert (model(**inputs).logits - before).abs().max() > 0.01


@pytest.mark.parametrize("family", TEXT_ENCODERS)
def test_what_serves_says_the_same_and_reads_the_same(tmp_path: Path, family: str) -> None:
    """Weights, biases and tokenizer survive the checkpoint, and the fast forward pass knows the biases too."""
    model, tokenizer = graft(make_encoder(tmp_path / "encoder", family), LABELS)
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    inputs = make_inputs(model.config.vocab_size, model.config.pad_token_id)
    inputs["bbox"] = torch.randint(0, 500, (*inputs["input_ids"].shape, 2)).repeat(1, 1, 2) + torch.tensor(
        [0, 0, 90, 9]
    )
    loaded = load(tmp_path / "checkpoint", "cpu", "float32")
    seen = inputs["attention_mask"].bool()
    with torch.inference_mode():
        expected = model(**inputs).logits[seen]
        found = loaded.accelerated().model(**inputs).logits[seen]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert loaded.max_tokens == 512 + (family == "bert")
    ours = tokenizer.backend_tokenizer.encode(WORDS, is_pretokenized=True)
    assert loaded.tokenizer.encode(WORDS, is_pretokenized=True).ids == ours.ids
    assert ours.ids[0] == tokenizer.cls_token_id
    assert ours.ids[-1] == tokenizer.sep_token_id


@pytest.mark.parametrize("family", TEXT_ENCODERS)
def test_how_attention_is_computed_is_not_the_encoder_s_choice(tmp_path: Path, family: str) -> None:
    """transformers would fetch a kernel that config.json names, and run it."""
    folder = make_encoder(tmp_path, family)
    for name in ("attn_implementation", "_attn_implementation"):
        with_setting(name, "kernels-community/flash-attn")(folder)
    model, _ = graft(folder, LABELS)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_a_word_is_read_as_one_within_a_text(tmp_path: Path, family: str) -> None:
    """By itself RoBERTa's tokenizer takes a word for the start of a text, which has other tokens."""
    _, tokenizer = graft(make_encoder(tmp_path, family), LABELS)
    plain = tokenizer.backend_tokenizer.encode("Invoice total 12.50 EUR", add_special_tokens=False)
    words = tokenizer.backend_tokenizer.encode(WORDS, is_pretokenized=True, add_special_tokens=False)
    assert words.ids[1:] == plain.ids[1:]
    first = [words.tokens[words.word_ids.index(word)] for word in range(len(WORDS))]
    assert all(token.startswith(("Ġ", "▁")) for token in first)


def with_setting(name: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {name: value}))

    return change


def with_tokenizer_of(family: str) -> Callable[[Path], None]:
    return lambda folder: make_tokenizer(family).save_pretrained(folder)


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        pytest.param("roberta", with_setting("model_type", "distilbert"), "got 'distilbert'", id="another family"),
        pytest.param("mpnet", with_tokenizer_of("bert"), "tokenizer of another encoder", id="another tokenizer"),
        pytest.param(
            "mpnet", with_setting("relative_attention_num_buckets", 16), "rel_pos_bias|no weight", id="other buckets"
        ),
        pytest.param(
            "roberta", with_setting("position_embedding_type", "relative_key"), "'absolute'", id="other positions"
        ),
    ],
)
def test_what_cannot_be_grafted_is_told(tmp_path: Path, family: str, change: Callable[[Path], None], said: str) -> None:
    change(make_encoder(tmp_path, family))
    with pytest.raises(BaseUnavailable, match=said):
        make_base(f"graft:{tmp_path}", LABELS)
