"""A loaded model's weights by name, and the two operations that most of them belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from handler.errors import CheckpointInvalid


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's tensors by name; one that is missing or has another shape is an error that names it."""

    tensors: Mapping[str, Tensor]

    def take(self, name: str, *shape: int) -> Tensor:
        """Return one tensor of that shape.

        Raises:
            CheckpointInvalid: it is not there, or has another shape.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise CheckpointInvalid(f"the model has no weight {name}; is it a LayoutLMv3 token classifier?")
        if tensor.shape != shape:
            raise CheckpointInvalid(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        return tensor

    def pair(self, name: str, *shape: int) -> tuple[Tensor, Tensor]:
        """Return `name.weight` of that shape and `name.bias`, as long as its first side."""
        return self.take(f"{name}.weight", *shape), self.take(f"{name}.bias", shape[0])


@dataclass(frozen=True, slots=True)
class Linear:
    """A product with (outputs, inputs) weights, a bias (outputs,), and perhaps GELU.

    In bfloat16 on a CPU the weights are kept in the order in which oneDNN multiplies them (`packed`): plain `linear`
    puts them into that order at every call, which takes a quarter of its time.
    """

    weight: Tensor
    bias: Tensor
    packed: bool = False
    gelu: bool = False

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, gelu: bool = False) -> Linear:
        """Pack the weights where that is faster."""
        packed = weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and _can_pack()
        if packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _USUAL_ROWS)
        return cls(weight, bias, packed, gelu)

    def __call__(self, rows: Tensor) -> Tensor:
        """Convert (rows, inputs) to (rows, outputs)."""
        if self.packed:
            fused, algorithm = ("gelu", "none") if self.gelu else ("none", "")
            product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, fused, [], algorithm)
            return product
        product = functional.linear(rows, self.weight, self.bias)
        return functional.gelu(product) if self.gelu else product


_USUAL_ROWS = 512
"""How many rows oneDNN is told to expect when it chooses an order of the weights; others are right as well."""


def _can_pack() -> bool:
    """Whether this torch has the product that torch.compile, too, makes of `linear`, and this CPU takes it.

    A CPU with AVX2 alone does not; there bfloat16 is emulated, and asked for by name only (`has_bfloat16`).
    """
    has_product = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return has_product and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm over the last side."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows of mean 0 and deviation 1, scaled."""
        return functional.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.eps)
