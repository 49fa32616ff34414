"""The map from papers to code, docs/reference/equations.md: it names what exists, and all of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from archgrad.baselines import BASELINES
from archgrad.methods import RECIPES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "equations.md"
HEAD = ["methods", "paper, number", "equation", "code", "test", "difference"]
SOURCE = re.compile(r"arXiv:\d{4}\.\d{5}|\.\. math::|NeurIPS 20|Neural Networks 20|Williams")


def rows() -> Iterator[list[str]]:
    """The cells of every row of every table of the page."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


TABLE = [row for row in rows() if not set(row[0]) <= set("-|") and [*row] != HEAD]
CODE = sorted({row[3].strip("`") for row in TABLE})
TESTS = sorted({row[4].strip("`") for row in TABLE})


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def named(path: str, name: str) -> bool:
    """Whether a class, function, method or constant of this name stands in the file."""
    if not (ROOT / path).is_file():
        return False
    body: list[ast.stmt] = tree(path).body
    for part in name.split("."):
        for node in body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else []
            targets += node.targets if isinstance(node, ast.Assign) else []
            constants = [target.id for target in targets if isinstance(target, ast.Name)]
            if part == getattr(node, "name", None) or part in constants:
                body = getattr(node, "body", [])
                break
        else:
            return False
    return True


def test_every_row_is_whole() -> None:
    assert len(TABLE) > 80
    for row in TABLE:
        assert len(row) == len(HEAD) and all(row), row
        assert row[2].count("$") % 2 == 0, row
    twice = [row for row in TABLE if TABLE.count(row) > 1]
    assert not twice


def test_every_object_exists() -> None:
    assert all(place.startswith("src/archgrad/") for place in CODE)
    assert not [place for place in CODE if not named(*place.split("::"))]


def test_every_test_exists() -> None:
    assert all(re.match(r"tests/[\w/]*test_\w+\.py::test_\w+$", place) for place in TESTS)
    assert not [place for place in TESTS if not named(*place.split("::"))]


def test_names_that_are_not_there_are_noticed() -> None:
    assert named("src/archgrad/parts/state.py", "SGD.step")
    assert not named("src/archgrad/parts/state.py", "SGD.stride")
    assert not named("src/archgrad/parts/state.py", "step")
    assert not named("src/archgrad/parts/estate.py", "SGD")


def test_every_method_and_baseline_is_in_the_map() -> None:
    found = {name for row in TABLE for name in re.findall(r"`(\w+)`", row[0])}
    assert found == {*RECIPES, *BASELINES}


def sources() -> list[str]:
    """Public classes and functions that name a paper or a formula, of the slots and beside them."""
    source = ROOT / "src" / "archgrad"
    files = (
        "findings/statistics",
        "networks/network",
        "retraining/averaging",
        "retraining/schedules",
        "searching/diagnostics",
        "statistics",
    )
    slots = [path for path in (source / "parts").glob("*.py") if path.stem != "method"]
    paths = [*slots, *(source / "baselines").glob("*.py")]
    found = []
    for path in [*paths, *(source / f"{name}.py" for name in files)]:
        short = str(path.relative_to(ROOT))
        for node in tree(short).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if SOURCE.search(ast.get_docstring(node) or ""):
                found.append(f"{short}::{node.name}")
    return sorted(found)


def test_everything_with_a_source_is_in_the_map() -> None:
    wanted = sources()
    assert len(wanted) > 40
    missing = [place for place in wanted if not any(c.startswith(place) for c in CODE)]
    assert not missing
