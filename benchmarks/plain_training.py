"""The plain script that our training is compared with in benchmarks/reference_training.py.

Written as Hugging Face's own example (examples/pytorch/token-classification) and the well-known LayoutLMv3 notebook
(NielsRogge/Transformers-Tutorials) do it: the processor with `word_labels`, every page padded to 512 tokens and cut
there, the label on a word's first piece, the Trainer with its defaults or a loop with AdamW.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    LayoutLMv3Config,
    LayoutLMv3ForTokenClassification,
    LayoutLMv3ImageProcessorPil,
    LayoutLMv3Processor,
    LayoutLMv3TokenizerFast,
    Trainer,
    TrainingArguments,
    get_scheduler,
    set_seed,
)

from handler.geometry import boxes_to_grid
from handler.tagging.labels import LabelSet
from training.data.examples import Example
from training.fit.windows import IGNORED

BATCH = 2
MAX_TOKENS = 512
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def make_tokenizer(texts: Sequence[str], size: int = 8000) -> LayoutLMv3TokenizerFast:
    """Return LayoutLMv3's own tokenizer class with a byte-level BPE vocabulary learned from texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner = trainers.BpeTrainer(
        vocab_size=size, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, learner)
    merges: Any = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    return LayoutLMv3TokenizerFast(vocab=tokenizer.get_vocab(), merges=merges, model_max_length=MAX_TOKENS)


def make_checkpoint(
    folder: Path, texts: Sequence[str], labels: Sequence[str], *, image: bool, dropout: float, wide: int, layers: int
) -> Path:
    """Save a random LayoutLMv3 from which both sides start.

    Args:
        folder: gets it.
        texts: its vocabulary is learned from them.
        labels: entity labels.
        image: build the image branch.
        dropout: everywhere.
        wide: hidden size, a multiple of 48.
        layers: of the encoder.
    """
    tokenizer = make_tokenizer(texts)
    tags = dict(enumerate(LabelSet.from_names(labels).tags))
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        hidden_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=wide // 24,
        intermediate_size=4 * wide,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=MAX_TOKENS + 2,
        coordinate_size=wide // 6,
        shape_size=wide // 6,
        type_vocab_size=1,
        visual_embed=image,
        id2label=tags,
        label2id={tag: index for index, tag in tags.items()},
    )
    torch.manual_seed(0)
    LayoutLMv3ForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain_rows(folder: Path, examples: Sequence[Example]) -> list[dict[str, Tensor]]:
    """Return pages as the plain script encodes them: one row of 512 tokens each, what is longer is cut off.

    With the image branch the processor is given the page's thumbnail; that this is what it would make of the whole
    image is measured in benchmarks/reference_logits.py.

    Args:
        folder: of the checkpoint whose tokenizer, labels and image setting count.
        examples: the pages.
    """
    tokenizer = LayoutLMv3TokenizerFast.from_pretrained(folder, model_max_length=MAX_TOKENS)
    image = bool(LayoutLMv3Config.from_pretrained(folder).visual_embed)
    processor: Any = tokenizer
    if image:
        processor = LayoutLMv3Processor(LayoutLMv3ImageProcessorPil(apply_ocr=False), tokenizer)  # type: ignore[no-untyped-call]
    labels = labels_of(folder)
    return [_plain_row(processor, example, labels, image) for example in examples]


def _plain_row(processor: Any, example: Example, labels: LabelSet, image: bool) -> dict[str, Tensor]:
    words = [word.text for word in example.page.words]
    boxes = boxes_to_grid([word.box for word in example.page.words], example.page.size).tolist()
    seen = [Image.open(io.BytesIO(example.page.thumbnail or b"")).convert("RGB")] if image else []
    encoded = processor(
        *seen,
        words,
        boxes=boxes,
        word_labels=example.tags(labels).tolist(),
        truncation=True,
        padding="max_length",
        max_length=MAX_TOKENS,
        return_tensors="pt",
    )
    return {name: tensor[0] for name, tensor in encoded.items()}


class PlainLoop:
    """The plain loop with AdamW, one step at a time."""

    def __init__(self, folder: Path, *, planned: int, warmup: float, learning_rate: float) -> None:
        """Load the model.

        Args:
            folder: checkpoint to start from.
            planned: the step at which the schedule ends.
            warmup: steps until the peak rate.
            learning_rate: the peak.
        """
        self._model: Any = LayoutLMv3ForTokenClassification.from_pretrained(folder)
        self._model.train()
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=learning_rate, weight_decay=0.0)
        self._schedule = get_scheduler("cosine", self._optimizer, int(warmup), planned)

    def step(self, rows: Sequence[dict[str, Tensor]]) -> float:
        """Learn from one batch of rows of 512 tokens; return its loss."""
        loss = self._model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)  # as the Trainer does by default
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        return float(loss.detach())


def plain_losses(
    folder: Path,
    rows: Sequence[dict[str, Tensor]],
    order: Sequence[Sequence[int]],
    *,
    planned: int,
    warmup: float,
    learning_rate: float,
) -> list[float]:
    """Return the loss of each step of the plain loop.

    Args:
        folder: checkpoint to start from.
        rows: of `plain_rows`.
        order: which of them each batch is made of.
        planned: the step at which the schedule ends.
        warmup: steps until the peak rate.
        learning_rate: the peak.
    """
    loop = PlainLoop(folder, planned=planned, warmup=warmup, learning_rate=learning_rate)
    return [loop.step([rows[number] for number in numbers]) for numbers in order]


def plain_tags(
    folder: Path, training: Sequence[Example], test: Sequence[Example], *, epochs: int, learning_rate: float, seed: int
) -> list[list[str | None]]:
    """Train with the plain Trainer and return the tag of each test word; None for words that were cut off."""
    labels = labels_of(folder)
    set_seed(seed)
    model = LayoutLMv3ForTokenClassification.from_pretrained(folder)
    arguments = TrainingArguments(
        output_dir=str(folder / "plain"),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=learning_rate,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    rows: Any = plain_rows(folder, training)
    trainer: Any = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    pages = plain_rows(folder, test)
    best = trainer.predict(pages).predictions.argmax(-1)
    answers: list[list[str | None]] = []
    for row, chosen, example in zip(pages, best, test, strict=True):
        seen = [labels.tags[tag] for tag in chosen[row["labels"].numpy() != IGNORED]]
        answers.append([*seen, *[None] * (len(example.page.words) - len(seen))])
    return answers


def labels_of(folder: Path) -> LabelSet:
    """Return the labels of a checkpoint."""
    tags = LayoutLMv3Config.from_pretrained(folder).id2label or {}
    return LabelSet.from_id2label({int(index): str(tag) for index, tag in tags.items()})
