"""The trees that are drawn at the top of each errors.py, and that no error stands outside of them."""

from __future__ import annotations

import ast
import re
from types import ModuleType

import pytest

from demo import errors as demo_errors
from handler import errors as handler_errors
from handler.errors import HandlerError, LayoutLoopError, RequestInvalid
from layoutloop import errors as library_errors
from layoutloop.settings.node import REPOSITORY

MODULES = (handler_errors, library_errors, demo_errors)
PROGRAMS = ("handler", "layoutloop", "shim", "rollout", "training", "node", "scripts", "demo")
CONTROL_FLOW = {"_TryAgain", "_Changed", "Again", "TooFewNew"}
"""Raised and caught within one module or package; nobody is told of them."""


def drawn(module: ModuleType) -> list[tuple[str, str, int]]:
    """The lines of a module's tree: a class, the one it hangs from, its status."""
    lines, above = [], {-1: ""}
    for indent, name, status in re.findall(r"^([│├└─ ]*)(\w+)(?: +(\d{3})\b.*)?$", module.__doc__ or "", re.MULTILINE):
        if not isinstance(getattr(module, name, None), type):
            continue
        depth = len(indent) // 4
        above[depth] = name
        lines.append((name, above[depth - 1], int(status or getattr(module, name).status)))
    return lines


def defined(module: ModuleType) -> list[type[LayoutLoopError]]:
    found = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    assert all(issubclass(one, LayoutLoopError) for one in found)
    return found


@pytest.mark.parametrize("module", MODULES, ids=[module.__name__ for module in MODULES])
def test_the_tree_is_drawn_as_it_is(module: ModuleType) -> None:
    root = [] if module is handler_errors else [("LayoutLoopError", "", LayoutLoopError.status)]
    written = [(one.__name__, str(one.__base__ and one.__base__.__name__), one.status) for one in defined(module)]
    assert sorted(drawn(module)) == sorted(
        [*root, *((name, "" if name == "LayoutLoopError" else base, status) for name, base, status in written)]
    )


def test_each_error_has_a_code_and_a_sentence_of_its_own() -> None:
    errors = [one for module in MODULES for one in defined(module) if one is not HandlerError]
    codes = [one.code for one in errors]
    assert len(set(codes)) == len(codes) > 50
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)
    assert HandlerError.code == LayoutLoopError.code == "internal_error"
    assert all((one.__doc__ or "").endswith(".") or "Args:" in (one.__doc__ or "") for one in errors)


def test_a_request_is_invalid_in_one_way() -> None:
    assert library_errors.RequestInvalid is RequestInvalid
    assert (RequestInvalid.status, RequestInvalid.code) == (400, "request_invalid")


def test_no_error_stands_outside_of_the_tree() -> None:
    outside = set()
    for path in (path for program in PROGRAMS for path in (REPOSITORY / program).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base) for base in node.bases}
                if any(re.fullmatch(r"(Base)?Exception|\w+Error", base) for base in bases):
                    outside.add(node.name)
    known = {one.__name__ for module in MODULES for one in defined(module)}
    assert outside - known == CONTROL_FLOW
