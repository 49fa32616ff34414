"""The methods by name: sources, options, errors, and recipes that stay short."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import archgrad
from archgrad import Method, method
from archgrad.errors import ArchgradError
from archgrad.methods import RECIPES
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.hypergradient import FiniteDifference
from archgrad.parts.optimizer import Adam

LONGEST = 15  # lines of a recipe's body
PACKAGE = Path(archgrad.__file__).parent
NAMELESS = sorted(
    path.relative_to(PACKAGE).as_posix()
    for folder in ("searching", "networks", "system")
    for path in (PACKAGE / folder).glob("[a-z]*.py")
)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_tells_its_source_and_its_differences(name: str) -> None:
    text = inspect.getdoc(RECIPES[name]) or ""
    assert re.search(r"\(.* et al\.,|\(.*, .* 20\d\d", text.splitlines()[0])
    assert "arXiv:" in text or re.search(r"(NeurIPS|Neural Networks) 20\d\d", text)
    assert "Differs from" in text


def body(recipe: Any) -> int:
    """Lines of a recipe's body without its docstring."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(recipe))).body
    assert isinstance(function, ast.FunctionDef)
    rest = function.body[1:]
    return (rest[-1].end_lineno or 0) - rest[0].lineno + 1


def test_every_recipe_is_short() -> None:
    lines = {name: body(recipe) for name, recipe in RECIPES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


@pytest.mark.parametrize("name", RECIPES)
def test_every_knob_of_a_recipe_has_a_plain_default_and_changes_the_method(name: str) -> None:
    assert method(name) == RECIPES[name]()
    for knob in inspect.signature(RECIPES[name]).parameters.values():
        assert knob.kind is knob.KEYWORD_ONLY
        assert type(knob.default) in (int, float, str)


@pytest.mark.parametrize("module", NAMELESS)
def test_the_loop_and_the_network_name_no_method(module: str) -> None:
    """Only a docstring may, to say where something comes from; "darts" names the space as well."""
    tree = ast.parse((PACKAGE / module).read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documents = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, documented)
    }
    texts = {text for node in ast.walk(tree) for text in _texts(node)} - documents
    words = {word for text in texts for word in re.findall(r"\w+", text.lower())}
    assert words
    assert words & set(RECIPES) == set()


def _texts(node: ast.AST) -> list[str]:
    """The names and strings of a node."""
    found = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value"))
    return [text for text in found if isinstance(text, str)]


# --- names and options -------------------------------------------------------------------------


def test_knobs_reach_the_parts() -> None:
    found = method(
        "darts_2nd",
        estimator="finite_difference",
        step=0.1,
        alpha_learning_rate=0.2,
        alpha_weight_decay=0.3,
    )
    assert found.hypergradient == FiniteDifference(0.1)
    assert found.arch_optimizer == Adam(0.2, (0.5, 0.999), 0.3)


def test_a_method_value_passes_through_but_takes_no_options() -> None:
    value = Method(discretization=StrongestEdges(1))
    assert method(value) is value
    with pytest.raises(
        ArchgradError, match=r"options \['step'\] go with a method's name, not its value"
    ):
        method(value, step=0.1)


def test_an_unknown_method_comes_with_the_nearest_and_all() -> None:
    with pytest.raises(
        ArchgradError, match='method "dart" is not known; did you mean "darts"'
    ) as e:
        method("dart")
    assert str(e.value).endswith(f"Known: {', '.join(sorted(RECIPES))}")


def test_an_unknown_option_comes_with_the_nearest() -> None:
    with pytest.raises(
        ArchgradError,
        match=r'option of method darts "alpha_learning_rat" .* did you mean "alpha_learning_rate"',
    ):
        method("darts", alpha_learning_rat=0.1)
    with pytest.raises(ArchgradError, match=r"Known: alpha_learning_rate, alpha_m.*, alpha_w.*"):
        method("darts", estimator="exact")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("step", "0.1", "found '0.1', expected float"),
        ("step", True, "found True, expected float"),
        ("step", None, "found None, expected float"),
        ("estimator", 1, "found 1, expected str"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(option: str, value: Any, expected: str) -> None:
    with pytest.raises(ArchgradError, match=f"option {option} of method darts_2nd: {expected}"):
        method("darts_2nd", **{option: value})


@pytest.mark.parametrize("value", [True, 0.5])
def test_a_whole_number_is_not_a_fraction_or_a_truth_value(value: Any) -> None:
    with pytest.raises(ArchgradError, match="option terms of method idarts: found .* expected int"):
        method("idarts", terms=value)


def test_a_whole_number_will_do_for_a_float() -> None:
    assert method("darts", alpha_learning_rate=1) == method("darts", alpha_learning_rate=1.0)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("darts_2nd", "estimator", r'estimator "exakt" .*Known: exact, finite_difference'),
        ("robust_darts", "form", r'form of robust_darts "exakt" .*Known: adaptive, drop_path'),
        ("darts_pt", "criterion", 'criterion "exakt" accuracy or loss'),
    ],
)
def test_an_unknown_word_comes_with_the_known(name: str, option: str, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        method(name, **{option: "exakt"})


RATES = [
    (name, knob)
    for name, recipe in RECIPES.items()
    for knob in inspect.signature(recipe).parameters
    if knob in ("alpha_learning_rate", "learning_rate", "alpha_weight_decay")
]


@pytest.mark.parametrize(("name", "knob"), RATES)
def test_rates_that_no_part_takes_are_refused(name: str, knob: str) -> None:
    with pytest.raises(ArchgradError, match="finite and not negative"):
        method(name, **{knob: -1.0})
