from __future__ import annotations

import numpy as np
import torch

from handler.page import Box, Page, Size, Word
from handler.tagging.encoding import LENGTH_STEP, Encoder
from handler.tagging.labels import LabelSet
from tests.training.samples import LABELS, make_example
from training.data.examples import Entity, Example
from training.fit.bases import make_base
from training.fit.windows import IGNORED, WindowCollator, Windows, jittered

TAGS = LabelSet.from_names(LABELS)


def long_example(words: int) -> Example:
    page = Page(
        Size(1000, 1000), "test", tuple(Word("page", Box(i % 90, i // 9, i % 90 + 5, i // 9 + 5)) for i in range(words))
    )
    return Example(1, 0, page, (Entity("total", Box(0, 0, 1, 1), tuple(range(5, words, 10))),))


def test_the_first_token_of_each_word_carries_its_label() -> None:
    example = make_example(1)
    base = make_base("scratch", LABELS, words=[word.text for word in example.page.words])
    (row,) = list(Windows(base, [example], TAGS, "words"))
    learned = row.labels[row.window.positions]
    assert learned.tolist() == [TAGS.tags.index("B-date"), *[0] * 6, *map(TAGS.tags.index, ("B-total", "I-total"))]
    others = np.delete(row.labels, row.window.positions)
    assert (others == IGNORED).all()


def test_every_word_of_a_long_page_is_learned_once() -> None:
    """P12, P13, P15: windows overlap, and each word counts in the one in which serving would ask about it."""
    example = long_example(900)
    base = make_base("scratch", LABELS, words=["page"])
    rows = list(Windows(base, [example], TAGS, "words"))
    assert len(rows) > 1
    assert sorted(np.concatenate([row.window.words for row in rows]).tolist()) == list(range(900))
    learned = sum(int((row.labels != IGNORED).sum()) for row in rows)
    assert learned == 900


def test_windows_are_those_of_serving() -> None:
    example = long_example(700)
    base = make_base("scratch", LABELS, words=["page"])
    windows = Windows(base, [example], TAGS, "words")
    encoder = Encoder(
        base.tokenizer.backend_tokenizer, 0, max_tokens=windows.max_tokens, stride=windows.stride, uses_image=False
    )
    served = encoder.encode(example.page).windows
    assert [row.window.input_ids.tolist() for row in windows] == [window.input_ids.tolist() for window in served]
    assert [row.window.boxes.tolist() for row in windows] == [window.boxes.tolist() for window in served]


def test_a_batch_is_padded() -> None:
    base = make_base("scratch", LABELS, words=["page"])
    windows = list(Windows(base, [make_example(1), long_example(100)], TAGS, "words"))
    batch = WindowCollator(pad_id=0)(windows)
    length = batch["input_ids"].shape[1]
    assert length % LENGTH_STEP == 0
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "input_ids": (2, length),
        "attention_mask": (2, length),
        "bbox": (2, length, 4),
        "labels": (2, length),
    }
    short = len(windows[0].labels)
    assert (batch["labels"][0, short:] == IGNORED).all()
    assert (batch["attention_mask"][0, short:] == 0).all()
    assert (batch["bbox"][0, short:] == 0).all()


def test_jitter_moves_a_page_as_one() -> None:
    """P2, P4: boxes stay on the grid, and those of special tokens stay zero."""
    torch.manual_seed(0)
    boxes = torch.tensor([[[0, 0, 0, 0], [100, 100, 200, 120], [300, 100, 400, 120], [990, 990, 1000, 1000]]])
    moved = jittered(boxes)
    assert (moved[0, 0] == 0).all()
    assert not torch.equal(moved, boxes)
    assert moved.min() >= 0
    assert moved.max() <= 1000
    assert moved[0, 1, 1] == moved[0, 2, 1], "words of one line stay on one line"
    assert (moved[..., 2] >= moved[..., 0]).all()
