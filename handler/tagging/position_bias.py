"""LayoutLMv3's biases of attention for relative positions, looked up once for all layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LayoutLMv3Config

from handler.tagging.weights import Weights


class PositionBias:
    """What attention adds for how far apart two tokens are: in reading order, across and down.

    Every distance falls into one of a few buckets, each with a learned number per head. All combinations of the three
    buckets make one table of (heads, combinations), already divided by the square root of a head's width.
    """

    def __init__(self, weights: Weights, config: LayoutLMv3Config, furthest: int) -> None:
        """Build the tables; `furthest` is the largest position in reading order."""
        heads = config.num_attention_heads
        spatial = config.has_relative_attention_bias and config.has_spatial_attention_bias
        order, across, down = (
            _bucket_weights(weights, name, heads, bins if wanted else 0)
            for name, bins, wanted in (
                ("rel_pos_bias", config.rel_pos_bins, config.has_relative_attention_bias),
                ("rel_pos_x_bias", config.rel_2d_pos_bins, spatial),
                ("rel_pos_y_bias", config.rel_2d_pos_bins, spatial),
            )
        )
        table = order[:, :, None, None] + across[:, None, :, None] + down[:, None, None, :]
        # Looked up in float32, for which torch's look-up is twice as fast as for bfloat16, and rounded once.
        self._table = table.flatten(1) / math.sqrt(config.hidden_size // heads)
        places = config.max_2d_position_embeddings - 1
        device = self._table.device
        step_x, step_order = down.shape[1], across.shape[1] * down.shape[1]
        self._order = step_order * buckets(furthest, order.shape[1], config.max_rel_pos, device)
        self._across = step_x * buckets(places, across.shape[1], config.max_rel_2d_pos, device)
        self._down = buckets(places, down.shape[1], config.max_rel_2d_pos, device)

    def __call__(self, order: Tensor, boxes: Tensor) -> Tensor:
        """Return (windows, heads, tokens, tokens) float32: what a token of the third side adds for one of the fourth.

        Args:
            order: (1, tokens) positions in reading order, int32, the same in all windows.
            boxes: (windows, tokens, 4) on the 0..1000 grid, int32. Left edge and bottom edge count.
        """
        windows, tokens, _ = boxes.shape
        index = _of_distances(self._across, boxes[:, :, 0])
        index += _of_distances(self._down, boxes[:, :, 3])
        index += _of_distances(self._order, order)
        looked_up = [self._table.index_select(1, one.flatten()) for one in index]
        biases = looked_up[0] if windows == 1 else torch.stack(looked_up)
        return biases.view(windows, -1, tokens, tokens)


def buckets(furthest: int, bins: int, saturated: int, device: torch.device) -> Tensor:
    """Return (2 * furthest + 1,) int32: the bucket of each distance from -furthest to furthest.

    The buckets of T5 (Raffel et al. 2020, arXiv:1910.10683) as LayoutLMv3 has them: half for either direction; of each
    half, the first half are exact, the others grow logarithmically up to `saturated`. One bin: all in one bucket.
    """
    distance = torch.arange(-furthest, furthest + 1, device=device)
    if bins == 1:
        return torch.zeros_like(distance, dtype=torch.int32)
    half = bins // 2
    exact = half // 2
    steps = distance.abs()
    scale = torch.log(steps.float() / exact) / math.log(saturated / exact) * (half - exact)
    far = (exact + scale.clamp(min=0).to(torch.long)).clamp(max=half - 1)
    return (torch.where(steps < exact, steps, far) + half * (distance > 0)).to(torch.int32)


def _bucket_weights(weights: Weights, name: str, heads: int, bins: int) -> Tensor:
    """Return (heads, bins) float32; without bins, a zero for each head."""
    any_weight = next(iter(weights.tensors.values()))
    if not bins:
        return torch.zeros(heads, 1, device=any_weight.device)
    return weights.take(f"layoutlmv3.encoder.{name}.weight", heads, bins).float()


def _of_distances(table: Tensor, places: Tensor) -> Tensor:
    """Look up how far each token (second side) is from each (third side): of (windows, tokens), one side more."""
    distance = (places + len(table) // 2)[:, None, :] - places[:, :, None]
    return table.index_select(0, distance.flatten()).view(distance.shape)
