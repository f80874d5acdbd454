from __future__ import annotations

import numpy as np
import pytest

from handler.reading.rapidocr.blank_cuts import blank_cuts
from handler.reading.rapidocr.lines import LONGEST, batches_of, cut_out, round_up, stack


def test_batches_are_of_like_width_and_no_wider_than_allowed() -> None:
    widths = [900, 40, 100, 33, 1000, 90, LONGEST]
    batches = list(batches_of(widths, 256))
    sorted_widths = [[widths[number] for number in batch] for batch, _ in batches]
    assert sorted_widths == [[33, 40], [90, 100], [900], [1000], [LONGEST]]
    assert [width for _, width in batches] == [64, 128, 1024, 1024, LONGEST]
    assert list(batches_of([], 256)) == []


def test_few_widths_stand_for_all() -> None:
    rounded = [round_up(width) for width in range(1, LONGEST + 1)]
    assert all(width <= wider < 2 * width + 32 for width, wider in enumerate(rounded, start=1))
    assert len(set(rounded)) <= 32


def test_shorter_pieces_end_in_grey() -> None:
    images = stack([np.zeros((48, 8, 3), np.uint8), np.full((48, 24, 3), 255, np.uint8)], 32)
    assert images.shape == (2, 48, 32, 3)
    assert images[0, 0, :, 0].tolist() == [0] * 8 + [127] * 24
    assert images[1, 0, :, 0].tolist() == [255] * 24 + [127] * 8


@pytest.mark.parametrize("turns", range(4))
def test_a_line_is_cut_out_upright_whichever_way_it_runs(turns: int) -> None:
    image = np.zeros((40, 200, 3), np.uint8)
    image[10:30, 20:180] = 128
    image[10:30, 20:60] = 255
    corners = np.array([[20, 10], [180, 10], [180, 30], [20, 30]], np.float32)
    turned = np.rot90(image, turns)
    for _ in range(turns):  # as numpy turns: x, y become y, width - x
        corners = np.stack([corners[:, 1], (200, 40)[_ % 2] - corners[:, 0]], axis=1)
    line = cut_out(np.ascontiguousarray(turned), corners)
    assert line.shape == (48, 384, 3)
    assert line[24, 40, 0] > 240
    assert 120 < line[24, 300, 0] < 136


@pytest.mark.parametrize("axis", [0, 1])
def test_pictures_are_cut_in_the_middle_of_the_widest_gap(axis: int) -> None:
    ink = np.zeros((100, 20, 3), np.uint8) + 255
    ink[:, ::2] = 0
    ink[50:53] = 255  # between letters
    ink[56:64] = 255  # between words
    image = ink if axis == 0 else ink.transpose(1, 0, 2)
    assert blank_cuts(image, axis, 66) == [(0, 60), (60, 100)]


def test_pieces_join_and_none_is_too_long() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1000, 10, 3), np.uint8)
    pieces = blank_cuts(noise, 0, 90)
    assert [start for start, _ in pieces[1:]] == [end for _, end in pieces[:-1]]
    assert (pieces[0][0], pieces[-1][1]) == (0, 1000)
    assert all(0 < end - start <= 90 for start, end in pieces)
    assert blank_cuts(noise, 0, 1000) == [(0, 1000)]
