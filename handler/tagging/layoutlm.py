"""A checkpoint on a device: load it, run it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

from handler.errors import CheckpointInvalid, LayoutLoopError
from handler.tagging.architectures import ARCHITECTURES, Architecture
from handler.tagging.encoding import Batch
from handler.tagging.labels import LabelSet
from handler.tagging.pretrained import read_config, read_model

_NUMBER_TYPES = frozenset({"F64", "F32", "F16", "BF16"})
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class LayoutLM:
    """A loaded token classifier.

    Args:
        architecture: what kind of model it is.
        model: transformers' token classifier in evaluation mode, or what its architecture serves instead; on `device`,
            in `dtype`.
        tokenizer: the fast back end saved with the checkpoint.
        labels: of its head.
        pad_id: token id of padding, from which positions are counted.
        max_tokens: the longest window its position embeddings allow, special tokens included.
        uses_image: whether it looks at the page's image.
    """

    architecture: Architecture
    model: Any
    tokenizer: Tokenizer
    labels: LabelSet
    pad_id: int
    max_tokens: int
    uses_image: bool
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, model: Any, tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype) -> LayoutLM:
        """Take a model of one of `ARCHITECTURES`, and read the rest off its configuration.

        Raises:
            LabelMismatch: its labels cannot be used.
        """
        config = model.config
        architecture = ARCHITECTURES[config.model_type]
        return cls(
            architecture=architecture,
            model=model,
            tokenizer=tokenizer,
            labels=labels_of(config),
            pad_id=config.pad_token_id,
            max_tokens=config.max_position_embeddings - config.pad_token_id - 1,
            uses_image=architecture.uses_image(config),
            device=device,
            dtype=dtype,
        )

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return (windows, text tokens, labels) float32 on the CPU.

        Raises:
            torch.OutOfMemoryError, MemoryError: the batch does not fit the device.
        """
        inputs: dict[str, torch.Tensor] = {
            "input_ids": batch.input_ids.to(self.device),
            "attention_mask": batch.attention_mask.to(self.device),
            "bbox": batch.bbox.to(self.device),
        }
        if self.uses_image and batch.pixel_values is not None:
            inputs["pixel_values"] = batch.pixel_values.to(self.device, self.dtype)
        with torch.inference_mode():
            output = self.model(**inputs).logits
        return _to_numpy(output)

    def accelerated(self) -> LayoutLM:
        """Return the same classifier as it serves: it shares weights, and perhaps cannot be trained.

        Raises:
            CheckpointInvalid: a weight is missing or has an unexpected shape.
        """
        return replace(self, model=self.architecture.accelerated(self.model, keep_padding=self.device.type != "cpu"))


def load(folder: Path | str, device: str = "auto", dtype: str = "auto") -> LayoutLM:
    """Load a checkpoint folder (or hub name) with its own fast tokenizer.

    Only safetensors are read and no code of the checkpoint runs.

    Args:
        folder: with config.json, model.safetensors and tokenizer.json.
        device: `auto` (CUDA if there is one), `cpu`, `cuda`, `cuda:1`, ...
        dtype: `auto` (bfloat16 where the device multiplies it in hardware, else float32), `float32`, `bfloat16`.

    Raises:
        CheckpointInvalid: the folder is no checkpoint of a known architecture, or has no fast tokenizer of its own.
    """
    respect_thread_limit()
    chosen = _device(device)
    number_type = _dtype(dtype, chosen)
    config, tokenizer = _config_and_tokenizer(folder)
    if not isinstance(config.pad_token_id, int):
        raise CheckpointInvalid(f"{folder}/config.json has no pad_token_id, from which positions are counted")
    _refuse_sizes(folder, config)
    model = _model(folder, config, number_type)
    return LayoutLM.of(model.to(chosen), tokenizer, chosen, number_type)


def labels_of(config: Any) -> LabelSet:
    """Return the labels of a configuration's head.

    Raises:
        LabelMismatch: they cannot be used.
    """
    return LabelSet.from_id2label({int(index): str(tag) for index, tag in (config.id2label or {}).items()})


def respect_thread_limit() -> None:
    """Let torch compute with no more threads than OMP_THREAD_LIMIT allows.

    People set it for Tesseract. torch 2.13 counts on the threads that it requested: where the limit gives it fewer,
    its CPU kernels leave parts of their results unwritten, and a training is full of NaN from its first step.
    """
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    if limit.isdecimal() and 0 < int(limit) < torch.get_num_threads():
        torch.set_num_threads(int(limit))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; without it, bfloat16 is emulated and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _config_and_tokenizer(folder: Path | str) -> tuple[Any, Tokenizer]:
    with as_invalid(f"{folder} is no checkpoint with a tokenizer"):
        config = read_config(folder)
        architecture = ARCHITECTURES.get(config.model_type)
        wrapper: Any = architecture and architecture.load_tokenizer(folder)
    if architecture is None:
        served = " and ".join(ARCHITECTURES)
        raise CheckpointInvalid(f"{folder} is a {config.model_type} checkpoint; this handler serves {served}")
    tokenizer = getattr(wrapper, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise CheckpointInvalid(f"{folder} has no fast tokenizer (tokenizer.json)")
    if tokenizer.get_vocab_size() <= len(wrapper.all_special_tokens):
        # What transformers 5 makes of a folder without tokenizer.json.
        raise CheckpointInvalid(f"{folder} has no fast tokenizer (tokenizer.json): it knows only special tokens")
    architecture.check_tokenizer(wrapper, config)
    # A private copy: the encoder switches truncation and padding off on it.
    return config, Tokenizer.from_str(tokenizer.to_str())


def _model(folder: Path | str, config: Any, dtype: torch.dtype) -> Any:
    """Return the checkpoint's model in evaluation mode, every weight of it from the checkpoint."""
    architecture = ARCHITECTURES[config.model_type]
    with as_invalid(f"{folder} cannot be loaded as a {architecture.name} checkpoint"):
        model, report = read_model(architecture.model, folder, dtype, config=config)
    if report["missing_keys"]:
        raise CheckpointInvalid(f"{folder} has no weights for {', '.join(sorted(report['missing_keys']))}")
    _refuse_number_types(folder, {name for name, _ in model.named_parameters()})
    return model.eval()


@contextmanager
def as_invalid(what: str) -> Iterator[None]:
    """Turn what three libraries say of a strange checkpoint into one sentence.

    They raise nearly everything: transformers whatever its own code runs into with a wrong type or size, tokenizers
    plain Exception.
    """
    try:
        yield
    except (LayoutLoopError, MemoryError):
        raise
    except Exception as error:
        raise CheckpointInvalid(f"{what}: {' '.join(str(error).split())[:400] or type(error).__name__}") from error


def _refuse_sizes(folder: Path | str, config: Any) -> None:
    """Refuse a config.json with which a model would be made that cannot run, or is another one than was trained."""
    pad_id = config.pad_token_id
    if not 0 <= pad_id < config.vocab_size:
        raise CheckpointInvalid(
            f"{folder}/config.json has pad_token_id {pad_id}, which is none of its {config.vocab_size} tokens"
        )
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
        if getattr(config, name) < 1:
            raise CheckpointInvalid(f"{folder}/config.json has {name} {getattr(config, name)}; it is at least 1")


def _refuse_number_types(folder: Path | str, parameters: Set[str]) -> None:
    """Refuse weights that are no plain floating point: they would be cast to it, and mean something else."""
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name).get_dtype() for name in file.keys() if name in parameters}  # noqa: SIM118
        for name, number_type in found.items():
            if number_type not in _NUMBER_TYPES:
                raise CheckpointInvalid(
                    f"{path} has {name} in {number_type}; weights are in {', '.join(sorted(_NUMBER_TYPES))}"
                )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise CheckpointInvalid(f"device {name!r} is not here: {str(error).splitlines()[0]}") from error


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    if name not in DTYPES:
        raise CheckpointInvalid(f"dtype is auto, {' or '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def _to_numpy(logits: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = logits.float().cpu().numpy()
    return array
