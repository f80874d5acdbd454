from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from shim.settings import READ_ELSEWHERE, Settings, variable_of

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
REQUIREMENTS = ROOT / "docs" / "requirements.md"
STATES = {"`holds`", "`equivalent`", "`not yet`"}


@pytest.mark.parametrize("variable", sorted({variable_of(field.name) for field in fields(Settings)} | READ_ELSEWHERE))
def test_every_setting_is_in_the_readme(variable: str) -> None:
    assert f"`{variable}`" in README.read_text(encoding="utf-8")


def test_every_requirement_has_one_row() -> None:
    text = REQUIREMENTS.read_text(encoding="utf-8")
    wanted = [f"R{number}" for number in range(1, 54)]
    assert re.findall(r"^\| (R\d+) \|", text, flags=re.MULTILINE) == wanted
    assert re.findall(r"\bR\d+\b", text) == wanted, "an id stands outside its own row"


def test_every_requirement_has_a_state() -> None:
    rows = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if re.match(r"\| R\d+ ", line)]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5, row
        assert cells[2] in STATES, row
        assert all(cells), row


def test_every_test_in_the_requirements_is_there() -> None:
    named = re.findall(r"tests/[\w./-]*\w(?:::\w+)?", REQUIREMENTS.read_text(encoding="utf-8"))
    assert len(named) > 53
    for path, _, name in (one.partition("::") for one in named):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_every_place_in_the_requirements_is_there() -> None:
    named = re.findall(
        r"`((?:handler|shim|training|scripts)/\w+\.py)::([\w.]+)`", REQUIREMENTS.read_text(encoding="utf-8")
    )
    assert named
    for path, name in named:
        last = name.rpartition(".")[2]
        assert re.search(rf"(?:def|class) {last}\b", (ROOT / path).read_text(encoding="utf-8")), f"{path}::{name}"
