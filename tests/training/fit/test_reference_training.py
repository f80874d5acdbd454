from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.plain_training import make_checkpoint, plain_losses, plain_rows
from benchmarks.reference_training import GOAL, compare_losses, pages_alike
from handler.page import Box, Page, Size, Word
from training.data.examples import Entity, Example

LABELS = ("question", "answer")
TEXTS = ("Name:", "Ruth", "Okafor", "Date:", "2026-11-23", "Total", "amount:", "12.50", "EUR", "Street")
RATE = 5e-3
STEPS = 8


def form(number: int, words: int) -> Example:
    """Return a page of two columns; each number has other words in other places and another image."""
    lefts = [50 + 400 * (index % 2) for index in range(words)]
    tops = [12 * (index // 2) % 980 + number for index in range(words)]
    read = tuple(
        Word(TEXTS[(number * 3 + index) % len(TEXTS)], Box(left, top, left + 200, top + 10))
        for index, (left, top) in enumerate(zip(lefts, tops, strict=True))
    )
    entities = tuple(
        Entity(LABELS[index // 3 % 2], Box.around(word.box for word in read[index : index + 2]), (index, index + 1))
        for index in range(0, words - 1, 3)
    )
    buffer = io.BytesIO()
    Image.new("RGB", (224, 224), (40 * number % 256, 90, 200)).save(buffer, format="PNG")
    return Example(number, 0, Page(Size(800, 1000), "given", read, buffer.getvalue()), entities)


FORMS = [form(number, words=20 + 7 * number) for number in range(8)]


@pytest.fixture(scope="module", params=[pytest.param(False, id="text"), pytest.param(True, id="with image")])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    return make_checkpoint(folder, TEXTS, LABELS, image=request.param, dropout=0.0, wide=48, layers=2)


def test_each_step_has_the_loss_of_the_plain_script(checkpoint):
    assert pages_alike(checkpoint, FORMS) == FORMS
    losses = compare_losses(checkpoint, FORMS, steps=STEPS, learning_rate=RATE)
    assert len(losses.ours) == STEPS
    assert losses.ours[-1] < losses.ours[0] - 0.1, "nothing was learned, so nothing was compared"
    assert losses.largest_difference < GOAL / 10


@pytest.mark.parametrize(
    ("warmup", "learning_rate", "order"),
    [
        pytest.param(1, RATE * 1.5, [[0, 1], [2, 3], [4, 5], [6, 7]], id="another rate"),
        pytest.param(3, RATE, [[0, 1], [2, 3], [4, 5], [6, 7]], id="another schedule"),
        pytest.param(1, RATE, [[0, 1], [2, 3], [4, 5], [7, 6], [0, 2]][1:], id="another order"),
    ],
)
def test_what_differs_is_seen(text_start, warmup, learning_rate, order):
    rows = plain_rows(text_start, FORMS)
    usual = plain_losses(
        text_start, rows, [[0, 1], [2, 3], [4, 5], [6, 7]], planned=STEPS, warmup=1, learning_rate=RATE
    )
    other = plain_losses(text_start, rows, order, planned=STEPS, warmup=warmup, learning_rate=learning_rate)
    assert max(abs(a - b) for a, b in zip(usual, other, strict=True)) > GOAL


@pytest.fixture(scope="module")
def text_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text-start")
    return make_checkpoint(folder, TEXTS, LABELS, image=False, dropout=0.0, wide=48, layers=2)


def test_a_page_of_several_windows_takes_no_part(text_start):
    assert pages_alike(text_start, [FORMS[0], form(9, words=600)]) == FORMS[:1]
    with pytest.raises(ValueError, match="only pages of one window"):
        compare_losses(text_start, [FORMS[0], form(9, words=600)], steps=1, learning_rate=RATE)
