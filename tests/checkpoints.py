"""Small random LayoutLMv3 and LiLT checkpoints, made where they are needed: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LayoutLMv3Config,
    LayoutLMv3ForTokenClassification,
    LayoutLMv3TokenizerFast,
    LiltConfig,
    LiltForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
)

LABELS = ("vendor", "total", "date")
_CORPUS = ["Invoice Total 12.50 EUR", "Date 2026-11-22", "ACME Ltd, 5 High Street", "to the and of a in is it page"]


def byte_level_bpe(corpus: Sequence[str] = _CORPUS) -> PreTrainedTokenizerFast:
    """Return a tokenizer of RoBERTa's kind, as LayoutLMv3 has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def layoutlmv3_tokenizer() -> LayoutLMv3TokenizerFast:
    """Return Hugging Face's own tokenizer class for LayoutLMv3, which takes words and boxes, with that vocabulary."""
    bpe = byte_level_bpe().backend_tokenizer
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    # transformers 5 takes these two; files would be accepted and give a vocabulary of five tokens.
    return LayoutLMv3TokenizerFast(vocab=bpe.get_vocab(), merges=merges)


def roberta_tokenizer(corpus: Sequence[str] = _CORPUS) -> RobertaTokenizer:
    """Return RoBERTa's own class with such a vocabulary; it takes a word by itself for the start of a text."""
    bpe = byte_level_bpe(corpus).backend_tokenizer
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    return RobertaTokenizer(vocab=bpe.get_vocab(), merges=merges)


def word_piece(corpus: Sequence[str] = _CORPUS) -> PreTrainedTokenizerFast:
    """Return a tokenizer of BERT's kind, as the default graft has."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )


def make_checkpoint(
    folder: Path,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    labels: Sequence[str] = LABELS,
    visual_embed: bool = False,
    seed: int = 0,
    outside_bias: float = 0.0,
) -> Path:
    """Save a two-layer LayoutLMv3 with random weights whose answers differ from word to word.

    The tokenizers' training breaks ties at random, so no test may count on what a seed answers; a negative
    `outside_bias` makes sure that some words get a label.
    """
    tokenizer = tokenizer or byte_level_bpe()
    tags = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
        coordinate_size=8,
        shape_size=8,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id or tokenizer.cls_token_id,
        eos_token_id=tokenizer.eos_token_id or tokenizer.sep_token_id,
        visual_embed=visual_embed,
        initializer_range=0.5,
        id2label=dict(enumerate(tags)),
        label2id={tag: index for index, tag in enumerate(tags)},
    )
    torch.manual_seed(seed)
    return _save(folder, LayoutLMv3ForTokenClassification(config), tokenizer, outside_bias)


def _save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, outside_bias: float) -> Path:
    with torch.no_grad():
        model.classifier.bias[0] += outside_bias
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_lilt_checkpoint(
    folder: Path,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    outside_bias: float = 0.0,
    initializer_range: float = 0.3,
    max_position_embeddings: int = 514,
) -> Path:
    """Save a two-layer LiLT with random weights, as `make_checkpoint` does a LayoutLMv3; small ones learn faster."""
    tokenizer = tokenizer or roberta_tokenizer()
    tags = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
    config = LiltConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=max_position_embeddings,
        type_vocab_size=1,
        channel_shrink_ratio=4,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id or tokenizer.bos_token_id,
        eos_token_id=tokenizer.sep_token_id or tokenizer.eos_token_id,
        initializer_range=initializer_range,
        hidden_dropout_prob=0.0,
        id2label=dict(enumerate(tags)),
        label2id={tag: index for index, tag in enumerate(tags)},
    )
    torch.manual_seed(seed)
    return _save(folder, LiltForTokenClassification(config), tokenizer, outside_bias)
