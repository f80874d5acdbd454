"""The families of text encoders that a LayoutLMv3 is grown out of, and how each names and counts what LayoutLMv3 has.

LayoutLMv3 has the layers of BERT (Devlin et al. 2018, arXiv:1810.04805) and counts positions as RoBERTa does (Liu et
al. 2019, arXiv:1907.11692), where it began; XLM-RoBERTa (Conneau et al. 2020, arXiv:1911.02116) is a RoBERTa of many
languages. MPNet (Song et al. 2020, arXiv:2004.09297) names its layers otherwise, and its attention has biases for how
far apart two tokens are in reading order, in the same buckets as LayoutLMv3's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertModel, MPNetModel, PreTrainedModel, RobertaModel, XLMRobertaModel

from handler.tagging.pretrained import read_model

_EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A family of text encoders.

    Args:
        model: transformers' class, without a head.
        counts_from_padding: whether the first token has the row of positions behind the padding token's id, as in
            LayoutLMv3; otherwise it has row 0.
        renamed: parts of names of weights -> what LayoutLMv3 calls them.
        order_bias: name of the (buckets, heads) biases for distances in reading order, where there are any.
    """

    model: type[PreTrainedModel]
    counts_from_padding: bool
    renamed: Mapping[str, str] = field(default_factory=dict)
    order_bias: str | None = None

    def load(self, name: str | Path) -> Any:
        """Load an encoder in float32, without pooler or head.

        Raises:
            ValueError: its file lacks weights that the family has.
        """
        encoder, report = read_model(self.model, name, add_pooling_layer=False, ignore_mismatched_sizes=True)
        # a wrong shape is reported here, in our words, instead of raised by the loader
        lacking = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
        if lacking:
            raise ValueError(f"{name} is not BERT-like: no weight for {', '.join(lacking[:3])} ({len(lacking)} in all)")
        return encoder

    def positions(self, config: Any) -> int:
        """Return how many rows of positions a LayoutLMv3 gets; padding ids are 0 or 1, and positions start behind."""
        return int(config.max_position_embeddings) + (0 if self.counts_from_padding else 2)

    def translate(self, encoder: Any, pad_token_id: int) -> dict[str, Tensor]:
        """Rename an encoder's tensors to LayoutLMv3's names.

        Args:
            encoder: as `load` returns it.
            pad_token_id: of the LayoutLMv3, which counts positions from it.

        Returns:
            Names below `layoutlmv3.` -> tensors. Position rows run from pad_token_id + 1 on, with zeros around them.

        Raises:
            ValueError: the encoder counts positions from another padding token.
        """
        weights: dict[str, Tensor] = encoder.state_dict()
        renamed = {self._rename(name): tensor for name, tensor in weights.items() if name.startswith("encoder.layer.")}
        for name in ("word_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias"):
            renamed[f"{_EMBEDDINGS}.{name}"] = weights[f"{_EMBEDDINGS}.{name}"]
        table = weights[f"{_EMBEDDINGS}.position_embeddings.weight"]
        types = weights.get(f"{_EMBEDDINGS}.token_type_embeddings.weight", torch.zeros(1, table.shape[1]))
        renamed[f"{_EMBEDDINGS}.token_type_embeddings.weight"] = types[:1]
        rows = table[self._first_row(encoder, pad_token_id) :]
        moved = table.new_zeros(self.positions(encoder.config), table.shape[1])
        moved[pad_token_id + 1 : pad_token_id + 1 + len(rows)] = rows
        renamed[f"{_EMBEDDINGS}.position_embeddings.weight"] = moved
        if self.order_bias is not None:
            # LayoutLMv3 divides its biases by the root of a head's width, MPNet does not.
            width = encoder.config.hidden_size // encoder.config.num_attention_heads
            renamed["encoder.rel_pos_bias.weight"] = weights[self.order_bias].t() * math.sqrt(width)
        return renamed

    def _first_row(self, encoder: Any, pad_token_id: int) -> int:
        """Return the row of the encoder's table of positions that its first token has."""
        if not self.counts_from_padding:
            return 0
        padding = int(encoder.embeddings.padding_idx)
        if padding != pad_token_id:
            raise ValueError(
                f"the encoder counts positions from the padding token {padding}, and its tokenizer's has id "
                f"{pad_token_id}: is it the tokenizer of another encoder?"
            )
        return padding + 1

    def _rename(self, name: str) -> str:
        for theirs, ours in self.renamed.items():
            name = name.replace(theirs, ours)
        return name


TEXT_ENCODERS: Mapping[str, TextEncoder] = {
    "bert": TextEncoder(BertModel, counts_from_padding=False),
    "roberta": TextEncoder(RobertaModel, counts_from_padding=True),
    "xlm-roberta": TextEncoder(XLMRobertaModel, counts_from_padding=True),
    "mpnet": TextEncoder(
        MPNetModel,
        counts_from_padding=True,
        renamed={
            ".attention.attn.q.": ".attention.self.query.",
            ".attention.attn.k.": ".attention.self.key.",
            ".attention.attn.v.": ".attention.self.value.",
            ".attention.attn.o.": ".attention.output.dense.",
            ".attention.LayerNorm.": ".attention.output.LayerNorm.",
        },
        order_bias="encoder.relative_attention_bias.weight",
    ),
}
"""By the `model_type` of their configuration."""
