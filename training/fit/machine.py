"""What a training runs on, for its report. Reading a report needs no torch, so it is imported where it is used."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran: CPU cores, torch's device, the weights' dtype."""

    cores: int
    device: str
    dtype: str


def trains_in_bfloat16() -> bool:
    """Whether the device that trains multiplies bfloat16 in hardware."""
    import torch

    from handler.tagging.layoutlm import has_bfloat16

    return has_bfloat16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def this_machine() -> Machine:
    """Return the cores, the device that trains and the number type it computes in."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return Machine(os.cpu_count() or 1, device, "bfloat16" if trains_in_bfloat16() else "float32")
