"""What a training starts from: `graft:<text encoder>`, a LayoutLMv3 or LiLT by hub name or folder, or `scratch`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LayoutLMv3Config,
    LayoutLMv3ForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from handler.errors import CheckpointInvalid
from handler.tagging.architectures import ARCHITECTURES
from handler.tagging.labels import LabelSet
from handler.tagging.layoutlm import LayoutLM, as_invalid, load
from handler.tagging.pretrained import read_config, read_model
from handler.tagging.tagger import TaggerSettings
from layoutloop.errors import BaseUnavailable
from layoutloop.settings.training import GRAFT_PREFIX, MINILM_BASE, SCRATCH
from training.fit.graft import graft, minilm_folder

logger = logging.getLogger(__name__)

Kind = Literal["graft", "checkpoint", "scratch"]

_SCRATCH_VOCABULARY = 8000


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a kind of base is trained.

    Args:
        learning_rate: peak rate of AdamW, for weights that are pre-trained.
        new_factor: how many times that rate the weights get that start at random.
        batch_pages: windows per optimizer step, over all devices.
        steps: optimizer steps aimed at.
        min_epochs: passes over the pages, at least.
        max_epochs: passes over the pages, at most.
        attention_dropout: of the attention probabilities.
        vary: whether each pass sees the pages with their boxes moved a little (`windows.jittered`) and with other
            numbers and names in them (`variation`).
    """

    learning_rate: float
    new_factor: float
    batch_pages: int
    steps: int
    min_epochs: int
    max_epochs: int
    attention_dropout: float
    vary: bool

    def epochs(self, windows: int, batch: int) -> int:
        """Return how many passes over so many windows, so many at a time, come nearest to `steps`."""
        per_epoch = max(1, -(-windows // batch))
        return min(max(round(self.steps / per_epoch), self.min_epochs), self.max_epochs)


RECIPES: dict[Kind, Recipe] = {
    # Measured in benchmarks/learning_curve.py. On a CPU the random numbers of attention dropout alone take a quarter
    # of the time.
    "graft": Recipe(2e-4, 5.0, 4, 300, 15, 300, 0.0, vary=True),
    # The rate, batch and steps of the well-known notebook (NielsRogge/Transformers-Tutorials, LayoutLMv3).
    "checkpoint": Recipe(1e-5, 1.0, 2, 1000, 10, 100, 0.1, vary=False),
    "scratch": Recipe(5e-4, 1.0, 4, 600, 15, 100, 0.0, vary=True),
}


@dataclass(frozen=True, slots=True)
class Base:
    """A model to be trained.

    Args:
        model: in float32, with a head for the labels.
        tokenizer: fast.
        kind: what its recipe goes by.
        fresh: prefixes of the names of weights that start at random.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    kind: Kind
    fresh: tuple[str, ...]


def kind_of(base: str) -> Kind:
    """Return the kind that a base's name says."""
    if base.startswith(GRAFT_PREFIX):
        return "graft"
    return "scratch" if base == SCRATCH else "checkpoint"


def uses_image(base: str, image: bool) -> bool:
    """Whether the model of a base looks at the page's image: as `image` says, but a checkpoint has what it has.

    Raises:
        BaseUnavailable: there is no such checkpoint or text encoder.
    """
    if kind_of(base) == "scratch":
        return image
    try:
        with as_invalid("it cannot be understood"):
            config = read_config(_place(base))
    except (CheckpointInvalid, OSError) as error:
        raise BaseUnavailable(_advice(base, error)) from error
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        return image and kind_of(base) == "graft"
    return architecture.uses_image(config)


def make_base(base: str, labels: Sequence[str], *, image: bool = False, words: Sequence[str] = ()) -> Base:
    """Make the model that a training starts from.

    Args:
        base: `graft:minilm`, `graft:<hub name or folder>` of a text encoder, `graft:<folder>` of a graft that was made
            before (`documents_base`), `scratch`, or hub name or folder of a LayoutLMv3 or LiLT.
        labels: entity labels, in order; classes are O, then B- and I- of each.
        image: build the image branch into a graft or a scratch model; a checkpoint has what it has.
        words: texts that the vocabulary of `scratch` is learned from.

    Raises:
        BaseUnavailable: it cannot be loaded from here, or is nothing that can be trained.
    """
    kind = kind_of(base)
    if kind == "scratch":
        return _scratch(labels, image, words)
    try:
        if kind == "graft" and read_config(_place(base)).model_type == _GROWN:
            made = replace(_checkpoint(str(_place(base)), labels), kind=kind)
        elif kind == "graft":
            model, tokenizer = graft(_place(base), labels, visual_embed=image)
            model.config.attention_probs_dropout_prob = 0.0
            made = Base(model, tokenizer, kind, _GRAFTED)
        else:
            made = _checkpoint(base, labels)
        _check_length(made.model.config)
    except (CheckpointInvalid, OSError, ValueError) as error:
        raise BaseUnavailable(_advice(base, error)) from error
    return made


def continue_from(checkpoint: Path, base: str, labels: Sequence[str]) -> Base:
    """Make a model that goes on from an earlier version: its weights, and its head's rows by label name or at random.

    Args:
        checkpoint: the earlier version's folder.
        base: what that version was trained from, which chooses the recipe.
        labels: entity labels of the new version, in order.

    Raises:
        BaseUnavailable: the folder cannot be loaded.
    """
    try:
        before = load(checkpoint, device="cpu", dtype="float32")
        made = _checkpoint(str(checkpoint), labels)
    except (CheckpointInvalid, OSError, ValueError) as error:
        raise BaseUnavailable(f"the version to continue from cannot be loaded: {error}") from error
    if type(made.model.classifier) is type(before.model.classifier):
        _copy_rows(before, made.model, LabelSet.from_names(labels).tags)
    else:
        # From ten classes on LayoutLMv3's head has two layers; rows of one kind mean nothing to the other.
        logger.warning("%d labels make a head of another kind: it starts at random", len(labels))
    return Base(made.model, made.tokenizer, kind_of(base), ("classifier",))


def _place(base: str) -> str | Path:
    """Return the hub name or folder that a base is read from."""
    return minilm_folder() if base == MINILM_BASE else base.removeprefix(GRAFT_PREFIX)


_GROWN = "layoutlmv3"
"""The model_type of a graft that was made before (`documents_base`)."""
_GRAFTED = (
    "classifier",
    *(f"layoutlmv3.embeddings.{axis}_position_embeddings" for axis in "xyhw"),
    *("layoutlmv3.patch_embed", "layoutlmv3.pos_embed", "layoutlmv3.cls_token", "layoutlmv3.norm"),
)
"""What a graft does not get from its text encoder. (The relative-position biases start at random too, but
transformers 5.23 computes them under no_grad: they never train.)"""


@as_invalid("it cannot be loaded")
def _checkpoint(name: str, labels: Sequence[str]) -> Base:
    """Load a LayoutLMv3 or LiLT with a new head of 2 x labels + 1 classes; only safetensors, no code of its own."""
    config = read_config(name)
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        known = " or a ".join(one.name for one in ARCHITECTURES.values())
        raise ValueError(f"it is a {config.model_type} model; a base is a {known}, or graft:<text encoder>")
    config.id2label, config.label2id = _label_maps(labels)
    model, report = read_model(architecture.model, name, config=config, ignore_mismatched_sizes=True)
    lacking = [key for key in report["missing_keys"] if not key.startswith("classifier.")]
    if lacking:
        raise ValueError(f"it has no weights for {', '.join(sorted(lacking)[:3])} ({len(lacking)} in all)")
    tokenizer = architecture.load_tokenizer(name)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or tokenizer.backend_tokenizer.get_vocab_size() <= len(
        tokenizer.all_special_tokens
    ):
        raise ValueError("it has no fast tokenizer (tokenizer.json)")
    architecture.check_tokenizer(tokenizer, config)
    return Base(model, tokenizer, "checkpoint", ("classifier",))


def _check_length(config: Any) -> None:
    """Refuse now what could not serve in the end."""
    tokens, needed = config.max_position_embeddings - int(config.pad_token_id or 0) - 1, TaggerSettings().max_tokens
    if tokens < needed:
        raise ValueError(f"it has positions for {tokens} tokens, and a window has {needed}")


def _scratch(labels: Sequence[str], image: bool, words: Sequence[str]) -> Base:
    """Make a small LayoutLMv3 (4 layers, 192 wide) with random weights and a vocabulary learned from `words`."""
    tokenizer = _word_pieces(words)
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=768,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=514,
        coordinate_size=32,
        shape_size=32,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        visual_embed=image,
    )
    config.id2label, config.label2id = _label_maps(labels)
    return Base(LayoutLMv3ForTokenClassification(config), tokenizer, "scratch", ())


def _word_pieces(words: Sequence[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer.train_from_iterator(
        list(words) or ["page"],
        trainers.WordPieceTrainer(vocab_size=_SCRATCH_VOCABULARY, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
    )


def _label_maps(labels: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    tags = LabelSet.from_names(labels).tags
    return dict(enumerate(tags)), {tag: index for index, tag in enumerate(tags)}


def _copy_rows(before: LayoutLM, model: PreTrainedModel, tags: Sequence[str]) -> None:
    old = {tag: row for row, tag in enumerate(before.labels.tags)}
    source, target = _head(before.model), _head(model)
    with torch.no_grad():
        # A head of the same size was loaded row by row, whatever the rows mean.
        target.weight.normal_(std=model.config.initializer_range)
        target.bias.zero_()
        for row, tag in enumerate(tags):
            if tag in old:
                target.weight[row] = source.weight[old[tag]]
                target.bias[row] = source.bias[old[tag]]


def _head(model: Any) -> torch.nn.Linear:
    """Return the layer whose rows are the classes (a head of ten and more classes has two layers)."""
    head: Any = model.classifier
    last: torch.nn.Linear = getattr(head, "out_proj", head)
    return last


def _advice(base: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:400]
    return (
        f"the base {base!r} cannot be used: {reason}. Set LAYOUTLOOP_TRAIN_BASE to {MINILM_BASE} (needs no download), "
        "to graft:<folder of a BERT, RoBERTa, XLM-RoBERTa or MPNet encoder>, or to the folder or hub name of a "
        "LayoutLMv3 or LiLT that this machine can reach (HF_HOME is where downloads are kept, HF_ENDPOINT names a "
        "mirror)"
    )
