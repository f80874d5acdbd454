"""The architectures that are trained and served, LayoutLMv3 and LiLT: what differs between them, and nothing else.

LayoutLMv3 (Huang et al. 2022, arXiv:2204.08387) reads words, their boxes and perhaps the image. LiLT (Wang et al. 2022,
arXiv:2202.13669) is a text encoder of RoBERTa's kind, of any language, beside a small encoder of boxes; it runs as
transformers has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tokenizers import pre_tokenizers
from transformers import (
    AutoTokenizer,
    LayoutLMv3ForTokenClassification,
    LiltForTokenClassification,
    PreTrainedModel,
)

from handler.errors import CheckpointInvalid
from handler.tagging.fast_encoder import FastLayoutLM

_SPARE_ROWS = 1000
"""A table of words may have so many rows that no token uses: some are rounded up, or keep room for more."""


class Architecture(Protocol):
    """One kind of model. Models and configurations are transformers' own, tokenizers its wrappers of `tokenizers`."""

    @property
    def name(self) -> str:
        """As its authors write it."""

    @property
    def model(self) -> type[PreTrainedModel]:
        """The token classifier."""

    def load_tokenizer(self, place: Path | str) -> Any:
        """Load the tokenizer of a folder or hub name.

        Raises:
            OSError, ValueError, KeyError: there is none.
        """

    def check_tokenizer(self, tokenizer: Any, config: Any) -> None:
        """Check that a tokenizer's ids mean to the model what they mean to the tokenizer.

        Raises:
            CheckpointInvalid: it is another model's.
        """

    def uses_image(self, config: Any) -> bool:
        """Whether a model looks at the page's image."""

    def accelerated(self, model: Any, *, keep_padding: bool) -> Callable[..., Any]:
        """Return what is called instead of the model when it serves."""


class LayoutLMv3:
    """Words, boxes, and the image where it was built with that branch (`visual_embed`)."""

    name = "LayoutLMv3"
    model = LayoutLMv3ForTokenClassification

    def load_tokenizer(self, place: Path | str) -> Any:
        """Load it as the checkpoint has it."""
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False, use_fast=True)

    def check_tokenizer(self, tokenizer: Any, config: Any) -> None:
        """Check that there is an embedding for each token."""
        tokens = tokenizer.backend_tokenizer.get_vocab_size()
        if tokens > config.vocab_size:
            raise CheckpointInvalid(f"the tokenizer has {tokens:,} tokens and the model {config.vocab_size:,}")

    def uses_image(self, config: Any) -> bool:
        """Look at `visual_embed`."""
        return bool(config.visual_embed)

    def accelerated(self, model: Any, *, keep_padding: bool) -> Callable[..., Any]:
        """Return our own forward pass, with the model's weights."""
        return FastLayoutLM(model, keep_padding=keep_padding)


class Lilt:
    """Words and boxes; the text half, and so the tokenizer, may be anybody's."""

    name = "LiLT"
    model = LiltForTokenClassification

    def load_tokenizer(self, place: Path | str) -> Any:
        """Load the text half's tokenizer so that it reads words as the text half did."""
        return load_word_tokenizer(place)

    def check_tokenizer(self, tokenizer: Any, config: Any) -> None:
        """Check size and special tokens: as many as the text half has, and under the same ids."""
        found = _difference(tokenizer, config)
        if found:
            raise CheckpointInvalid(
                f"the tokenizer is not that of the LiLT's text half: {found}. Save the text encoder's own tokenizer "
                "into the checkpoint's folder"
            )

    def uses_image(self, config: Any) -> bool:
        """Look at no image, whatever the configuration says."""
        del config
        return False

    def accelerated(self, model: Any, *, keep_padding: bool) -> Callable[..., Any]:
        """Return the model itself."""
        del keep_padding
        called: Callable[..., Any] = model
        return called


ARCHITECTURES: Mapping[str, Architecture] = {"layoutlmv3": LayoutLMv3(), "lilt": Lilt()}
"""By the `model_type` of their configuration."""


def load_word_tokenizer(place: Path | str) -> Any:
    """Load a tokenizer that reads each word as one that stands within a text.

    RoBERTa's byte-level BPE has other tokens for a word at the start of a text than for one behind a space, and takes
    a word by itself for the former unless that is set otherwise. Others see no difference.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(place, trust_remote_code=False, use_fast=True, add_prefix_space=True)
    cutter = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if isinstance(cutter, pre_tokenizers.ByteLevel):
        cutter.add_prefix_space = True  # what was loaded from tokenizer.json as it stands takes no such argument
    return tokenizer


def _difference(tokenizer: Any, config: Any) -> str:
    """Return what a tokenizer and a configuration do not agree about; nothing where they agree."""
    tokens = tokenizer.backend_tokenizer.get_vocab_size()
    if not config.vocab_size - _SPARE_ROWS < tokens <= config.vocab_size:
        return f"it has {tokens:,} tokens, and the model embeddings for {config.vocab_size:,}"
    roles = {
        "padding": (tokenizer.pad_token_id, config.pad_token_id),
        "first": (_first_of(tokenizer.cls_token_id, tokenizer.bos_token_id), config.bos_token_id),
        "last": (_first_of(tokenizer.sep_token_id, tokenizer.eos_token_id), config.eos_token_id),
    }
    for role, (theirs, ours) in roles.items():
        if theirs is not None and ours is not None and theirs != ours:
            return f"its {role} token has id {theirs}, and the model's {ours}"
    return ""


def _first_of(*ids: int | None) -> int | None:
    return next((one for one in ids if one is not None), None)
