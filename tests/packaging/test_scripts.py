"""Scripts beside the package: every name that they import from it is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path for folder in ("benchmarks", "examples", "docs") for path in (ROOT / folder).rglob("*.py")
)


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of what a script imports from the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("archgrad"):
            assert node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_is_there(path: Path) -> None:
    missing = [
        (module, name)
        for module, name in imported(path)
        if not hasattr(import_module(module), name) and find_spec(f"{module}.{name}") is None
    ]
    assert not missing


def test_scripts_are_found() -> None:
    assert len(SCRIPTS) > 20 and all(
        any(imported(path)) for path in SCRIPTS if path.stem == "bench"
    )
