"""Synthetic invoices: same seed same page, gold where the ink is, every layout complete."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from demo.contents import Money
from demo.errors import FontsMissing
from demo.invoices import LABELS, LAYOUTS, Invoice, invoice_to_json, make_invoice, rotate_box
from demo.sheet import HEIGHT, WIDTH, Sheet, installed_families
from handler.page import Box

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def invoices() -> list[Invoice]:
    return [make_invoice(seed=100 + layout, layout=layout) for layout in range(LAYOUTS)]


def test_there_are_at_least_twelve_layouts() -> None:
    assert LAYOUTS >= 12


def test_every_layout_carries_every_label_once(invoices: list[Invoice]) -> None:
    for invoice in invoices:
        assert sorted(region.label for region in invoice.regions) == sorted(LABELS), invoice.name


def test_boxes_lie_on_the_page(invoices: list[Invoice]) -> None:
    for invoice in invoices:
        assert invoice.image.mode == "RGB"
        assert invoice.image.size == (WIDTH, HEIGHT)
        for item in (*invoice.words, *invoice.regions):
            assert 0 <= item.box.left < item.box.right <= WIDTH, (invoice.name, item)
            assert 0 <= item.box.top < item.box.bottom <= HEIGHT, (invoice.name, item)


def test_a_region_holds_exactly_the_words_of_its_text(invoices: list[Invoice]) -> None:
    for invoice in invoices:
        for region in invoice.regions:
            inside = [word.text for word in invoice.words if is_inside(word.box, region.box)]
            assert inside == region.text.split(), (invoice.name, region)


def test_words_do_not_overlap(invoices: list[Invoice]) -> None:
    for invoice in invoices:
        for first, second in pairwise(sorted(invoice.words, key=lambda word: (word.box.top, word.box.left))):
            assert shared_area(first.box, second.box) < 0.25, (invoice.name, first, second)


def test_there_is_ink_in_every_word_box(invoices: list[Invoice]) -> None:
    for invoice in invoices:
        grey = np.asarray(invoice.image.convert("L"), dtype=int)
        for word in invoice.words:
            left, top, right, bottom = (round(edge) for edge in (*corner(word.box), *far_corner(word.box)))
            assert np.ptp(grey[top : bottom + 1, left : right + 1]) > 45, (invoice.name, word)


def test_distractors_outnumber_gold_so_that_looks_do_not_tell(invoices: list[Invoice]) -> None:
    for invoice in invoices:
        gold = {text for region in invoice.regions for text in region.text.split()}
        others = [word.text for word in invoice.words if any(map(str.isdigit, word.text)) and word.text not in gold]
        assert len(others) > len(LABELS), invoice.name


def test_same_seed_same_page() -> None:
    first, second = make_invoice(7), make_invoice(7)
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.name, first.words, first.regions) == (second.name, second.words, second.regions)
    assert make_invoice(8).image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize("layout", [-1, LAYOUTS])
def test_unknown_layout_is_refused(layout: int) -> None:
    with pytest.raises(ValueError, match=f"got {layout}"):
        make_invoice(0, layout)


@pytest.mark.parametrize("degrees", [-1.5, 0.0, 1.5])
def test_rotated_boxes_follow_the_rotated_ink(degrees: float) -> None:
    box = Box(900, 200, 1000, 220)
    page = Image.new("L", (WIDTH, HEIGHT), 255)
    ImageDraw.Draw(page).rectangle((900, 200, 999, 219), fill=0)
    ink = np.argwhere(np.asarray(page.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=255)) < 128)
    (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0) + 1
    turned = rotate_box(box, degrees, page.size)
    assert (turned.left, turned.top, turned.right, turned.bottom) == pytest.approx((left, top, right, bottom), abs=1.5)


def test_a_line_too_wide_shrinks_until_it_fits() -> None:
    sheet = Sheet("DejaVu Sans", 21)
    box = sheet.text(100, 100, "Meridian Instruments Partners", width=250)
    assert box.right - box.left <= 250


@pytest.mark.parametrize(
    ("money", "written"),
    [
        pytest.param(Money("$", "", ",", "."), "$1,234.50", id="dollars"),
        pytest.param(Money("", " €", ".", ","), "1.234,50 €", id="euros behind"),
        pytest.param(Money("CHF ", "", "'", "."), "CHF 1'234.50", id="francs"),
    ],
)
def test_money(money: Money, written: str) -> None:
    assert money.write(123450) == written


def test_missing_fonts_name_the_packages(tmp_path: Path) -> None:
    with pytest.raises(FontsMissing, match="fonts-dejavu-core fonts-liberation fonts-freefont-ttf"):
        installed_families(tmp_path)


def test_command_writes_pages_and_their_gold(tmp_path: Path) -> None:
    command = ["-m", "demo.invoices", "--count", "3", "--seed", "5", "--layouts", "1,2", "--out", str(tmp_path)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    assert len(list(tmp_path.glob("*.png"))) == 3
    expected = make_invoice(6, 2)
    gold = json.loads((tmp_path / f"{expected.name}.json").read_text())
    assert gold == json.loads(json.dumps(invoice_to_json(expected)))
    with Image.open(tmp_path / f"{expected.name}.png") as image:
        assert (gold["width"], gold["height"]) == image.size


def corner(box: Box) -> tuple[float, float]:
    return box.left, box.top


def far_corner(box: Box) -> tuple[float, float]:
    return box.right, box.bottom


def is_inside(word: Box, region: Box) -> bool:
    return (
        region.left <= word.left
        and word.right <= region.right
        and region.top <= word.top
        and word.bottom <= region.bottom
    )


def shared_area(first: Box, second: Box) -> float:
    width = max(0.0, min(first.right, second.right) - max(first.left, second.left))
    height = max(0.0, min(first.bottom, second.bottom) - max(first.top, second.top))
    smaller = min((box.right - box.left) * (box.bottom - box.top) for box in (first, second))
    return width * height / smaller
