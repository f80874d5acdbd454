"""How anything is read of a folder or hub name that holds a model: its weights alone, and no code that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

ATTENTION = "eager"
"""Never the folder's own choice: transformers would fetch and run a kernel that config.json names."""


def read_config(place: Path | str) -> Any:
    """Return the configuration; raises what transformers runs into."""
    return AutoConfig.from_pretrained(place, trust_remote_code=False, attn_implementation=ATTENTION)


def read_model(kind: Any, place: Path | str, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Any, Any]:
    """Return a model and the report of its loading, which names weights that are missing or of another shape.

    Args:
        kind: a class of transformers.
        place: with safetensors; nothing else is opened.
        dtype: of the model.
        options: of `from_pretrained`.

    Raises:
        Exception: what transformers runs into.
    """
    loaded: tuple[Any, Any] = kind.from_pretrained(
        place,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=ATTENTION,
        output_loading_info=True,
        **options,
    )
    return loaded
