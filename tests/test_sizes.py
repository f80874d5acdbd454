"""How long functions and modules are at most, as CONTRIBUTING.md says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("handler", "layoutloop", "shim", "rollout", "training", "node", "scripts", "demo")


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_and_modules_are_short(package: str) -> None:
    too_long = []
    for path in sorted((ROOT / package).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        place = str(path.relative_to(ROOT))
        if (lines := len(source.splitlines())) > 300:
            too_long.append(f"{place} has {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > 40:
                    too_long.append(f"{node.name} in {place} has {lines} lines")
    assert too_long == []
