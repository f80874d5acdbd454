from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from layoutloop.settings import training as training_settings
from layoutloop.settings.serving import READ_ELSEWHERE, Settings, variable_of
from layoutloop.settings.training import TrainSettings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
REQUIREMENTS = ROOT / "docs" / "requirements.md"
STATES = {"`holds`", "`equivalent`", "`not yet`"}

OF_SERVING = (
    {variable_of(field.name) for field in fields(Settings)}
    | READ_ELSEWHERE
    | {*("REDIS_HOST", "REDIS_PORT", "LABEL_STUDIO_API_KEY_FILE")}
)
OF_TRAINING = {training_settings.variable_of(field.name) for field in fields(TrainSettings)}
STARTED_BY_OTHERS = {
    "launch",  # by the supervisor, in front of every program
    "run_torchserve",  # by the supervisor
    "serve",  # by serve.sh
}


def rows_of(heading: str) -> list[str]:
    """The first cells of the tables below a heading of the README."""
    _, found, rest = README.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    assert found, heading
    return [line.split("|")[1].strip() for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]


def commands() -> list[str]:
    """The modules of scripts/ that run as a program and are a person's to call."""
    programs = {
        path.stem for path in (ROOT / "scripts").glob("*.py") if 'if __name__ == "__main__"' in path.read_text()
    }
    assert programs >= STARTED_BY_OTHERS
    return sorted(programs - STARTED_BY_OTHERS)


@pytest.mark.parametrize("variable", sorted(OF_SERVING | OF_TRAINING))
def test_every_setting_is_in_the_readme(variable: str) -> None:
    assert any(f"`{variable}`" in cell for cell in rows_of("Settings"))


def test_every_setting_in_the_readme_is_one() -> None:
    named = re.findall(r"`([A-Z_]+)`", " ".join(rows_of("Settings")))
    assert sorted(named) == sorted(OF_SERVING | OF_TRAINING)


@pytest.mark.parametrize("module", commands())
def test_every_command_is_in_the_readme(module: str) -> None:
    assert any(re.match(rf"`python -m scripts\.{module}\b", cell) for cell in rows_of("Commands"))


def test_every_command_in_the_readme_is_one() -> None:
    called = set(re.findall(r"-m scripts\.(\w+)", README.read_text(encoding="utf-8")))
    assert called == set(commands())


def test_every_route_is_in_the_readme() -> None:
    routes = re.findall(r'@routes\.(get|post)\("([^"]+)"\)', (ROOT / "shim" / "routes.py").read_text(encoding="utf-8"))
    assert len(routes) > 8
    cells = " ".join(rows_of("The shim's routes"))
    for method, path in routes:
        shown = re.sub(r"<\w+>", "<id>", path)
        assert f"`{method.upper()} {shown}`" in cells


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
