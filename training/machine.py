"""What a training runs on, for its report."""

from __future__ import annotations

import os

import torch

from training.report import Machine


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware; without it, bfloat16 would be emulated and slower."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def this_machine() -> Machine:
    """Return the cores, the device that trains and the number type it computes in."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return Machine(os.cpu_count() or 1, device, "bfloat16" if has_bfloat16() else "float32")
