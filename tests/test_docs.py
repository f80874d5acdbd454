from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from layoutloop.settings import training as training_settings
from layoutloop.settings.serving import Settings, variable_of
from layoutloop.settings.training import TrainSettings
from layoutloop.settings.variables import READ_ELSEWHERE

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
REQUIREMENTS = DOCS / "requirements.md"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")))
"""What a person reads."""
WITH_LINKS = (
    *PAGES,
    *sorted((ROOT / "deploy").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "model_store" / "README.md",
)
STATES = {"`holds`", "`equivalent`", "`not yet`"}
README_WORDS = 1000

OF_SERVING = (
    {variable_of(field.name) for field in fields(Settings)}
    | READ_ELSEWHERE
    | {*("REDIS_HOST", "REDIS_PORT", "LABEL_STUDIO_API_KEY_FILE")}
)
OF_TRAINING = {training_settings.variable_of(field.name) for field in fields(TrainSettings)}
STARTED_BY_OTHERS = {
    "serve",  # by serve.sh
}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def ids(pages: tuple[Path, ...]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def rows_of(page: Path, heading: str = "") -> list[list[str]]:
    """The cells of the tables of a page, or of those below one of its headings; the first row of each names columns."""
    text = text_of(page)
    if heading:
        _, found, rest = text.partition(f"\n## {heading}\n")
        assert found, heading
        text = rest.partition("\n## ")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def first_cells(page: Path, heading: str = "") -> list[str]:
    return [row[0] for row in rows_of(page, heading)]


# Settings


@pytest.mark.parametrize("variable", sorted(OF_SERVING | OF_TRAINING))
def test_every_setting_is_documented(variable: str) -> None:
    assert any(f"`{variable}`" in cell for cell in first_cells(DOCS / "settings.md"))


def test_every_documented_setting_is_one() -> None:
    named = re.findall(r"`([A-Z_]+)`", " ".join(first_cells(DOCS / "settings.md")))
    assert sorted(named) == sorted(OF_SERVING | OF_TRAINING)


@pytest.mark.parametrize("page", WITH_LINKS, ids=ids(WITH_LINKS))
def test_a_page_names_no_setting_that_there_is_not(page: Path) -> None:
    named = set(re.findall(r"\bLAYOUTLOOP_[A-Z_]*[A-Z]\b(?!\*)", text_of(page)))
    assert named <= OF_SERVING | OF_TRAINING


# Commands and routes


def commands() -> list[str]:
    """The modules of scripts/ that run as a program and are a person's to call."""
    programs = {
        path.stem for path in (ROOT / "scripts").glob("*.py") if 'if __name__ == "__main__"' in path.read_text()
    }
    assert programs >= STARTED_BY_OTHERS
    return sorted(programs - STARTED_BY_OTHERS)


@pytest.mark.parametrize("module", commands())
def test_every_command_is_documented(module: str) -> None:
    cells = first_cells(DOCS / "commands.md", "All commands")
    assert any(re.match(rf"`python -m scripts\.{module}\b", cell) for cell in cells)


def test_every_documented_command_is_one() -> None:
    cells = " ".join(first_cells(DOCS / "commands.md", "All commands"))
    assert set(re.findall(r"-m scripts\.(\w+)", cells)) == set(commands())


def shown_commands() -> dict[str, set[str]]:
    """The options that the pages show with each `python -m`, in a command itself or in its row of the table."""
    shown: dict[str, set[str]] = {}
    for page in PAGES:
        for piece in re.findall(r"python -m ([^\n#`]+)", text_of(page).replace("\\\n", " ")):
            module = piece.split()[0]
            shown.setdefault(module, set()).update(re.findall(r"(?<=[\s\[])--[a-z][\w-]*", piece))
    for command, does in rows_of(DOCS / "commands.md", "All commands"):
        if module_there := re.search(r"python -m ([\w.]+)", command):
            shown[module_there[1]] |= set(re.findall(r"--[a-z][\w-]*", does))
    return {name: options for name, options in shown.items() if name != "pip"}


def help_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", sorted(shown_commands()))
def test_a_command_that_is_shown_is_a_program_with_these_options(module: str) -> None:
    path = ROOT.joinpath(*module.split("."))
    program = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert 'if __name__ == "__main__"' in text_of(program)
    if shown := shown_commands()[module]:
        assert shown <= set(re.findall(r"(?<![\w-])(--[a-z][\w-]*)", help_of(module)))


@pytest.mark.parametrize("page", WITH_LINKS, ids=ids(WITH_LINKS))
def test_scripts_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])((?:scripts|deploy)/[\w/-]+\.sh)\b", text_of(page)))
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_every_route_is_documented() -> None:
    routes = re.findall(r'@routes\.(get|post)\("([^"]+)"\)', text_of(ROOT / "shim" / "routes.py"))
    assert len(routes) > 8
    cells = " ".join(first_cells(DOCS / "http.md", "The shim's routes"))
    for method, path in routes:
        shown = re.sub(r"<\w+>", "<id>", path)
        assert f"`{method.upper()} {shown}`" in cells


# The README, and links between pages


def test_the_readme_is_short() -> None:
    assert len(text_of(README).split()) <= README_WORDS


def test_the_readme_leads_to_every_page() -> None:
    targets = {target.partition("#")[0] for _, target in links_of(README)}
    wanted = {str(page.relative_to(ROOT)) for page in PAGES} - {README.name}
    assert wanted <= targets


def links_of(page: Path) -> list[tuple[str, str]]:
    """Text and target of a page's links and images to files here; code is no link."""
    text = re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", text)
    found = re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text)
    return [(shown, target) for shown, target in found if not re.match(r"https?:|mailto:", target)]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WITH_LINKS, ids=ids(WITH_LINKS))
def test_links_lead_somewhere(page: Path) -> None:
    for shown, target in links_of(page):
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), f"[{shown}]({target})"
        assert not anchor or anchor in anchors_of(aim), f"[{shown}]({target})"


# The map of the packages


def packages() -> list[str]:
    """Every folder of ours that holds Python modules: `shim`, `shim/predict`, ..."""
    tops = {path.parent for path in ROOT.glob("*/__init__.py")}
    assert len(tops) > 5
    folders = {path.parent for top in tops for path in top.rglob("*.py")}
    return sorted(folder.relative_to(ROOT).as_posix() for folder in folders)


def sentences_of_the_map() -> dict[str, str]:
    rows = rows_of(ARCHITECTURE, "The packages")[2:]
    assert len(rows) == len({row[0] for row in rows}), "a package has two rows"
    return {row[0].strip("`"): row[1] for row in rows}


def first_sentence(docstring: str) -> str:
    """Up to the first full stop that ends a word; the .mar of an archive does not."""
    text = " ".join(docstring.split())
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def test_the_map_has_every_package_and_no_other() -> None:
    assert sorted(sentences_of_the_map()) == packages()


@pytest.mark.parametrize("package", packages())
def test_a_package_says_in_one_sentence_what_the_map_says(package: str) -> None:
    docstring = ast.get_docstring(ast.parse(text_of(ROOT / package / "__init__.py")))
    assert docstring, f"{package}/__init__.py has no docstring"
    assert first_sentence(docstring) == sentences_of_the_map().get(package)


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_places_that_a_page_names_are_there(page: Path) -> None:
    """Paths of ours between backticks; the changelog tells of places that were."""
    if page.name == "CHANGELOG.md":
        return
    tops = "|".join(sorted({package.partition("/")[0] for package in sentences_of_the_map()}))
    named = set(re.findall(rf"`((?:{tops}|tests)/[\w/]+(?:\.(?:py|sh))?)/?(?:::[\w.]+)?`", text_of(page)))
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


# The requirements


def test_every_requirement_has_one_row() -> None:
    text = text_of(REQUIREMENTS)
    wanted = [f"R{number}" for number in range(1, 54)]
    assert re.findall(r"^\| (R\d+) \|", text, flags=re.MULTILINE) == wanted
    assert re.findall(r"\bR\d+\b", text) == wanted, "an id stands outside its own row"


def test_every_requirement_has_a_state() -> None:
    rows = [line for line in text_of(REQUIREMENTS).splitlines() if re.match(r"\| R\d+ ", line)]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5, row
        assert cells[2] in STATES, row
        assert all(cells), row


def test_every_test_in_the_requirements_is_there() -> None:
    named = re.findall(r"tests/[\w./-]*\w(?:::\w+)?", text_of(REQUIREMENTS))
    assert len(named) > 53
    for path, _, name in (one.partition("::") for one in named):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in text_of(ROOT / path), f"{path}::{name}"


def test_every_place_in_the_requirements_is_there() -> None:
    named = re.findall(r"`((?!tests/)(?:\w+/)+\w+\.py)::([\w.]+)`", text_of(REQUIREMENTS))
    assert len(named) > 30
    for path, name in named:
        last = name.rpartition(".")[2]
        assert re.search(rf"(?:def|class) {last}\b", text_of(ROOT / path)), f"{path}::{name}"
