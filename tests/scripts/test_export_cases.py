"""Exports that went wrong once: what `scripts.dataset` makes of each, with a real Tesseract."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from handler.ocr_settings import ENGINES
from scripts.dataset import main
from training.data.annotations import NO_NUMBERS

CASES = Path(__file__).parents[1] / "data" / "cases" / "exports"
NUMBER, DATE, TOTAL = "Invoice number 48213", "Date of issue 14 March 2024", "Total amount due 1250.00"


def made_of(case: str, out: Path, *options: str) -> list[tuple[str, str]]:
    """Return label and text of every entity and every stretch of other words, as FUNSD's layout has them."""
    folder = CASES / case
    flags = {"annotations": "export.json", "label-config": "config.xml", "images": "images"}
    files = [text for flag, name in flags.items() for text in (f"--{flag}", str(folder / name))]
    assert main(["--project", "1", "--out", str(out), "--local-ocr", *files, *options]) == 0
    (form,) = out.glob("funsd/*/annotations/*.json")
    return [(one["label"], one["text"]) for one in json.loads(form.read_text())["form"]]


@pytest.mark.parametrize(
    ("case", "made"),
    [
        pytest.param(
            "two_labels_controls", [("number", NUMBER), ("date", DATE), ("total", TOTAL)], id="a second <Labels>"
        ),
        pytest.param("times100", [("number", NUMBER), ("date", DATE), ("other", TOTAL)], id="a hundredfold percent"),
        pytest.param(
            "label_other", [("other", NUMBER), ("total", TOTAL), ("other (no label)", DATE)], id="a label called other"
        ),
        pytest.param("img_win", [("number", NUMBER), ("other", DATE), ("other", TOTAL)], id="a path of Windows"),
        pytest.param("img_s3_hash", [("number", NUMBER), ("other", DATE), ("other", TOTAL)], id="a hash in a key"),
    ],
)
def test_boxes_hold_what_was_meant(
    case: str, made: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made_of(case, tmp_path / "out") == made
    left_out = re.findall(r"^ +1 x (.*)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert left_out == ([NO_NUMBERS] if case == "times100" else [])


def test_a_tilted_box_on_a_tilted_line_holds_that_line(tmp_path: Path) -> None:
    made = made_of("dense2.5_one", tmp_path / "out")
    assert [text for label, text in made if label == "date"] == [
        "Charlie total amount due 1250.00 in pounds sterling now"
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_page_on_its_side_is_read_as_a_person_would_turn_it(engine: str, tmp_path: Path) -> None:
    made = made_of("sideways_psm3", tmp_path / "out", "--engine", engine)
    assert made[:3] == [("number", NUMBER), ("date", DATE), ("total", TOTAL)]
    assert [text for _, text in made[3:]] == ["Payment due within thirty days", "Thank you for your business"]
