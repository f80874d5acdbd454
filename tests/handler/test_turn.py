from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image

from handler.page import Box, Page, Size, Word
from handler.turn import level_image, level_page, split_turn, words_of_picture
from tests.handler.samples import noisy_thumbnail

SIZE = Size(300, 200)
WORDS = (Word("first", Box(10, 20, 70, 30), 0.9, 0), Word("last", Box(180, 120, 281, 131), 0.8, 1))
QUARTERS = (0, 90, 180, 270)
TILTED = (2, 355, 93.5, 178, 265)


def size_of(level: Size, turn: float) -> Size:
    return Size(level.height, level.width) if split_turn(turn)[0] % 2 else level


@pytest.mark.parametrize(
    ("turn", "parts"),
    [
        pytest.param(0, (0, 0), id="upright"),
        pytest.param(90, (1, 0), id="a quarter"),
        pytest.param(272.5, (3, 2.5), id="and a little more"),
        pytest.param(88, (1, -2), id="a little less"),
        pytest.param(357, (0, -3), id="nearly a whole turn"),
    ],
)
def test_a_turn_is_quarters_and_a_tilt(turn: float, parts: tuple[int, float]) -> None:
    assert split_turn(turn) == parts


def test_a_quarter_turn_of_a_box() -> None:
    """The text runs up the left edge: its page is turned clockwise, and the bottom of the picture comes to the left."""
    page = Page(SIZE, "e", (Word("up", Box(10, 50, 30, 190)),), turn=90)
    assert level_page(page) == Page(Size(200, 300), "e", (Word("up", Box(10, 10, 150, 30)),))


@pytest.mark.parametrize("turn", [*QUARTERS, *TILTED])
def test_words_of_a_level_page_come_back_to_it(turn: float) -> None:
    picture = size_of(SIZE, turn)
    words = words_of_picture(WORDS, SIZE, turn, picture)
    level = level_page(Page(picture, "e", words, turn=turn))
    assert (level.size, level.turn) == (SIZE, 0)
    assert [(word.text, word.confidence, word.line) for word in level.words] == [
        (word.text, word.confidence, word.line) for word in WORDS
    ]
    distance = np.abs([np.subtract(astuple(a.box), astuple(b.box)) for a, b in zip(level.words, WORDS, strict=True)])
    assert distance.max() <= (0 if turn in QUARTERS else 1.5), "whole pixels in the picture"


@pytest.mark.parametrize("turn", [*QUARTERS, *TILTED])
@pytest.mark.parametrize("whole", [False, True])
def test_an_image_is_turned_as_its_words_are(turn: float, whole: bool) -> None:
    picture = Image.new("RGB", (300, 200) if split_turn(turn)[0] % 2 == 0 else (200, 300), "white")
    box = (60, 80, 72, 90)
    picture.paste("black", box)
    level = level_image(picture, turn, whole=whole)
    page = level_page(Page(Size(*picture.size), "e", (Word("ink", Box(*box)),), turn=turn))
    (there,) = page.words
    shift = (np.array(level.size) - astuple(page.size)) / 2
    rows, columns = np.nonzero(np.asarray(level.convert("L")) < 128)
    found = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    middle = np.array([there.box.left + there.box.right, there.box.top + there.box.bottom]) / 2 + shift
    assert np.abs(found - middle).max() <= 0.5
    assert (level.size == astuple(page.size)) or (whole and split_turn(turn)[1] != 0)


def test_what_a_tilt_would_cut_off_is_kept_on_a_whole_image() -> None:
    black = Image.new("RGB", (300, 200))
    inks = [int((np.asarray(level_image(black, 5, whole=whole).convert("L")) < 128).sum()) for whole in (False, True)]
    assert inks[0] < 0.96 * 300 * 200 < 0.99 * 300 * 200 < inks[1]


def test_the_resolution_goes_with_its_sides() -> None:
    image = Image.new("RGB", (30, 20))
    image.info = {"dpi": (204, 98)}
    assert [level_image(image, turn).info["dpi"] for turn in (90, 180, 273)] == [(98, 204), (204, 98), (98, 204)]
    assert image.info == {"dpi": (204, 98)}


def test_an_upright_page_is_the_same() -> None:
    page, image = Page(SIZE, "e", WORDS, noisy_thumbnail()), Image.new("RGB", (9, 9))
    assert level_page(page) is page
    assert level_image(image, 0) is image
    assert words_of_picture(WORDS, SIZE, 0, SIZE) == WORDS


@pytest.mark.parametrize("turn", [90, 3, 267])
def test_boxes_that_reach_past_the_picture_are_cut_there(turn: float) -> None:
    words = (Word("huge", Box(-1e308, -1e308, 1e308, 1e308)), Word("off", Box(1e308, 1e308, 1e308, 1e308)))
    level = level_page(Page(SIZE, "e", words, turn=turn))
    assert all(np.isfinite(astuple(word.box)).all() for word in level.words)
    assert max(abs(edge) for word in level.words for edge in astuple(word.box)) < 400


def test_a_page_without_words() -> None:
    assert level_page(Page(SIZE, "e", (), turn=90)) == Page(Size(200, 300), "e", ())
    assert words_of_picture((), SIZE, 90, Size(200, 300)) == ()
