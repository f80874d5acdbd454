"""A Page to model windows, and windows to one padded Batch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from handler.errors import CheckpointInvalid, PageInvalid
from handler.geometry import boxes_to_grid
from handler.images import THUMBNAIL_SIDE
from handler.page import BOX_LEVELS, Box, BoxLevel, Page
from handler.turn import level_page

LENGTH_STEP = 32
"""Windows are padded to a multiple of this, so that a CPU computes few lengths: oneDNN prepares its bfloat16 products
anew for each, which doubled the time of a lone page (23 ms with a graft) and took half a MiB."""
_PROBE = "a"


@dataclass(frozen=True, slots=True)
class Window:
    """One row of the model's input, special tokens included.

    Args:
        input_ids: (tokens,) integers.
        boxes: (tokens, 4) integers on the 0..1000 grid; special tokens have 0, 0, 0, 0.
        words: (answers,) indices into `Page.words` of the words this window answers for; every word that has a
            token is in exactly one window.
        positions: (answers,) where the first token of each of them stands in this window.
    """

    input_ids: NDArray[np.int64]
    boxes: NDArray[np.int64]
    words: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A page as the model sees it, its text level: windows, and (3, 224, 224) pixels where the model looks at those."""

    windows: tuple[Window, ...]
    pixels: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded windows of one or several pages.

    Args:
        input_ids: (windows, tokens).
        attention_mask: (windows, tokens), 0 on padding.
        bbox: (windows, tokens, 4) on the 0..1000 grid, 0 on padding.
        pixel_values: (windows, 3, 224, 224), or None.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    bbox: torch.Tensor
    pixel_values: torch.Tensor | None


class Encoder:
    """Cuts pages into windows with any fast tokenizer (byte-level BPE or WordPiece).

    Args:
        tokenizer: the `tokenizers` back end of the checkpoint's fast tokenizer.
        pad_id: token id that fills a batch.
        max_tokens: length of a window, special tokens included; LayoutLMv3 has positions for 512.
        stride: tokens that neighbouring windows share.
        box_level: whether a token carries the box of its word or of its whole text line.
        uses_image: whether the model needs the page's thumbnail.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        pad_id: int,
        *,
        max_tokens: int = 512,
        stride: int = 128,
        box_level: BoxLevel = "words",
        uses_image: bool = True,
    ) -> None:
        """Find the tokenizer's special tokens and check that windows can advance."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._prefix, self._suffix = _special_ids(tokenizer)
        self._capacity = max_tokens - len(self._prefix) - len(self._suffix)
        if not 0 <= stride < self._capacity:
            raise CheckpointInvalid(
                f"stride must be at least 0 and less than the {self._capacity} tokens of a window, got {stride}"
            )
        if box_level not in BOX_LEVELS:
            raise CheckpointInvalid(f"box_level is one of {BOX_LEVELS}, got {box_level!r}")
        self.pad_id = pad_id
        self.uses_image = uses_image
        self.box_level = box_level
        self._step = self._capacity - stride

    def encode(self, page: Page) -> Encoding:
        """Return the windows of a page; none for a page without a word that has a token.

        Raises:
            PageInvalid: the model looks at the image and the page has no thumbnail.
        """
        # A blank word is never labelled; byte-level BPE would make tokens of its spaces.
        texts = [word.text if word.text.strip() else "" for word in page.words]
        tokens = self._tokenizer.encode(texts, is_pretokenized=True, add_special_tokens=False)
        ids = np.array(tokens.ids, dtype=np.int64)
        word_of_token = np.array(tokens.word_ids, dtype=np.int64)
        if not len(ids):
            return Encoding((), None)
        pixels = _pixel_values(page.thumbnail) if self.uses_image else None
        level = level_page(page)
        boxes = boxes_to_grid(_model_boxes(level, self.box_level), level.size)[word_of_token]
        # By word id, never by character offset: a word may begin with a bare space token (seen in FUNSD).
        first = np.flatnonzero(np.diff(word_of_token, prepend=-1))
        spans = self._spans(len(ids))
        owner = _owners(first, spans, len(ids))
        windows = tuple(
            self._window(ids[start:end], boxes[start:end], first[owner == index], word_of_token, start)
            for index, (start, end) in enumerate(spans)
        )
        return Encoding(windows, pixels)

    def _spans(self, tokens: int) -> list[tuple[int, int]]:
        last = max(0, -(-(tokens - self._capacity) // self._step))
        starts = [index * self._step for index in range(last + 1)]
        return [(start, min(start + self._capacity, tokens)) for start in starts]

    def _window(
        self,
        ids: NDArray[np.int64],
        boxes: NDArray[np.int64],
        answers: NDArray[np.int64],
        word_of_token: NDArray[np.int64],
        start: int,
    ) -> Window:
        before, after = len(self._prefix), len(self._suffix)
        return Window(
            input_ids=np.concatenate([self._prefix, ids, self._suffix]),
            boxes=np.pad(boxes, ((before, after), (0, 0))),
            words=word_of_token[answers],
            positions=answers - start + before,
        )


def collate(windows: Sequence[tuple[Window, NDArray[np.float32] | None]], pad_id: int, multiple: int = 1) -> Batch:
    """Pad windows (each with its page's pixel values) to the longest of them, or to the next multiple."""
    longest = max(len(window.input_ids) for window, _ in windows)
    longest += -longest % multiple
    input_ids = np.full((len(windows), longest), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(windows), longest), dtype=np.int64)
    boxes = np.zeros((len(windows), longest, 4), dtype=np.int64)
    for row, (window, _) in enumerate(windows):
        length = len(window.input_ids)
        input_ids[row, :length] = window.input_ids
        attention_mask[row, :length] = 1
        boxes[row, :length] = window.boxes
    pixels = [page_pixels for _, page_pixels in windows if page_pixels is not None]
    return Batch(
        torch.from_numpy(input_ids),
        torch.from_numpy(attention_mask),
        torch.from_numpy(boxes),
        torch.from_numpy(np.stack(pixels)) if pixels else None,
    )


def _owners(first: NDArray[np.int64], spans: Sequence[tuple[int, int]], tokens: int) -> NDArray[np.int64]:
    """Return for each first token the window where it stands farthest from a cut (the page's ends are none)."""
    starts = np.array([start for start, _ in spans])[:, None]
    ends = np.array([end for _, end in spans])[:, None]
    left = np.where(starts == 0, tokens, first - starts)
    right = np.where(ends == tokens, tokens, ends - 1 - first)
    inside = (first >= starts) & (first < ends)
    owners: NDArray[np.int64] = np.where(inside, np.minimum(left, right), -1).argmax(axis=0)
    return owners


def _model_boxes(page: Page, box_level: BoxLevel) -> list[Box]:
    if box_level == "words":
        return [word.box for word in page.words]
    lines: dict[int, list[Box]] = {}
    for word in page.words:
        lines.setdefault(word.line, []).append(word.box)
    around = {line: Box.around(boxes) for line, boxes in lines.items()}
    return [around[word.line] for word in page.words]


def _pixel_values(thumbnail: bytes | None) -> NDArray[np.float32]:
    if thumbnail is None:
        raise PageInvalid("this model looks at the page image; send `ocr` the header X-LayoutLoop-Thumbnail: 1")
    try:
        with Image.open(io.BytesIO(thumbnail), formats=["PNG"]) as image:
            side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
            if image.mode != "RGB" or image.size != side:
                raise PageInvalid(f"`thumbnail` is a 224 x 224 RGB PNG, got {image.size} {image.mode}")
            samples = np.asarray(image, dtype=np.float32)
    except (OSError, SyntaxError, ValueError) as error:
        raise PageInvalid(f"`thumbnail` is a 224 x 224 RGB PNG, but it cannot be opened: {error}") from error
    # LayoutLMv3ImageProcessor: rescale by 1/255, then mean 0.5 and deviation 0.5 in every channel.
    return np.ascontiguousarray(((samples / 255 - 0.5) / 0.5).transpose(2, 0, 1), dtype=np.float32)


def _special_ids(tokenizer: Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the token ids that the tokenizer itself puts before and after a text."""
    probe = tokenizer.encode([_PROBE], is_pretokenized=True, add_special_tokens=True)
    special = np.array(probe.special_tokens_mask, dtype=bool)
    ids = np.array(probe.ids, dtype=np.int64)
    inside = np.flatnonzero(~special)
    if not len(inside):
        raise CheckpointInvalid("the tokenizer makes no token of a letter; is its vocabulary there?")
    return ids[: inside[0]], ids[inside[-1] + 1 :]
