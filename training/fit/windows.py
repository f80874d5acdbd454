"""Examples as the model is trained on them: the windows that serving makes, with a class id for each word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from handler.page import BoxLevel
from handler.tagging.architectures import ARCHITECTURES
from handler.tagging.encoding import LENGTH_STEP, Encoder, Window, collate
from handler.tagging.labels import LabelSet
from training.data.examples import Example
from training.fit.bases import Base

IGNORED = -100
"""Left out by PyTorch's cross entropy: special tokens, further pieces of a word, padding, words of another window."""
MAX_SHIFT = 20.0
"""Of a jittered page, in units of the 0..1000 grid."""
MAX_STRETCH = 0.03


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """One row of a batch.

    Args:
        window: as serving makes it.
        pixels: (3, 224, 224) where the model looks at the image.
        labels: (tokens,) class ids, IGNORED where nothing is learned.
    """

    window: Window
    pixels: NDArray[np.float32] | None
    labels: NDArray[np.int64]


class Windows(Dataset[LabelledWindow]):
    """The windows of all training pages; a word is learned in one window only, as serving labels it in one."""

    def __init__(
        self,
        base: Base,
        examples: Sequence[Example],
        labels: LabelSet,
        box_level: BoxLevel,
        stride: int = 128,
        vary: Callable[[Example], Example] | None = None,
    ) -> None:
        """Cut the pages, at the length that the base has positions for (at most 512 tokens).

        With `vary`, each look at a window is a look at another variation of its page.
        """
        config = base.model.config
        pad_id = int(config.pad_token_id or 0)
        self.max_tokens = min(512, config.max_position_embeddings - pad_id - 1)
        self.stride = min(stride, self.max_tokens // 4)
        self._labels = labels
        self._vary = vary
        self._encoder = Encoder(
            base.tokenizer.backend_tokenizer,
            pad_id,
            max_tokens=self.max_tokens,
            stride=self.stride,
            box_level=box_level,
            uses_image=ARCHITECTURES[config.model_type].uses_image(config),
        )
        cut = [(example, self._cut(example)) for example in examples]
        self._rows = [(example, place, row) for example, rows in cut for place, row in enumerate(rows)]

    def __len__(self) -> int:
        """Return how many windows there are."""
        return len(self._rows)

    def __getitem__(self, index: int) -> LabelledWindow:
        """Return one of them."""
        example, place, row = self._rows[index]
        if self._vary is None:
            return row
        rows = self._cut(self._vary(example))  # other words are other tokens, perhaps even one window fewer
        return rows[min(place, len(rows) - 1)] if rows else row

    def _cut(self, example: Example) -> list[LabelledWindow]:
        tags = example.tags(self._labels)
        encoding = self._encoder.encode(example.page)
        rows = []
        for window in encoding.windows:
            targets = np.full(len(window.input_ids), IGNORED, dtype=np.int64)
            targets[window.positions] = tags[window.words]
            rows.append(LabelledWindow(window, encoding.pixels, targets))
        return rows


@dataclass(frozen=True, slots=True)
class WindowCollator:
    """Rows to the tensors that the model takes.

    Args:
        pad_id: token id of padding.
        jitter: move and stretch each page's boxes a little, as another scan would.
    """

    pad_id: int
    jitter: bool = False

    def __call__(self, rows: Sequence[LabelledWindow]) -> dict[str, Tensor]:
        """Return input_ids, attention_mask, labels (rows, tokens), bbox (rows, tokens, 4) and perhaps pixel_values."""
        batch = collate([(row.window, row.pixels) for row in rows], self.pad_id, LENGTH_STEP)
        labels = torch.full(batch.input_ids.shape, IGNORED)
        for index, row in enumerate(rows):
            labels[index, : len(row.labels)] = torch.from_numpy(row.labels)
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "bbox": jittered(batch.bbox) if self.jitter else batch.bbox,
            "labels": labels,
        }
        return inputs | ({} if batch.pixel_values is None else {"pixel_values": batch.pixel_values})


def jittered(boxes: Tensor) -> Tensor:
    """Move and stretch each row a little: few pages then teach all rows of the box embeddings.

    Args:
        boxes: (rows, tokens, 4) on the 0..1000 grid; all-zero boxes (special tokens, padding) stay.
    """
    rows = boxes.shape[0]
    stretch = 1 + (torch.rand(rows, 1, 2) * 2 - 1) * MAX_STRETCH
    shift = (torch.rand(rows, 1, 2) * 2 - 1) * MAX_SHIFT
    moved = (boxes * stretch.repeat(1, 1, 2) + shift.repeat(1, 1, 2)).clamp(0, 1000).long()
    return torch.where(boxes.any(-1, keepdim=True), moved, boxes)
