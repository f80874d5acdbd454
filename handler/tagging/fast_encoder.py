"""LayoutLMv3's forward pass without what transformers repeats in every layer, from the same weights.

The maths is that of `LayoutLMv3ForTokenClassification` (Huang et al. 2022, arXiv:2204.08387) in evaluation mode. What
differs: the bias of relative positions is looked up once for all layers, attention is one fused call (the reference's
CogView softmax is plain softmax, computed more slowly), query, key and value are one product, the last layer computes
only what the head reads, and on a CPU little is computed for padding. `benchmarks/forward_speed.py` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification
from transformers.activations import ACT2FN
from transformers.modeling_outputs import TokenClassifierOutput

from handler.tagging.encoding import LENGTH_STEP
from handler.tagging.position_bias import PositionBias
from handler.tagging.weights import Linear, Norm, Weights

GRID = 1000
"""Coordinates of boxes run from 0 to this."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring windows of one length: rows `start` to `start + windows * tokens` of the packed tokens.

    Args:
        bias: (windows, heads, tokens, tokens), what attention adds.
        answers: how many tokens of each window, from its first, the head reads.
    """

    start: int
    windows: int
    tokens: int
    answers: int
    bias: Tensor

    @property
    def rows(self) -> slice:
        """Where its tokens lie."""
        return slice(self.start, self.start + self.windows * self.tokens)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the encoder."""

    heads: int
    query_key_value: Linear
    attention_output: Linear
    attention_norm: Norm
    up: Linear
    activation: Callable[[Tensor], Tensor] | None
    down: Linear
    output_norm: Norm

    @classmethod
    def of(cls, weights: Weights, config: LayoutLMv3Config, number: int) -> Layer:
        """Take one layer's weights."""
        name, width, inner = f"layoutlmv3.encoder.layer.{number}", config.hidden_size, config.intermediate_size
        three = [weights.pair(f"{name}.attention.self.{part}", width, width) for part in ("query", "key", "value")]
        exact_gelu = config.hidden_act == "gelu"
        return cls(
            config.num_attention_heads,
            Linear.of(torch.cat([weight for weight, _ in three]), torch.cat([bias for _, bias in three])),
            Linear.of(*weights.pair(f"{name}.attention.output.dense", width, width)),
            Norm(*weights.pair(f"{name}.attention.output.LayerNorm", width), config.layer_norm_eps),
            Linear.of(*weights.pair(f"{name}.intermediate.dense", inner, width), gelu=exact_gelu),
            None if exact_gelu else ACT2FN[config.hidden_act],
            Linear.of(*weights.pair(f"{name}.output.dense", width, inner)),
            Norm(*weights.pair(f"{name}.output.LayerNorm", width), config.layer_norm_eps),
        )

    def __call__(self, tokens: Tensor, stretches: Sequence[Stretch], answers_only: bool) -> Tensor:
        """Convert (tokens, width) to (tokens, width), or to (answers, width) where only those are needed."""
        products = self.query_key_value(tokens)
        contexts = [self._attend(products[one.rows], one, answers_only) for one in stretches]
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        if answers_only:
            tokens = answers_of(tokens, stretches)
        tokens = self.attention_norm(self.attention_output(context) + tokens)
        inner = self.up(tokens)
        inner = inner if self.activation is None else self.activation(inner)
        return self.output_norm(self.down(inner) + tokens)

    def _attend(self, products: Tensor, stretch: Stretch, answers_only: bool) -> Tensor:
        """Return (windows * queries, width): each token's mean of the values of its window."""
        query, key, value = products.view(stretch.windows, stretch.tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = stretch.bias
        if answers_only:
            query, bias = query[:, :, : stretch.answers], bias[:, :, : stretch.answers]
        mean = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return mean.transpose(1, 2).reshape(-1, self.heads * query.shape[-1])


def answers_of(tokens: Tensor, stretches: Sequence[Stretch]) -> Tensor:
    """Return (answers, width): of each window's tokens those that the head reads."""
    parts = [tokens[one.rows].view(one.windows, one.tokens, -1)[:, : one.answers].flatten(0, 1) for one in stretches]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class TextEmbeddings:
    """What a token is: its word, its place in reading order, and its box."""

    def __init__(self, weights: Weights, config: LayoutLMv3Config) -> None:
        """Take the tables."""
        width, places = config.hidden_size, config.max_2d_position_embeddings
        name = "layoutlmv3.embeddings"
        self._pad_id = config.pad_token_id or 0
        self._words = weights.take(f"{name}.word_embeddings.weight", config.vocab_size, width)
        self._order = weights.take(f"{name}.position_embeddings.weight", config.max_position_embeddings, width)
        self._type = weights.take(f"{name}.token_type_embeddings.weight", config.type_vocab_size, width)[0]
        self._x, self._y, self._height, self._width = (
            weights.take(f"{name}.{axis}_position_embeddings.weight", places, size)
            for axis, size in zip("xyhw", [config.coordinate_size] * 2 + [config.shape_size] * 2, strict=True)
        )
        self._norm = Norm(*weights.pair(f"{name}.LayerNorm", width), config.layer_norm_eps)

    def __call__(self, input_ids: Tensor, bbox: Tensor) -> Tensor:
        """Convert (windows, tokens) ids and (windows, tokens, 4) boxes to (windows, tokens, width)."""
        known = input_ids != self._pad_id
        order = known.cumsum(dim=1) * known + self._pad_id
        left, top, right, bottom = bbox.unbind(-1)
        height, width = ((end - start).clamp(0, len(self._height) - 1) for start, end in ((top, bottom), (left, right)))
        sides = ((self._x, left), (self._y, top), (self._x, right), (self._y, bottom))
        sizes = ((self._height, height), (self._width, width))
        place = torch.cat([functional.embedding(index, table) for table, index in (*sides, *sizes)], dim=-1)
        words = functional.embedding(input_ids, self._words) + self._type
        return self._norm(words + functional.embedding(order, self._order) + place)


class ImageEmbeddings:
    """What the patches of a page's image look like, behind a token for the image as a whole."""

    def __init__(self, weights: Weights, config: LayoutLMv3Config) -> None:
        """Take the weights of the patches."""
        width, name = config.hidden_size, "layoutlmv3"
        size = config.patch_size
        patch = (size, size) if isinstance(size, int) else (size[0], size[1])
        side = config.input_size // patch[0]
        self._filters, self._bias = weights.pair(f"{name}.patch_embed.proj", width, config.num_channels, *patch)
        self._whole = weights.take(f"{name}.cls_token", 1, 1, width)
        self._order = weights.take(f"{name}.pos_embed", 1, side * side + 1, width)
        self._norm = Norm(*weights.pair(f"{name}.norm", width), 1e-6)  # transformers fixes this one's epsilon
        self._norm_with_text = Norm(*weights.pair(f"{name}.LayerNorm", width), config.layer_norm_eps)
        self.boxes = patch_boxes(side).to(self._whole.device)

    def __call__(self, text: Tensor, pixel_values: Tensor) -> Tensor:
        """Put (windows, 3, height, width) pixels behind (windows, tokens, width): more tokens, of the same width."""
        patches = functional.conv2d(pixel_values, self._filters, self._bias, stride=self._filters.shape[-2:])
        patches = patches.flatten(2).transpose(1, 2)
        image = torch.cat([self._whole.expand(len(patches), -1, -1), patches], dim=1) + self._order
        return self._norm_with_text(torch.cat([text, self._norm(image)], dim=1))


def patch_boxes(side: int) -> Tensor:
    """Return (side * side + 1, 4): the box of the image as a whole, then of each patch, row by row, on the grid."""
    edges = torch.arange(0, GRID * (side + 1), GRID) // side
    top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    bottom, right = torch.meshgrid(edges[1:], edges[1:], indexing="ij")
    boxes = torch.stack([left, top, right, bottom], dim=-1).view(-1, 4)
    return torch.cat([torch.tensor([[1, 1, GRID - 1, GRID - 1]]), boxes])


class Head:
    """One product, or from ten classes on two with tanh between them."""

    def __init__(self, weights: Weights, config: LayoutLMv3Config) -> None:
        """Take the layers that the checkpoint has."""
        width, labels = config.hidden_size, int(config.num_labels or 0)
        two = "classifier.dense.weight" in weights.tensors
        self._dense = Linear.of(*weights.pair("classifier.dense", width, width)) if two else None
        self._output = Linear.of(*weights.pair("classifier.out_proj" if two else "classifier", labels, width))

    def __call__(self, tokens: Tensor) -> Tensor:
        """Convert (tokens, width) to (tokens, labels)."""
        return self._output(tokens if self._dense is None else torch.tanh(self._dense(tokens)))


class FastLayoutLM:
    """A LayoutLMv3 token classifier in evaluation mode; called as the transformers model that it was made of."""

    def __init__(self, model: LayoutLMv3ForTokenClassification, *, keep_padding: bool) -> None:
        """Take a loaded model's weights; those that are not put in another order are shared with it.

        Args:
            model: from `from_pretrained`, on the device that will run it.
            keep_padding: compute all padding, in a few large operations, as suits a GPU; otherwise only what fills
                a window's length up to a multiple of `LENGTH_STEP`.

        Raises:
            CheckpointInvalid: a weight is missing or has an unexpected shape.
        """
        config: LayoutLMv3Config = model.config
        weights = Weights(model.state_dict())
        self._text = TextEmbeddings(weights, config)
        self._image = ImageEmbeddings(weights, config) if config.visual_embed else None
        patches = len(self._image.boxes) if self._image else 0
        self._bias = PositionBias(weights, config, furthest=max(config.max_position_embeddings, patches))
        self._layers = [Layer.of(weights, config, number) for number in range(config.num_hidden_layers)]
        self._head = Head(weights, config)
        self._keep_padding = keep_padding

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, bbox: Tensor, pixel_values: Tensor | None = None
    ) -> TokenClassifierOutput:
        """Return `logits` (windows, text tokens, labels); on padding they mean nothing.

        Args:
            input_ids: (windows, tokens).
            attention_mask: (windows, tokens), ones and behind them zeros.
            bbox: (windows, tokens, 4).
            pixel_values: (windows, 3, 224, 224), for a model that looks at the image.
        """
        embedded, boxes = self._text(input_ids, bbox), bbox
        if self._image is not None and pixel_values is not None:
            embedded = self._image(embedded, pixel_values)
            boxes = torch.cat([bbox, self._image.boxes.expand(len(bbox), -1, -1)], dim=1)
        tokens, stretches = self._arrange(embedded, boxes.int(), attention_mask.bool())
        for layer in self._layers[:-1]:
            tokens = layer(tokens, stretches, answers_only=False)
        answers = self._head(self._layers[-1](tokens, stretches, answers_only=True))
        parts = torch.split(answers, [one.windows * one.answers for one in stretches])
        logits = [
            functional.pad(part.view(one.windows, one.answers, -1), (0, 0, 0, input_ids.shape[1] - one.answers))
            for one, part in zip(stretches, parts, strict=True)
        ]
        return TokenClassifierOutput(logits=torch.cat(logits))

    def _arrange(self, embedded: Tensor, boxes: Tensor, is_text: Tensor) -> tuple[Tensor, list[Stretch]]:
        """Return (tokens, width) of all windows, and a stretch for each run of equal lengths."""
        (windows, padded), patches = is_text.shape, embedded.shape[1] - is_text.shape[1]
        lengths = [padded] * windows if self._keep_padding else _whole_steps(is_text)
        parts: list[Tensor] = []
        stretches: list[Stretch] = []
        start = row = 0
        for answers, run in groupby(lengths):
            count = sum(1 for _ in run)
            rows = slice(row, row + count)
            places = torch.arange(padded + patches, device=boxes.device)
            kept = torch.cat([places[:answers], places[padded:]])
            parts.append(embedded[rows].index_select(1, kept).flatten(0, 1))
            bias = self._bias(_order(answers, patches, boxes), boxes[rows].index_select(1, kept))
            visible = functional.pad(is_text[rows, :answers], (0, patches), value=True)
            bias = bias.masked_fill_(~visible[:, None, None, :], -torch.inf)
            stretches.append(Stretch(start, count, len(kept), answers, bias.to(embedded.dtype)))
            start, row = start + count * len(kept), row + count
        return torch.cat(parts), stretches


def _whole_steps(is_text: Tensor) -> list[int]:
    """Return the length of each window, rounded up so that few lengths occur."""
    counts = is_text.sum(dim=1).tolist()
    return [min(count + -count % LENGTH_STEP, is_text.shape[1]) for count in counts]


def _order(answers: int, patches: int, like: Tensor) -> Tensor:
    """Return (1, tokens): text and image are both counted from 0."""
    return torch.cat([torch.arange(count, dtype=like.dtype, device=like.device) for count in (answers, patches)])[None]
